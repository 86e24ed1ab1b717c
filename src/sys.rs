//! One function per system call, and one call in each: what the kernel said, and nothing decided.
//! EINTR is an error like any other here. The loops that call again are in `stream` and `net`.

use std::ffi::{c_int, c_short};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd};

use libc::{socklen_t, ssize_t};

use crate::addr::{Addr, SockAddr};
use crate::fd::UniqueFd;
pub use platform::NO_SIGPIPE;
use platform::{SOCK_CLOEXEC, accept4, prepared};

/// errno as an error: the article's `last_errno`.
#[cold]
pub fn last_errno() -> io::Error {
    io::Error::from_raw_os_error(errno::errno().0)
}

/// Opens a socket, close-on-exec from the start. man: socket(2).
/// Errors: EAFNOSUPPORT (no such family here), EMFILE, ENFILE. It never waits, so never EINTR.
pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> io::Result<UniqueFd> {
    // Set by a second call, close-on-exec comes too late: a fork in between leaks the descriptor.
    // SAFETY: the call takes no memory, and what it returns was not open before.
    prepared(unsafe { fd_or_errno(libc::socket(family, kind | SOCK_CLOEXEC, protocol))? })
}

/// Gives the socket its local address. man: bind(2). It never waits, so never EINTR.
/// Errors: EADDRINUSE, EADDRNOTAVAIL (not an address of this machine), EACCES.
pub fn bind(fd: &UniqueFd, addr: Addr<'_>) -> io::Result<()> {
    let (sa, len) = addr.as_ptr();
    // SAFETY: `sa` is readable for `len` bytes while `addr` is borrowed.
    zero_or_errno(unsafe { libc::bind(fd.as_raw_fd(), sa, len) })
}

/// Starts to queue connections: `backlog` of them (Linux: one more). man: listen(2). Never EINTR.
/// Errors: EADDRINUSE (two sockets were bound to the address, and the other one listens).
pub fn listen(fd: &UniqueFd, backlog: c_int) -> io::Result<()> {
    // SAFETY: the call takes no memory.
    zero_or_errno(unsafe { libc::listen(fd.as_raw_fd(), backlog) })
}

/// Takes one connection off the queue, with the peer's address. man: accept(2).
/// Errors: [`net::accept_advice`](crate::net::accept_advice) knows them. EINTR: call again.
pub fn accept(listener: &UniqueFd) -> io::Result<(UniqueFd, SockAddr)> {
    let mut peer = SockAddr::empty();
    let (sa, len) = peer.as_mut_ptr();
    // SAFETY: `sa` is writable for `*len` bytes, and what the call returns was not open before.
    let conn = unsafe { fd_or_errno(accept4(listener.as_raw_fd(), sa, len, SOCK_CLOEXEC))? };
    Ok((prepared(conn)?, peer))
}

/// Connects. On a blocking socket the handshake is over when it returns. man: connect(2).
/// Errors: ECONNREFUSED, ETIMEDOUT, ENETUNREACH; EINPROGRESS from a non-blocking socket.
/// EINTR: the handshake goes on; never call again, but wait and ask, as after EINPROGRESS.
pub fn connect(fd: &UniqueFd, addr: Addr<'_>) -> io::Result<()> {
    let (sa, len) = addr.as_ptr();
    // SAFETY: `sa` is readable for `len` bytes while `addr` is borrowed.
    zero_or_errno(unsafe { libc::connect(fd.as_raw_fd(), sa, len) })
}

/// Copies bytes into the send buffer, and returns how many: perhaps fewer than `buf` has.
/// man: send(2). Errors: EPIPE, ECONNRESET, EAGAIN. EINTR: nothing was copied, call again.
/// Without [`NO_SIGPIPE`] EPIPE comes with a signal that kills the process. MSG_ZEROCOPY is
/// `InvalidInput`: the kernel would go on reading `buf` when the borrow has ended.
#[inline]
pub fn send(fd: &UniqueFd, buf: &[u8], flags: c_int) -> io::Result<usize> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if flags & libc::MSG_ZEROCOPY != 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: `buf` is readable for its length until the call returns, which is all it needs.
    count_or_errno(unsafe { libc::send(fd.as_raw_fd(), buf.as_ptr().cast(), buf.len(), flags) })
}

/// Moves bytes out of the receive buffer, and returns how many; 0: the peer has ended its stream.
/// man: recv(2). Errors: ECONNRESET, EAGAIN. EINTR: nothing was taken, call again.
/// An empty `buf` waits all the same. Its 0 says nothing about the peer, nor does 0 after SHUT_RD.
#[inline]
pub fn recv(fd: &UniqueFd, buf: &mut [u8], flags: c_int) -> io::Result<usize> {
    // SAFETY: `buf` is writable for its length.
    count_or_errno(unsafe { libc::recv(fd.as_raw_fd(), buf.as_mut_ptr().cast(), buf.len(), flags) })
}

/// Waits until `fd` is ready for `events` (`POLLIN`, `POLLOUT`), for `timeout_ms` at most (-1: for
/// ever), and returns what it is ready for; 0: the time has passed. man: poll(2).
/// EINTR: call again with the time that is left. A handler's SA_RESTART has no effect on `poll`.
pub fn poll(fd: BorrowedFd<'_>, events: c_short, timeout_ms: c_int) -> io::Result<c_short> {
    let mut pollfd = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    // SAFETY: one pollfd is writable at the pointer.
    count_or_errno(unsafe { libc::poll(&mut pollfd, 1, timeout_ms) } as ssize_t)?;
    Ok(pollfd.revents)
}

