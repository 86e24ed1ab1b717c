//! refused: "it gives up after a time of its own"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let mut poll = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        match unsafe { libc::poll(&mut poll, 1, 1000) } {
            0 => return Err(io::ErrorKind::TimedOut.into()),
            -1 => continue,
            _ => {}
        }
        let rest = &buf[sent..];
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), flags) };
        if n >= 0 {
            sent += n as usize;
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
