//! A signal interrupts a call: EINTR. Three calls, three things to do about it.
//!
//! - `accept`: nothing has happened yet. Call it again.
//! - `connect`: the kernel goes on with it. Do not call it again: wait in `poll` until the socket is
//!   writable, then ask for the outcome once, with `getsockopt` and SO_ERROR. `poll` may be
//!   interrupted, too.
//! - `close`: on Linux the descriptor is closed. Do not call it again; it is Ok.
//!
//! Every other error goes to the caller as it is.
//!
//! Article 10. man: signal(7), accept(2), connect(2), close(2). Given: TCP sockets; the one for
//! `close_once` is yours, the others are lent.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Accepts one connection.
fn accept_one(listener: RawFd) -> io::Result<RawFd> {
    // TODO: `libc::accept`, again after EINTR.
    grader::yours(listener)
}

/// Connects `fd`.
fn connect_once(fd: RawFd, to: &libc::sockaddr_in) -> io::Result<()> {
    // TODO: `libc::connect`, once; after EINTR wait, and ask how it went.
    grader::yours((fd, to))
}

/// Closes `fd`.
fn close_once(fd: RawFd) -> io::Result<()> {
    // TODO: `libc::close`, once.
    grader::yours(fd)
}

fn main() -> ExitCode {
    grader::eintr::grade(accept_one, connect_once, close_once)
}
