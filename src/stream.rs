//! The loops: send all of it, receive exactly that much. The article's section 2.
//!
//! `send` and `recv` may do less than they were asked to. The loops around them do not return
//! before all is done, the peer has ended, an error has come, or the deadline has passed. Where
//! they fail, the error says how far they got: see [`Partial`].

use std::ffi::{c_int, c_short};
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};
use std::{error, fmt};

use crate::fd::UniqueFd;
use crate::sys::{self, NO_SIGPIPE};

/// Sends every byte of `buf`, in as many `send` calls as it takes. Article 2.1.
///
/// Pass `&conn`: a descriptor that is handed over, and not lent, is closed afterwards.
pub fn send_all(fd: impl AsFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        // MSG_NOSIGNAL: if the peer is gone we want EPIPE, not a signal that kills. (Rust ignores
        // SIGPIPE from the start, a C program does not.)
        match sys::send(&fd, &buf[sent..], NO_SIGPIPE) {
            Ok(0) => {
                return Err(partial(Direction::Send, sent, buf.len(), ErrorKind::WriteZero.into()));
            }
            Ok(n) => sent += n, // perhaps less than was asked: go on behind it
            Err(e) if e.kind() == ErrorKind::Interrupted => continue, // EINTR: nothing was copied
            Err(e) => return Err(partial(Direction::Send, sent, buf.len(), e)),
        }
    }
    Ok(())
}

/// Fills `buf` to the last byte, in as many `recv` calls as it takes. Article 2.1.
///
/// `UnexpectedEof` says that the peer ended its stream first. With an empty `buf` no call is made.
pub fn recv_exact(fd: impl AsFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        match sys::recv(&fd, &mut buf[got..], 0) {
            Ok(0) => {
                return Err(partial(
                    Direction::Recv,
                    got,
                    buf.len(),
                    ErrorKind::UnexpectedEof.into(),
                ));
            }
            Ok(n) => got += n, // what had arrived by now, however little
            Err(e) if e.kind() == ErrorKind::Interrupted => continue, // EINTR: nothing was taken
            Err(e) => return Err(partial(Direction::Recv, got, buf.len(), e)),
        }
    }
    Ok(())
}

/// As [`send_all`], but `TimedOut` once `deadline` has passed. Article 2.2.
///
/// The deadline is one instant for the whole of `buf`: a peer that makes room a byte at a time
/// does not move it, as it would move a timeout per call (`SO_SNDTIMEO`).
pub fn send_all_with_deadline(fd: impl AsFd, buf: &[u8], deadline: Instant) -> io::Result<()> {
    send_all_vectored_with_deadline(fd, &mut [IoSlice::new(buf)], deadline)
}

/// As [`recv_exact`], but `TimedOut` once `deadline` has passed. Article 2.2.
pub fn recv_exact_with_deadline(
    fd: impl AsFd,
    buf: &mut [u8],
    deadline: Instant,
) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        match recv_some(&fd, &mut buf[got..], Some(deadline)) {
            Ok(0) => {
                return Err(partial(
                    Direction::Recv,
                    got,
                    buf.len(),
                    ErrorKind::UnexpectedEof.into(),
                ));
            }
            Ok(n) => got += n,
            Err(e) => return Err(partial(Direction::Recv, got, buf.len(), e)),
        }
    }
    Ok(())
}

/// One `recv` that did something: at least a byte, the end (0), an error, or `TimedOut`.
pub fn recv_some(fd: impl AsFd, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
    loop {
        let mut flags = 0;
        if deadline.is_some() {
            wait_ready(&fd, libc::POLLIN, deadline)?;
            flags = libc::MSG_DONTWAIT; // poll has done the waiting: never block past the deadline
        }
        match sys::recv(&fd, buf, flags) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue, // EINTR
            Err(e) if deadline.is_some() && e.kind() == ErrorKind::WouldBlock => continue,
            result => return result,
        }
    }
}

/// Makes one call, and makes it again for as long as it says EINTR: glibc's TEMP_FAILURE_RETRY.
/// Not for `connect` and `close`, which must not be called twice.
pub fn retry_eintr<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

