//! The error kept whole, and most of it named by its kind.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_logged(fd: RawFd, buf: &mut [u8], log: fn(&str)) -> Result<usize, String> {
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    let result = if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) };
    log(&format!("recv: {result:?}"));
    result.map_err(|e| match (e.kind(), e.raw_os_error()) {
        (io::ErrorKind::WouldBlock, _) => "EAGAIN".into(),
        (io::ErrorKind::ConnectionReset, _) => "ECONNRESET".into(),
        (io::ErrorKind::Interrupted, _) => "EINTR".into(),
        (io::ErrorKind::NotConnected, _) => "ENOTCONN".into(),
        (_, Some(libc::EBADF)) => "EBADF".into(),
        (_, other) => format!("errno {}", other.unwrap_or(0)),
    })
}

fn main() -> ExitCode {
    grader::errno::grade(recv_logged)
}
