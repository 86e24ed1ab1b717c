//! refused: "it returned true before all was sent"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_or_gone(fd: RawFd, buf: &[u8]) -> io::Result<bool> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            ErrorKind::Interrupted => {}
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => return Ok(false),
            _ => return Err(error),
        }
    }
    Ok(true)
}

fn main() -> ExitCode {
    grader::sigpipe::grade(send_or_gone)
}
