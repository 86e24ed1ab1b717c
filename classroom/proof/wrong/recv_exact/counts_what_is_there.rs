//! refused: "your recv_exact runs in circles"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut there: libc::c_int = 0;
    while (there as usize) < buf.len() {
        unsafe { libc::ioctl(fd, libc::FIONREAD, &mut there) };
    }
    unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    Ok(())
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
