//! refused: which was only lent to it

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

use std::io::Write;
use std::net::TcpStream;
use std::os::fd::FromRawFd;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    unsafe { TcpStream::from_raw_fd(fd) }.write_all(buf)
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
