//! r09_tracing  What happened to whom, in lines that a machine can search.
//!
//! Adds: structured logging. A client has a number; an event has a name and fields, not a
//!   sentence: `frames=12 ms=340`, to filter by and to count. Events go to stderr; what is
//!   below the level (here: an event a request) costs one comparison.
//! Promises: what r08 does, and one line for each coming and each going.
//! Limits: a listener between it and its clients. All is sent in the clear.
//! At work: tracing, with spans (OpenTelemetry) where a request crosses several servers.

use std::env;
use std::io::{self, IsTerminal};
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
use tracing::{Level, info, trace, warn};

const IDLE: Duration = Duration::from_secs(10);
const TOTAL: Duration = Duration::from_secs(5);

struct Client {
    conn: Conn,
    deadline: Instant,
    id: u64,
    since: Instant,
    frames: usize,
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
    admitted: u64,
}

fn main() -> ExitCode {
    let colours =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let events = tracing_subscriber::fmt().with_max_level(Level::INFO).with_target(false);
    events.with_writer(|| log::Writer).with_ansi(colours).log_internal_errors(false).init();
    start::run(include_str!("r09_tracing.rs"), |listener| Server::new(listener)?.serve())
}

impl Server {
    fn new(listener: UniqueFd) -> io::Result<Server> {
        sys::set_nonblocking(&listener, true)?;
        let epoll = epoll_create1()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &listener, EPOLLIN | EPOLLET)?;
        let signals = start::signals_as_descriptor()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &signals, EPOLLIN)?;
        info!(fd = listener.as_raw_fd(), "listening");
        Ok(Server {
            epoll,
            listener: Some(listener),
            signals,
            accept_at: None,
            clients: Vec::new(),
            shared: vec![0; 65536],
            next: None,
            admitted: 0,
        })
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
        info!(open = self.clients.iter().flatten().count(), "stopping");
        let last = Instant::now() + TOTAL;
        self.next = earlier(self.next, last);
        for fd in 0..self.clients.len() {
            match &mut self.clients[fd] {
                Some(client) if client.conn.is_quiet() => {
                    client.closed("the server stops");
                    self.finish(fd)?;
                }
                Some(client) if !client.conn.is_finished() => client.deadline = last,
                _ => {}
            }
        }
        Ok(())
    }

    fn admit(&mut self, conn: UniqueFd) -> io::Result<()> {
        let fd = conn.as_raw_fd() as usize;
        let peer = sys::getpeername(&conn).map_or("gone".into(), |peer| peer.to_string());
        let conn = Conn::new(conn);
        epoll_ctl(&self.epoll, EPOLL_CTL_ADD, &conn, conn.waits_for())?;
        if fd >= self.clients.len() {
            self.clients.resize_with(fd + 1, || None);
        }
        self.admitted += 1;
        let (id, since) = (self.admitted, Instant::now());
        info!(client = id, peer, "accepted");
        let deadline = since + IDLE;
        self.clients[fd] = Some(Client { conn, deadline, id, since, frames: 0 });
        self.next = earlier(self.next, deadline);
        Ok(())
    }

    fn go_on(&mut self, fd: usize, events: u32) -> io::Result<()> {
        let Some(client) = &mut self.clients[fd] else { return Ok(()) };
        let was_idle = client.conn.is_idle();
        let step = match client.conn.go_on(events, &mut self.shared) {
            Ok(Step::End) => {
                client.closed("its end");
                return self.close(fd);
            }
            Ok(step) => step,
            Err(e) => {
                client.dropped(&e);
                return self.finish(fd);
            }
        };
        if let Step::Frames(frames) = step {
            client.frames += frames;
            trace!(client = client.id, frames, "answered");
        }
        if self.listener.is_none() && client.conn.is_quiet() {
            client.closed("the server stops");
            return self.finish(fd); // its frame is answered, and the server is about to end
        }
        // Only what is complete gives new time, and the first byte of a frame ends the silence.
        let begun_or_done = step != Step::Partial || was_idle && !client.conn.is_idle();
        if begun_or_done && self.listener.is_some() {
            client.deadline = Instant::now() + if client.conn.is_idle() { IDLE } else { TOTAL };
            self.next = earlier(self.next, client.deadline);
        }
        match client.conn.asks_again() {
            true => epoll_ctl(&self.epoll, EPOLL_CTL_MOD, &client.conn, client.conn.waits_for()),
            false => Ok(()),
        }
    }

    /// Finishes with a client, and closes what it cannot wait for any more.
    fn finish(&mut self, fd: usize) -> io::Result<()> {
        let Some(Client { conn, deadline, .. }) = &mut self.clients[fd] else { return Ok(()) };
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
                    client.dropped(&io::ErrorKind::TimedOut.into());
                    self.finish(fd)?;
                }
                Some(client) => self.next = earlier(self.next, client.deadline),
                None => {}
            }
        }
        Ok(())
    }
}

impl Client {
    /// The conversation is over, and it was told so. What follows is only its close.
    fn closed(&self, why: &str) {
        if !self.conn.is_finished() {
            let ms = self.since.elapsed().as_millis() as u64;
            info!(client = self.id, frames = self.frames, ms, why, "closed");
        }
    }

    fn dropped(&self, error: &io::Error) {
        if !self.conn.is_finished() {
            let ms = self.since.elapsed().as_millis() as u64;
            warn!(client = self.id, frames = self.frames, ms, %error, "dropped");
        }
    }
}

fn earlier(next: Option<Instant>, deadline: Instant) -> Option<Instant> {
    Some(next.map_or(deadline, |next| next.min(deadline)))
}
