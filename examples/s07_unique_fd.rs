//! A descriptor has one owner, who closes it once; a move passes it on.
//!
//! Article 7 (`unique_fd`). man: close(2).
//!
//! The kernel hands out the lowest free number. A number that was closed soon means another
//! socket, and a second `close` of it takes that one away from its owner.
//!
//! Expect: a moved descriptor stays open; a dropped one is EBADF; a number closed twice breaks a
//! socket that had nothing to do with it.
//!
//! Change and see: use `first` after the move (it does not compile); leave out the wrong `close`.

use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use stage::{Out, said};
use tcp_stream_io::{UniqueFd, sys};

fn open() -> io::Result<UniqueFd> {
    sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)
}

fn run(out: &Out) -> io::Result<()> {
    // A move: from here on `first` cannot be used, and nothing was closed.
    let first = open()?;
    let number = first.as_raw_fd();
    let second = first;
    out.check("getsockname through the new owner", "0.0.0.0:0", said(&sys::getsockname(&second)));

    // The owner goes, and with it the descriptor. The number means nothing now.
    drop(second);
    // SAFETY: F_GETFD passes no memory.
    let rc = unsafe { libc::fcntl(number, libc::F_GETFD) };
    let after = if rc < 0 { Err(sys::last_errno()) } else { Ok(rc) };
    out.check("fcntl on the number after the drop", "EBADF", said(&after));

    // The lowest free number is that one, so the next socket gets it.
    let stranger = open()?;
    out.check("the number of the next socket", number, stranger.as_raw_fd());

    // WRONG: the old number is closed once more. It means the stranger's socket now.
    // SAFETY: none: this breaks the rule that only the owner closes, to show what comes of it.
    unsafe { libc::close(number) };
    out.check("the stranger's getsockname", "EBADF", said(&sys::getsockname(&stranger)));

    // The stranger's descriptor is gone: `Drop` must not close the number yet again.
    std::mem::forget(stranger);
    Ok(())
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
