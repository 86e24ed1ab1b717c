//! refused: "a recv that returns fewer bytes than asked is no end of stream"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    if buf.is_empty() {
        return Ok(());
    }
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    if n < 0 {
        return Err(io::Error::last_os_error());
    }
    if n as usize != buf.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
