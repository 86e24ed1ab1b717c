//! The verdict on an exercise that is done already.

use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    ManuallyDrop::new(unsafe { std::net::TcpStream::from_raw_fd(fd) }).read_exact(buf)
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
