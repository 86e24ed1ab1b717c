//! epoll(7): one function per system call, in the style of the reference's `sys`.
//!
//! Each makes exactly one call, and reports what the kernel said, EINTR among it, with the call's name:
//! such an error ends a server, and its last line has to say what failed.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};

use libc::epoll_event;
use tcp_stream_io::UniqueFd;
use tcp_stream_io::sys::last_errno;

use crate::start::named;

/// An empty space for [`epoll_wait`] to fill.
pub const NO_EVENT: epoll_event = epoll_event { events: 0, u64: 0 };

/// Opens a set of descriptors to watch. man: epoll_create(2). Errors: EMFILE, ENFILE, ENOMEM.
/// It never waits, so never EINTR.
pub fn epoll_create1() -> io::Result<UniqueFd> {
    // SAFETY: the call takes no memory.
    let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    if fd < 0 {
        return Err(named("epoll_create1", last_errno()));
    }
    // SAFETY: the kernel has just opened `fd` for this call, so nobody else owns it.
    Ok(unsafe { UniqueFd::from_raw_fd(fd) })
}

/// Adds a descriptor to the set (`EPOLL_CTL_ADD`), changes what it waits for (`EPOLL_CTL_MOD`), or
/// removes it (`EPOLL_CTL_DEL`). The event carries the descriptor's number. A closed descriptor
/// leaves the set by itself, unless it has a duplicate. man: epoll_ctl(2).
/// Errors: EEXIST, ENOENT, EPERM (a regular file), ENOSPC. It never waits, so never EINTR.
pub fn epoll_ctl(epoll: &UniqueFd, op: c_int, fd: &impl AsFd, events: c_int) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let mut event = epoll_event { events: events as u32, u64: fd as u64 };
    // SAFETY: `event` is readable for the call; both descriptors are open while they are borrowed.
    match unsafe { libc::epoll_ctl(epoll.as_raw_fd(), op, fd, &mut event) } {
        0 => Ok(()),
        _ => Err(named("epoll_ctl", last_errno())),
    }
}

/// Waits until a descriptor of the set is ready, for `timeout_ms` at most (-1: for ever), and
/// returns how many events there are. man: epoll_wait(2).
/// EINTR: call again with the time that is left; SA_RESTART does not.
pub fn epoll_wait(
    epoll: &UniqueFd,
    events: &mut [epoll_event],
    timeout_ms: c_int,
) -> io::Result<usize> {
    let room = c_int::try_from(events.len()).unwrap_or(c_int::MAX);
    // SAFETY: `events` is writable for `room` elements.
    match unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) } {
        n if n >= 0 => Ok(n as usize),
        _ => Err(named("epoll_wait", last_errno())),
    }
}
