//! refused: "with a message of 65536 bytes"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent: u16 = 0;
    while (sent as usize) < buf.len() {
        let rest = &buf[sent as usize..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            sent = sent.wrapping_add(n as u16);
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
