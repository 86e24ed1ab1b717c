//! The reference itself.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

use tcp_stream_io::UniqueFd;

fn recv_record(fd: RawFd) -> io::Result<Option<([u8; 32], [u8; 96])>> {
    let record = tcp_stream_io::framing::record::recv_record::<128>(&lent(fd))?;
    Ok(record.map(|r| (r[..32].try_into().unwrap(), r[32..].try_into().unwrap())))
}

fn lent(fd: RawFd) -> ManuallyDrop<UniqueFd> {
    ManuallyDrop::new(unsafe { UniqueFd::from_raw_fd(fd) })
}

fn main() -> ExitCode {
    grader::records::grade(recv_record)
}
