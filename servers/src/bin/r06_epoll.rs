//! r06_epoll  The kernel keeps the list, and only those who have something to say cost anything.
//!
//! Adds: epoll, one shared buffer, back-pressure. epoll is told of a descriptor once. Most
//!   requests arrive whole, and their answer leaves from where they came in. Back-pressure: a
//!   client that does not read its answers is not read from. Both are in `src/conn.rs`.
//! Does not survive: a million clients that say nothing or stop half-way. Each keeps a
//!   descriptor for ever.
//! At work: this is what nginx, Redis and tokio have inside. Take one of those.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLET, EPOLLIN};
use servers::conn::{Conn, Step};
use servers::epoll::{NO_EVENT, epoll_create1, epoll_ctl, epoll_wait};
use servers::start::{self, Accepted};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::{UniqueFd, sys};

struct Server {
    epoll: UniqueFd,
    listener: UniqueFd,
    /// A connection waits that could not be accepted.
    full: bool,
    /// By descriptor: the kernel gives the lowest free number, so there are no large gaps.
    clients: Vec<Option<Conn>>,
    shared: Vec<u8>,
}

fn main() -> ExitCode {
    start::run(include_str!("r06_epoll.rs"), |listener| Server::new(listener)?.serve())
}

impl Server {
    fn new(listener: UniqueFd) -> io::Result<Server> {
        sys::set_nonblocking(&listener, true)?;
        let epoll = epoll_create1()?;
        // EPOLLET: told once of what is new. Told again and again (the default), a connection that
        // cannot be accepted for want of descriptors would keep the loop spinning.
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &listener, EPOLLIN | EPOLLET)?;
        Ok(Server { epoll, listener, full: false, clients: Vec::new(), shared: vec![0; 65536] })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = [NO_EVENT; 256];
        loop {
            let happened = retry_eintr(|| epoll_wait(&self.epoll, &mut events, -1))?;
            let mut accept = self.full; // perhaps a client goes now, and leaves a descriptor
            for event in &events[..happened] {
                match event.u64 as RawFd {
                    fd if fd == self.listener.as_raw_fd() => accept = true,
                    fd => self.go_on(fd as usize, event.events)?,
                }
            }
            if accept {
                self.accept()?;
            }
        }
    }

    /// Takes all connections that wait, as far as the descriptors go.
    fn accept(&mut self) -> io::Result<()> {
        self.full = loop {
            let conn = match start::accept_now(&self.listener)? {
                Accepted::Conn(conn) => conn,
                Accepted::Nobody => break false,
                Accepted::Full => break true,
            };
            let fd = conn.as_raw_fd() as usize;
            let conn = Conn::new(conn);
            epoll_ctl(&self.epoll, EPOLL_CTL_ADD, &conn, conn.waits_for())?;
            if fd >= self.clients.len() {
                self.clients.resize_with(fd + 1, || None);
            }
            self.clients[fd] = Some(conn);
        };
        Ok(())
    }

    /// Something happened to a client: an error, too, comes out of the call that is made now.
    fn go_on(&mut self, fd: usize, events: u32) -> io::Result<()> {
        let Some(client) = &mut self.clients[fd] else { return Ok(()) };
        match client.go_on(events, &mut self.shared) {
            Ok(Step::End) => self.clients[fd] = None, // closed, which takes it out of epoll's list
            Err(e) => {
                start::complain(e);
                self.clients[fd] = None;
            }
            Ok(_) if client.asks_again() => {
                epoll_ctl(&self.epoll, EPOLL_CTL_MOD, &client, client.waits_for())?;
            }
            Ok(_) => {}
        }
        Ok(())
    }
}
