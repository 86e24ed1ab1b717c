//! r09_tracing  What happened to whom, in lines that a machine can search.
//!
//! Adds: structured logging. A client has a number; an event has a name and fields, not a
//!   sentence: `frames=12 ms=340`, to filter by and to count. Events go to stderr; what is
//!   below the level (here: an event a request) costs one comparison.
//! Does not survive: a listener between it and its clients: all is sent in the clear.
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
use servers::start::{self, Accepted};
use tcp_stream_io::stream::retry_eintr;
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
    full: bool,
    clients: Vec<Option<Client>>,
    shared: Vec<u8>,
    /// No client is late before this.
    next: Option<Instant>,
    accepted: u64,
}

fn main() -> ExitCode {
    let colours =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let log = tracing_subscriber::fmt().with_max_level(Level::INFO).with_target(false);
    log.with_writer(io::stderr).with_ansi(colours).log_internal_errors(false).init();
    start::run(include_str!("r09_tracing.rs"), |listener| Server::new(listener)?.serve())
}

impl Server {
    fn new(listener: UniqueFd) -> io::Result<Server> {
        sys::set_nonblocking(&listener, true)?;
        let epoll = epoll_create1()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &listener, EPOLLIN | EPOLLET)?;
        let signals = start::signals_as_descriptor()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &signals, EPOLLIN)?;
        let (clients, shared) = (Vec::new(), vec![0; 65536]);
        let listener = Some(listener);
        info!(fd = listener.as_ref().map(AsRawFd::as_raw_fd), "listening");
        Ok(Server {
            epoll,
            listener,
            signals,
            full: false,
            clients,
            shared,
            next: None,
            accepted: 0,
        })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = [NO_EVENT; 256];
        while self.listener.is_some() || self.clients.iter().any(Option::is_some) {
            let timeout_ms = self.drop_late();
            let happened = retry_eintr(|| epoll_wait(&self.epoll, &mut events, timeout_ms))?;
            let (mut accept, mut stop) = (self.full, false);
            for event in &events[..happened] {
                match event.u64 as RawFd {
                    fd if self.listener.as_ref().is_some_and(|l| l.as_raw_fd() == fd) => {
                        accept = true;
                    }
                    fd if fd == self.signals.as_raw_fd() => stop = true,
                    fd => self.go_on(fd as usize, event.events)?,
                }
            }
            if accept || stop {
                self.accept()?; // also before the end: these have had their handshake
            }
            if stop {
                self.stop()?;
            }
        }
        Ok(())
    }

    /// Takes all connections that wait, as far as the descriptors go.
    fn accept(&mut self) -> io::Result<()> {
        let Some(listener) = &self.listener else { return Ok(()) };
        self.full = loop {
            let conn = match start::accept_now(listener)? {
                Accepted::Conn(conn) => conn,
                Accepted::Nobody => break false,
                Accepted::Full => {
                    warn!("no descriptor is left");
                    break true;
                }
            };
            let fd = conn.as_raw_fd() as usize;
            let conn = Conn::new(conn);
            epoll_ctl(&self.epoll, EPOLL_CTL_ADD, &conn, conn.waits_for())?;
            if fd >= self.clients.len() {
                self.clients.resize_with(fd + 1, || None);
            }
            self.accepted += 1;
            let (id, since) = (self.accepted, Instant::now());
            let peer = sys::getpeername(&conn).map_or("gone".into(), |peer| peer.to_string());
            info!(client = id, peer, "accepted");
            let deadline = since + IDLE;
            self.clients[fd] = Some(Client { conn, deadline, id, since, frames: 0 });
            self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        };
        Ok(())
    }

    /// The end begins. From here on no deadline moves, so that it is over within TOTAL.
    fn stop(&mut self) -> io::Result<()> {
        start::next_signal_ends(&self.signals)?;
        epoll_ctl(&self.epoll, EPOLL_CTL_DEL, &self.signals, 0)?;
        self.listener = None;
        self.full = false;
        info!(open = self.clients.iter().flatten().count(), "stopping");
        let last = Instant::now() + TOTAL;
        for slot in &mut self.clients {
            match slot {
                Some(client) if client.conn.is_quiet() => {
                    client.closed("the server stops");
                    *slot = None;
                }
                Some(client) => client.deadline = client.deadline.min(last),
                None => {}
            }
        }
        self.next = self.next.map(|next| next.min(last));
        Ok(())
    }

    fn go_on(&mut self, fd: usize, events: u32) -> io::Result<()> {
        let Some(client) = &mut self.clients[fd] else { return Ok(()) };
        let was_idle = client.conn.is_idle();
        let step = match client.conn.go_on(events, &mut self.shared) {
            Ok(Step::End) => {
                client.closed("its end");
                self.clients[fd] = None;
                return Ok(());
            }
            Err(e) => {
                client.failed(&e);
                self.clients[fd] = None;
                return Ok(());
            }
            Ok(step) => step,
        };
        if let Step::Frames(frames) = step {
            client.frames += frames;
            trace!(client = client.id, frames, "answered");
        }
        if client.conn.asks_again() {
            epoll_ctl(&self.epoll, EPOLL_CTL_MOD, &client.conn, client.conn.waits_for())?;
        }
        if self.listener.is_none() {
            if client.conn.is_quiet() {
                client.closed("the server stops");
                self.clients[fd] = None;
            }
            return Ok(());
        }
        // Only what is complete gives new time; a part of it does not.
        if was_idle || step != Step::Partial {
            let deadline = Instant::now() + if client.conn.is_idle() { IDLE } else { TOTAL };
            client.deadline = deadline;
            self.next = Some(self.next.map_or(deadline, |next| next.min(deadline)));
        }
        Ok(())
    }

    /// Drops who is late. Returns for how many milliseconds nobody else can be. One look at all
    /// clients, and only when one may be late, costs less than to keep them in order.
    fn drop_late(&mut self) -> c_int {
        let Some(next) = self.next else { return -1 };
        let now = Instant::now();
        if next <= now {
            for slot in &mut self.clients {
                if let Some(client) = slot.take_if(|client| client.deadline <= now) {
                    client.failed(&io::ErrorKind::TimedOut.into());
                }
            }
            self.next = self.clients.iter().flatten().map(|client| client.deadline).min();
        }
        // Rounded up: rounded down, the last millisecond would be spent spinning.
        let left = self.next.map(|next| (next - now).as_nanos().div_ceil(1_000_000));
        left.map_or(-1, |ms| ms as c_int)
    }
}

impl Client {
    fn closed(&self, why: &str) {
        let ms = self.since.elapsed().as_millis() as u64;
        info!(client = self.id, frames = self.frames, ms, why, "closed");
    }

    fn failed(&self, error: &io::Error) {
        let ms = self.since.elapsed().as_millis() as u64;
        warn!(client = self.id, frames = self.frames, ms, %error, "dropped");
    }
}
