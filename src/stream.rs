//! The loops: send all of it, receive exactly that much. The article's section 2.
//!
//! `send` and `recv` may do less than they were asked to. The loops return when all is done, or
//! with an error: errno as the kernel gave it, an early end of the stream, a deadline.

use std::ffi::{c_int, c_short};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::fd::UniqueFd;
use crate::sys::{self, NO_SIGPIPE};

/// Sends every byte of `buf`, in as many `send` calls as it takes. Article 2.1.
#[inline]
pub fn send_all(fd: &UniqueFd, mut buf: &[u8]) -> io::Result<()> {
    while !buf.is_empty() {
        // MSG_NOSIGNAL: if the peer has gone we want EPIPE, not a signal that kills the process.
        match sys::send(fd, buf, NO_SIGPIPE) {
            Ok(n) if n == buf.len() => return Ok(()),
            // No progress: asking for ever would be the only other way to go on.
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            // Fewer than were asked for. The next call sends the rest.
            Ok(n) => buf = rest(buf, n),
            // EINTR: a signal came before anything was copied, so the same call is made again.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fills `buf` to the last byte, in as many `recv` calls as it takes. Article 2.1.
/// `UnexpectedEof`: the peer ended its stream first. An empty `buf` needs no call, and none is made.
#[inline]
pub fn recv_exact(fd: &UniqueFd, buf: &mut [u8]) -> io::Result<()> {
    let (wanted, mut buf) = (buf.len(), buf);
    while !buf.is_empty() {
        match sys::recv(fd, buf, 0) {
            Ok(n) if n == buf.len() => return Ok(()),
            // The peer's FIN, in the middle of what was asked for.
            Ok(0) => return Err(ended(wanted - buf.len(), wanted)),
            // What had arrived by now, however little. The next call waits for more.
            Ok(n) => buf = rest_mut(buf, n),
            // EINTR: a signal came before anything was taken.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

// What a short count leaves. It is rare: out of line, it costs the usual case nothing.
#[cold]
#[inline(never)]
fn rest(buf: &[u8], n: usize) -> &[u8] {
    &buf[n..]
}
#[cold]
#[inline(never)]
fn rest_mut(buf: &mut [u8], n: usize) -> &mut [u8] {
    &mut buf[n..]
}

/// An end inside a message is a broken message. It is not the reset that the article makes of it.
#[cold]
fn ended(got: usize, wanted: usize) -> io::Error {
    let text = format!("the peer ended its stream after {got} of {wanted} bytes");
    io::Error::new(ErrorKind::UnexpectedEof, text)
}

/// Says of an early end that `recv_exact` was asked only for the last part of `len` bytes.
pub(crate) fn last_of(len: usize, e: io::Error) -> io::Error {
    let early = e.kind() == ErrorKind::UnexpectedEof;
    if early { io::Error::new(e.kind(), format!("{e}, the last of {len}")) } else { e }
}

/// One `recv` that did something: how many bytes came, or 0 at the end of the stream; `TimedOut` once
/// the deadline has passed. `InvalidInput` for an empty `buf`, whose 0 would look like the end.
pub fn recv_some(fd: &UniqueFd, buf: &mut [u8], until: Option<Instant>) -> io::Result<usize> {
    if buf.is_empty() {
        return Err(ErrorKind::InvalidInput.into());
    }
    loop {
        let mut flags = 0;
        if until.is_some() {
            // `poll` does the waiting. Should another thread take what it saw, `recv` must not.
            wait_ready(fd, libc::POLLIN, until)?;
            flags = libc::MSG_DONTWAIT;
        }
        match sys::recv(fd, buf, flags) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock && until.is_some() => continue,
            result => return result,
        }
    }
}

// With a deadline, article 2.2: one instant for the whole. A byte at a time does not postpone it, as
// it would a timeout per call (SO_SNDTIMEO). After `TimedOut` the stream is out of step: close it.

/// As [`send_all`], but `TimedOut` once the deadline has passed.
pub fn send_all_with_deadline(fd: &UniqueFd, mut buf: &[u8], until: Instant) -> io::Result<()> {
    while !buf.is_empty() {
        // Without MSG_DONTWAIT a blocking `send` would wait until it has copied everything.
        wait_ready(fd, libc::POLLOUT, Some(until))?;
        match sys::send(fd, buf, NO_SIGPIPE | libc::MSG_DONTWAIT) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => buf = &buf[n..],
            // EAGAIN: another thread has taken the room that `poll` saw.
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// As [`recv_exact`], but `TimedOut` once the deadline has passed.
pub fn recv_exact_with_deadline(fd: &UniqueFd, buf: &mut [u8], until: Instant) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        match recv_some(fd, &mut buf[got..], Some(until))? {
            0 => return Err(ended(got, buf.len())),
            n => got += n,
        }
    }
    Ok(())
}

/// What is left until the deadline (`None`: for ever). `TimedOut` once it has passed.
pub fn time_left(until: Option<Instant>) -> io::Result<Option<Duration>> {
    match until.map(|until| until.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(io::Error::new(ErrorKind::TimedOut, "the deadline has passed")),
        left => Ok(left),
    }
}

/// Waits until `fd` is ready for `events` (`POLLIN`, `POLLOUT`), or `TimedOut` at the deadline.
pub fn wait_ready(fd: &UniqueFd, events: c_short, until: Option<Instant>) -> io::Result<()> {
    loop {
        // The clock comes first: a peer that always has one more byte ready must not hold us. In
        // milliseconds, rounded up: rounded down, the last one would be spent asking for nothing.
        let left = time_left(until)?.map(|left| left.as_nanos().div_ceil(1_000_000));
        let millis = left.map_or(-1, |left| c_int::try_from(left).unwrap_or(c_int::MAX));
        match sys::poll(fd.as_fd(), events, millis) {
            Ok(0) => continue,
            // EINTR: with the time that is left. SA_RESTART has no effect on poll.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => return result.map(|_| ()),
        }
    }
}

/// Ends a conversation without losing the last answer: `SHUT_WR`, read to the peer's end, close. A
/// plain `close` with unread bytes in the receive buffer sends a reset, which destroys what the peer
/// has not read yet. `TimedOut` at the deadline; the socket is closed all the same.
pub fn lingering_close(fd: UniqueFd, until: Instant) -> io::Result<()> {
    match sys::shutdown(&fd, libc::SHUT_WR) {
        // The peer has reset the connection: nothing is left to wait for.
        Err(e) if e.kind() == ErrorKind::NotConnected => return fd.close(),
        result => result?,
    }
    while recv_some(&fd, &mut [0; 4096], Some(until))? > 0 {}
    fd.close()
}
