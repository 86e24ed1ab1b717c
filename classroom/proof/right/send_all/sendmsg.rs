//! sendmsg with one iovec.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let mut part = libc::iovec {
            iov_base: buf[sent..].as_ptr().cast_mut().cast(),
            iov_len: buf.len() - sent,
        };
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
        match unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            n => sent += n as usize,
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
