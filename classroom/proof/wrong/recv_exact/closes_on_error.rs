//! refused: "closed fd 4, which was only lent to it"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    use std::io::Read;
    use std::os::fd::{FromRawFd, IntoRawFd};
    let mut stream = unsafe { std::net::TcpStream::from_raw_fd(fd) };
    stream.read_exact(buf)?;
    let _ = stream.into_raw_fd();
    Ok(())
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
