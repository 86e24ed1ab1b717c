//! Read lines through a buffer: one `recv` takes up to 4096 bytes, be it ten lines or half a one.
//!
//! A line ends with `\n`, or with `\r\n`, and is returned without its end. What comes after it in
//! the buffer is for the next call; what was returned does not stay there. A line may have `cap`
//! bytes, its end not counted; a longer one, in its turn, is `InvalidData` as soon as that is sure,
//! and the call after that fails again. `cap` is a limit and no size: it may be `usize::MAX`.
//! `None`: the stream ended after a whole line. Inside a line that is `UnexpectedEof`. EINTR is no
//! error; other errors are returned as they are, and what had come of the line is not lost in
//! silence: the next call goes on with it, or fails again.
//!
//! Article 3.2. man: recv(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

struct LineReader {
    fd: RawFd,
    cap: usize,
    // TODO: what has come and was not returned yet.
}

impl LineReader {
    /// A reader of lines of up to `cap` bytes.
    fn new(fd: RawFd, cap: usize) -> LineReader {
        LineReader { fd, cap }
    }

    /// The next line without its end. `None`: the stream ended after a whole line.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        // TODO: look for a line in the buffer; if there is none, one `recv` more.
        grader::yours((self.fd, self.cap))
    }
}

fn main() -> ExitCode {
    grader::lines::grade(LineReader::new, LineReader::next_line)
}
