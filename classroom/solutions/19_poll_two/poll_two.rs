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

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Echoes to both until both are done.
fn poll_two(clients: [RawFd; 2]) -> io::Result<()> {
    //> // TODO: for each client, what is it to wait for, POLLIN or POLLOUT? Then `libc::poll`.
    //> grader::yours(clients)
    let mut clients = clients.map(|fd| Client { fd, back: Vec::new(), done: false });
    while !clients.iter().all(|client| client.done) {
        let mut ready = clients.each_ref().map(Client::waits_for);
        // SAFETY: `ready` is two pollfd, and writable.
        if unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) } < 0 {
            unless_try_again()?;
            continue;
        }
        for (client, ready) in clients.iter_mut().zip(ready) {
            // An error ends this client, and not the other one.
            if ready.revents != 0 && client.go_on().is_err() {
                client.done = true;
            }
        }
    }
    Ok(())
}

struct Client {
    fd: RawFd,
    /// Received, and not yet sent back.
    back: Vec<u8>,
    done: bool,
}

impl Client {
    /// To read only where nothing is left to send: so a client that does not read is not read from.
    fn waits_for(&self) -> libc::pollfd {
        let fd = if self.done { -1 } else { self.fd }; // poll ignores -1
        let events = if self.back.is_empty() { libc::POLLIN } else { libc::POLLOUT };
        libc::pollfd { fd, events, revents: 0 }
    }

    /// What can be done without waiting.
    fn go_on(&mut self) -> io::Result<()> {
        if self.back.is_empty() {
            let mut piece = [0; 4096];
            let (at, len) = (piece.as_mut_ptr().cast(), piece.len());
            // SAFETY: `piece` is writable for its whole length.
            match unsafe { libc::recv(self.fd, at, len, libc::MSG_DONTWAIT) } {
                n @ 1.. => self.back.extend_from_slice(&piece[..n as usize]),
                0 => {
                    self.done = true;
                    // SAFETY: shutdown takes numbers only.
                    unsafe { libc::shutdown(self.fd, libc::SHUT_WR) };
                }
                _ => return unless_try_again(),
            }
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: `back` is readable for its whole length.
        match unsafe { libc::send(self.fd, self.back.as_ptr().cast(), self.back.len(), flags) } {
            n @ 0.. => drop(self.back.drain(..n as usize)),
            _ if self.done => {}
            _ => return unless_try_again(),
        }
        Ok(())
    }
}

/// errno as an error, unless it says only that this was not the moment.
fn unless_try_again() -> io::Result<()> {
    let error = io::Error::last_os_error();
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
    //<
}

fn main() -> ExitCode {
    grader::poll_two::grade(poll_two)
}
