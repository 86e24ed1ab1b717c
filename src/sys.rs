//! One function per system call: what the kernel said, and nothing decided.
//!
//! Each makes exactly one call. A failure is errno as an [`io::Error`], EINTR among them: whether
//! to call again is decided one floor up, in `stream` and `net`, where the loop can be seen.
//! A descriptor is lent to a call; a new one comes back as a [`UniqueFd`], always close-on-exec.

use std::ffi::{c_int, c_void};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd};
use std::time::Duration;
use std::{mem, ptr};

use libc::{socklen_t, ssize_t, timeval};

use crate::addr::{Addr, SockAddr};
use crate::fd::UniqueFd;

pub use platform::NO_SIGPIPE;

/// errno as an error: the article's `last_errno`.
pub fn last_errno() -> io::Error {
    io::Error::from_raw_os_error(errno::errno().0)
}

/// For calls that return 0, or -1 and errno.
pub(crate) fn zero_or_errno(rc: c_int) -> io::Result<()> {
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

/// For calls that return a count of bytes, or -1 and errno.
fn count_or_errno(n: ssize_t) -> io::Result<usize> {
    if n >= 0 { Ok(n as usize) } else { Err(last_errno()) }
}

/// For calls that return a new descriptor, or -1 and errno.
fn fd_or_errno(fd: c_int) -> io::Result<UniqueFd> {
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY:
    // - the kernel has just opened `fd` for this call, so nobody else owns it.
    Ok(unsafe { UniqueFd::from_raw_fd(fd) })
}

/// Opens a socket. man: socket(2).
/// Errors: EAFNOSUPPORT (no such family here), EMFILE, ENFILE. EINTR: cannot happen.
pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<UniqueFd> {
    // Close-on-exec is set in the same call: set later, a fork in between would leak it.
    let fd = fd_or_errno(platform::socket_cloexec(family, kind, protocol))?;
    platform::never_sigpipe(&fd)?;
    Ok(fd)
}

/// Gives the socket its local address. man: bind(2).
/// Errors: EADDRINUSE, EADDRNOTAVAIL (not an address of this machine), EACCES. EINTR: no.
pub fn bind(fd: impl AsFd, addr: Addr<'_>) -> io::Result<()> {
    let (sa, len) = addr.as_ptr();
    // SAFETY:
    // - `addr` guarantees that `sa` is readable for `len` bytes.
    zero_or_errno(unsafe { libc::bind(raw(&fd), sa, len) })
}

/// Starts to queue connections, `backlog` of them. man: listen(2).
/// Errors: EADDRINUSE (two sockets were bound, the other one listens). EINTR: no.
pub fn listen(fd: impl AsFd, backlog: c_int) -> io::Result<()> {
    // SAFETY:
    // - no memory is passed.
    zero_or_errno(unsafe { libc::listen(raw(&fd), backlog) })
}

/// Takes one connection off the queue, with the peer's address. man: accept(2).
/// Errors: see [`net::accept_advice`](crate::net::accept_advice). EINTR: reported; `net::accept`
/// calls again.
pub fn accept(listener: impl AsFd) -> io::Result<(UniqueFd, SockAddr)> {
    let (fd, peer) =
        SockAddr::filled_by(|sa, len| platform::accept_cloexec(listener.as_fd(), sa, len));
    let fd = fd_or_errno(fd)?;
    platform::never_sigpipe(&fd)?;
    Ok((fd, peer))
}

/// Connects; on a blocking socket the handshake is over when it returns. man: connect(2).
/// Errors: ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EINPROGRESS (non-blocking: poll, then SO_ERROR).
/// EINTR: reported, and the handshake goes on: never call it again, poll as for EINPROGRESS.
pub fn connect(fd: impl AsFd, addr: Addr<'_>) -> io::Result<()> {
    let (sa, len) = addr.as_ptr();
    // SAFETY:
    // - `addr` guarantees that `sa` is readable for `len` bytes.
    zero_or_errno(unsafe { libc::connect(raw(&fd), sa, len) })
}

/// Copies bytes into the send buffer and returns how many. man: send(2).
/// Errors: EPIPE, ECONNRESET, EAGAIN. EINTR: reported, and only when nothing was copied.
/// Pass [`NO_SIGPIPE`] in the flags, or EPIPE comes with a signal that kills the process.
pub fn send(fd: impl AsFd, buf: &[u8], flags: c_int) -> io::Result<usize> {
    // SAFETY:
    // - `buf` is readable for its length.
    count_or_errno(unsafe { libc::send(raw(&fd), buf.as_ptr().cast(), buf.len(), flags) })
}

/// As [`send`], from several buffers in one call (at most 1024 on Linux). man: sendmsg(2).
/// Errors: those of `send`, and EMSGSIZE (too many buffers). EINTR: as for `send`.
pub fn sendmsg(fd: impl AsFd, bufs: &[IoSlice<'_>], flags: c_int) -> io::Result<usize> {
    // SAFETY:
    // - msghdr is a C struct of integers and pointers, for which all zeroes is a valid value.
    let mut msg: libc::msghdr = unsafe { mem::zeroed() };
    msg.msg_iov = bufs.as_ptr().cast_mut().cast(); // IoSlice is laid out as iovec; only read
    msg.msg_iovlen = bufs.len() as _;
    // SAFETY:
    // - `msg` points at `bufs`, and each buffer is readable for its length.
    count_or_errno(unsafe { libc::sendmsg(raw(&fd), &msg, flags) })
}

/// Moves bytes out of the receive buffer and returns how many; 0: the peer has ended its stream.
/// man: recv(2). Errors: ECONNRESET, EAGAIN (empty, and the call may not wait). EINTR: reported.
/// With an empty `buf` it waits all the same.
pub fn recv(fd: impl AsFd, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    // SAFETY:
    // - `buf` is writable for its length.
    count_or_errno(unsafe { libc::recv(raw(&fd), buf.as_mut_ptr().cast(), buf.len(), flags) })
}

/// Waits until a descriptor is ready, for `timeout_ms` at most (-1: for ever), and returns how
/// many are. man: poll(2). EINTR: reported, whatever SA_RESTART says.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: c_int) -> io::Result<usize> {
    // SAFETY:
    // - `fds` is writable for its length; a number that is no open descriptor gives POLLNVAL.
    let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) };
    count_or_errno(n as ssize_t)
}

