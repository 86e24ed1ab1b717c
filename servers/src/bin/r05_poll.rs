//! r05_poll  One thread for all clients: it asks which of them are ready, and waits for no one.
//!
//! Adds: calls that do not wait, and `poll`, which waits for all at once. The conversation is
//!   turned inside out: what a thread kept on its stack is now two buffers a client.
//! Promises: no client holds up another, and none costs a thread.
//! Limits: a client that never reads: its answers pile up in `output` without bound. And `poll`
//!   is told of every descriptor each time: the cost of a call grows with the clients. A SIGTERM
//!   in the middle of a frame cuts it off.
//! At work: for a few dozen descriptors, and where there is no epoll.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::Instant;

use libc::MSG_DONTWAIT;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use servers::log;
use servers::start::{self, Accepted};
use servers::wait::{millis_until, or_nothing, retry_eintr};
use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::sys::{self, NO_SIGPIPE};

struct Client {
    conn: UniqueFd,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The client has ended its stream.
    ended: bool,
    /// What is wrong with its last header. It is told when the answers before it have left.
    refused: Option<io::Error>,
    /// Our end has left. What still comes is thrown away.
    finished: bool,
}

fn main() -> ExitCode {
    start::run(include_str!("r05_poll.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    sys::set_nonblocking(&listener, true)?;
    let mut clients: Vec<Client> = Vec::new();
    let mut full_until: Option<Instant> = None;
    loop {
        let mut fds: Vec<PollFd> = clients.iter().map(Client::waits_for).collect();
        // While no descriptor is left, the listener stays ready, and poll would return at once.
        if full_until.is_none() {
            fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
        }
        let timeout = PollTimeout::try_from(millis_until(full_until)).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut fds, timeout).map(|n| n as usize);
        or_nothing(ready.map_err(|e| start::named("poll", e.into())))?;
        let happened: Vec<bool> = fds.iter().map(|fd| fd.any() != Some(false)).collect();

        let before = clients.len();
        let mut each = happened.iter();
        clients.retain_mut(|client| match each.next() {
            Some(true) => client.go_on().unwrap_or_else(|e| {
                log::line(e);
                client.finish()
            }),
            _ => true,
        });

        let somebody_left = clients.len() < before; // and a descriptor came back
        let ask = match full_until {
            None => happened[before],
            Some(until) => somebody_left || until <= Instant::now(),
        };
        if ask {
            full_until = accept(&listener, &mut clients)?;
        }
    }
}

/// Takes connections that wait: 64 a turn, for those inside have their turn, too. Returns until
/// when there is no descriptor for the next one.
fn accept(listener: &UniqueFd, clients: &mut Vec<Client>) -> io::Result<Option<Instant>> {
    for _ in 0..64 {
        match start::accept_now(listener)? {
            Accepted::Conn(conn) => clients.push(Client::new(conn)),
            Accepted::Nobody => break,
            Accepted::Full(until) => return Ok(Some(until)),
        }
    }
    Ok(None)
}

impl Client {
    fn new(conn: UniqueFd) -> Client {
        let (input, output) = (Vec::new(), Vec::new());
        Client { conn, input, output, ended: false, refused: None, finished: false }
    }

    fn waits_for(&self) -> PollFd<'_> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, self.reads());
        events.set(PollFlags::POLLOUT, !self.output.is_empty());
        PollFd::new(self.conn.as_fd(), events)
    }

    fn reads(&self) -> bool {
        !self.ended && self.refused.is_none()
    }

    /// Receives, answers and sends what can be done now. `false`: the conversation is over.
    fn go_on(&mut self) -> io::Result<bool> {
        let mut arrived = [0; 16 * 1024];
        if self.reads() {
            match retry_eintr(|| sys::recv(&self.conn, &mut arrived, MSG_DONTWAIT)) {
                Ok(0) => self.ended = true,
                Ok(n) => self.input.extend_from_slice(&arrived[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) if self.finished => self.ended = true,
                Err(e) => return Err(e),
            }
        }
        if self.finished {
            self.input.clear();
            return Ok(!self.ended);
        }
        while let Some(header) = self.input.first_chunk() {
            match decode_header(*header, DEFAULT_CAP) {
                Ok(len) if len <= self.input.len() - 4 => {
                    self.output.extend(self.input.drain(..4 + len)); // header and payload again
                }
                Ok(_) => break,
                Err(e) => {
                    self.refused = Some(e);
                    break;
                }
            }
        }
        if !self.output.is_empty() {
            match retry_eintr(|| sys::send(&self.conn, &self.output, MSG_DONTWAIT | NO_SIGPIPE)) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        if !self.output.is_empty() {
            return Ok(true);
        }
        // All answers are with the kernel.
        match self.refused.take() {
            Some(e) => Err(e),
            None if self.ended && !self.input.is_empty() => {
                Err(io::Error::new(ErrorKind::UnexpectedEof, "ended inside a frame"))
            }
            None => Ok(!self.ended),
        }
    }

    /// Our end leaves after the last answer, and what still comes is thrown away until the client's.
    /// Closed over bytes that nobody has read, the kernel would send a reset, which destroys the
    /// answers that have not arrived. `false`: the connection is broken.
    fn finish(&mut self) -> bool {
        self.finished = true;
        (self.input, self.output) = (Vec::new(), Vec::new());
        !self.ended && sys::shutdown(&self.conn, libc::SHUT_WR).is_ok()
    }
}
