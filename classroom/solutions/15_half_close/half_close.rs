//! Send a request whose length nobody was told, and receive the answer to its end.
//!
//! Send every piece from where it is, for the request may be larger than the memory; then end this
//! direction with `shutdown`: only so does the server know that the request is complete. Then
//! receive until the server ends its stream, and return all of it. Whatever goes wrong on the way is
//! an error, EAGAIN too; EINTR is not. The server may have gone.
//!
//! Article 5.2. man: shutdown(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends `pieces` as one request; returns the whole answer.
fn half_close(fd: RawFd, pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
    //> // TODO: send all, say that this was all, receive all.
    //> grader::yours((fd, pieces))
    for piece in pieces {
        send_all(fd, piece)?;
    }
    // The FIN goes out after the last byte, and recv goes on working.
    // SAFETY: shutdown takes numbers only.
    if unsafe { libc::shutdown(fd, libc::SHUT_WR) } != 0 {
        return Err(io::Error::last_os_error());
    }
    recv_to_end(fd)
}

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        // SAFETY: `rest` is readable for its whole length.
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match n {
            0.. => sent += n as usize,
            _ => unless_interrupted()?,
        }
    }
    Ok(())
}

fn recv_to_end(fd: RawFd) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        // SAFETY: `piece` is writable for its whole length.
        match unsafe { libc::recv(fd, piece.as_mut_ptr().cast(), piece.len(), 0) } {
            0 => return Ok(all),
            n @ 1.. => all.extend_from_slice(&piece[..n as usize]),
            _ => unless_interrupted()?,
        }
    }
}

/// errno as an error, unless it is EINTR.
fn unless_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
    //<
}

fn main() -> ExitCode {
    grader::half_close::grade(half_close)
}
