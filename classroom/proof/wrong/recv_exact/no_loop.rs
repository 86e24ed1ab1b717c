//! refused: "it returned Ok before the buffer was full"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    if buf.is_empty() {
        return Ok(());
    }
    match unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) } {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        1.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