/// Sends several buffers as one stretch of bytes, in one `sendmsg` where the kernel takes it all.
///
/// A header and its payload leave together. Sent by two calls on a connection that also answers,
/// the second waits for the acknowledgement of the first: 88 ms a round trip instead of 0.06.
pub fn send_all_vectored(fd: impl AsFd, bufs: &mut [IoSlice<'_>]) -> io::Result<()> {
    send_vectored_by(fd, bufs, None)
}

/// As [`send_all_vectored`], but `TimedOut` once `deadline` has passed.
pub fn send_all_vectored_with_deadline(
    fd: impl AsFd,
    bufs: &mut [IoSlice<'_>],
    deadline: Instant,
) -> io::Result<()> {
    send_vectored_by(fd, bufs, Some(deadline))
}

pub(crate) fn send_vectored_by(
    fd: impl AsFd,
    mut bufs: &mut [IoSlice<'_>],
    deadline: Option<Instant>,
) -> io::Result<()> {
    const MAX_BUFS: usize = 1024; // more in one call is EMSGSIZE
    let total = bufs.iter().map(|b| b.len()).sum();
    let mut sent = 0;
    while sent < total {
        let mut flags = NO_SIGPIPE;
        if deadline.is_some() {
            wait_ready(&fd, libc::POLLOUT, deadline)
                .map_err(|e| partial(Direction::Send, sent, total, e))?;
            flags |= libc::MSG_DONTWAIT; // poll has done the waiting: never block past the deadline
        }
        IoSlice::advance_slices(&mut bufs, 0); // drops empty buffers at the front
        match sys::sendmsg(&fd, &bufs[..bufs.len().min(MAX_BUFS)], flags) {
            Ok(0) => {
                return Err(partial(Direction::Send, sent, total, ErrorKind::WriteZero.into()));
            }
            Ok(n) => {
                sent += n;
                IoSlice::advance_slices(&mut bufs, n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if deadline.is_some() && e.kind() == ErrorKind::WouldBlock => continue,
            Err(e) => return Err(partial(Direction::Send, sent, total, e)),
        }
    }
    Ok(())
}

/// Waits until `fd` is ready for `events` (`POLLIN`, `POLLOUT`), or `TimedOut` at the deadline.
///
/// EINTR is retried with the time that is left. A deadline that has passed is `TimedOut` even if
/// the descriptor is ready: otherwise a peer with always one more byte could hold us for ever.
pub fn wait_ready(fd: impl AsFd, events: c_short, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let timeout_ms = match deadline.map(|d| d.saturating_duration_since(Instant::now())) {
            None => -1,
            Some(Duration::ZERO) => return Err(ErrorKind::TimedOut.into()),
            // In milliseconds, rounded up (rounded down, the last one would be spent spinning), and
            // at most what the type holds.
            Some(left) => left.as_nanos().div_ceil(1_000_000).min(c_int::MAX as u128) as c_int,
        };
        let mut pollfd = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events, revents: 0 };
        match sys::poll(std::slice::from_mut(&mut pollfd), timeout_ms) {
            Ok(0) => continue, // the clock decides, not poll
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue, // EINTR: with what is left
            Err(e) => return Err(e),
        }
    }
}

/// Ends a conversation without losing the last answer: `SHUT_WR`, read to the peer's end, close.
///
/// A plain `close` with unread bytes in the receive buffer sends a reset, and the reset destroys
/// what the peer has not read yet. Gives up at the deadline, with `TimedOut`.
pub fn lingering_close(fd: UniqueFd, deadline: Instant) -> io::Result<()> {
    match sys::shutdown(&fd, libc::SHUT_WR) {
        Err(e) if e.kind() == ErrorKind::NotConnected => return fd.close(), // the peer has reset
        result => result?,
    }
    let mut unread = [0; 4096];
    while recv_some(&fd, &mut unread, Some(deadline))? > 0 {}
    fd.close()
}

/// How far a transfer got, and why it stopped. It sits inside the [`io::Error`], which has the
/// reason's kind; [`Partial::of`] finds it again.
#[derive(Debug)]
pub struct Partial {
    direction: Direction,
    done: usize,
    wanted: usize,
    reason: io::Error,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Send,
    Recv,
}

impl Partial {
    /// The one inside an error that a function of this module returned.
    pub fn of(error: &io::Error) -> Option<&Partial> {
        error.get_ref()?.downcast_ref()
    }

    /// Bytes sent or received before it stopped.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Bytes that were asked for.
    pub fn wanted(&self) -> usize {
        self.wanted
    }

    /// errno, where a system call failed. End of stream and a passed deadline have none.
    pub fn errno(&self) -> Option<i32> {
        self.reason.raw_os_error()
    }
}

impl fmt::Display for Partial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = if self.direction == Direction::Send { "sent" } else { "got" };
        write!(f, "{verb} {} of {} bytes, then ", self.done, self.wanted)?;
        match self.reason.kind() {
            ErrorKind::UnexpectedEof => f.write_str("the peer ended its stream"),
            ErrorKind::TimedOut if self.errno().is_none() => f.write_str("the deadline passed"),
            _ => self.reason.fmt(f),
        }
    }
}

impl error::Error for Partial {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.reason)
    }
}

#[cold]
fn partial(direction: Direction, done: usize, wanted: usize, reason: io::Error) -> io::Error {
    io::Error::new(reason.kind(), Partial { direction, done, wanted, reason })
}

/// Counts an error within a step as one within the whole, of which `before` bytes had gone well.
pub(crate) fn part_of(error: io::Error, before: usize, whole: usize) -> io::Error {
    match error.downcast::<Partial>() {
        Ok(p) => partial(p.direction, before + p.done, whole, p.reason),
        Err(other) => other,
    }
}

/// For readers of whole messages: `false` where the stream ended cleanly before the first byte.
pub fn or_clean_end(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(e)
            if e.kind() == ErrorKind::UnexpectedEof
                && Partial::of(&e).is_some_and(|p| p.done == 0) =>
        {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}
