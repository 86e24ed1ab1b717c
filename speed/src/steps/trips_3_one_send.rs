//! Requests, step 3: header and payload leave in one call. It is the reference's frame.
//!
//! One segment a frame, so nothing is there that could wait for an acknowledgement: the option of
//! the step before is not needed. The receiver still makes two calls.

use std::io::{self, ErrorKind};

use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame, send_frame};

/// As in step 1.
pub fn ask<'a>(
    fd: &UniqueFd,
    requests: impl Iterator<Item = &'a [u8]>,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    for request in requests {
        send_frame(fd, request, DEFAULT_CAP)?;
        let Some(answer) = recv_frame(fd, DEFAULT_CAP)? else {
            return Err(ErrorKind::UnexpectedEof.into()); // an end is not an answer
        };
        each(&answer);
    }
    Ok(())
}

/// As in step 1.
pub fn answer(fd: &UniqueFd) -> io::Result<()> {
    while let Some(request) = recv_frame(fd, DEFAULT_CAP)? {
        send_frame(fd, &request, DEFAULT_CAP)?;
    }
    Ok(())
}
