//! The reference itself.

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use tcp_stream_io::net;

fn listen_on(port: u16) -> io::Result<(RawFd, u16)> {
    // Its list of one address, so that the kernel's error stays what it was.
    let list = tcp_stream_io::resolve(Some("127.0.0.1"), port, libc::AF_INET, 0)?;
    let listener = net::listen_at(list.iter().next().unwrap(), 128).map_err(|(_, e)| e)?;
    let port = tcp_stream_io::sys::getsockname(&listener)?.port();
    Ok((OwnedFd::from(listener).into_raw_fd(), port))
}

fn main() -> ExitCode {
    grader::listen_on::grade(listen_on)
}
