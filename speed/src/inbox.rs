//! What `FrameReader` and `LineReader` share: a buffer that one `recv` fills for many messages.

use std::hint::assert_unchecked;
use std::io::{self, ErrorKind};
use std::time::Instant;

use tcp_stream_io::{UniqueFd, stream, sys};

use crate::failed::Failed;

/// What the first `recv` may take: enough for a request.
const FIRST: usize = 4 * 1024;

/// When a `recv` has filled the buffer it doubles, or grows by this much: memory follows what has
/// arrived, and never runs ahead of it by more.
const STEP: usize = 64 * 1024;

/// A `recv` that took so much or more was part of a stream that is flowing: the next piece is
/// microseconds away.
const FLOWING: usize = 32 * 1024;

/// So often a flowing stream is tried again before a sleep. A failed try costs a quarter of a
/// microsecond, so all of them what one sleep and its wake-up take.
const FLOWING_SPINS: u32 = 50;

/// With a deadline, so many bytes are lent between two looks at the clock.
const LOOK: usize = 1024;

/// A descriptor, and what has arrived from it and was not yet lent out.
#[derive(Debug)]
pub(crate) struct Inbox<'fd> {
    fd: &'fd UniqueFd,
    until: Option<Instant>,
    /// `None`: as the last `recv` makes it likely to pay.
    spins: Option<u32>,
    flowing: bool,
    buf: Vec<u8>,
    /// All before it was lent.
    start: usize,
    /// All before it may be lent without a look at the clock: so a deadline costs nothing where
    /// there is none.
    horizon: usize,
    /// All before it has arrived.
    end: usize,
    /// The last `recv` has filled the buffer, so more is waiting and the next one may take more.
    full: bool,
    pub(crate) failed: Failed,
}

impl<'fd> Inbox<'fd> {
    pub(crate) fn new(fd: &'fd UniqueFd) -> Inbox<'fd> {
        Inbox {
            fd,
            until: None,
            spins: None,
            flowing: false,
            buf: vec![0; FIRST],
            start: 0,
            horizon: 0,
            end: 0,
            full: false,
            failed: Failed::default(),
        }
    }

    /// The first `searched` bytes hold no whole message, so nobody is lent them without a look.
    pub(crate) fn set_deadline(&mut self, until: Option<Instant>, searched: usize) {
        self.until = until;
        self.horizon = self.start + searched; // the next message asks the clock
    }

    pub(crate) fn set_spins(&mut self, spins: u32) {
        self.spins = Some(spins);
    }

    /// What may be lent now.
    #[inline]
    pub(crate) fn ready(&self) -> &[u8] {
        self.in_order();
        &self.buf[self.start..self.horizon]
    }

    /// Tells the compiler what it cannot know, so that a message's bounds are looked at once. A debug
    /// build looks each time.
    #[inline]
    fn in_order(&self) {
        // SAFETY: start <= horizon <= end <= buf.len(), whatever function here has been called.
        unsafe { assert_unchecked(self.start <= self.horizon && self.horizon <= self.buf.len()) }
    }

    /// All that has arrived.
    pub(crate) fn arrived(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// All that is [`ready`](Self::ready), and where to note how much of it was lent.
    #[inline]
    pub(crate) fn lend(&mut self) -> (&[u8], Lent<'_>) {
        self.in_order();
        let ready = &self.buf[self.start..self.horizon];
        (ready, Lent { start: &mut self.start, end: self.horizon })
    }

    /// Lends the first `n` bytes of [`ready`](Self::ready), and forgets them.
    #[inline]
    pub(crate) fn take(&mut self, n: usize) -> &[u8] {
        self.in_order();
        let ready = self.start..self.horizon;
        self.start += n;
        &self.buf[ready][..n]
    }

    /// Looks at the clock, and makes more of what has arrived [`ready`](Self::ready): `need` bytes
    /// if they are here. `false`: all was ready. `TimedOut` once the deadline has passed.
    pub(crate) fn look(&mut self, need: usize) -> io::Result<bool> {
        stream::time_left(self.until)?;
        let before = self.horizon;
        let more = if self.until.is_some() { need.max(LOOK) } else { usize::MAX };
        self.horizon = self.end.min(self.start.saturating_add(more));
        Ok(self.horizon > before)
    }

    /// One `recv`, to stand after what is here. The buffer grows to `limit` bytes, and not further.
    /// 0 at the end of the stream. A [`look`](Self::look) comes before it, so that a stream that
    /// always has more does not hold us past the deadline; and after it, to make ready what came.
    ///
    /// An error stays, but for `TimedOut` and `WouldBlock`, which lose nothing.
    pub(crate) fn fill(&mut self, limit: usize) -> io::Result<usize> {
        // What the last `recv` left moves to the front: less than one message, once a `recv`.
        self.buf.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.horizon -= self.start;
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
        let spins = self.spins.unwrap_or(if self.flowing { FLOWING_SPINS } else { 0 });
        for spin in 0..spins {
            // `look` has asked the clock before this. Then now and then, for it costs something.
            if spin % 64 == 63 {
                stream::time_left(self.until)?;
            }
            match sys::recv(self.fd, free, libc::MSG_DONTWAIT) {
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                result => return result,
            }
        }
        stream::recv_some(self.fd, free, self.until)
    }

    /// From now on every call says this: nothing is ready any more but the first bytes, which hold
    /// no whole message.
    #[cold]
    pub(crate) fn fail(&mut self, error: io::Error, searched: usize) -> io::Error {
        self.failed.remember(&error);
        self.horizon = self.start + searched;
        error
    }
}

/// Notes in an [`Inbox`] what was lent of it. It is written each time and never read meanwhile, so
/// that the next message does not wait for it.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    start: &'a mut usize,
    end: usize,
}

impl Lent<'_> {
    /// All is lent but the last so many bytes.
    #[inline]
    pub(crate) fn all_but(&mut self, left: usize) {
        *self.start = self.end - left;
    }
}
