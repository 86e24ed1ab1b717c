//! refused: "waits for the end of ours"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn poll_two(clients: [RawFd; 2]) -> io::Result<()> {
    let mut clients = clients.map(|fd| Client { fd, back: Vec::new(), done: false });
    while !clients.iter().all(|client| client.done) {
        let mut ready = clients.each_ref().map(Client::waits_for);
        if unsafe { libc::poll(ready.as_mut_ptr(), 2, -1) } < 0 {
            unless_try_again()?;
            continue;
        }
        for (client, ready) in clients.iter_mut().zip(ready) {
            if ready.revents != 0 && client.go_on().is_err() {
                client.done = true;
            }
        }
    }
    Ok(())
}

struct Client {
    fd: RawFd,
    back: Vec<u8>,
    done: bool,
}

impl Client {
    fn waits_for(&self) -> libc::pollfd {
        let fd = if self.done { -1 } else { self.fd };
        let events = if self.back.is_empty() { libc::POLLIN } else { libc::POLLOUT };
        libc::pollfd { fd, events, revents: 0 }
    }

    fn go_on(&mut self) -> io::Result<()> {
        if self.back.is_empty() {
            let mut piece = [0; 4096];
            let (at, len) = (piece.as_mut_ptr().cast(), piece.len());
            match unsafe { libc::recv(self.fd, at, len, libc::MSG_DONTWAIT) } {
                n @ 1.. => self.back.extend_from_slice(&piece[..n as usize]),
                0 => {
                    self.done = true;
                }
                _ => return unless_try_again(),
            }
        }
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match unsafe { libc::send(self.fd, self.back.as_ptr().cast(), self.back.len(), flags) } {
            n @ 0.. => drop(self.back.drain(..n as usize)),
            _ if self.done => {}
            _ => return unless_try_again(),
        }
        Ok(())
    }
}

fn unless_try_again() -> io::Result<()> {
    let error = io::Error::last_os_error();
    match error.kind() {
        ErrorKind::Interrupted | ErrorKind::WouldBlock => Ok(()),
        _ => Err(error),
    }
}

fn main() -> ExitCode {
    grader::poll_two::grade(poll_two)
}
