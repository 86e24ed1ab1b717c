//! refused: "the pieces are not one behind the other"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut left = buf.len();
    while left > 0 {
        match unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), left, 0) } {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if n > 0 => left -= n as usize,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
