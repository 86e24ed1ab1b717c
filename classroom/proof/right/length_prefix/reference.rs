//! The reference itself.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

use tcp_stream_io::UniqueFd;

fn send_frame(fd: RawFd, payload: &[u8], cap: usize) -> io::Result<()> {
    tcp_stream_io::send_frame(&lent(fd), payload, cap)
}

fn recv_frame(fd: RawFd, cap: usize) -> io::Result<Option<Vec<u8>>> {
    tcp_stream_io::recv_frame(&lent(fd), cap)
}

fn lent(fd: RawFd) -> ManuallyDrop<UniqueFd> {
    ManuallyDrop::new(unsafe { UniqueFd::from_raw_fd(fd) })
}

fn main() -> ExitCode {
    grader::length_prefix::grade(send_frame, recv_frame)
}
