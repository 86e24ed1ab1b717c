//! refused: "it took more bytes than buf has room for"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_logged(fd: RawFd, buf: &mut [u8], log: fn(&str)) -> Result<usize, String> {
    let mut mine = [0_u8; 4096];
    let n = unsafe { libc::recv(fd, mine.as_mut_ptr().cast(), mine.len(), 0) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
    log("recv");
    if n < 0 {
        return Err(name(errno));
    }
    let n = (n as usize).min(buf.len());
    buf[..n].copy_from_slice(&mine[..n]);
    Ok(n)
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
