//! r07_deadlines  Nobody may stay silent for ever, and nobody may take for ever over one frame.
//!
//! Adds: deadlines, idle and total: an instant for each client by which it must have done
//!   something. Between frames it is IDLE from the last answer. From the first byte of a frame
//!   it is TOTAL for the whole of it, and a byte now and then does not move it; so, too, for
//!   taking the answers.
//! Promises: 10 s for silence, 5 s for a frame, 5 s for its answer, 2 s for the client's end.
//! Limits: its own restart. A SIGTERM in the middle of a frame cuts it off.
//! At work: the first thing to look for in any server's settings.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLET, EPOLLIN};
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
    listener: UniqueFd,
    /// Connections wait that have not been accepted: when to ask for them again.
    accept_at: Option<Instant>,
    clients: Vec<Option<Client>>,
    shared: Vec<u8>,
    /// No client is late before this.
    next: Option<Instant>,
}

fn main() -> ExitCode {
    start::run(include_str!("r07_deadlines.rs"), |listener| Server::new(listener)?.serve())
}

impl Server {
    fn new(listener: UniqueFd) -> io::Result<Server> {
        sys::set_nonblocking(&listener, true)?;
        let epoll = epoll_create1()?;
        epoll_ctl(&epoll, EPOLL_CTL_ADD, &listener, EPOLLIN | EPOLLET)?;
        let (clients, shared) = (Vec::new(), vec![0; 65536]);
        Ok(Server { epoll, listener, accept_at: None, clients, shared, next: None })
    }

    fn serve(&mut self) -> io::Result<()> {
        let mut events = [NO_EVENT; 256];
        loop {
            // The clock comes first: whoever always has one more byte must not hold it up.
            self.finish_late()?;
            let until = [self.next, self.accept_at].into_iter().flatten().min();
            let timeout_ms = millis_until(until);
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
        // Only what is complete gives new time, and the first byte of a frame ends the silence.
        if step != Step::Partial || was_idle && !conn.is_idle() {
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
