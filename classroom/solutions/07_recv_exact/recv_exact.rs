//! Fill a buffer to the last byte, in as many `recv` calls as it takes.
//!
//! `recv` gives what has arrived by now, however little. If the stream ends before the buffer is
//! full, the error's kind is `UnexpectedEof`; every other error but EINTR goes to the caller as it
//! is. Leave the waiting to `recv`, without `poll`: on a non-blocking socket its EAGAIN is
//! returned, and so is the EAGAIN that comes once a timeout of the owner's (SO_RCVTIMEO) is over.
//! An empty `buf` is Ok without a call. Each call offers all the room there is, and no setting of
//! the socket changes, not even for a while.
//!
//! Article 2.1. man: recv(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Receives exactly `buf.len()` bytes.
fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    //> // TODO: call `libc::recv` until the buffer is full.
    //> grader::yours((fd, buf))
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        // SAFETY: `rest` is writable for its whole length.
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got += n as usize, // what had arrived by now
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
    //<
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
