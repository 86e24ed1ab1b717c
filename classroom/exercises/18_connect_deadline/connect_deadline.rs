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

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Instant;

/// Connects `fd` to `to`, or fails at the deadline.
fn connect_deadline(fd: RawFd, to: &libc::sockaddr_in, deadline: Instant) -> io::Result<()> {
    // TODO: O_NONBLOCK, `libc::connect` once, `libc::poll`, SO_ERROR, and the flags as before.
    grader::yours((fd, to, deadline))
}

fn main() -> ExitCode {
    grader::connect_deadline::grade(connect_deadline)
}
