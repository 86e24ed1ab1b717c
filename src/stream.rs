//! The loops: send all of it, receive exactly that much. The article's section 2.

use std::ffi::{c_int, c_short};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crate::fd::UniqueFd;
use crate::sys::{self, NO_SIGPIPE};

/// Sends all of `buf` on a blocking socket. After an error a part may have left. Article 2.1.
#[inline]
pub fn send_all(fd: &UniqueFd, mut buf: &[u8]) -> io::Result<()> {
    while !buf.is_empty() {
        // NO_SIGPIPE (MSG_NOSIGNAL): EPIPE is to be an error, not a signal that kills the process.
        match sys::send(fd, buf, NO_SIGPIPE) {
            Ok(n) if n == buf.len() => return Ok(()),
            // No progress, and no reason why: better an error than to ask for ever.
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            // Fewer than were asked for. A blocking `send` on Linux waits until all is copied, but
            // a signal, SO_SNDTIMEO or an error ends the wait. The next call sends the rest.
            Ok(n) => buf = rest(buf, n),
            // EINTR: nothing was copied when the signal came, else there would be a count.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Fills `buf` to the last byte, in as many `recv` calls as it takes. Article 2.1.
/// `UnexpectedEof`: the peer ended its stream first. For an empty `buf` no call is made.
#[inline]
pub fn recv_exact(fd: &UniqueFd, mut buf: &mut [u8]) -> io::Result<()> {
    let wanted = buf.len();
    while !buf.is_empty() {
        match sys::recv(fd, buf, 0) {
            Ok(n) if n == buf.len() => return Ok(()),
            // The peer's FIN, in the middle of what was asked for.
            Ok(0) => return Err(ended(wanted - buf.len(), wanted)),
            // What had arrived by now, however little. The next call waits for more.
            Ok(n) => buf = rest_mut(buf, n),
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

// What a short count leaves. Out of line, it costs nothing where one call does it all.
#[cold]
fn rest(buf: &[u8], n: usize) -> &[u8] {
    &buf[n..]
}
#[cold]
fn rest_mut(buf: &mut [u8], n: usize) -> &mut [u8] {
    &mut buf[n..]
}

/// The article returns ECONNRESET here. But nothing was reset: the peer ended its stream early.
#[cold]
fn ended(got: usize, wanted: usize) -> io::Error {
    let text = format!("the peer ended its stream after {got} of {wanted} bytes");
    io::Error::new(ErrorKind::UnexpectedEof, text)
}

/// The same, where only the rest of `len` bytes was asked for: "after 1 of 2 bytes, the last of 4".
pub(crate) fn last_of(len: usize, e: io::Error) -> io::Error {
    let early = e.kind() == ErrorKind::UnexpectedEof;
    if early { io::Error::new(e.kind(), format!("{e}, the last of {len}")) } else { e }
}

/// What one `recv` gives, or 0 at the end of the stream. After EINTR it is called again.
/// `TimedOut` once the deadline has passed, even if bytes are there. An empty `buf` is
/// `InvalidInput`: its 0 would look like the end.
pub fn recv_some(fd: &UniqueFd, buf: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
    if buf.is_empty() {
        return Err(ErrorKind::InvalidInput.into());
    }
    loop {
        let mut flags = 0;
        if deadline.is_some() {
            // `poll` waits, and `recv` does not: if another thread took the bytes, it says EAGAIN.
            wait_ready(fd, libc::POLLIN, deadline)?;
            flags = libc::MSG_DONTWAIT;
        }
        match sys::recv(fd, buf, flags) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == ErrorKind::WouldBlock && deadline.is_some() => continue,
            result => return result,
        }
    }
}

/// As [`send_all`], but `TimedOut` once the deadline has passed. A part may have left: close.
/// The deadline is one instant for all of `buf`, article 2.2: a peer that moves a byte at a time
/// does not postpone it, as it would postpone a timeout per call (SO_SNDTIMEO).
pub fn send_all_with_deadline(fd: &UniqueFd, mut buf: &[u8], deadline: Instant) -> io::Result<()> {
    while !buf.is_empty() {
        // Without MSG_DONTWAIT a blocking `send` would wait until it has copied everything.
        wait_ready(fd, libc::POLLOUT, Some(deadline))?;
        match sys::send(fd, buf, NO_SIGPIPE | libc::MSG_DONTWAIT) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => buf = &buf[n..],
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// As [`recv_exact`], but `TimedOut` once the deadline has passed. A part may be taken: close.
pub fn recv_exact_with_deadline(
    fd: &UniqueFd,
    buf: &mut [u8],
    deadline: Instant,
) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        match recv_some(fd, &mut buf[got..], Some(deadline))? {
            0 => return Err(ended(got, buf.len())),
            n => got += n,
        }
    }
    Ok(())
}

/// What is left until the deadline (`None`: for ever). `TimedOut` once it has passed.
pub fn time_left(deadline: Option<Instant>) -> io::Result<Option<Duration>> {
    match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
        Some(Duration::ZERO) => Err(io::Error::new(ErrorKind::TimedOut, "the deadline has passed")),
        left => Ok(left),
    }
}

/// Waits until `fd` is ready for `events` (`POLLIN`, `POLLOUT`), or has hung up or an error, which
/// the next call reports. `TimedOut` at the deadline.
pub fn wait_ready(fd: &UniqueFd, events: c_short, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        // The clock comes first: a peer that always has one more byte ready must not hold us. What
        // is left is rounded up: `poll` with 0 ms would be a busy loop in the last millisecond.
        let left = time_left(deadline)?.map(|left| left.as_nanos().div_ceil(1_000_000));
        let millis = left.map_or(-1, |left| c_int::try_from(left).unwrap_or(c_int::MAX));
        match sys::poll(fd.as_fd(), events, millis) {
            Ok(0) => continue, // the clock will say so
            // EINTR: with the time that is left. SA_RESTART has no effect on poll.
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => return result.map(|_| ()),
        }
    }
}

/// Ends a conversation without losing the last answer: `SHUT_WR`, read to the peer's end, close.
/// A plain `close` with unread bytes sends a reset, and what has not arrived by then is lost.
/// `TimedOut` at the deadline; the socket is closed in any case. An earlier reset is no error here.
pub fn lingering_close(fd: UniqueFd, deadline: Instant) -> io::Result<()> {
    match sys::shutdown(&fd, libc::SHUT_WR) {
        // The peer has reset the connection: there is nothing to wait for.
        Err(e) if e.kind() == ErrorKind::NotConnected => return fd.close(),
        result => result?,
    }
    while recv_some(&fd, &mut [0; 4096], Some(deadline))? > 0 {}
    fd.close()
}
