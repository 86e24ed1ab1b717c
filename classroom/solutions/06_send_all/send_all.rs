//! Send a buffer to the last byte, in as many `send` calls as it takes.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends all of `buf`.
fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        // MSG_NOSIGNAL: if the peer has gone, EPIPE and not a signal that kills.
        // SAFETY:
        // - `rest` is readable for its whole length.
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            sent += n as usize; // perhaps less than was asked: go on behind it
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
