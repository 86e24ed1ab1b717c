//! Fill a buffer to the last byte, or give up at an instant.
//!
//! `deadline` is one instant for the whole of `buf`: neither a byte that comes nor a signal moves
//! it. Once it has passed, nothing more is taken: `TimedOut`, not before and not much later. Until
//! then the call sleeps in `poll`, whose milliseconds have to be rounded up. The end of the stream
//! before `buf` is full is `UnexpectedEof`; other errors but EINTR go to the caller as they are.
//!
//! Article 2.2. man: poll(2), recv(2). Given: `fd`, a connected TCP socket, lent, blocking or not;
//! its settings stay as they are, also meanwhile.

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Instant;

/// Receives exactly `buf.len()` bytes, before `deadline`.
fn recv_exact_with_deadline(fd: RawFd, buf: &mut [u8], deadline: Instant) -> io::Result<()> {
    //> // TODO: until the buffer is full: how much time is left? `poll`, then a `recv` that never waits.
    //> grader::yours((fd, buf, deadline))
    let mut got = 0;
    while got < buf.len() {
        wait_readable(fd, deadline)?;
        let rest = &mut buf[got..];
        // MSG_DONTWAIT: poll has done the waiting, recv never waits past the deadline.
        // SAFETY: `rest` is writable for its whole length.
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), libc::MSG_DONTWAIT) };
        match n {
            1.. => got += n as usize,
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {
                let error = io::Error::last_os_error();
                if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

/// Returns when `fd` has something to say, or `TimedOut` at the deadline.
fn wait_readable(fd: RawFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        // Rounded up, and at most what the type holds: the loop comes back.
        let timeout = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: `ready` is one pollfd, and is writable.
        match unsafe { libc::poll(&mut ready, 1, timeout) } {
            0 => {} // the clock decides
            1.. => return Ok(()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    //<
}

fn main() -> ExitCode {
    grader::deadline::grade(recv_exact_with_deadline)
}
