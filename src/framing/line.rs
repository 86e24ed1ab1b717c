//! Lines: a message ends at `\n`, and a `\r` before it is dropped. The article's section 3.2.

use std::io::{self, ErrorKind};

use crate::fd::UniqueFd;
use crate::stream::recv_some;

/// Reads lines through a buffer: one `recv` for as many lines as have arrived, where the article's
/// `recv_line` makes one call a byte.
#[derive(Debug)]
pub struct LineReader<'fd> {
    fd: &'fd UniqueFd,
    cap: usize,
    /// What has arrived. All before `start` was returned; no newline is before `scanned`.
    buf: Vec<u8>,
    start: usize,
    scanned: usize,
    failed: Option<io::Error>,
}

impl<'fd> LineReader<'fd> {
    /// A reader of lines of up to `cap` bytes, their end not counted.
    pub fn new(fd: &'fd UniqueFd, cap: usize) -> LineReader<'fd> {
        LineReader { fd, cap, buf: Vec::new(), start: 0, scanned: 0, failed: None }
    }

    /// The next line, without its end. `None`: the stream ended after a whole line.
    /// `InvalidData`: the line is longer than `cap`. `UnexpectedEof`: the stream ended inside it.
    /// The article returns both as if they were lines. [`tail`](Self::tail) has what came of it.
    /// Every error is the last word, EAGAIN too: the socket has to block, without SO_RCVTIMEO.
    pub fn recv_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        // A reader that has failed stays so. After a reset the kernel's next word is a clean end,
        // and half a stream would look whole.
        match &self.failed {
            Some(e) => Err(copy_of(e)),
            None => self.next_line().inspect_err(|e| self.failed = Some(copy_of(e))),
        }
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let newline = self.buf[self.scanned..].iter().position(|&byte| byte == b'\n');
            let end = newline.map_or(self.buf.len(), |at| self.scanned + at);
            self.scanned = end;

            // Over the cap is an error before the line's end has come: it may never come.
            let line = &self.buf[self.start..end];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > self.cap {
                let text = format!("a line is longer than the cap of {} bytes", self.cap);
                return Err(io::Error::new(ErrorKind::InvalidData, text));
            } else if newline.is_some() {
                let line = line.to_vec();
                (self.start, self.scanned) = (end + 1, end + 1);
                return Ok(Some(line));
            }

            // No newline is here. What was returned makes room, and one `recv` brings what it has.
            self.buf.drain(..self.start);
            (self.start, self.scanned) = (0, self.buf.len());
            let mut piece = [0; 4096];
            match recv_some(self.fd, &mut piece, None)? {
                0 if self.buf.is_empty() => return Ok(None),
                0 => {
                    let text = format!("the stream ended after {} bytes of a line", self.scanned);
                    return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
                }
                n => self.buf.extend_from_slice(&piece[..n]),
            }
        }
    }

    /// What has arrived and was not returned: after an error, the bad line and all after it.
    pub fn tail(&self) -> &[u8] {
        &self.buf[self.start..]
    }
}

/// An error cannot be cloned. errno, kind and text are all there is to it.
fn copy_of(e: &io::Error) -> io::Error {
    match e.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(e.kind(), e.to_string()),
    }
}
