//! Frames, step 5: a batch ends where a segment ends.
//!
//! The kernel cuts what it is given into segments: on the loopback 65,483 bytes, which is what an IP
//! packet of 65,535 has room for after the headers and TCP's time stamps. Eight of them are 523,864
//! bytes. The 512 KiB of the step before are 424 bytes more: a ninth segment, nearly empty, for
//! which all is done that is done for a full one, and which the next batch seldom fills, for most
//! often it has left by then. So the batch is cut at the byte where the eighth segment is full, in
//! the middle of a frame. The rest of that frame begins the next batch: a stream has no boundaries
//! to keep.

use std::io;

use tcp_stream_io::framing::length::{DEFAULT_CAP, encode_header};
use tcp_stream_io::{UniqueFd, send_all};

/// What the loopback's largest segment carries.
pub const SEGMENT: usize = 65_483;

/// What one `send` takes.
pub const BATCH: usize = 8 * SEGMENT;

/// Sends full batches, and what is left at the end.
pub fn send<'a>(fd: &UniqueFd, frames: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(2 * BATCH);
    for payload in frames {
        buffer.extend_from_slice(&encode_header(payload.len(), DEFAULT_CAP)?);
        buffer.extend_from_slice(payload);
        // Full: whole batches leave, and the frame that the cut goes through stays with its rest.
        let whole = buffer.len() / BATCH * BATCH;
        if whole > 0 {
            send_all(fd, &buffer[..whole])?;
            buffer.drain(..whole);
        }
    }
    send_all(fd, &buffer)
}
