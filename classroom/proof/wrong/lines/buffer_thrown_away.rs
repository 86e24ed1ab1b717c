//! refused: "the bytes behind the first line were lost"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

struct LineReader {
    fd: RawFd,
    cap: usize,
    have: Vec<u8>,
}

impl LineReader {
    fn new(fd: RawFd, cap: usize) -> LineReader {
        LineReader { fd, cap, have: Vec::new() }
    }

    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let newline = self.have.iter().position(|&byte| byte == b'\n');
            let line = &self.have[..newline.unwrap_or(self.have.len())];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() > self.cap {
                return Err(ErrorKind::InvalidData.into());
            }
            if let Some(at) = newline {
                let line = line.to_vec();
                self.have.clear();
                return Ok(Some(line));
            }
            if self.receive()? == 0 {
                let clean = self.have.is_empty();
                return if clean { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        loop {
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
    }
}

fn main() -> ExitCode {
    grader::lines::grade(LineReader::new, LineReader::next_line)
}
