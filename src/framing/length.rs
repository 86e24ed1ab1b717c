//! Length prefix: four bytes, big-endian, say how long the payload is. The article's section 3.1.

use std::io::{self, ErrorKind};
use std::time::Instant;

use crate::fd::UniqueFd;
use crate::stream::{last_of, recv_exact, recv_exact_with_deadline, recv_some};
use crate::stream::{send_all, send_all_with_deadline};

/// The article's limit for a payload: 1 MiB. Both sides take the same, so no frame is refused.
pub const DEFAULT_CAP: usize = 1 << 20;

/// Sends one frame: a header and a payload. Article 3.1.
/// `InvalidInput`, before any byte leaves: `payload` is over `cap`, or over what a header can say.
pub fn send_frame(fd: &UniqueFd, payload: &[u8], cap: usize) -> io::Result<()> {
    // Gathered into one `send_all`, for the price of a copy. After two, Nagle may keep the end of
    // the payload until the header is acknowledged, and the peer may delay that. Article 11.1.
    let header = encode_header(payload.len(), cap)?;
    send_all(fd, &[&header, payload].concat())
}

/// Receives one frame. `None`: the peer ended its stream between two frames. Article 3.1.
/// `UnexpectedEof`: it ended inside one. `InvalidData`: the header claims more than `cap`, and
/// nothing was allocated. After an error the stream is out of step: close it.
pub fn recv_frame(fd: &UniqueFd, cap: usize) -> io::Result<Option<Vec<u8>>> {
    // Not `recv_exact` at first: an end before the first byte is clean, later the frame is broken.
    let mut header = [0; 4];
    let got = recv_some(fd, &mut header, None)?;
    if got == 0 {
        return Ok(None);
    }
    recv_exact(fd, &mut header[got..]).map_err(|e| last_of(4, e))?;
    // No memory before the claim is known to be reasonable. It is the peer who chose it.
    let mut payload = vec![0; decode_header(header, cap)?];
    recv_exact(fd, &mut payload)?;
    Ok(Some(payload))
}

/// As [`send_frame`], but `TimedOut` once the deadline has passed. A part may have left: close.
pub fn send_frame_with_deadline(
    fd: &UniqueFd,
    payload: &[u8],
    cap: usize,
    deadline: Instant,
) -> io::Result<()> {
    let header = encode_header(payload.len(), cap)?;
    send_all_with_deadline(fd, &[&header, payload].concat(), deadline)
}

/// As [`recv_frame`], but `TimedOut` once the deadline has passed. A part may be taken: close.
pub fn recv_frame_with_deadline(
    fd: &UniqueFd,
    cap: usize,
    deadline: Instant,
) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    let got = recv_some(fd, &mut header, Some(deadline))?;
    if got == 0 {
        return Ok(None);
    }
    recv_exact_with_deadline(fd, &mut header[got..], deadline).map_err(|e| last_of(4, e))?;
    let mut payload = vec![0; decode_header(header, cap)?];
    recv_exact_with_deadline(fd, &mut payload, deadline)?;
    Ok(Some(payload))
}

/// The header of a payload: `len` in network byte order. `InvalidInput`: see [`send_frame`].
pub fn encode_header(len: usize, cap: usize) -> io::Result<[u8; 4]> {
    // A plain cast, as in the article, would announce 4 GiB + 5 bytes as 5.
    let text = match u32::try_from(len) {
        Ok(announced) if len <= cap => return Ok(announced.to_be_bytes()),
        Ok(_) => format!("a payload of {len} bytes is over the cap of {cap}"),
        Err(_) => format!("a payload of {len} bytes is longer than four bytes can say"),
    };
    Err(io::Error::new(ErrorKind::InvalidInput, text))
}

/// How many bytes of payload follow. `InvalidData`: the header claims more than `cap`.
pub fn decode_header(header: [u8; 4], cap: usize) -> io::Result<usize> {
    let claim = u32::from_be_bytes(header);
    let cap = cap.min(isize::MAX as usize); // no more fits into a Vec where a usize has 32 bits
    if claim as u64 <= cap as u64 {
        return Ok(claim as usize);
    }
    let text = format!("a frame claims {claim} bytes, over the cap of {cap}");
    Err(io::Error::new(ErrorKind::InvalidData, text))
}
