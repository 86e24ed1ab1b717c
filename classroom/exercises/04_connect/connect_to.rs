//! Try every address of a list, one after the other, until one accepts.
//!
//! For each: a socket of its family, kind and protocol, close-on-exec; `connect`, once. Where one of
//! the two fails, the next address is tried, with a socket of its own, and nothing stays open. If
//! none accepts, the error is that of the last try. No signal comes here: what EINTR means for
//! `connect` is for later.
//!
//! Article 7.1 (connect_to). man: socket(2), connect(2). Given: the head of a list as getaddrinfo
//! makes it, lent: do not free it.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

/// A socket that is connected to the first address that accepts.
fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    // TODO: walk the list along `ai_next`, which is null at the end.
    grader::yours(list)
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
