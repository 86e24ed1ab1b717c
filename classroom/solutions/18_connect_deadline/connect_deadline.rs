//! Connect, but wait no longer than to a deadline.
//!
//! Left to itself `connect` waits for minutes. Made non-blocking, it says EINPROGRESS, and the
//! attempt goes on: `poll` waits for its end with a timeout, SO_ERROR says which end it was.
//! The error is the kernel's (as ECONNREFUSED), or its kind is `TimedOut` once the deadline has
//! passed; the attempt still goes on then, for its owner may wait on. However it ends, the socket
//! is blocking again, its other flags as they were.
//!
//! Article 2.2, 4. man: connect(2), poll(2). Given: `fd`, a new TCP socket, lent: its owner closes
//! it.

//> use std::io;
use std::io::{self, ErrorKind};
use std::mem;
//<
use std::os::fd::RawFd;
use std::process::ExitCode;
//> use std::time::Instant;
use std::time::{Duration, Instant};
//<

/// Connects `fd` to `to`, or fails at the deadline.
fn connect_deadline(fd: RawFd, to: &libc::sockaddr_in, deadline: Instant) -> io::Result<()> {
    //> // TODO: O_NONBLOCK, `libc::connect` once, `libc::poll`, SO_ERROR, and the flags as before.
    //> grader::yours((fd, to, deadline))
    // SAFETY: fcntl with F_GETFL takes numbers only.
    let flags = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    set_flags(fd, flags | libc::O_NONBLOCK)?;
    let result = attempt(fd, to, deadline);
    set_flags(fd, flags)?; // however it ended
    result
}

fn set_flags(fd: RawFd, flags: libc::c_int) -> io::Result<()> {
    // SAFETY: fcntl with F_SETFL takes numbers only.
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

fn attempt(fd: RawFd, to: &libc::sockaddr_in, deadline: Instant) -> io::Result<()> {
    let len = mem::size_of_val(to) as libc::socklen_t;
    // SAFETY: `to` is readable for `len` bytes.
    match checked(unsafe { libc::connect(fd, (&raw const *to).cast(), len) }) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        done => return done.map(drop),
    }
    wait_writable(fd, deadline)?;
    // Reading SO_ERROR clears it: once, and kept.
    let mut errno: libc::c_int = 0;
    let mut len = mem::size_of_val(&errno) as libc::socklen_t;
    // SAFETY: `errno` is writable for `len` bytes, and `len` is too.
    checked(unsafe {
        let at = (&raw mut errno).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len)
    })?;
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

/// The attempt has ended, well or not, once the socket is writable.
fn wait_writable(fd: RawFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(ErrorKind::TimedOut.into());
        }
        // Milliseconds, rounded up: rounded down, the last one would be spent spinning.
        let timeout = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let mut pollfd = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        // SAFETY: `pollfd` is one pollfd, and writable.
        match checked(unsafe { libc::poll(&mut pollfd, 1, timeout) }) {
            Ok(0) => {} // the clock decides
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {} // with the time that is left
            Err(e) => return Err(e),
        }
    }
}

fn checked(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
    //<
}

fn main() -> ExitCode {
    grader::connect_deadline::grade(connect_deadline)
}