/// Ends one direction or both (`SHUT_RD`, `SHUT_WR`, `SHUT_RDWR`) for every process that has the
/// socket open. man: shutdown(2). Errors: ENOTCONN (also after the peer's reset). EINTR: no.
pub fn shutdown(fd: impl AsFd, how: c_int) -> io::Result<()> {
    // SAFETY:
    // - no memory is passed.
    zero_or_errno(unsafe { libc::shutdown(raw(&fd), how) })
}

/// The socket's own address: how to learn the port after binding port 0. man: getsockname(2).
pub fn getsockname(fd: impl AsFd) -> io::Result<SockAddr> {
    let (rc, addr) = SockAddr::filled_by(|sa, len| {
        // SAFETY:
        // - `filled_by` passes space for an address and the size of that space.
        unsafe { libc::getsockname(raw(&fd), sa, len) }
    });
    zero_or_errno(rc).map(|()| addr)
}

/// The other end's address. man: getpeername(2). Errors: ENOTCONN, also after a reset.
pub fn getpeername(fd: impl AsFd) -> io::Result<SockAddr> {
    let (rc, addr) = SockAddr::filled_by(|sa, len| {
        // SAFETY:
        // - `filled_by` passes space for an address and the size of that space.
        unsafe { libc::getpeername(raw(&fd), sa, len) }
    });
    zero_or_errno(rc).map(|()| addr)
}

/// Sets an option that is an int, such as `SOL_SOCKET`, `SO_REUSEADDR`, 1. man: setsockopt(2),
/// socket(7), tcp(7), ipv6(7). Errors: ENOPROTOOPT (unknown), EINVAL.
pub fn set_option(fd: impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_any_option(fd.as_fd(), level, name, &value)
}

