//! Lines: a message ends at `\n`, and a `\r` before it is dropped. The article's section 3.2.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::time::Instant;

use super::failed::Failed;
use super::inbox::Inbox;
use super::invalid_input;
use crate::stream;

/// Room for many lines a `recv`.
const BUFFER: usize = 64 * 1024;

/// The bytes of `\r\n`, which the cap does not count.
const END: usize = 2;

/// Sends one line and its `\n`, in one `sendmsg`. A line with a `\n` inside is `InvalidInput`:
/// the other side would read two.
pub fn send_line(fd: impl AsFd, line: &[u8]) -> io::Result<()> {
    if line.contains(&b'\n') {
        return Err(invalid_input("a line cannot hold a newline".into()));
    }
    stream::send_all_vectored(fd, &mut [IoSlice::new(line), IoSlice::new(b"\n")])
}

/// Reads lines through a buffer: one `recv` for as many lines as have arrived, where the article's
/// reader makes one call a byte.
///
/// A line of 80 bytes takes 115 user instructions: `memchr` finds its end, and it is lent and not
/// copied. Copied out, as std's `read_until` does it, it takes 283, and 540 through tokio-util's
/// `LinesCodec`, which makes a `String` of it.
///
/// ```
/// # use tcp_stream_io::framing::line::LineReader;
/// # fn read(conn: tcp_stream_io::fd::UniqueFd) -> std::io::Result<()> {
/// let mut lines = LineReader::new(conn, 4096);
/// while let Some(line) = lines.next_line()? {
///     println!("{} bytes", line.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LineReader<Fd> {
    inbox: Inbox<Fd>,
    cap: usize,
    /// So many bytes at the front hold no newline.
    scanned: usize,
}

impl<Fd: AsFd> LineReader<Fd> {
    /// A reader of lines of up to `cap` bytes, their end not counted.
    pub fn new(fd: Fd, cap: usize) -> LineReader<Fd> {
        LineReader { inbox: Inbox::new(fd), cap, scanned: 0 }
    }

    /// From now on `TimedOut` once `deadline` has passed; `None`: wait for ever.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.inbox.deadline = deadline;
    }

    /// Tries so many times without waiting before it sleeps. [`FrameReader`] has the reasons.
    ///
    /// [`FrameReader`]: super::batch::FrameReader::set_spins
    pub fn set_spins(&mut self, spins: u32) {
        self.inbox.spins = Some(spins);
    }

    /// Lends the next line without its end. `None`: the stream ended after a whole line.
    ///
    /// `InvalidData`: the line is longer than `cap`; [`skip_line`](Self::skip_line) goes on behind
    /// it. `UnexpectedEof`: the stream ended inside a line; [`partial`](Self::partial) has what
    /// came. Either stays: the next call says the same.
    #[inline]
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        self.inbox.failed.check()?;
        loop {
            if let Some(at) = self.find_newline() {
                let len = without_cr(&self.inbox.bytes()[..at]).len();
                if len > self.cap {
                    return Err(self.too_long());
                }
                self.scanned = 0;
                return Ok(Some(&self.inbox.take(at + 1)[..len]));
            }
            if !self.receive()? {
                return Ok(None);
            }
        }
    }

    /// What is here has no newline. `false`: the stream has ended.
    #[cold]
    fn receive(&mut self) -> io::Result<bool> {
        let have = self.inbox.bytes();
        if without_cr(have).len() > self.cap {
            return Err(self.too_long());
        }
        let len = have.len();
        let more = self.inbox.fill(BUFFER.max(self.cap.saturating_add(END)))? > 0;
        if !more && len > 0 {
            let text = format!("the stream ended inside a line, after {len} bytes");
            return Err(self.inbox.fail(ErrorKind::UnexpectedEof, text));
        }
        Ok(more)
    }

    #[cold]
    fn too_long(&mut self) -> io::Error {
        let cap = self.cap;
        let text = format!("a line is longer than {cap} bytes; skip_line() goes on behind it");
        self.inbox.fail(ErrorKind::InvalidData, text)
    }

    /// After a line that was too long: throws it away up to its end, so that `next_line` goes on
    /// with the one behind it. `false`: the stream ended first. A system error
    /// stays.
    pub fn skip_line(&mut self) -> io::Result<bool> {
        match self.inbox.failed.check() {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
            Err(e) if e.kind() != ErrorKind::InvalidData => return Err(e),
            _ => {}
        }
        loop {
            let newline = self.find_newline();
            self.inbox.take(newline.map_or(self.inbox.bytes().len(), |at| at + 1));
            self.scanned = 0;
            if newline.is_some() {
                self.inbox.failed = Failed::default();
                return Ok(true);
            }
            if self.inbox.fill(BUFFER)? == 0 {
                return Ok(false);
            }
        }
    }

    /// What has arrived of a line that `next_line` could not return.
    pub fn partial(&self) -> &[u8] {
        &self.inbox.bytes()[..self.scanned]
    }

    /// Where the first newline is. What was looked at before is not looked at again.
    #[inline]
    fn find_newline(&mut self) -> Option<usize> {
        let have = self.inbox.bytes();
        let found = find(b'\n', &have[self.scanned..]).map(|i| self.scanned + i);
        self.scanned = found.unwrap_or(have.len());
        found
    }
}

/// A newline may come as `\r\n`.
#[inline]
fn without_cr(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The C library looks at 32 bytes at a time where the processor can. man: memchr(3).
#[inline]
fn find(byte: u8, bytes: &[u8]) -> Option<usize> {
    let start = bytes.as_ptr();
    // SAFETY:
    // - `start` is readable for `bytes.len()` bytes.
    let at = unsafe { libc::memchr(start.cast(), byte.into(), bytes.len()) };
    (!at.is_null()).then(|| at.addr() - start.addr())
}
