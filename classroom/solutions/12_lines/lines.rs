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

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

struct LineReader {
    fd: RawFd,
    cap: usize,
    //> // TODO: what has come and was not returned yet.
    /// What has come and was not returned yet.
    have: Vec<u8>,
    //<
}

impl LineReader {
    /// A reader of lines of up to `cap` bytes.
    fn new(fd: RawFd, cap: usize) -> LineReader {
        //> LineReader { fd, cap }
        LineReader { fd, cap, have: Vec::new() }
        //<
    }

    /// The next line without its end. `None`: the stream ended after a whole line.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        //> // TODO: look for a line in the buffer; if there is none, one `recv` more.
        //> grader::yours((self.fd, self.cap))
        loop {
            let newline = self.have.iter().position(|&byte| byte == b'\n');
            let line = &self.have[..newline.unwrap_or(self.have.len())];
            let line = line.strip_suffix(b"\r").unwrap_or(line); // or its \n is still to come
            if line.len() > self.cap {
                return Err(ErrorKind::InvalidData.into()); // nothing is taken: it fails again
            }
            if let Some(at) = newline {
                let line = line.to_vec();
                self.have.drain(..=at); // what comes after it is for the next call
                return Ok(Some(line));
            }
            if self.receive()? == 0 {
                let clean = self.have.is_empty();
                return if clean { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    /// One `recv` to the end of the buffer. 0 is the end of the stream.
    fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        loop {
            // SAFETY: `chunk` is writable for its whole length.
            let n = unsafe { libc::recv(self.fd, chunk.as_mut_ptr().cast(), chunk.len(), 0) };
            if n >= 0 {
                self.have.extend_from_slice(&chunk[..n as usize]);
                return Ok(n as usize);
            }
            let error = io::Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
        //<
    }
}

fn main() -> ExitCode {
    grader::lines::grade(LineReader::new, LineReader::next_line)
}
