//! The standard library's stream.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    use std::io::Read;
    use std::mem::ManuallyDrop;
    use std::os::fd::FromRawFd;
    ManuallyDrop::new(unsafe { std::net::TcpStream::from_raw_fd(fd) }).read_exact(buf)
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
