//! refused: "it returned Ok before the attempt had ended"

use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn connect_deadline(fd: RawFd, to: &libc::sockaddr_in, deadline: Instant) -> io::Result<()> {
    let flags = checked(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    set_flags(fd, flags | libc::O_NONBLOCK)?;
    let result = attempt(fd, to, deadline);
    set_flags(fd, flags)?;
    result
}

fn set_flags(fd: RawFd, flags: libc::c_int) -> io::Result<()> {
    checked(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }).map(drop)
}

fn attempt(fd: RawFd, to: &libc::sockaddr_in, deadline: Instant) -> io::Result<()> {
    let len = mem::size_of_val(to) as libc::socklen_t;
    match checked(unsafe { libc::connect(fd, (&raw const *to).cast(), len) }) {
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
        done => return done.map(drop),
    }
    let mut errno: libc::c_int = 0;
    let mut len = mem::size_of_val(&errno) as libc::socklen_t;
    checked(unsafe {
        let at = (&raw mut errno).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len)
    })?;
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

fn wait_writable(fd: RawFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(ErrorKind::TimedOut.into());
        }
        let timeout = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let mut pollfd = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        match checked(unsafe { libc::poll(&mut pollfd, 1, timeout) }) {
            Ok(0) => {}
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn checked(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

fn main() -> ExitCode {
    grader::connect_deadline::grade(connect_deadline)
}
