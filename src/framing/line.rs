//! Lines: a message ends at `\n`, and a `\r` before it is dropped. The article's section 3.2.

use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::AsFd;
use std::time::Instant;

use super::invalid_input;
use crate::stream;

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
    fd: Fd,
    cap: usize,
    deadline: Option<Instant>,
    buf: Box<[u8]>,
    /// `buf[start..end]` has arrived and was not yet lent out.
    start: usize,
    end: usize,
    /// `buf[start..scanned]` holds no newline.
    scanned: usize,
    failed: Option<(ErrorKind, String)>,
}

impl<Fd: AsFd> LineReader<Fd> {
    /// A reader of lines of up to `cap` bytes, their end not counted.
    pub fn new(fd: Fd, cap: usize) -> LineReader<Fd> {
        let buf = vec![0; cap + 2].into_boxed_slice(); // room for `\r\n`
        LineReader { fd, cap, deadline: None, buf, start: 0, end: 0, scanned: 0, failed: None }
    }

    /// From now on `TimedOut` once `deadline` has passed; `None`: wait for ever.
    pub fn set_deadline(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// Lends the next line without its end. `None`: the stream ended after a whole line.
    ///
    /// `InvalidData`: the line is longer than `cap`; [`skip_line`](Self::skip_line) goes on behind
    /// it. `UnexpectedEof`: the stream ended inside a line; [`partial`](Self::partial) has what
    /// came. Either stays: the next call says the same.
    pub fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        if let Some((kind, text)) = &self.failed {
            return Err(io::Error::new(*kind, text.clone()));
        }
        loop {
            if let Some(mut len) = self.find_newline() {
                let line = self.start;
                len -= usize::from(self.buf[line..line + len].ends_with(b"\r"));
                if len > self.cap {
                    return Err(self.too_long());
                }
                self.start = self.scanned + 1;
                self.scanned = self.start;
                return Ok(Some(&self.buf[line..line + len]));
            }
            if self.end - self.start == self.buf.len() {
                return Err(self.too_long());
            }
            if self.fill()? == 0 {
                let len = self.end - self.start;
                if len == 0 {
                    return Ok(None);
                }
                let text = format!("the stream ended inside a line, after {len} bytes");
                return Err(self.fail(ErrorKind::UnexpectedEof, text));
            }
        }
    }

    /// After a line that was too long: throws it away up to its end, so that `next_line` goes on
    /// with the one behind it. `false`: the stream ended first.
    pub fn skip_line(&mut self) -> io::Result<bool> {
        loop {
            if self.find_newline().is_some() {
                self.start = self.scanned + 1;
                self.scanned = self.start;
                self.failed = None;
                return Ok(true);
            }
            self.start = self.end;
            self.scanned = self.end;
            if self.fill()? == 0 {
                return Ok(false);
            }
        }
    }

    /// What has arrived of a line that is not whole.
    pub fn partial(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// The length of the line at the front of the buffer, if all of it is there.
    fn find_newline(&mut self) -> Option<usize> {
        let found = self.buf[self.scanned..self.end].iter().position(|&byte| byte == b'\n');
        let at = found.map(|i| self.scanned + i);
        self.scanned = at.unwrap_or(self.end);
        at.map(|at| at - self.start)
    }

    /// One `recv` into the free part of the buffer; 0 at the end of the stream.
    fn fill(&mut self) -> io::Result<usize> {
        // What is left of the last `recv` moves to the front: less than a line, once a `recv`.
        self.buf.copy_within(self.start..self.end, 0);
        self.scanned -= self.start;
        self.end -= self.start;
        self.start = 0;
        match stream::recv_some(&self.fd, &mut self.buf[self.end..], self.deadline) {
            Ok(n) => {
                self.end += n;
                Ok(n)
            }
            // Nothing is lost: the caller may set a later deadline and go on.
            Err(e) if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => Err(e),
            Err(e) => Err(self.fail(e.kind(), e.to_string())),
        }
    }

    fn too_long(&mut self) -> io::Error {
        let cap = self.cap;
        let text = format!("a line is longer than {cap} bytes; skip_line() goes on behind it");
        self.fail(ErrorKind::InvalidData, text)
    }

    fn fail(&mut self, kind: ErrorKind, text: String) -> io::Error {
        self.failed = Some((kind, text.clone()));
        io::Error::new(kind, text)
    }
}
