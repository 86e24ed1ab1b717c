//! Frames, step 3: many frames leave in one `send`.
//!
//! Each is copied once more, into a buffer. Copying 68 bytes takes a few nanoseconds, a system call
//! some hundred. The price: nothing leaves before the buffer is full or the stream at its end, so
//! this is for whoever sends many frames and waits for none of them.

use std::io;

use tcp_stream_io::framing::length::{DEFAULT_CAP, encode_header};
use tcp_stream_io::{UniqueFd, send_all};

/// What one `send` takes: a round number, and not yet the best one.
pub const BUFFER: usize = 512 * 1024;

/// Sends as many frames a call as the buffer has room for.
pub fn send<'a>(fd: &UniqueFd, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(BUFFER);
    for payload in frames {
        // No room for the whole frame: what was gathered leaves.
        if buffer.len() + 4 + payload.len() > BUFFER {
            send_all(fd, &buffer)?;
            buffer.clear();
        }
        buffer.extend_from_slice(&encode_header(payload.len(), DEFAULT_CAP)?);
        buffer.extend_from_slice(payload);
    }
    // The last ones, or they would never leave.
    send_all(fd, &buffer)
}
