//! Give messages a boundary: four bytes of length, big-endian, then as many bytes of payload.
//!
//! `send_frame`: a payload over `cap`, or over what four bytes can say, is `InvalidInput` before
//! any byte leaves. An empty payload is a frame as well. If the peer has gone: an error, and no
//! SIGPIPE. `cap` is a limit and no size: it may be `usize::MAX`.
//!
//! `recv_frame`: one frame, and not a byte of the next. A length over `cap` is `InvalidData`,
//! before any memory is taken and any payload is read. `None` if the stream ended before the frame
//! began; inside it an end is `UnexpectedEof`.
//!
//! Article 3.1. man: send(2), recv(2). Given: `fd`, a connected TCP socket, lent. Take what you
//! wrote in `send_all` and `recv_exact` along.

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends one frame.
fn send_frame(fd: RawFd, payload: &[u8], cap: usize) -> io::Result<()> {
    //> // TODO: the length, then the payload.
    //> grader::yours((fd, payload, cap))
    let len = u32::try_from(payload.len()).map_err(|_| ErrorKind::InvalidInput)?;
    if payload.len() > cap {
        return Err(ErrorKind::InvalidInput.into());
    }
    // Two calls. What that can cost, and how to send both in one, is exercise `gathered`.
    send_all(fd, &len.to_be_bytes())?;
    send_all(fd, payload)
    //<
}

/// Receives one frame. `None`: the peer ended its stream between frames.
fn recv_frame(fd: RawFd, cap: usize) -> io::Result<Option<Vec<u8>>> {
    //> // TODO: the length, the cap, then the payload.
    //> grader::yours((fd, cap))
    let mut header = [0; 4];
    match recv_up_to(fd, &mut header)? {
        0 => return Ok(None),
        4 => {}
        _ => return Err(ErrorKind::UnexpectedEof.into()), // inside the header: a frame had begun
    }
    let len = u32::from_be_bytes(header) as usize;
    if len > cap {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut payload = vec![0; len];
    if recv_up_to(fd, &mut payload)? < len {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(payload))
}

fn send_all(fd: RawFd, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        // SAFETY: `rest` is readable for its whole length.
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        if n >= 0 {
            rest = &rest[n as usize..];
            continue;
        }
        let error = io::Error::last_os_error();
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    Ok(())
}

/// Fills `buf`, or stops at the end of the stream, and says how far it came.
fn recv_up_to(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        // SAFETY: `rest` is writable for its whole length.
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got += n as usize,
            0 => break,
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(got)
    //<
}

fn main() -> ExitCode {
    grader::length_prefix::grade(send_frame, recv_frame)
}
