//! Frames, step 1: the article's frame, a `send` for its header and one for its payload.
//!
//! Four system calls a frame, and each costs as much as copying some thousand bytes. The payload is
//! a small part of what is done for it.

use std::io;

use tcp_stream_io::framing::length::{DEFAULT_CAP, encode_header, recv_frame};
use tcp_stream_io::{UniqueFd, send_all};

/// Sends each frame by two calls.
pub fn send<'a>(fd: &UniqueFd, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    for payload in frames {
        send_all(fd, &encode_header(payload.len(), DEFAULT_CAP)?)?;
        send_all(fd, payload)?;
    }
    Ok(())
}

/// Receives each frame by two calls, into a new `Vec`, up to the end of the stream.
pub fn receive(fd: &UniqueFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    while let Some(payload) = recv_frame(fd, DEFAULT_CAP)? {
        each(&payload);
    }
    Ok(())
}