/// Sets `SO_RCVTIMEO` or `SO_SNDTIMEO`: how long one call may wait (zero: for ever). The time is
/// per call. A peer that drips a byte a time starts it anew; for a total use a deadline.
pub fn set_timeout(fd: impl AsFd, name: c_int, timeout: Duration) -> io::Result<()> {
    // SAFETY:
    // - timeval is two integers, for which zero is a valid value.
    let mut tv: timeval = unsafe { mem::zeroed() };
    tv.tv_sec = timeout.as_secs() as _;
    tv.tv_usec = timeout.subsec_micros() as _;
    set_any_option(fd.as_fd(), libc::SOL_SOCKET, name, &tv)
}

fn set_any_option<T>(fd: BorrowedFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (at, len) = (ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as socklen_t);
    // SAFETY:
    // - `at` is readable for `len` bytes; both callers pass a plain C type.
    zero_or_errno(unsafe { libc::setsockopt(raw(&fd), level, name, at, len) })
}

/// Reads an option that is an int, such as `SO_ERROR`, which it also clears. man: getsockopt(2).
pub fn get_option(fd: impl AsFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let (at, mut len) = ((&raw mut value).cast(), size_of::<c_int>() as socklen_t);
    // SAFETY:
    // - `at` is writable for `len` bytes, and the kernel writes no more than that.
    zero_or_errno(unsafe { libc::getsockopt(raw(&fd), level, name, at, &mut len) })?;
    Ok(value)
}

/// Turns `O_NONBLOCK` on or off. man: fcntl(2). It belongs to the open socket, not to the
/// descriptor: a duplicate changes with it.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    // SAFETY:
    // - F_GETFL passes no memory.
    let old = unsafe { libc::fcntl(raw(&fd), libc::F_GETFL) };
    if old < 0 {
        return Err(last_errno());
    }
    let new = if on { old | libc::O_NONBLOCK } else { old & !libc::O_NONBLOCK };
    // SAFETY:
    // - F_SETFL takes an int.
    zero_or_errno(unsafe { libc::fcntl(raw(&fd), libc::F_SETFL, new) })
}

fn raw(fd: &impl AsFd) -> c_int {
    fd.as_fd().as_raw_fd()
}

/// All that differs between systems: close-on-exec in one call, and how SIGPIPE is kept away.
#[cfg(not(target_vendor = "apple"))]
mod platform {
    use super::*;

    /// The flag for `send` and `sendmsg` that turns SIGPIPE into plain EPIPE.
    pub const NO_SIGPIPE: c_int = libc::MSG_NOSIGNAL;

    pub fn socket_cloexec(family: c_int, kind: c_int, protocol: c_int) -> c_int {
        // SAFETY:
        // - no memory is passed.
        unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) }
    }

    pub fn accept_cloexec(fd: BorrowedFd, sa: *mut libc::sockaddr, len: *mut socklen_t) -> c_int {
        // SAFETY:
        // - `filled_by` passes space for an address and the size of that space.
        unsafe { libc::accept4(raw(&fd), sa, len, libc::SOCK_CLOEXEC) }
    }

    pub fn never_sigpipe(_: &UniqueFd) -> io::Result<()> {
        Ok(()) // NO_SIGPIPE does it, call by call
    }
}

/// The same for macOS: no SOCK_CLOEXEC, no accept4, and SO_NOSIGPIPE once instead of a flag.
/// Written from the manual pages: neither run nor type-checked yet.
#[cfg(target_vendor = "apple")]
mod platform {
    use super::*;

    /// No such flag here: [`never_sigpipe`] sets SO_NOSIGPIPE on every socket.
    pub const NO_SIGPIPE: c_int = 0;

    pub fn socket_cloexec(family: c_int, kind: c_int, protocol: c_int) -> c_int {
        // SAFETY:
        // - no memory is passed.
        close_on_exec(unsafe { libc::socket(family, kind, protocol) })
    }

    pub fn accept_cloexec(fd: BorrowedFd, sa: *mut libc::sockaddr, len: *mut socklen_t) -> c_int {
        // SAFETY:
        // - `filled_by` passes space for an address and the size of that space.
        close_on_exec(unsafe { libc::accept(raw(&fd), sa, len) })
    }

    fn close_on_exec(fd: c_int) -> c_int {
        if fd >= 0 {
            // SAFETY:
            // - F_SETFD takes an int.
            unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        fd
    }

    pub fn never_sigpipe(fd: &UniqueFd) -> io::Result<()> {
        set_option(fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1)
    }
}
