//! errno where the C library keeps it.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_logged(fd: RawFd, buf: &mut [u8], log: fn(&str)) -> Result<usize, String> {
    let received = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    let errno = unsafe { *libc::__errno_location() };
    log(if received < 0 { "failed" } else { "received" });
    usize::try_from(received).map_err(|_| name(errno))
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
