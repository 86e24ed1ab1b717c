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

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;
//>
use std::ptr;
//<

/// Accepts one connection.
fn accept_one(listener: RawFd) -> io::Result<RawFd> {
    //> // TODO: `libc::accept`, again after EINTR.
    //> grader::yours(listener)
    loop {
        // SAFETY: null pointers: the peer's address is not asked for.
        let conn = unsafe { libc::accept(listener, ptr::null_mut(), ptr::null_mut()) };
        if conn >= 0 {
            return Ok(conn);
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    //<
}

/// Connects `fd`.
fn connect_once(fd: RawFd, to: &libc::sockaddr_in) -> io::Result<()> {
    //> // TODO: `libc::connect`, once; after EINTR wait, and ask how it went.
    //> grader::yours((fd, to))
    let len = size_of_val(to) as libc::socklen_t;
    // SAFETY: `to` is readable for `len` bytes.
    if unsafe { libc::connect(fd, ptr::from_ref(to).cast(), len) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.kind() != ErrorKind::Interrupted {
        return Err(error);
    }
    wait_writable(fd)?; // the kernel goes on without us, and says so when it is decided
    outcome(fd)
}

fn wait_writable(fd: RawFd) -> io::Result<()> {
    loop {
        let mut decided = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
        // SAFETY: `decided` is one pollfd, and is writable.
        if unsafe { libc::poll(&mut decided, 1, -1) } >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// SO_ERROR: reading it takes it away.
fn outcome(fd: RawFd) -> io::Result<()> {
    let mut errno: libc::c_int = 0;
    let mut len = size_of_val(&errno) as libc::socklen_t;
    let at = (&raw mut errno).cast();
    // SAFETY: `errno` is writable for `len` bytes.
    if unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, at, &mut len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
    //<
}

/// Closes `fd`.
fn close_once(fd: RawFd) -> io::Result<()> {
    //> // TODO: `libc::close`, once.
    //> grader::yours(fd)
    // SAFETY: `fd` is ours to close.
    if unsafe { libc::close(fd) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // It is gone. Its number may stand for another descriptor by now: never close twice.
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
    //<
}

fn main() -> ExitCode {
    grader::eintr::grade(accept_one, connect_once, close_once)
}
