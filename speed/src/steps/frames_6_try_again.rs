//! Frames, step 6: the reader tries again before it sleeps.
//!
//! A reader that finds nothing sleeps, and the sender's next segment has to wake it: a switch of
//! contexts, and on another core an interrupt. That takes microseconds, and while a stream flows the
//! next segment is here sooner. So the reader asks up to fifty times more, without waiting, and then
//! sleeps. A failed try costs a quarter of a microsecond, so all of them what one sleep does.

use std::io::{self, ErrorKind};

use libc::MSG_DONTWAIT;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, sys};

/// Lends each frame, up to the end of the stream.
pub fn receive(fd: &UniqueFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut end = 0;
    loop {
        match recv_soon(fd, &mut buffer[end..])? {
            0 if end == 0 => return Ok(()),
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => end += n,
        }
        // From here on as in step 4.
        let mut start = 0;
        while let Some((header, rest)) = buffer[start..end].split_first_chunk() {
            let Some(payload) = rest.get(..decode_header(*header, DEFAULT_CAP)?) else { break };
            each(payload);
            start += 4 + payload.len();
        }
        buffer.copy_within(start..end, 0);
        end -= start;
        if end == buffer.len() {
            buffer.resize(2 * end, 0);
        }
    }
}

/// Fifty tries that do not wait, and then one that does.
fn recv_soon(fd: &UniqueFd, buf: &mut [u8]) -> io::Result<usize> {
    for _ in 0..50 {
        match sys::recv(fd, buf, MSG_DONTWAIT) {
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            result => return result,
        }
    }
    recv_some(fd, buf, None)
}
