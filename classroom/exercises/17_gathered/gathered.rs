//! Send a header and its payload together: one `sendmsg` for both, and no copy.
//!
//! `sendmsg` takes a list of buffers, the iovecs. It may take only a part of the bytes: the end of
//! that part may lie in the header, in the payload, or between them. The next call goes on after it:
//! a `sendmsg` again, with all that is left of both in one list. Leave the waiting to `sendmsg`,
//! without `poll`. Every error but EINTR goes to the caller as it is; a peer that has gone is an
//! error, and no SIGPIPE. With nothing to send it is Ok, without a call.
//!
//! Article 3.1, 11. man: sendmsg(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends all of `header`, then all of `payload`.
fn gathered(fd: RawFd, header: &[u8], payload: &[u8]) -> io::Result<()> {
    // TODO: fill in a `libc::msghdr` with two `libc::iovec`, call `libc::sendmsg`, advance.
    grader::yours((fd, header, payload))
}

fn main() -> ExitCode {
    grader::gathered::grade(gathered)
}
