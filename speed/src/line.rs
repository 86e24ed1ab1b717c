//! Lines, lent out of a buffer. The article's section 3.2, as fast as it goes.
//!
//! A message ends at `\n`, and a `\r` before it is dropped, as in
//! [the reference](tcp_stream_io::framing::line), which copies each line out.

use std::hint::assert_unchecked;
use std::io::{self, ErrorKind};
use std::time::Instant;

use tcp_stream_io::UniqueFd;

use crate::failed::Failed;
use crate::inbox::Inbox;

/// Room for many lines a `recv`.
const BUFFER: usize = 64 * 1024;

/// The bytes of `\r\n`, which the cap does not count.
const END: usize = 2;

/// Reads lines through a buffer: one `recv` for as many lines as have arrived, where the article's
/// reader makes one call a byte.
///
/// ```
/// # use speed::line::LineReader;
/// # fn read(conn: tcp_stream_io::UniqueFd) -> std::io::Result<()> {
/// let mut lines = LineReader::new(&conn, 4096);
/// while let Some(line) = lines.next_line()? {
///     println!("{} bytes", line.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LineReader<'fd> {
    inbox: Inbox<'fd>,
    cap: usize,
    /// So many bytes at the front hold no newline.
    scanned: usize,
}

impl<'fd> LineReader<'fd> {
    /// A reader of lines of up to `cap` bytes, their end not counted.
    pub fn new(fd: &'fd UniqueFd, cap: usize) -> LineReader<'fd> {
        LineReader { inbox: Inbox::new(fd), cap, scanned: 0 }
    }

    /// From now on `TimedOut` once the deadline has passed, also while data flows; `None`: wait for
    /// ever. The clock is asked before each `recv`, and once for each KiB that is lent.
    pub fn set_deadline(&mut self, until: Option<Instant>) {
        self.inbox.set_deadline(until, self.scanned);
    }

    /// Tries so many times without waiting before it sleeps. [`FrameReader`] has the reasons.
    ///
    /// [`FrameReader`]: super::batch::FrameReader::set_spins
    pub fn set_spins(&mut self, spins: u32) {
        self.inbox.set_spins(spins);
    }

    /// Lends the next line without its end. `None`: the stream ended after a whole line.
    ///
    /// `InvalidData`: the line is longer than `cap`; [`skip_line`](Self::skip_line) goes on after
    /// it. `UnexpectedEof`: the stream ended inside a line; [`partial`](Self::partial) has what
    /// came. Either stays: the next call says the same.
    #[inline(always)] // the call would be a good part of what a short line takes
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        loop {
            // A reader that has failed finds nothing here.
            let ready = self.inbox.ready();
            if let Some(found) = find(b'\n', &ready[self.scanned..]) {
                let at = self.scanned + found;
                if at > self.cap && self.is_too_long(at) {
                    return Err(self.too_long(at));
                }
                self.scanned = 0;
                return Ok(Some(without_cr(&self.inbox.take(at + 1)[..at])));
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// What is ready has no newline. `false`: the stream has ended.
    #[cold]
    fn receive(&mut self) -> io::Result<bool> {
        self.inbox.failed.check()?;
        // What was looked at is not looked at again.
        self.scanned = self.inbox.ready().len();
        if self.is_too_long(self.scanned) {
            return Err(self.too_long(self.scanned));
        }
        let twice = 2 * self.scanned; // so a long line does not take many looks at the clock
        if self.inbox.look(twice)? {
            return Ok(true);
        }
        let have = self.inbox.arrived().len();
        let more = self.inbox.fill(BUFFER.max(self.cap.saturating_add(END)))? > 0;
        if !more && have > 0 {
            let text = format!("the stream ended inside a line, after {have} bytes");
            return Err(self.inbox.fail(io::Error::new(ErrorKind::UnexpectedEof, text), have));
        }
        Ok(more)
    }

    /// Whether the first `len` bytes that are ready are a line over the cap, or begin one.
    #[cold]
    fn is_too_long(&self, len: usize) -> bool {
        without_cr(&self.inbox.ready()[..len]).len() > self.cap
    }

    #[cold]
    fn too_long(&mut self, len: usize) -> io::Error {
        self.scanned = len;
        let cap = self.cap;
        let text = format!("a line is longer than {cap} bytes; skip_line() goes on after it");
        self.inbox.fail(io::Error::new(ErrorKind::InvalidData, text), len)
    }

    /// After a line that was too long: throws it away up to its end, so that `next_line` goes on
    /// with the one after it. `false`: the stream ended first. A system error stays.
    pub fn skip_line(&mut self) -> io::Result<bool> {
        match self.inbox.failed.check() {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) if e.kind() != ErrorKind::InvalidData => return Err(e),
            _ => {}
        }
        loop {
            let ready = self.inbox.ready();
            let newline = find(b'\n', ready);
            self.inbox.take(newline.map_or(ready.len(), |at| at + 1));
            self.scanned = 0;
            if newline.is_some() {
                self.inbox.failed = Failed::default();
                return Ok(true);
            }
            if !self.inbox.look(0)? && self.inbox.fill(BUFFER)? == 0 {
                return Ok(false);
            }
        }
    }

    /// What has arrived of a line that `next_line` could not return.
    pub fn partial(&self) -> &[u8] {
        &self.inbox.arrived()[..self.scanned]
    }
}

/// A newline may come as `\r\n`.
#[inline]
fn without_cr(line: &[u8]) -> &[u8] {
    let cr = usize::from(line.last() == Some(&b'\r'));
    &line[..line.len() - cr]
}

/// The C library looks at 32 bytes at a time where the processor can. man: memchr(3).
#[inline]
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    if bytes.is_empty() {
        return None; // C wants memory even where no byte is looked at, and this may have none
    }
    let start = bytes.as_ptr();
    // SAFETY: `start` is readable for `bytes.len()` bytes.
    let at = unsafe { libc::memchr(start.cast(), byte.into(), bytes.len()) };
    let found = (!at.is_null()).then(|| at.addr() - start.addr());
    // SAFETY: memchr gives null, or where the byte stands among those `bytes.len()`.
    unsafe { assert_unchecked(found.is_none_or(|at| at < bytes.len())) };
    found
}
