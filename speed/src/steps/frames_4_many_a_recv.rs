//! Frames, step 4: many frames arrive in one `recv`, and each is lent where it lies.
//!
//! The receiver's two calls a frame were what was left to save. Nothing is allocated a frame, and
//! nothing copied, but for the one frame that a `recv` cuts: it moves to the front.

use std::io::{self, ErrorKind};

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::stream::recv_some;

/// Lends each frame, up to the end of the stream.
pub fn receive(fd: &UniqueFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut end = 0;
    loop {
        // One `recv`, for whatever has arrived.
        match recv_some(fd, &mut buffer[end..], None)? {
            0 if end == 0 => return Ok(()),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => end += n,
        }
        // Every frame that is whole is lent.
        let mut start = 0;
        while let Some((header, rest)) = buffer[start..end].split_first_chunk() {
            let Some(payload) = rest.get(..decode_header(*header, DEFAULT_CAP)?) else { break };
            each(payload);
            start += 4 + payload.len();
        }
        // The one that is not moves to the front. It may need a larger buffer.
        buffer.copy_within(start..end, 0);
        end -= start;
        if end == buffer.len() {
            buffer.resize(2 * end, 0);
        }
    }
}
