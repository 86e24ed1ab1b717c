//! Requests, step 1: the article's frame both ways, two sends each.
//!
//! The header leaves at once. The payload has to wait, for Nagle's rule holds back a small segment
//! while an earlier one is not acknowledged, and the other side's kernel delays that acknowledgement
//! for 40 ms: it hopes for an answer to send it with. That answer needs the payload.

use std::io::{self, ErrorKind};

use tcp_stream_io::framing::length::{DEFAULT_CAP, encode_header, recv_frame};
use tcp_stream_io::{UniqueFd, send_all};

fn send_frame(fd: &UniqueFd, payload: &[u8]) -> io::Result<()> {
    send_all(fd, &encode_header(payload.len(), DEFAULT_CAP)?)?;
    send_all(fd, payload)
}

/// Sends each request once the answer to the one before is here, and passes the answers on.
pub fn ask<'a>(
    fd: &UniqueFd,
    requests: impl Iterator<Item = &'a [u8]>,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    for request in requests {
        send_frame(fd, request)?;
        let Some(answer) = recv_frame(fd, DEFAULT_CAP)? else {
            return Err(ErrorKind::UnexpectedEof.into()); // an end is not an answer
        };
        each(&answer);
    }
    Ok(())
}

/// Sends each request back, up to the end of the stream.
pub fn answer(fd: &UniqueFd) -> io::Result<()> {
    while let Some(request) = recv_frame(fd, DEFAULT_CAP)? {
        send_frame(fd, &request)?;
    }
    Ok(())
}
