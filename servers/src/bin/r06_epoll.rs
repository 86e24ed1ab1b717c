//! r06_epoll  The kernel keeps the list, and only those who have something to say cost anything.
//!
//! Adds: epoll, one shared buffer, back-pressure. epoll is told of a descriptor once. Most
//!   requests arrive whole, and their answer leaves from where they came in. Back-pressure: a
//!   client that does not read its answers is not read from. Both are in `src/conn.rs`.
//! Promises: a client that says nothing costs its descriptor and 40 bytes, and none fills the
//!   memory.
//! Limits: a million clients that say nothing, stop half-way or never leave. Each keeps a
//!   descriptor for ever. A SIGTERM in the middle of a frame cuts it off.
//! At work: this is what nginx, Redis and tokio have inside. Take one of those.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::Instant;

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLET, EPOLLIN};
use servers::conn::{Conn, Step};
use servers::epoll::{NO_EVENT, epoll_create1, epoll_ctl, epoll_wait};
use servers::log;
use servers::start::{self, Accepted};
use servers::wait::{millis_until, or_nothing};
use tcp_stream_io::{UniqueFd, sys};

struct Server {
    epoll: UniqueFd,
    listener: UniqueFd,
    /// Connections wait that have not been accepted: when to ask for them again.
    accept_at: Option<Instant>,
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
        let (clients, shared) = (Vec::new(), vec![0; 65536]);
        Ok(Server { epoll, listener, accept_at: None, clients, shared })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = [NO_EVENT; 256];
        loop {
            let timeout_ms = millis_until(self.accept_at);
            let happened = or_nothing(epoll_wait(&self.epoll, &mut events, timeout_ms))?;
            let mut accept = self.accept_at.is_some_and(|at| at <= Instant::now());
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

    /// Takes connections that wait: 64 a turn, for those inside have their turn, too.
    fn accept(&mut self) -> io::Result<()> {
        for _ in 0..64 {
            self.accept_at = match start::accept_now(&self.listener)? {
                Accepted::Conn(conn) => {
                    start::report(self.admit(conn)); // dropped, if epoll has no room for it
                    continue;
                }
                Accepted::Nobody => None,
                Accepted::Full(until) => Some(until),
            };
            return Ok(());
        }
        self.accept_at = Some(Instant::now());
        Ok(())
    }

    fn admit(&mut self, conn: UniqueFd) -> io::Result<()> {
        let fd = conn.as_raw_fd() as usize;
        let conn = Conn::new(conn);
        epoll_ctl(&self.epoll, EPOLL_CTL_ADD, &conn, conn.waits_for())?;
        if fd >= self.clients.len() {
            self.clients.resize_with(fd + 1, || None);
        }
        self.clients[fd] = Some(conn);
        Ok(())
    }

    /// Something happened to a client: an error, too, comes out of the call that is made now.
    fn go_on(&mut self, fd: usize, events: u32) -> io::Result<()> {
        let Some(conn) = &mut self.clients[fd] else { return Ok(()) };
        let stays = match conn.go_on(events, &mut self.shared) {
            Ok(step) => step != Step::End,
            Err(e) => {
                log::line(e);
                conn.finish()
            }
        };
        if !stays {
            self.clients[fd] = None; // closed, which takes it out of epoll's list
            self.accept_at = self.accept_at.map(|_| Instant::now()); // a descriptor came back
        } else if conn.asks_again() {
            epoll_ctl(&self.epoll, EPOLL_CTL_MOD, conn, conn.waits_for())?;
        }
        Ok(())
    }
}
