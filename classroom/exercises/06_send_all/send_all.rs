//! Send a buffer to the last byte: in as many `send` calls as it takes, until the kernel has it.
//!
//! `send` may take only a part of what it is given. A signal may interrupt it. The peer may have
//! gone, and that must be an error, not the end of this process. Every error but EINTR goes to the
//! caller as it is. Leave the waiting to `send`, without `poll`: on a non-blocking socket its
//! EAGAIN is returned, and so is the EAGAIN that comes once a timeout of the owner's (SO_SNDTIMEO)
//! is over. An empty `buf` is Ok, without a call. No copy of the message is made, each call offers
//! all of the rest, or 4 KiB at least, and no setting of the process or of the socket changes, not
//! even for a while.
//!
//! Article 2.1. man: send(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends all of `buf`.
fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    // TODO: call `libc::send` until every byte has been taken.
    grader::yours((fd, buf))
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
