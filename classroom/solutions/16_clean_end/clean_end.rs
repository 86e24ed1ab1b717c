//! Read frames to the end of the stream, and tell how it ended.
//!
//! A frame is a length of four bytes, big-endian, and as many bytes of payload, 65536 at most: a
//! header that claims more is `InvalidData`, before any memory is taken for it. Put every whole
//! payload into `frames`, after what is there. Then say which end it was: `Clean` between two
//! frames, `Broken` inside one (a frame that is not whole is not put anywhere), `Reset` where the
//! peer reset the connection, wherever that was. Every other error but EINTR goes to the caller.
//!
//! Article 6. man: recv(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::clean_end::End;

//>
/// The longest payload.
const MAX: usize = 65_536;

//<
/// Reads frames until there are no more.
fn clean_end(fd: RawFd, frames: &mut Vec<Vec<u8>>) -> io::Result<End> {
    //> // TODO: read header and payload of one frame after the other. Where was the end?
    //> grader::yours((fd, frames, [End::Clean, End::Broken, End::Reset]))
    match read_frames(fd, frames) {
        // Told once: the next recv would say 0, as if all were well.
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(End::Reset),
        end => end,
    }
}

fn read_frames(fd: RawFd, frames: &mut Vec<Vec<u8>>) -> io::Result<End> {
    loop {
        let mut header = [0; 4];
        match fill(fd, &mut header)? {
            4 => {}
            0 => return Ok(End::Clean), // not a byte of a next frame
            _ => return Ok(End::Broken),
        }
        let len = u32::from_be_bytes(header) as usize;
        if len > MAX {
            return Err(ErrorKind::InvalidData.into()); // a claim is no reason to take memory
        }
        let mut payload = vec![0; len];
        if fill(fd, &mut payload)? < payload.len() {
            return Ok(End::Broken);
        }
        frames.push(payload);
    }
}

/// Receives until `buf` is full or the stream has ended; says how many bytes that were.
fn fill(fd: RawFd, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        // SAFETY: `rest` is writable for its whole length.
        match unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) } {
            0 => break,
            n @ 1.. => got += n as usize,
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
    grader::clean_end::grade(clean_end)
}
