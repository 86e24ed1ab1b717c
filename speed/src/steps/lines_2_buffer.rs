//! Lines, step 2: one `recv` for as many lines as have arrived. It is the reference's reader.
//!
//! What was read past the end of a line stays in a buffer, which has to live as long as the connection. Each line
//! is copied out of it into a `Vec` of its own, and its end is searched a byte at a time.

use std::io;

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::line::LineReader;

/// The longest line.
pub const CAP: usize = 64 * 1024;

/// Passes on each line without its end, up to the end of the stream.
pub fn receive(fd: &UniqueFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut lines = LineReader::new(fd, CAP);
    while let Some(line) = lines.recv_line()? {
        each(&line);
    }
    Ok(())
}
