//! refused: "the end of the answer is no error"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn half_close(fd: RawFd, pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
    for piece in pieces {
        send_all(fd, piece)?;
    }
    if unsafe { libc::shutdown(fd, libc::SHUT_WR) } != 0 {
        return Err(io::Error::last_os_error());
    }
    recv_to_end(fd)
}

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let rest = &buf[sent..];
        let n = unsafe { libc::send(fd, rest.as_ptr().cast(), rest.len(), libc::MSG_NOSIGNAL) };
        match n {
            0.. => sent += n as usize,
            _ => unless_interrupted()?,
        }
    }
    Ok(())
}

fn recv_to_end(fd: RawFd) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match unsafe { libc::recv(fd, piece.as_mut_ptr().cast(), piece.len(), 0) } {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n @ 1.. => all.extend_from_slice(&piece[..n as usize]),
            _ => unless_interrupted()?,
        }
    }
}

fn unless_interrupted() -> io::Result<()> {
    let error = io::Error::last_os_error();
    if error.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(error) }
}

fn main() -> ExitCode {
    grader::half_close::grade(half_close)
}
