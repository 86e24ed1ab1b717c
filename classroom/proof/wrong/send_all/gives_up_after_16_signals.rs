//! refused: "it gives up after some signals"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let (mut sent, mut tries) = (0, 0);
    while sent < buf.len() {
        let rest = &buf[sent..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            sent += n as usize;
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted || tries == 16 {
            return Err(error);
        }
        tries += 1;
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