/// Ends one direction or both (`SHUT_RD`, `SHUT_WR`, `SHUT_RDWR`), for every process that has the
/// socket open. man: shutdown(2). Errors: ENOTCONN, also after the peer's reset. Never EINTR.
pub fn shutdown(fd: &UniqueFd, how: c_int) -> io::Result<()> {
    // SAFETY: the call takes no memory.
    zero_or_errno(unsafe { libc::shutdown(fd.as_raw_fd(), how) })
}

/// The socket's own address: how to learn the port after binding port 0. man: getsockname(2).
pub fn getsockname(fd: &UniqueFd) -> io::Result<SockAddr> {
    let mut addr = SockAddr::empty();
    let (sa, len) = addr.as_mut_ptr();
    // SAFETY: `sa` is writable for `*len` bytes, and the kernel writes no more than that.
    zero_or_errno(unsafe { libc::getsockname(fd.as_raw_fd(), sa, len) }).map(|()| addr)
}

/// The other end's address. man: getpeername(2). Errors: ENOTCONN, also after a reset.
pub fn getpeername(fd: &UniqueFd) -> io::Result<SockAddr> {
    let mut addr = SockAddr::empty();
    let (sa, len) = addr.as_mut_ptr();
    // SAFETY: `sa` is writable for `*len` bytes, and the kernel writes no more than that.
    zero_or_errno(unsafe { libc::getpeername(fd.as_raw_fd(), sa, len) }).map(|()| addr)
}

/// Sets an option that is an int, such as `SOL_SOCKET`, `SO_REUSEADDR`, 1. man: setsockopt(2),
/// socket(7), tcp(7), ipv6(7). Errors: ENOPROTOOPT (unknown), EINVAL (not an int).
pub fn set_option(fd: &UniqueFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    let (at, len) = ((&raw const value).cast(), size_of::<c_int>() as socklen_t);
    // SAFETY: `at` is readable for `len` bytes.
    zero_or_errno(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, len) })
}

/// Reads an option that is an int, such as `SO_ERROR`, which reading clears. man: getsockopt(2).
pub fn get_option(fd: &UniqueFd, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let (at, mut len) = ((&raw mut value).cast(), size_of::<c_int>() as socklen_t);
    // SAFETY: `at` is writable for `len` bytes, and the kernel writes no more than that.
    zero_or_errno(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, at, &mut len) })?;
    Ok(value)
}

/// Turns `O_NONBLOCK` on or off, and says whether it was on. man: fcntl(2).
/// It belongs to the open socket, not to the descriptor: a duplicate changes with it.
pub fn set_nonblocking(fd: &UniqueFd, on: bool) -> io::Result<bool> {
    let (fd, bit) = (fd.as_raw_fd(), libc::O_NONBLOCK);
    // SAFETY: F_GETFL takes no memory.
    let flags = count_or_errno(unsafe { libc::fcntl(fd, libc::F_GETFL) } as ssize_t)? as c_int;
    let new = if on { flags | bit } else { flags & !bit };
    // SAFETY: F_SETFL takes an int, here the old one with one bit changed.
    zero_or_errno(unsafe { libc::fcntl(fd, libc::F_SETFL, new) }).map(|()| flags & bit != 0)
}

/// For calls that return a new descriptor, or -1 and errno.
/// # Safety
/// Nobody else owns the descriptor.
unsafe fn fd_or_errno(fd: c_int) -> io::Result<UniqueFd> {
    // SAFETY: the caller's promise.
    if fd < 0 { Err(last_errno()) } else { Ok(unsafe { UniqueFd::from_raw_fd(fd) }) }
}

fn zero_or_errno(rc: c_int) -> io::Result<()> {
    if rc == 0 { Ok(()) } else { Err(last_errno()) }
}

#[inline]
fn count_or_errno(n: ssize_t) -> io::Result<usize> {
    if n == -1 { Err(last_errno()) } else { Ok(n as usize) }
}

/// What differs between systems sits here. This half: Linux and the BSDs.
#[cfg(not(target_vendor = "apple"))]
mod platform {
    pub use libc::{MSG_NOSIGNAL as NO_SIGPIPE, SOCK_CLOEXEC, accept4};
    pub fn prepared(fd: super::UniqueFd) -> std::io::Result<super::UniqueFd> {
        Ok(fd)
    }
}

/// macOS has none of these flags: two options take their place. Type-checked only, it never ran.
#[cfg(target_vendor = "apple")]
mod platform {
    use super::*;
    use libc::sockaddr;
    #[allow(missing_docs)]
    pub const NO_SIGPIPE: c_int = 0;
    pub const SOCK_CLOEXEC: c_int = 0;

    /// # Safety
    /// `sa` is writable for `*len` bytes.
    pub unsafe fn accept4(fd: c_int, sa: *mut sockaddr, len: *mut socklen_t, _: c_int) -> c_int {
        // SAFETY: the caller's promise.
        unsafe { libc::accept(fd, sa, len) }
    }

    // An error of SO_NOSIGPIPE is a reset that came early. The next call will say so.
    pub fn prepared(fd: UniqueFd) -> io::Result<UniqueFd> {
        // SAFETY: F_SETFD takes an int.
        zero_or_errno(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
        let _ = set_option(&fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, 1);
        Ok(fd)
    }
}
