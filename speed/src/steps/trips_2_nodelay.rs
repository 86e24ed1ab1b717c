//! Requests, step 2: TCP_NODELAY. The payload does not wait for the header's acknowledgement.
//!
//! The 40 ms are gone. But each frame is two calls and two segments still, and the other side may be
//! woken twice for one request.

use std::io;

use libc::{IPPROTO_TCP, TCP_NODELAY};
use tcp_stream_io::{UniqueFd, sys};

use super::trips_1_two_sends;

/// As in step 1.
pub fn ask<'a>(
    fd: &UniqueFd,
    requests: impl Iterator<Item = &'a [u8]>,
    each: impl FnMut(&[u8]),
) -> io::Result<()> {
    sys::set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)?;
    trips_1_two_sends::ask(fd, requests, each)
}

/// As in step 1. Both sides send, so both need the option.
pub fn answer(fd: &UniqueFd) -> io::Result<()> {
    sys::set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1)?;
    trips_1_two_sends::answer(fd)
}
