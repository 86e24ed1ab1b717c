//! A socket that connects to its own port connects to itself, and nobody had to listen.
//!
//! Article 4.1. man: connect(2), getsockname(2), ip(7) (ip_local_port_range).
//!
//! TCP allows both sides to send a SYN at once; here both sides are one. It happens unasked to a
//! client that tries again and again to reach a server that is down, on its own machine, at a
//! port of the ephemeral range: one day the kernel gives it that very port as its own.
//!
//! Expect: `connect` succeeds, and the socket receives what it sends. Only the two addresses
//! give it away.
//!
//! Change and see: connect `stranger` last (refused all the same); `listen` on `conn` first (the
//! stranger gets in, its own `connect` is EISCONN).

use std::io;
use std::process::ExitCode;

use libc::SOCK_STREAM;
use stage::{Out, kernel, said, text};
use tcp_stream_io::addr::{Hints, resolve};
use tcp_stream_io::net::connect;
use tcp_stream_io::{UniqueFd, recv_exact, send_all, sys};

fn run(out: &Out) -> io::Result<()> {
    let loopback = resolve(Some("127.0.0.1"), 0, &Hints::default())?;
    let any_port = loopback.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let conn = sys::socket(any_port.family(), SOCK_STREAM, 0)?;
    sys::bind(&conn, any_port)?;
    let own = sys::getsockname(&conn)?;

    let stranger = sys::socket(any_port.family(), SOCK_STREAM, 0)?;
    let refused = connect(&stranger, own.as_addr(), None);
    out.check("another socket's connect to that port", "ECONNREFUSED", said(&refused));

    let connected = connect(&conn, own.as_addr(), None);
    out.check("its own connect to that port", "ok", said(&connected));
    out.check("the state", "ESTABLISHED", kernel::tcp_state(&conn)?);

    // WRONG: takes whoever answers for the server.
    send_all(&conn, b"HELLO")?;
    let mut answer = [0; 5];
    recv_exact(&conn, &mut answer)?;
    out.check("the answer to HELLO", text(b"HELLO"), text(&answer));

    let itself = is_connected_to_itself(&conn)?;
    out.check("whether both addresses are the same", true, itself);
    Ok(())
}

/// If so, close it and treat it as refused.
fn is_connected_to_itself(conn: &UniqueFd) -> io::Result<bool> {
    Ok(sys::getsockname(conn)?.to_string() == sys::getpeername(conn)?.to_string())
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
