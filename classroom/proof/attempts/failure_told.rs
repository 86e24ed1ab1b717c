//! A right answer, and a `main` that says failure all the same.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut conn = ManuallyDrop::new(unsafe { std::net::TcpStream::from_raw_fd(fd) });
    conn.write_all(buf)
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all);
    ExitCode::FAILURE
}
