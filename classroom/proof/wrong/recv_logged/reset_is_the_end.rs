//! refused: "a reset is an error and no end of the stream"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_logged(fd: RawFd, buf: &mut [u8], log: fn(&str)) -> Result<usize, String> {
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    log("recv");
    if n < 0 && errno == libc::ECONNRESET {
        return Ok(0);
    }
    if n >= 0 { Ok(n as usize) } else { Err(name(errno)) }
}

fn name(errno: i32) -> String {
    match errno {
        libc::EAGAIN => "EAGAIN".into(),
        libc::EBADF => "EBADF".into(),
        libc::ECONNRESET => "ECONNRESET".into(),
        libc::EINTR => "EINTR".into(),
        libc::ENOTCONN => "ENOTCONN".into(),
        other => format!("errno {other}"),
    }
}

fn main() -> ExitCode {
    grader::errno::grade(recv_logged)
}
