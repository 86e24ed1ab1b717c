//! Two buffers in one call: `sendmsg` gathers them, and neither is copied to stand beside the other.

use std::ffi::c_int;
use std::io::{self, ErrorKind, IoSlice};
use std::mem;
use std::os::fd::AsRawFd;
use std::time::Instant;

use libc::{MSG_DONTWAIT, POLLOUT};
use tcp_stream_io::sys::{self, NO_SIGPIPE};
use tcp_stream_io::{UniqueFd, stream};

/// Sends `first` and then `second`, every byte: one `sendmsg`, and more only where the kernel takes
/// less. `TimedOut` once the deadline has passed; how much has left is unknown by then.
pub fn send_both(
    fd: &UniqueFd,
    first: &[u8],
    second: &[u8],
    until: Option<Instant>,
) -> io::Result<()> {
    let both = &mut [IoSlice::new(first), IoSlice::new(second)];
    let mut bufs = if second.is_empty() { &mut both[..1] } else { &mut both[..] };
    let mut left = first.len() + second.len();
    while left > 0 {
        let mut flags = NO_SIGPIPE;
        if until.is_some() {
            // `poll` does the waiting: a blocking `sendmsg` would wait past the deadline.
            stream::wait_ready(fd, POLLOUT, until)?;
            flags |= MSG_DONTWAIT;
        }
        // A list of buffers costs the kernel a look at it: for one, there is `send`.
        let sent = match bufs {
            [one] => sys::send(fd, one, flags),
            _ => sendmsg(fd, bufs, flags),
        };
        match sent {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                left -= n;
                // What has left is taken off the front, whole buffers or a part of one.
                IoSlice::advance_slices(&mut bufs, n);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            // Another thread has taken the room that `poll` saw.
            Err(e) if e.kind() == ErrorKind::WouldBlock && until.is_some() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// One call. man: sendmsg(2). Errors and EINTR: as for `send`.
fn sendmsg(fd: &UniqueFd, bufs: &[IoSlice<'_>], flags: c_int) -> io::Result<usize> {
    // SAFETY: msghdr is a C struct of integers and pointers: all zeroes is a valid value.
    let mut msg: libc::msghdr = unsafe { mem::zeroed() };
    msg.msg_iov = bufs.as_ptr().cast_mut().cast(); // an `IoSlice` is an iovec; it is only read
    msg.msg_iovlen = bufs.len() as _;
    // SAFETY: `msg` points at as many iovecs as it says, each readable until the call returns.
    // That is all it needs: the flags are ours, and MSG_ZEROCOPY is none of them.
    let n = unsafe { libc::sendmsg(fd.as_raw_fd(), &msg, flags) };
    if n < 0 { Err(sys::last_errno()) } else { Ok(n as usize) }
}
