//! refused: "after a part it sent the header again"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

fn gathered(fd: RawFd, mut header: &[u8], mut payload: &[u8]) -> io::Result<()> {
    let header = header;
    let mut sent = 0;
    let total = header.len() + payload.len();
    while sent < total {
        let n = match sendmsg(fd, header, payload) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        sent += n;
        payload = &payload[n.saturating_sub(header.len()).min(payload.len())..];
    }
    Ok(())
}

fn sendmsg(fd: RawFd, header: &[u8], payload: &[u8]) -> io::Result<usize> {
    let iovec = |buf: &[u8]| libc::iovec { iov_base: buf.as_ptr() as *mut _, iov_len: buf.len() };
    let mut iovecs = [iovec(header), iovec(payload)];
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = iovecs.as_mut_ptr();
    message.msg_iovlen = iovecs.len() as _;
    let n = unsafe { libc::sendmsg(fd, &message, libc::MSG_NOSIGNAL) };
    if n < 0 { Err(io::Error::last_os_error()) } else { Ok(n as usize) }
}

fn main() -> ExitCode {
    grader::gathered::grade(gathered)
}
