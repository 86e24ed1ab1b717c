//! refused: "SIGPIPE killed the process"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_or_gone(fd: RawFd, buf: &[u8]) -> io::Result<bool> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), 0) };
        if n >= 0 {
            sent += n as usize;
            continue;
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
