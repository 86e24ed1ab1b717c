//! refused: "your send_all runs in circles"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    let mut sent = 0;
    while sent < buf.len() {
        let n = unsafe { libc::send(fd, buf[sent..].as_ptr().cast(), buf.len() - sent, flags) };
        if n > 0 {
            sent += n as usize;
        } else if io::Error::last_os_error().kind() != io::ErrorKind::WouldBlock {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
