//! refused: "it sent after its own shutdown"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn half_close(fd: RawFd, pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
    for piece in pieces {
        send_all(fd, piece)?;
        unsafe { libc::shutdown(fd, libc::SHUT_WR) };
    }
    if pieces.is_empty() {
        unsafe { libc::shutdown(fd, libc::SHUT_WR) };
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
            0 => return Ok(all),
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
