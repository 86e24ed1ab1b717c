//! The reference itself.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

use tcp_stream_io::UniqueFd;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    tcp_stream_io::send_all(&lent(fd), buf)
}

fn lent(fd: RawFd) -> ManuallyDrop<UniqueFd> {
    ManuallyDrop::new(unsafe { UniqueFd::from_raw_fd(fd) })
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
