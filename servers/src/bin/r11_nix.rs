//! r11_nix  r03 again, in nix: the same system calls, with hardly any `unsafe`.
//!
//! Adds: the kernel's calls in Rust's types: flags are sets, an error is an enum. The loops
//!   (all of it, exactly that much) are still ours to write.
//! Promises: what r03 does.
//! Limits: what r03's are.
//! At work: for what std has no word for: signals, namespaces, socket options, sendmsg.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::thread;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrStorage, accept4, bind,
    getsockname, listen, recv, sendmsg, setsockopt, socket, sockopt,
};
use servers::start;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};

fn main() -> ExitCode {
    start::run_at(include_str!("r11_nix.rs"), |addr, port| {
        let addr = SocketAddr::new(addr.parse().map_err(io::Error::other)?, port);
        let family = if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let listener = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&listener, sockopt::ReuseAddr, &true)?;
        bind(listener.as_raw_fd(), &SockaddrStorage::from(addr))?;
        listen(&listener, Backlog::new(start::BACKLOG)?)?;
        let bound: SockaddrStorage = getsockname(listener.as_raw_fd())?;
        start::announce(bound)?;
        loop {
            match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
                // SAFETY: the kernel has just opened `fd` for this call, so nobody else owns it.
                Ok(fd) => spawn(unsafe { OwnedFd::from_raw_fd(fd) }),
                Err(e) => start::pass_over(e.into())?,
            }
        }
    })
}

fn spawn(conn: OwnedFd) {
    let client = thread::Builder::new().name("client".into());
    let spawned = client.spawn(move || start::report(serve_client(conn)));
    start::report(spawned.map(|_| ()));
}

fn serve_client(conn: OwnedFd) -> io::Result<()> {
    let result = answer(&conn);
    start::finish(conn, result)
}

fn answer(conn: &OwnedFd) -> io::Result<()> {
    let mut header = [0; 4];
    while recv_exact(conn, &mut header)? {
        // Zeroed memory that nobody has touched costs only addresses: the kernel gives it page by
        // page, as bytes arrive. So the header is believed, but not paid for.
        let mut payload = vec![0; decode_header(header, DEFAULT_CAP)?];
        if !recv_exact(conn, &mut payload)? && !payload.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        send_all(conn, &mut [IoSlice::new(&header), IoSlice::new(&payload)])?;
    }
    Ok(())
}

/// `false`: the stream ended before the first byte.
fn recv_exact(conn: &OwnedFd, buf: &mut [u8]) -> io::Result<bool> {
    let mut got = 0;
    while got < buf.len() {
        match recv(conn.as_raw_fd(), &mut buf[got..], MsgFlags::empty()) {
            Ok(0) if got == 0 => return Ok(false),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => got += n,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(true)
}

fn send_all(conn: &OwnedFd, mut bufs: &mut [IoSlice]) -> io::Result<()> {
    IoSlice::advance_slices(&mut bufs, 0); // drops empty buffers at the front
    while !bufs.is_empty() {
        match sendmsg::<()>(conn.as_raw_fd(), bufs, &[], MsgFlags::MSG_NOSIGNAL, None) {
            Ok(n) => IoSlice::advance_slices(&mut bufs, n),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}
