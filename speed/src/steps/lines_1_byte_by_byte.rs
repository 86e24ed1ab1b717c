//! Lines, step 1: the article's line, a `recv` for each byte.
//!
//! The end of a line is known only once its byte is here, and a byte that was read past it cannot be
//! put back. So each is taken alone: 80 system calls for a line of 80 bytes.

use std::io;

use tcp_stream_io::UniqueFd;
use tcp_stream_io::stream::recv_some;

/// Passes on each line without its end, up to the end of the stream.
pub fn receive(fd: &UniqueFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while recv_some(fd, &mut byte, None)? > 0 {
        if byte == *b"\n" {
            each(line.strip_suffix(b"\r").unwrap_or(&line));
            line.clear();
        } else {
            line.push(byte[0]);
        }
    }
    Ok(())
}
