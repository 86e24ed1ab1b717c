//! Send to a peer that may be gone, and live to tell.
//!
//! A `send` to a connection that has ended raises SIGPIPE, and SIGPIPE kills. What the process does
//! about SIGPIPE is for its `main` to decide, not for this function: leave it as it is, and ask for
//! an error instead. That the peer has gone is no failure here but an answer: `false`.
//!
//! EINTR is retried, partial sends go on, every other error goes to the caller as it is. An empty
//! `buf` is `true`, without a call.
//!
//! Article 12. man: send(2), signal(7). Given: `fd`, a connected TCP socket, lent. (Rust's runtime
//! ignores SIGPIPE from the start; the grader restores what a C program has.)

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends all of `buf`. `false`: the peer has gone.
fn send_or_gone(fd: RawFd, buf: &[u8]) -> io::Result<bool> {
    // TODO: which flag, and which two errors say that nobody is there?
    grader::yours((fd, buf))
}

fn main() -> ExitCode {
    grader::sigpipe::grade(send_or_gone)
}
