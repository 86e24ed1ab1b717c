//! Length prefix: four bytes, big-endian, then as many bytes of payload. The article's section 3.1.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::Instant;

use super::{invalid_data, invalid_input};
use crate::stream;

/// The article's limit for a payload, 1 MiB. Both ends need one.
pub const DEFAULT_CAP: usize = 1 << 20;

/// Memory is reserved in steps of this many bytes as the payload arrives.
const STEP: usize = 64 * 1024;

/// The header of a payload of `len` bytes. `InvalidInput` if that is over `cap`, or over the
/// 4 GiB - 1 that a header can say: a plain cast would announce 4 GiB + 5 as 5.
///
/// ```
/// use tcp_stream_io::framing::length;
/// assert_eq!(length::encode_header(5, length::DEFAULT_CAP).unwrap(), [0, 0, 0, 5]);
/// ```
#[inline]
pub fn encode_header(len: usize, cap: usize) -> io::Result<[u8; 4]> {
    match u32::try_from(len) {
        Ok(announced) if len <= cap => Ok(announced.to_be_bytes()),
        _ => Err(over_the_cap(len, cap)),
    }
}

#[cold]
fn over_the_cap(len: usize, cap: usize) -> io::Error {
    invalid_input(format!("a payload of {len} bytes is over the cap of {cap}"))
}

/// How many bytes of payload follow. `InvalidData` if the header claims more than `cap`.
#[inline]
pub fn decode_header(header: [u8; 4], cap: usize) -> io::Result<usize> {
    match usize::try_from(u32::from_be_bytes(header)) {
        Ok(len) if len <= cap => Ok(len),
        _ => Err(claims_too_much(u32::from_be_bytes(header), cap)),
    }
}

#[cold]
fn claims_too_much(claim: u32, cap: usize) -> io::Error {
    invalid_data(format!("a frame claims {claim} bytes, over the cap of {cap}"))
}

/// Sends one frame, header and payload in one `sendmsg`. A payload over `cap` is `InvalidInput`
/// before any byte leaves.
pub fn send_frame(fd: impl AsFd, payload: &[u8], cap: usize) -> io::Result<()> {
    send_frame_by(fd, payload, cap, None)
}

/// As [`send_frame`], but `TimedOut` once `deadline` has passed.
pub fn send_frame_with_deadline(
    fd: impl AsFd,
    payload: &[u8],
    cap: usize,
    deadline: Instant,
) -> io::Result<()> {
    send_frame_by(fd, payload, cap, Some(deadline))
}

fn send_frame_by(
    fd: impl AsFd,
    payload: &[u8],
    cap: usize,
    deadline: Option<Instant>,
) -> io::Result<()> {
    let header = encode_header(payload.len(), cap)?;
    let mut bufs = [IoSlice::new(&header), IoSlice::new(payload)];
    stream::send_vectored_by(fd, &mut bufs, deadline)
}

/// Receives one frame. `None`: the peer ended its stream between frames, as it should.
///
/// `UnexpectedEof`: it ended inside one. `InvalidData`: the header claims more than `cap`, and
/// nothing has been allocated. Below the cap, too, memory follows what has arrived and not what
/// was claimed: at most 64 KiB ahead of it.
pub fn recv_frame(fd: impl AsFd, cap: usize) -> io::Result<Option<Vec<u8>>> {
    recv_frame_by(cap, |buf| stream::recv_exact(&fd, buf))
}

/// As [`recv_frame`], but `TimedOut` once `deadline` has passed.
pub fn recv_frame_with_deadline(
    fd: impl AsFd,
    cap: usize,
    deadline: Instant,
) -> io::Result<Option<Vec<u8>>> {
    recv_frame_by(cap, |buf| stream::recv_exact_with_deadline(&fd, buf, deadline))
}

fn recv_frame_by(
    cap: usize,
    mut recv_exact: impl FnMut(&mut [u8]) -> io::Result<()>,
) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 4];
    if !stream::or_clean_end(recv_exact(&mut header))? {
        return Ok(None);
    }
    let len = decode_header(header, cap)?;
    let mut payload = Vec::new();
    while payload.len() < len {
        let got = payload.len();
        let step = STEP.min(len - got);
        payload.reserve_exact(step);
        payload.resize(got + step, 0);
        recv_exact(&mut payload[got..]).map_err(|e| stream::part_of(e, got, len))?;
    }
    Ok(Some(payload))
}
