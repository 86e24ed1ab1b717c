//! No failure leaves a descriptor open. One test, so that nobody else opens any meanwhile.

mod support;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Instant;

use libc::AF_UNSPEC;
use stage::kernel;
use support::*;
use tcp_stream_io::framing::length::*;
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::net::*;
use tcp_stream_io::stream::*;
use tcp_stream_io::{UniqueFd, resolve, sys};

/// A connection to a port of this machine, and the error without the call's name.
fn connect_by(port: u16, deadline: Instant) -> io::Result<()> {
    let addrs = resolve(Some("127.0.0.1"), port, AF_UNSPEC, 0)?;
    let addr = addrs.iter().next().expect("an address");
    connect_at(addr, Some(deadline)).map(drop).map_err(|(_, e)| e)
}

#[test]
fn no_failure_leaves_a_descriptor_open() {
    let no_descriptor = io::Error::from_raw_os_error(libc::EMFILE).kind();
    let no_socket = io::Error::from_raw_os_error(libc::ENOTSOCK).kind();
    // How each path must end, because one that does not fail as it should has tested nothing.
    type Path = fn() -> io::Result<()>;
    let paths: [(&str, Result<(), ErrorKind>, Path); 26] = [
        ("resolve: a NUL in the name", Err(ErrorKind::InvalidInput), || {
            resolve(Some("a\0b"), 0, AF_UNSPEC, 0).map(drop)
        }),
        ("resolve: no such name", Err(ErrorKind::NotFound), || {
            resolve(Some("localhost"), 0, AF_UNSPEC, libc::AI_NUMERICHOST).map(drop)
        }),
        ("listen_on: the port is in use", Err(ErrorKind::AddrInUse), || {
            let (_listener, port) = listener(1);
            listen_on(None, port, 1).map(drop)
        }),
        ("listen_on: not an address of ours", Err(ErrorKind::AddrNotAvailable), || {
            listen_on(Some("203.0.113.1"), 0, 1).map(drop) // kept for documentation, RFC 5737
        }),
        ("connect_to: refused", Err(ErrorKind::ConnectionRefused), || {
            let (_holder, port) = refusing_port();
            connect_to("127.0.0.1", port).map(drop)
        }),
        ("connect_at: refused before the deadline", Err(ErrorKind::ConnectionRefused), || {
            let (_holder, port) = refusing_port();
            connect_by(port, soon())
        }),
        ("connect_at: the deadline passes", Err(ErrorKind::TimedOut), || {
            let (_listener, _queued, port) = full_listener();
            connect_by(port, at_once())
        }),
        ("connect_at: the deadline has passed", Err(ErrorKind::TimedOut), || {
            let (_listener, port) = listener(1);
            connect_by(port, Instant::now())
        }),
        ("connect_to: out of descriptors", Err(no_descriptor), || {
            let (_listener, port) = listener(1);
            out_of_descriptors(|| connect_to("127.0.0.1", port)).map(drop)
        }),
        ("accept: nobody there", Err(ErrorKind::WouldBlock), || {
            let (listener, _) = listener(1);
            sys::set_nonblocking(&listener, true)?;
            accept(&listener).map(drop)
        }),
        ("accept: out of descriptors", Err(no_descriptor), || {
            let (listener, _queued, _) = full_listener();
            out_of_descriptors(|| accept(&listener)).map(drop)
        }),
        ("accept: reset while in the queue", Err(ErrorKind::ConnectionReset), || {
            let (listener, queued, _) = full_listener();
            kernel::reset_on_close(&queued)?;
            drop(queued);
            let (conn, _) = accept(&listener)?; // Linux hands it over all the same
            sys::recv(&conn, &mut [0], 0).map(drop)
        }),
        ("send_all: the deadline passes", Err(ErrorKind::TimedOut), || {
            let (sender, _receiver) = narrow_pair();
            send_all_with_deadline(&sender, &pattern(1 << 20), at_once())
        }),
        ("send: with a flag that outlives it", Err(ErrorKind::InvalidInput), || {
            sys::send(&pair().0, b"x", libc::MSG_ZEROCOPY).map(drop)
        }),
        ("send_frame: over the cap", Err(ErrorKind::InvalidInput), || {
            send_frame(&pair().0, b"too much", 7)
        }),
        ("recv_frame: the end inside", Err(ErrorKind::UnexpectedEof), || {
            recv_frame(&stream_of(b"\0\0\0\x05he"), 7).map(drop)
        }),
        ("recv_frame: over the cap", Err(ErrorKind::InvalidData), || {
            recv_frame(&stream_of(b"\0\0\0\x08"), 7).map(drop)
        }),
        ("recv_frame: the deadline passes", Err(ErrorKind::TimedOut), || {
            let (ours, _peer) = pair();
            recv_frame_with_deadline(&ours, 7, at_once()).map(drop)
        }),
        ("recv_frame: not a socket", Err(no_socket), || {
            recv_frame(&UniqueFd::from(OwnedFd::from(File::open("/dev/null")?)), 7).map(drop)
        }),
        ("recv_record: the end inside", Err(ErrorKind::UnexpectedEof), || {
            recv_record::<3>(&stream_of(b"ab")).map(drop)
        }),
        ("LineReader: over the cap", Err(ErrorKind::InvalidData), || {
            LineReader::new(&stream_of(b"12345\n"), 4).recv_line().map(drop)
        }),
        ("LineReader: the end inside", Err(ErrorKind::UnexpectedEof), || {
            LineReader::new(&stream_of(b"1234"), 4).recv_line().map(drop)
        }),
        ("lingering_close: the deadline passes", Err(ErrorKind::TimedOut), || {
            let (ours, _peer) = pair();
            lingering_close(ours, at_once())
        }),
        ("lingering_close: reset while it waits", Err(ErrorKind::ConnectionReset), || {
            let (ours, peer) = pair();
            thread::scope(|s| {
                s.spawn(|| {
                    kernel::wait_until_peer_ended(&peer).unwrap();
                    kernel::reset_on_close(&peer).unwrap();
                    drop(peer);
                });
                lingering_close(ours, soon())
            })
        }),
        ("lingering_close: after a reset", Ok(()), || {
            let (ours, peer) = pair();
            kernel::reset_on_close(&peer)?;
            drop(peer);
            kernel::wait_until_peer_ended(&ours)?;
            lingering_close(ours, soon())
        }),
        ("lingering_close: the peer closes", Ok(()), || {
            let (ours, peer) = pair();
            drop(peer);
            lingering_close(ours, soon())
        }),
    ];
    for (name, expected, path) in paths {
        let before = kernel::open_fds();
        for _ in 0..3 {
            assert_eq!(path().map_err(|e| e.kind()), expected, "{name}");
        }
        assert_eq!(kernel::open_fds(), before, "{name}");
    }
}
