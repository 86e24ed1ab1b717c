//! The reference itself.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

use tcp_stream_io::UniqueFd;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    tcp_stream_io::recv_exact(&lent(fd), buf)
}

fn lent(fd: RawFd) -> ManuallyDrop<UniqueFd> {
    ManuallyDrop::new(unsafe { UniqueFd::from_raw_fd(fd) })
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
