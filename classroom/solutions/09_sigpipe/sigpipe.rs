//! Send to a peer that may be gone, and live to tell.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends all of `buf`. `false`: the peer has gone.
fn send_or_gone(fd: RawFd, buf: &[u8]) -> io::Result<bool> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        // SAFETY:
        // - `rest` is readable for its whole length.
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            sent += n as usize;
            continue;
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            ErrorKind::Interrupted => {}
            // A reset is told once as ECONNRESET; from then on it is EPIPE.
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => return Ok(false),
            _ => return Err(error),
        }
    }
    Ok(true)
}

fn main() -> ExitCode {
    grader::sigpipe::grade(send_or_gone)
}
