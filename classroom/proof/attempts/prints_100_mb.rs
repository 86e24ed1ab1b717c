//! A right answer that prints 100 MB in each process.

use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;
use std::sync::Once;

static ONCE: Once = Once::new();

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let piece = [b'x'; 1_000_000];
    ONCE.call_once(|| (0..100).for_each(|_| io::stderr().write_all(&piece).unwrap()));
    let mut conn = ManuallyDrop::new(unsafe { std::net::TcpStream::from_raw_fd(fd) });
    conn.write_all(buf)
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
