//! Opening sockets: `listen_on`, `connect_to`, `accept`. The article's section 7.

use std::cell::Cell;
use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::time::Instant;
use std::{error, fmt};

use libc::{AF_INET6, SOCK_STREAM, SOL_SOCKET};

use crate::addr::{Addr, Hints, SockAddr, resolve};
use crate::fd::UniqueFd;
use crate::{stream, sys};

/// A listening socket at the first address of `host` that binds. Port 0: a free port, which
/// [`sys::getsockname`] tells. The error carries the [`Attempts`].
///
/// `None` for the host serves IPv4 and IPv6 with one socket, `::` with IPV6_V6ONLY off, or
/// `0.0.0.0` where there is no IPv6. `getaddrinfo` lists `0.0.0.0` first, so that a listener
/// that takes the first address leaves every IPv6 client out.
pub fn listen_on(host: Option<&str>, port: u16, backlog: c_int) -> io::Result<UniqueFd> {
    listen_on_reporting(host, port, backlog, |_| {})
}

/// As [`listen_on`], telling of each address that failed as it happens.
pub fn listen_on_reporting(
    host: Option<&str>,
    port: u16,
    backlog: c_int,
    report: impl FnMut(&Attempt),
) -> io::Result<UniqueFd> {
    let list = resolve(host, port, &Hints { flags: libc::AI_PASSIVE, ..Hints::default() })?;
    let mut addrs: Vec<Addr> = list.iter().collect();
    if host.is_none() {
        addrs.sort_by_key(|addr| addr.family() != AF_INET6); // `::` first, for it serves both
    }
    // Where `::` is only taken, `0.0.0.0` behind it would leave IPv6 clients out in silence.
    let taken = Cell::new(false);
    let addrs = addrs.into_iter().take_while(|_| host.is_some() || !taken.get());
    let open = |addr: Addr| {
        let opened = listen_at(addr, backlog);
        taken.set(opened.as_ref().is_err_and(|(_, e)| e.kind() == ErrorKind::AddrInUse));
        opened
    };
    first_that_works(addrs, open, report)
}

fn listen_at(addr: Addr, backlog: c_int) -> Result<UniqueFd, (&'static str, io::Error)> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0).map_err(|e| ("socket", e))?;
    // Before bind: lets a restarted server have its port while old connections are in TIME_WAIT,
    // if the server that made those had set it, too.
    sys::set_option(&fd, SOL_SOCKET, libc::SO_REUSEADDR, 1).map_err(|e| ("setsockopt", e))?;
    if addr.family() == AF_INET6 {
        sys::set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 0)
            .map_err(|e| ("setsockopt", e))?;
    }
    sys::bind(&fd, addr).map_err(|e| ("bind", e))?;
    sys::listen(&fd, backlog).map_err(|e| ("listen", e))?; // may say EADDRINUSE after bind did not
    Ok(fd)
}

/// A connection to the first address of `host` that accepts one. The error carries the
/// [`Attempts`].
pub fn connect_to(host: &str, port: u16) -> io::Result<UniqueFd> {
    connect_to_reporting(host, port, None, |_| {})
}

/// As [`connect_to`], but `TimedOut` once `deadline` has passed, for all addresses together.
pub fn connect_to_with_deadline(host: &str, port: u16, deadline: Instant) -> io::Result<UniqueFd> {
    connect_to_reporting(host, port, Some(deadline), |_| {})
}

/// As [`connect_to`], telling of each address that failed as it happens.
pub fn connect_to_reporting(
    host: &str,
    port: u16,
    deadline: Option<Instant>,
    report: impl FnMut(&Attempt),
) -> io::Result<UniqueFd> {
    let list = resolve(Some(host), port, &Hints::default())?;
    first_that_works(list.iter(), |addr| connect_at(addr, deadline), report)
}

fn connect_at(
    addr: Addr,
    deadline: Option<Instant>,
) -> Result<UniqueFd, (&'static str, io::Error)> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0).map_err(|e| ("socket", e))?;
    connect(&fd, addr, deadline).map_err(|e| ("connect", e))?;
    Ok(fd)
}

