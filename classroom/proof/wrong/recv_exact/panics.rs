//! refused: "your recv_exact panicked at"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    assert_eq!(n as usize, buf.len());
    Ok(())
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
