//! The article's server, and what its clients can do to it: for examples that compare with it.

use std::ffi::c_int;
use std::io;
use std::time::{Duration, Instant};

use crate::{kernel, retry_eintr};
use tcp_stream_io::framing::length::{DEFAULT_CAP, recv_frame_with_deadline};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame, sys};

/// The article's `run_server`, call by call, until `until` has passed. Returns how often `accept`
/// failed.
pub fn run_server(listener: &UniqueFd, until: Instant) -> io::Result<usize> {
    let mut failed = 0;
    while Instant::now() < until {
        let Ok((conn, _)) = accept(listener) else {
            failed += 1;
            continue; // at once, whatever it was
        };
        // Room for less than a long answer: its `send` waits for the client, or for its reset.
        let _ = sys::set_option(&conn, libc::SOL_SOCKET, libc::SO_SNDBUF, 4096);
        let Ok(Some(frame)) = recv_frame(&conn, DEFAULT_CAP) else { continue };
        let header = (frame.len() as u32).to_be_bytes();
        if send_all(&conn, &header).and_then(|()| send_all(&conn, &frame)).is_ok() {
            let _ = sys::shutdown(&conn, libc::SHUT_WR);
        }
    }
    Ok(failed)
}

fn send_all(conn: &UniqueFd, buf: &[u8]) -> io::Result<()> {
    const FLAGS: c_int = 0; // without MSG_NOSIGNAL
    let mut sent = 0;
    while sent < buf.len() {
        sent += retry_eintr(|| sys::send(conn, &buf[sent..], FLAGS))?;
    }
    Ok(())
}

/// A client that sends a request and goes without reading the answer. The server has its FIN by
/// then, so the reset that its answer brings makes `send` say EPIPE and not ECONNRESET.
pub fn vanish(port: u16) -> io::Result<()> {
    let conn = connect_to("127.0.0.1", port)?;
    send_frame(&conn, &vec![b'x'; DEFAULT_CAP], DEFAULT_CAP)?;
    sys::shutdown(&conn, libc::SHUT_WR)?;
    kernel::wait_until_acked(&conn)?;
    conn.close()
}

/// Whether a client gets its answer: within its patience, or, if that has no limit, ever.
pub fn is_served(port: u16, patience: Option<Duration>) -> bool {
    let exchange = || {
        let conn = connect_to("127.0.0.1", port)?;
        send_frame(&conn, b"HELLO", DEFAULT_CAP)?;
        match patience {
            Some(time) => recv_frame_with_deadline(&conn, DEFAULT_CAP, Instant::now() + time),
            None => recv_frame(&conn, DEFAULT_CAP),
        }
    };
    exchange().is_ok_and(|frame: Option<Vec<u8>>| frame.as_deref() == Some(b"HELLO"))
}
