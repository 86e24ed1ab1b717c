//! A small echo server that ends well when it is asked to.
//!
//! Serve one client after the other: what it sends comes back until it ends its stream, then its
//! connection is closed. A client that resets its connection is no error of the server, and counts;
//! that `accept` has no descriptor left to give is one, and is returned. Once `stop` is readable,
//! or its other end has gone (it stays so): close `listener` at once, so that nobody connects any
//! more; serve the client that is connected to its end; then return how many clients there were.
//! The clients in the queue are not served. A client that does not read keeps neither `stop` from
//! being seen nor `listener` from being closed. Where there is nothing to do, sleep in `poll`, without
//! a timeout.
//!
//! Article 5, 7. man: poll(2), accept(2). Given: `listener`, listening and yours to close; `stop`,
//! lent.

//> use std::io;
//> use std::os::fd::{OwnedFd, RawFd};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
//<
use std::process::ExitCode;
//>
use std::ptr;
//<

/// Serves until asked to stop; says how many clients it has served.
fn graceful_end(listener: OwnedFd, stop: RawFd) -> io::Result<usize> {
    //> // TODO: `libc::poll` on the listener and stop; with a client, on the client and stop.
    //> grader::yours((listener, stop))
    let mut listener = Some(listener);
    let mut served = 0;
    while let Some(open) = &listener {
        let (client, stopped) = wait(open.as_raw_fd(), libc::POLLIN, stop)?;
        if stopped {
            break; // and the listener is closed with it
        }
        if !client {
            continue;
        }
        // SAFETY: nulls: the peer's address is not asked for.
        let fd = unsafe { libc::accept(open.as_raw_fd(), ptr::null_mut(), ptr::null_mut()) };
        if fd < 0 {
            unless_interrupted()?;
            continue;
        }
        // SAFETY: accept made it, and it is ours alone.
        let conn = unsafe { OwnedFd::from_raw_fd(fd) };
        served += 1;
        let _ = serve(conn.as_raw_fd(), &mut listener, stop); // its error is its own
    }
    Ok(served)
}

/// Echoes to one client until its end. Closes the listener when asked to stop, and goes on.
fn serve(conn: RawFd, listener: &mut Option<OwnedFd>, stop: RawFd) -> io::Result<()> {
    let mut back: Vec<u8> = Vec::new(); // received, and not yet sent back
    loop {
        // stop stays readable: once it has been seen, it would wake poll for ever.
        let watched = if listener.is_some() { stop } else { -1 };
        // A client that does not read is not read from, and no send waits for it.
        let events = if back.is_empty() { libc::POLLIN } else { libc::POLLOUT };
        let (ready, stopped) = wait(conn, events, watched)?;
        if stopped {
            *listener = None;
        }
        if !ready {
            continue;
        }
        if back.is_empty() {
            let mut piece = [0; 4096];
            // SAFETY: `piece` is writable for its whole length.
            match unsafe { libc::recv(conn, piece.as_mut_ptr().cast(), piece.len(), 0) } {
                0 => return Ok(()),
                n @ 1.. => back.extend_from_slice(&piece[..n as usize]),
                _ => unless_interrupted()?,
            }
        } else {
            let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
            // SAFETY: `back` is readable for its whole length.
            match unsafe { libc::send(conn, back.as_ptr().cast(), back.len(), flags) } {
                n @ 0.. => drop(back.drain(..n as usize)),
                _ => unless_interrupted()?,
            }
        }
    }
}

/// Waits for either: `fd` for these events, `stop` to be readable. `poll` ignores -1.
fn wait(fd: RawFd, events: libc::c_short, stop: RawFd) -> io::Result<(bool, bool)> {
    let mut fds = [
        libc::pollfd { fd, events, revents: 0 },
        libc::pollfd { fd: stop, events: libc::POLLIN, revents: 0 },
    ];
    // SAFETY: `fds` is two pollfd, and writable.
    if unsafe { libc::poll(fds.as_mut_ptr(), 2, -1) } < 0 {
        unless_interrupted()?;
        return Ok((false, false));
    }
    Ok((fds[0].revents != 0, fds[1].revents != 0))
}

/// errno as an error, unless it says only that this was not the moment.
fn unless_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
    //<
}

fn main() -> ExitCode {
    grader::graceful_end::grade(graceful_end)
}
