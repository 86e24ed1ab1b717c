//! r08_graceful  SIGTERM: no one new comes in, what has begun is finished, then the server ends.
//!
//! Adds: a graceful end: through `signalfd` a signal becomes one more descriptor that epoll
//!   watches, and nothing is ever interrupted. Who is between two frames is let go; who is
//!   inside one has until its deadline. A second signal ends the server at once.
//! Promises: what has arrived before SIGTERM is answered, and 7 s after it the server has ended.
//! Limits: its operator. Something went wrong last night, and nobody can say for whom.
//! At work: every restart of every server. Orchestrators send SIGTERM, and SIGKILL some time
//!   later.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EPOLLET, EPOLLIN, c_int};
use nix::sys::signalfd::SignalFd;
use servers::conn::{Conn, Step};
use servers::epoll::{NO_EVENT, epoll_create1, epoll_ctl, epoll_wait};
use servers::log;
use servers::start::{self, Accepted, LINGER};
use servers::wait::{millis_until, or_nothing};
use tcp_stream_io::{UniqueFd, sys};

const IDLE: Duration = Duration::from_secs(10);
const TOTAL: Duration = Duration::from_secs(5);

struct Client {
    conn: Conn,
    deadline: Instant,
}

struct Server {
    epoll: UniqueFd,
    /// Closed when the end has begun.
    listener: Option<UniqueFd>,
    signals: SignalFd,
    /// Connections wait that have not been accepted: when to ask for them again.
    accept_at: Option<Instant>,
    clients: Vec<Option<Client>>,
    shared: Vec<u8>,
    /// No client is late before this.
    next: Option<Instant>,
}

fn main() -> ExitCode {
    start::run(include_str!("r08_graceful.rs"), |listener| Server::new(listener)?.serve())
}

impl Server {
    fn new(listener: UniqueFd) -> io::Result<Server> {
        sys::set_nonblocking(&listener, true)?;
        let epoll = epoll_create1()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &listener, EPOLLIN | EPOLLET)?;
        let signals = start::signals_as_descriptor()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &signals, EPOLLIN)?;
        let (listener, clients, shared) = (Some(listener), Vec::new(), vec![0; 65536]);
        Ok(Server { epoll, listener, signals, accept_at: None, clients, shared, next: None })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = [NO_EVENT; 256];
        loop {
            // The clock comes first: whoever always has one more byte must not hold it up.
            self.finish_late()?;
            if self.listener.is_none() && self.clients.iter().all(Option::is_none) {
                return Ok(());
            }
            let until = [self.next, self.accept_at].into_iter().flatten().min();
            let timeout_ms = millis_until(until);
            let happened = or_nothing(epoll_wait(&self.epoll, &mut events, timeout_ms))?;
            let mut accept = self.accept_at.is_some_and(|at| at <= Instant::now());
            let mut stop = false;
            let listener = self.listener.as_ref().map(AsRawFd::as_raw_fd);
            for event in &events[..happened] {
                match event.u64 as RawFd {
                    fd if Some(fd) == listener => accept = true,
                    fd if fd == self.signals.as_raw_fd() => stop = true,
                    fd => self.go_on(fd as usize, event.events)?,
                }
            }
            if stop {
                self.stop()?;
            } else if accept {
                self.accept(64)?; // a turn: those inside have theirs, too
            }
        }
    }

    /// Takes connections that wait, so many at most.
    fn accept(&mut self, most: c_int) -> io::Result<()> {
        for _ in 0..most {
            let Some(listener) = &self.listener else { return Ok(()) };
            self.accept_at = match start::accept_now(listener)? {
                Accepted::Conn(conn) => {
                    start::report(self.admit(conn));
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

    /// The end begins. Who waits to be accepted has had its handshake, and still comes in. All have
    /// TOTAL for what has arrived, and from here on no frame gets new time.
    fn stop(&mut self) -> io::Result<()> {
        start::next_signal_ends(&self.signals)?;
        epoll_ctl(&self.epoll, EPOLL_CTL_DEL, &self.signals, 0)?;
        self.accept(start::BACKLOG)?;
        (self.listener, self.accept_at) = (None, None);
        let last = Instant::now() + TOTAL;
        self.next = earlier(self.next, last);
        for fd in 0..self.clients.len() {
            match &mut self.clients[fd] {
                Some(client) if client.conn.is_quiet() => self.finish(fd)?,
                Some(client) if !client.conn.is_finished() => client.deadline = last,
                _ => {}
            }
        }
        Ok(())
    }

    fn admit(&mut self, conn: UniqueFd) -> io::Result<()> {
        let fd = conn.as_raw_fd() as usize;
        let conn = Conn::new(conn);
        epoll_ctl(&self.epoll, EPOLL_CTL_ADD, &conn, conn.waits_for())?;
        if fd >= self.clients.len() {
            self.clients.resize_with(fd + 1, || None);
        }
        let deadline = Instant::now() + IDLE;
        self.clients[fd] = Some(Client { conn, deadline });
        self.next = earlier(self.next, deadline);
        Ok(())
    }

    fn go_on(&mut self, fd: usize, events: u32) -> io::Result<()> {
        let Some(Client { conn, deadline }) = &mut self.clients[fd] else { return Ok(()) };
        let was_idle = conn.is_idle();
        let step = match conn.go_on(events, &mut self.shared) {
            Ok(Step::End) => return self.close(fd),
            Ok(step) => step,
            Err(e) => {
                log::line(e);
                return self.finish(fd);
            }
        };
        if self.listener.is_none() && conn.is_quiet() {
            return self.finish(fd); // its frame is answered, and the server is about to end
        }
        // Only what is complete gives new time, and the first byte of a frame ends the silence.
        let begun_or_done = step != Step::Partial || was_idle && !conn.is_idle();
        if begun_or_done && self.listener.is_some() {
            *deadline = Instant::now() + if conn.is_idle() { IDLE } else { TOTAL };
            self.next = earlier(self.next, *deadline);
        }
        match conn.asks_again() {
            true => epoll_ctl(&self.epoll, EPOLL_CTL_MOD, conn, conn.waits_for()),
            false => Ok(()),
        }
    }

    /// Finishes with a client, and closes what it cannot wait for any more.
    fn finish(&mut self, fd: usize) -> io::Result<()> {
        let Some(Client { conn, deadline }) = &mut self.clients[fd] else { return Ok(()) };
        if !conn.finish() {
            return self.close(fd);
        }
        *deadline = Instant::now() + LINGER;
        self.next = earlier(self.next, *deadline);
        epoll_ctl(&self.epoll, EPOLL_CTL_MOD, conn, conn.waits_for())
    }

    fn close(&mut self, fd: usize) -> io::Result<()> {
        self.clients[fd] = None; // which takes it out of epoll's list
        self.accept_at = self.accept_at.map(|_| Instant::now()); // a descriptor came back
        Ok(())
    }

    /// Finishes with all who are late. One look at all clients, and only when one may be late, costs
    /// less than to keep them in order.
    fn finish_late(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.next.is_none_or(|next| next > now) {
            return Ok(());
        }
        self.next = None;
        for fd in 0..self.clients.len() {
            match &self.clients[fd] {
                Some(client) if client.deadline <= now => {
                    if !client.conn.is_finished() {
                        log::line("a client was too slow");
                    }
                    self.finish(fd)?;
                }
                Some(client) => self.next = earlier(self.next, client.deadline),
                None => {}
            }
        }
        Ok(())
    }
}

fn earlier(next: Option<Instant>, deadline: Instant) -> Option<Instant> {
    Some(next.map_or(deadline, |next| next.min(deadline)))
}