/// Connects a socket to one address. man: connect(2).
///
/// `connect` is called once. Interrupted, it goes on without us: to call it again gives EALREADY,
/// EISCONN or success, depending on the moment. So wait until the socket is writable and ask
/// SO_ERROR how it ended, which is also the way with a deadline.
pub fn connect(fd: impl AsFd, addr: Addr, deadline: Option<Instant>) -> io::Result<()> {
    if deadline.is_some() {
        sys::set_nonblocking(&fd, true)?;
    }
    match sys::connect(&fd, addr) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EINPROGRESS)) => {
            stream::wait_ready(&fd, libc::POLLOUT, deadline)?;
            match sys::get_option(&fd, SOL_SOCKET, libc::SO_ERROR)? {
                // SO_ERROR 0 and yet not connected: then it never began.
                0 => sys::getpeername(&fd).map(|_| ())?,
                errno => return Err(io::Error::from_raw_os_error(errno)),
            }
        }
        result => result?,
    }
    if deadline.is_some() { sys::set_nonblocking(&fd, false) } else { Ok(()) }
}

/// Takes one connection off the queue, and calls again on EINTR. What to do about any other
/// error, [`accept_advice`] says.
pub fn accept(listener: impl AsFd) -> io::Result<(UniqueFd, SockAddr)> {
    stream::retry_eintr(|| sys::accept(&listener))
}

/// What a server does about an error of `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptAdvice {
    /// It concerns one connection only, or none is there now: go on.
    TryAgain,
    /// No descriptor or memory is left, and the connection stays in the queue: to call again at
    /// once spins. Wait until something has been closed.
    Wait,
    /// The listener itself is wrong.
    GiveUp,
}

/// Tells the errors of `accept` apart. man: accept(2), "Error handling".
pub fn accept_advice(error: &io::Error) -> AcceptAdvice {
    use libc::*;
    match error.raw_os_error().unwrap_or(0) {
        EAGAIN | EINTR | ECONNABORTED | EPERM => AcceptAdvice::TryAgain,
        // Linux hands over an error that was waiting on the new connection.
        EPROTO | ENOPROTOOPT | ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH | ETIMEDOUT => {
            AcceptAdvice::TryAgain
        }
        EMFILE | ENFILE | ENOBUFS | ENOMEM => AcceptAdvice::Wait,
        _ => AcceptAdvice::GiveUp,
    }
}

fn first_that_works<'a>(
    addrs: impl Iterator<Item = Addr<'a>>,
    mut open: impl FnMut(Addr) -> Result<UniqueFd, (&'static str, io::Error)>,
    mut report: impl FnMut(&Attempt),
) -> io::Result<UniqueFd> {
    let mut failed = Vec::new();
    for addr in addrs {
        match open(addr) {
            Ok(fd) => return Ok(fd),
            Err((call, error)) => {
                let attempt = Attempt { call, addr: addr.to_string(), error };
                report(&attempt);
                failed.push(attempt);
            }
        }
    }
    let kind = failed.last().map_or(ErrorKind::NotFound, |last| last.error.kind());
    Err(io::Error::new(kind, Attempts { failed }))
}

/// One address that did not work.
#[derive(Debug)]
pub struct Attempt {
    /// The system call that failed: "socket", "bind", "connect" …
    pub call: &'static str,
    /// The address, as text.
    pub addr: String,
    /// What the call said.
    pub error: io::Error,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.call, self.addr, self.error)
    }
}

/// All addresses that did not work, in order. It sits inside the [`io::Error`], which has the
/// last one's kind.
#[derive(Debug)]
pub struct Attempts {
    /// At least one, unless the name had no address.
    pub failed: Vec<Attempt>,
}

impl Attempts {
    /// The one inside an error that [`listen_on`] or [`connect_to`] returned.
    pub fn of(error: &io::Error) -> Option<&Attempts> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.failed.iter().map(Attempt::to_string).collect();
        f.write_str(&texts.join("; "))
    }
}

impl error::Error for Attempts {}
