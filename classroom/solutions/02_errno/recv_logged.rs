//! One `recv`, one line in the log, and the error by its name.
//!
//! Call `libc::recv` once, into all of `buf`, with flags 0. Then call `log` once with a line of
//! your choice, whatever came out. Return the count, or the name of the error: `EAGAIN`, `EBADF`,
//! `ECONNRESET`, `EINTR`, `ENOTCONN`; for any other `errno N` with its number.
//!
//! A logger makes system calls of its own: errno is not the same after it.
//!
//! Article 1.3 and 10.2. man: errno(3), recv(2). Given: `fd`, lent; it may be no socket at all.

//>
use std::io;
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Receives once. The error is a name.
fn recv_logged(fd: RawFd, buf: &mut [u8], log: fn(&str)) -> Result<usize, String> {
    //> // TODO: recv, then log, then the count or the name. When is errno read?
    //> grader::yours((fd, buf, log))
    // SAFETY: `buf` is writable for its whole length.
    let n = unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), 0) };
    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0); // before anything else
    log("recv has returned");
    // errno means something only after -1.
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
    //<
}

fn main() -> ExitCode {
    grader::errno::grade(recv_logged)
}
