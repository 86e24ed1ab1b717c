//! refused: "EINTR was returned as an error"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let n = unsafe {
            libc::send(fd, buf[sent..].as_ptr().cast(), buf.len() - sent, libc::MSG_NOSIGNAL)
        };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        sent += n as usize;
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
