//! refused: "while it runs SIGPIPE is ignored in every thread"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let result = send_loop(fd, buf);
    unsafe { libc::signal(libc::SIGPIPE, before) };
    result
}

fn send_loop(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), 0) };
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
