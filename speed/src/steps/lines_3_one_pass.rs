//! Lines, step 3: `memchr` finds the end, and the line is lent where it lies.
//!
//! `memchr` compares 16 or 32 bytes at a time. Only a line that the end of a `recv` cuts is moved, to
//! the front of the buffer. A larger buffer takes more lines a `recv`.

use std::io;

use tcp_stream_io::UniqueFd;

use crate::line::LineReader;
use crate::steps::lines_2_buffer::CAP;

/// Lends each line without its end, up to the end of the stream.
pub fn receive(fd: &UniqueFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut lines = LineReader::new(fd, CAP);
    while let Some(line) = lines.next_line()? {
        each(line);
    }
    Ok(())
}
