//! Send a header and its payload together: one `sendmsg` for both, and no copy.
//!
//! `sendmsg` takes a list of buffers, the iovecs. It may take only a part of the bytes: the end of
//! that part may lie in the header, in the payload, or between them. The next call goes on after it:
//! a `sendmsg` again, with all that is left of both in one list. Leave the waiting to `sendmsg`,
//! without `poll`. Every error but EINTR goes to the caller as it is; a peer that has gone is an
//! error, and no SIGPIPE. With nothing to send it is Ok, without a call.
//!
//! Article 3.1, 11. man: sendmsg(2). Given: `fd`, a connected TCP socket, lent: its owner closes it.

//> use std::io;
use std::io::{self, ErrorKind};
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Sends all of `header`, then all of `payload`.
fn gathered(fd: RawFd, header: &[u8], payload: &[u8]) -> io::Result<()> {
    //> // TODO: fill in a `libc::msghdr` with two `libc::iovec`, call `libc::sendmsg`, advance.
    //> grader::yours((fd, header, payload))
    let (mut header, mut payload) = (header, payload); // what is left of them
    while !header.is_empty() || !payload.is_empty() {
        let n = match sendmsg(fd, header, payload) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        // What was taken begins in the header and may reach into the payload.
        let of_header = n.min(header.len());
        header = &header[of_header..];
        payload = &payload[n - of_header..];
    }
    Ok(())
}

/// One call for both; says how many bytes of them it took.
fn sendmsg(fd: RawFd, header: &[u8], payload: &[u8]) -> io::Result<usize> {
    let iovec = |buf: &[u8]| libc::iovec { iov_base: buf.as_ptr() as *mut _, iov_len: buf.len() };
    let mut iovecs = [iovec(header), iovec(payload)];
    // SAFETY: all zeros is a valid msghdr: no address, no control data, no buffers.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iovecs.as_mut_ptr();
    message.msg_iovlen = iovecs.len() as _;
    // SAFETY:
    // - `message` points to iovecs, and those to slices, that live until the call returns;
    // - sendmsg only reads what they point to.
    let n = unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
    //<
}

fn main() -> ExitCode {
    grader::gathered::grade(gathered)
}
