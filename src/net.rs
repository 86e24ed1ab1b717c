//! Opening sockets: `listen_on`, `connect_to`, `accept`. The article's section 7.

use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::time::Instant;

use libc::{AF_INET6, AF_UNSPEC, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_STREAM, SOL_SOCKET};

use crate::addr::{Addr, AddrList, SockAddr, resolve};
use crate::fd::UniqueFd;
use crate::{stream, sys};

/// A listening socket at the first address of `host` that binds and listens. Port 0: any free port.
/// The error's text names every address and call. Its kind is the last one's; it has no errno.
pub fn listen_on(host: Option<&str>, port: u16, backlog: c_int) -> io::Result<UniqueFd> {
    let (mut failed, mut kind) = (Vec::new(), ErrorKind::AddrNotAvailable);
    for addr in resolve_to_listen(host, port)?.iter() {
        match listen_at(addr, backlog) {
            Ok(listener) => return Ok(listener),
            Err((call, e)) => {
                kind = e.kind();
                failed.push(format!("{call} {addr}: {e}"));
            }
        }
    }
    Err(io::Error::new(kind, failed.join("; ")))
}

/// The addresses to try. Without a host: `::`, which [`listen_at`] lets serve IPv4 as well, or
/// `0.0.0.0` where there is no IPv6. glibc lists `0.0.0.0` first, which leaves IPv6 clients out.
pub fn resolve_to_listen(host: Option<&str>, port: u16) -> io::Result<AddrList> {
    // Opened and closed at once: is there IPv6?
    let both = host.is_none() && sys::socket(AF_INET6, SOCK_STREAM, 0).is_ok();
    resolve(host, port, if both { AF_INET6 } else { AF_UNSPEC }, libc::AI_PASSIVE)
}

/// A socket that listens at one address; or the call that failed, and what it said.
pub fn listen_at(addr: Addr, backlog: c_int) -> Result<UniqueFd, (&'static str, io::Error)> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0).map_err(|e| ("socket", e))?;
    // Before bind: lets a restarted server have its port while old connections are in TIME_WAIT.
    // On Linux the server that made those must have set it, too. man: socket(7).
    sys::set_option(&fd, SOL_SOCKET, libc::SO_REUSEADDR, 1).map_err(|e| ("setsockopt", e))?;
    // `::` then serves IPv4 as well. Peers of IPv4 appear as ::ffff:192.0.2.1.
    if addr.family() == AF_INET6 {
        sys::set_option(&fd, IPPROTO_IPV6, IPV6_V6ONLY, 0).map_err(|e| ("setsockopt", e))?;
    }
    sys::bind(&fd, addr).map_err(|e| ("bind", e))?;
    // With SO_REUSEADDR two sockets may bind one port. Only the first to listen succeeds.
    sys::listen(&fd, backlog).map_err(|e| ("listen", e))?;
    Ok(fd)
}

/// A connection to the first address of `host` that accepts one. Errors: as of [`listen_on`].
/// Where nobody listens, a socket may be connected to itself: example s04_self_connect.
pub fn connect_to(host: &str, port: u16) -> io::Result<UniqueFd> {
    let (mut failed, mut kind) = (Vec::new(), ErrorKind::HostUnreachable);
    for addr in resolve(Some(host), port, AF_UNSPEC, 0)?.iter() {
        match connect_at(addr, None) {
            Ok(conn) => return Ok(conn),
            Err((call, e)) => {
                kind = e.kind();
                failed.push(format!("{call} {addr}: {e}"));
            }
        }
    }
    Err(io::Error::new(kind, failed.join("; ")))
}

/// A socket that is connected to one address; or the call that failed, and what it said.
pub fn connect_at(
    addr: Addr,
    deadline: Option<Instant>,
) -> Result<UniqueFd, (&'static str, io::Error)> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0).map_err(|e| ("socket", e))?;
    connect(&fd, addr, deadline).map_err(|e| ("connect", e))?;
    Ok(fd)
}

/// Connects a socket to one address. `TimedOut` once the deadline has passed: an attempt that has
/// begun goes on, so close the socket. However it ends, O_NONBLOCK is as it was found.
pub fn connect(fd: &UniqueFd, addr: Addr, deadline: Option<Instant>) -> io::Result<()> {
    if deadline.is_none() {
        return connect_once(fd, addr, None);
    }
    // A blocking `connect` waits for minutes. A non-blocking one leaves the waiting to us.
    stream::time_left(deadline)?;
    let nonblocking = sys::set_nonblocking(fd, true)?;
    let result = connect_once(fd, addr, deadline);
    sys::set_nonblocking(fd, nonblocking)?;
    result
}

/// `connect` is called once. Interrupted, it goes on without us, and a second call may wait, or say
/// EALREADY, EISCONN or success. So ask for the result, as after EINPROGRESS. man: connect(3p).
fn connect_once(fd: &UniqueFd, addr: Addr, deadline: Option<Instant>) -> io::Result<()> {
    match sys::connect(fd, addr) {
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINTR | libc::EINPROGRESS)) => {}
        result => return result,
    }
    // Writable, or in error: the attempt has ended. SO_ERROR says how, and reading clears it.
    stream::wait_ready(fd, libc::POLLOUT, deadline)?;
    match sys::get_option(fd, SOL_SOCKET, libc::SO_ERROR)? {
        // No error is no proof: another thread may have read it. But who has a peer is connected.
        0 => sys::getpeername(fd).map(|_| ()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Takes one connection off the queue. [`accept_advice`] says what to do about an error.
pub fn accept(listener: &UniqueFd) -> io::Result<(UniqueFd, SockAddr)> {
    loop {
        match sys::accept(listener) {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

/// What a server does about an error of `accept`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptAdvice {
    /// It concerns one connection only: go on. Or (EAGAIN) none is there now: back to `poll`.
    TryAgain,
    /// No descriptor is left, or no memory; or the error is not known. Calling at once may spin.
    Wait,
    /// The listener itself is wrong.
    GiveUp,
}

/// Tells the errors of `accept` apart. man: accept(2), "Error handling". That page also retries
/// EOPNOTSUPP. Here that is `GiveUp`, for a socket that is no stream gives it for ever.
pub fn accept_advice(error: &io::Error) -> AcceptAdvice {
    use libc::*;
    match error.raw_os_error().unwrap_or(0) {
        EBADF | EFAULT | EINVAL | ENOTSOCK | EOPNOTSUPP => AcceptAdvice::GiveUp,
        EAGAIN | EINTR | ECONNABORTED | EPERM => AcceptAdvice::TryAgain,
        // Linux hands over an error that was waiting on the new connection.
        ENETDOWN | ENETUNREACH | EHOSTDOWN | EHOSTUNREACH | ETIMEDOUT | EPROTO | ENOPROTOOPT
        | EPROTONOSUPPORT | ESOCKTNOSUPPORT => AcceptAdvice::TryAgain,
        // EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSR, ENONET, and what is new: a pause does no harm.
        _ => AcceptAdvice::Wait,
    }
}
