//! The reference itself.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;
use std::time::Instant;

use tcp_stream_io::UniqueFd;

fn recv_exact(fd: RawFd, buf: &mut [u8], until: Instant) -> io::Result<()> {
    tcp_stream_io::stream::recv_exact_with_deadline(&lent(fd), buf, until)
}

fn lent(fd: RawFd) -> ManuallyDrop<UniqueFd> {
    ManuallyDrop::new(unsafe { UniqueFd::from_raw_fd(fd) })
}

fn main() -> ExitCode {
    grader::deadline::grade(recv_exact)
}
