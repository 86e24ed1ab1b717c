//! r05_poll  One thread for all clients: it asks which of them are ready, and waits for no one.
//!
//! Adds: calls that do not wait, and `poll`, which waits for all at once. The conversation is
//!   turned inside out: what a thread kept on its stack is now two buffers a client.
//! Does not survive: a client that never reads: its answers pile up in `output` without bound.
//!   And `poll` is told of every descriptor each time: the cost of a call grows with the
//!   clients.
//! At work: for a few dozen descriptors, and where there is no epoll.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use libc::{MSG_DONTWAIT, POLLIN, POLLOUT, pollfd};
use servers::start::{self, Accepted};
use tcp_stream_io::UniqueFd;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::sys::{self, NO_SIGPIPE};

struct Client {
    conn: UniqueFd,
    input: Vec<u8>,
    output: Vec<u8>,
    ended: bool,
}

fn main() -> ExitCode {
    start::run(include_str!("r05_poll.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    sys::set_nonblocking(&listener, true)?;
    let mut clients: Vec<Client> = Vec::new();
    let mut full = false;
    loop {
        let listening = if full { -1 } else { listener.as_raw_fd() }; // poll passes over -1
        let mut fds = vec![pollfd { fd: listening, events: POLLIN, revents: 0 }];
        fds.extend(clients.iter().map(Client::waits_for));
        retry_eintr(|| sys::poll(&mut fds, if full { 100 } else { -1 }))?;

        let mut happened = fds[1..].iter().map(|fd| fd.revents != 0);
        clients.retain_mut(|client| match happened.next() {
            Some(true) => client.go_on().unwrap_or_else(|e| {
                start::complain(e);
                false // dropped, and closed
            }),
            _ => true,
        });
        full = loop {
            match start::accept_now(&listener)? {
                Accepted::Conn(conn) => clients.push(Client::new(conn)),
                Accepted::Nobody => break false,
                Accepted::Full => break true,
            }
        };
    }
}

impl Client {
    fn new(conn: UniqueFd) -> Client {
        Client { conn, input: Vec::new(), output: Vec::new(), ended: false }
    }

    fn waits_for(&self) -> pollfd {
        let reading = if self.ended { 0 } else { POLLIN };
        let writing = if self.output.is_empty() { 0 } else { POLLOUT };
        pollfd { fd: self.conn.as_raw_fd(), events: reading | writing, revents: 0 }
    }

    /// Receives, answers and sends what can be done now. `false`: the conversation is over.
    fn go_on(&mut self) -> io::Result<bool> {
        let mut arrived = [0; 16 * 1024];
        match retry_eintr(|| sys::recv(&self.conn, &mut arrived, MSG_DONTWAIT)) {
            Ok(0) => self.ended = true,
            Ok(n) => self.input.extend_from_slice(&arrived[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        while let Some(header) = self.input.first_chunk() {
            let whole = 4 + decode_header(*header, DEFAULT_CAP)?;
            if whole > self.input.len() {
                break;
            }
            self.output.extend(self.input.drain(..whole)); // the answer: header and payload again
        }
        if !self.output.is_empty() {
            match retry_eintr(|| sys::send(&self.conn, &self.output, MSG_DONTWAIT | NO_SIGPIPE)) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        if self.ended && self.output.is_empty() && !self.input.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "ended inside a frame"));
        }
        Ok(!(self.ended && self.output.is_empty()))
    }
}
