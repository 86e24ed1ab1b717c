//! The rest of the buffer by recursion.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    if buf.is_empty() {
        return Ok(());
    }
    match unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), libc::MSG_NOSIGNAL) } {
        -1 => match io::Error::last_os_error() {
            e if e.raw_os_error() == Some(libc::EINTR) => send_all(fd, buf),
            e => Err(e),
        },
        n => send_all(fd, &buf[n as usize..]),
    }
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
