//! A pointer that moves on.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = unsafe { buf.as_ptr().add(sent) };
        let n = unsafe { libc::send(fd, rest.cast(), buf.len() - sent, libc::MSG_NOSIGNAL) };
        if n < 0 {
            let e = io::Error::last_os_error();
            if e.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(e);
        }
        sent += n as usize;
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
