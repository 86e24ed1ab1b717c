//! Fill a buffer to the last byte, or give up at an instant.
//!
//! `deadline` is one instant for the whole of `buf`: neither a byte that comes nor a signal moves
//! it. Once it has passed, nothing more is taken: `TimedOut`, not before and not much later. Until
//! then the call sleeps in `poll`, whose milliseconds have to be rounded up. The end of the stream
//! before `buf` is full is `UnexpectedEof`; other errors but EINTR go to the caller as they are.
//!
//! Article 2.2. man: poll(2), recv(2). Given: `fd`, a connected TCP socket, lent, blocking or not;
//! its settings stay as they are, also meanwhile.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Instant;

/// Receives exactly `buf.len()` bytes, before `deadline`.
fn recv_exact_with_deadline(fd: RawFd, buf: &mut [u8], deadline: Instant) -> io::Result<()> {
    // TODO: until the buffer is full: how much time is left? `poll`, then a `recv` that never waits.
    grader::yours((fd, buf, deadline))
}

fn main() -> ExitCode {
    grader::deadline::grade(recv_exact_with_deadline)
}
