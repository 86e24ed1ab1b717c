//! Requests, step 4: the reader does not sleep; and header and payload arrive in one call.
//!
//! On two cores most of a round trip is spent on waking two threads. A reader that asks and asks is
//! awake when the answer comes. The price is a core for each reader, busy while nothing happens; on
//! one core for both it would be madness, for the one that asks keeps the other from answering.

use std::io::{self, ErrorKind};

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::DEFAULT_CAP;

use crate::batch::{FrameReader, FrameWriter};

/// So often is it tried before it sleeps all the same: half a millisecond.
const SPINS: u32 = 2000;

/// As in step 1.
pub fn ask<'a>(
    fd: &UniqueFd,
    requests: impl Iterator<Item = &'a [u8]>,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    let mut writer = FrameWriter::new(fd, DEFAULT_CAP);
    let mut reader = FrameReader::new(fd, DEFAULT_CAP);
    reader.set_spins(SPINS);
    for request in requests {
        writer.write_frame(request)?;
        writer.flush()?; // it waits for its answer, so it must not wait in a buffer
        let Some(answer) = reader.next_frame()? else {
            return Err(ErrorKind::UnexpectedEof.into()); // an end is not an answer
        };
        each(answer);
    }
    Ok(())
}

/// As in step 1.
pub fn answer(fd: &UniqueFd) -> io::Result<()> {
    let mut writer = FrameWriter::new(fd, DEFAULT_CAP);
    let mut reader = FrameReader::new(fd, DEFAULT_CAP);
    reader.set_spins(SPINS);
    while let Some(request) = reader.next_frame()? {
        writer.write_frame(request)?;
        writer.flush()?;
    }
    Ok(())
}
