//! refused: "send of 0 bytes returns 0, and that was taken for a failure"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    loop {
        let n = unsafe {
            libc::send(fd, buf[sent..].as_ptr().cast(), buf.len() - sent, libc::MSG_NOSIGNAL)
        };
        match n {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            1.. => sent += n as usize,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(io::Error::last_os_error()),
        }
        if sent == buf.len() {
            return Ok(());
        }
    }
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
