//! Serve two clients at once, with one thread and `poll`.
//!
//! What a client sends comes back to it. When it ends its stream, it gets what is left, then the
//! end of ours (`SHUT_WR`). A client that has reset its connection is done; the other one goes on.
//! Nobody waits for the other: not for one that is silent, not for one that sends on and on, and
//! not for one that sends without reading. For that one keep 64 KiB at most, and read on once there
//! is room again: it may read slowly, and gets all of it. Where there is nothing to do, sleep in
//! `poll`, without a timeout, also once one of them is done. Return Ok once both are, also where
//! both have reset.
//!
//! Article 2.2, 13. man: poll(2). Given: `clients`, two connected TCP sockets, blocking, lent:
//! their owner closes them, and finds them as they were.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Echoes to both until both are done.
fn poll_two(clients: [RawFd; 2]) -> io::Result<()> {
    // TODO: for each client, what is it to wait for, POLLIN or POLLOUT? Then `libc::poll`.
    grader::yours(clients)
}

fn main() -> ExitCode {
    grader::poll_two::grade(poll_two)
}
