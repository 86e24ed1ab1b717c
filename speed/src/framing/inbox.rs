//! What `FrameReader` and `LineReader` share: a buffer that one `recv` fills for many messages.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Instant;

use super::failed::Failed;
use crate::{stream, sys};

/// What the first `recv` may take: enough for a request.
const FIRST: usize = 4 * 1024;

/// When a `recv` has filled the buffer it doubles, or grows by this much: memory follows what has
/// arrived, and never runs ahead of it by more.
const STEP: usize = 64 * 1024;

/// A `recv` that took so much or more was part of a stream that is flowing: the next piece is
/// microseconds away.
const FLOWING: usize = 32 * 1024;

/// So often a flowing stream is tried again before a sleep. A failed try costs a quarter of a
/// microsecond, so all of them a few percent of what the last piece took.
const FLOWING_SPINS: u32 = 50;

/// A descriptor, and what has arrived from it and was not yet lent out.
#[derive(Debug)]
pub(super) struct Inbox<Fd> {
    fd: Fd,
    pub(super) deadline: Option<Instant>,
    /// `None`: as the last `recv` makes it likely to pay.
    pub(super) spins: Option<u32>,
    flowing: bool,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// The last `recv` has filled the buffer, so more is waiting and the next one may take more.
    full: bool,
    pub(super) failed: Failed,
}

impl<Fd: AsFd> Inbox<Fd> {
    pub(super) fn new(fd: Fd) -> Inbox<Fd> {
        Inbox {
            fd,
            deadline: None,
            spins: None,
            flowing: false,
            buf: Vec::new(),
            start: 0,
            end: 0,
            full: true,
            failed: Failed::default(),
        }
    }

    /// What has arrived.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Lends the first `n` of these bytes, and forgets them.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> &[u8] {
        let taken = self.start..self.start + n;
        self.start = taken.end;
        &self.buf[taken]
    }

    /// One `recv` behind what is here. The buffer grows to `limit` bytes, and not further. 0 at the
    /// end of the stream.
    ///
    /// An error stays, but for `TimedOut` and `WouldBlock`, which lose nothing.
    pub(super) fn fill(&mut self, limit: usize) -> io::Result<usize> {
        // What the last `recv` left moves to the front: less than one message, once a `recv`.
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let larger = limit.min(self.buf.len() + self.buf.len().clamp(FIRST, STEP));
        if self.full && larger > self.buf.len() {
            self.buf.reserve_exact(larger - self.buf.len());
            self.buf.resize(larger, 0);
        }
        match self.recv() {
            Ok(n) => {
                self.end += n;
                self.full = self.end == self.buf.len();
                self.flowing = n >= FLOWING;
                Ok(n)
            }
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Err(e),
            Err(e) => {
                self.failed.remember(&e);
                Err(e)
            }
        }
    }

    fn recv(&mut self) -> io::Result<usize> {
        let free = &mut self.buf[self.end..];
        debug_assert!(!free.is_empty(), "a recv of 0 bytes would look like the end");
        let spins = self.spins.unwrap_or(if self.flowing { FLOWING_SPINS } else { 0 });
        for spin in 0..spins {
            let now_and_then = spin % 64 == 63; // the clock, too, costs something
            if now_and_then && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                break; // `recv_some` tries once more, and says TimedOut
            }
            match sys::recv(&self.fd, free, libc::MSG_DONTWAIT) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                result => return result,
            }
        }
        stream::recv_some(&self.fd, free, self.deadline)
    }

    /// From now on every call says this.
    pub(super) fn fail(&mut self, kind: ErrorKind, text: String) -> io::Error {
        let error = io::Error::new(kind, text);
        self.failed.remember(&error);
        error
    }
}
