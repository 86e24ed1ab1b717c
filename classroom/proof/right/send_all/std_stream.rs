//! The standard library's stream, which sets MSG_NOSIGNAL.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    use std::io::Write;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;
    ManuallyDrop::new(unsafe { std::net::TcpStream::from_raw_fd(fd) }).write_all(buf)
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
