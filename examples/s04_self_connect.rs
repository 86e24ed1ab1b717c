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

use libc::{AF_UNSPEC, SOCK_STREAM};
use stage::{Out, kernel, said, text};
use tcp_stream_io::net::connect;
use tcp_stream_io::{recv_exact, resolve, send_all, sys};

fn run(out: &Out) -> io::Result<()> {
    // Port 0: the kernel chooses one, as it does for every client. Here before `connect`, so that
    // it can be asked which.
    let loopback = resolve(Some("127.0.0.1"), 0, AF_UNSPEC, 0)?;
    let any_port = loopback.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let conn = sys::socket(any_port.family(), SOCK_STREAM, 0)?;
    sys::bind(&conn, any_port)?;
    let own = sys::getsockname(&conn)?;

    // Nobody listens at that port, and to everybody else the kernel says so.
    let stranger = sys::socket(any_port.family(), SOCK_STREAM, 0)?;
    let refused = connect(&stranger, own.as_addr(), None);
    out.check("another socket's connect to that port", "ECONNREFUSED", said(&refused));

    // The socket's own SYN comes back to it. It has sent one itself, so it takes it for the peer's.
    let connected = connect(&conn, own.as_addr(), None);
    out.check("its own connect to that port", "ok", said(&connected));
    out.check("the state", "ESTABLISHED", kernel::tcp_state(&conn)?);

    // WRONG: takes whoever answers for the server. The cost: the request comes back as its answer.
    send_all(&conn, b"HELLO")?;
    let mut answer = [0; 5];
    recv_exact(&conn, &mut answer)?;
    out.check("the answer to HELLO", text(b"HELLO"), text(&answer));

    // Who sees that should close the socket, and treat the connection as refused.
    let [this_end, other_end] = [sys::getsockname(&conn)?, sys::getpeername(&conn)?];
    out.check("the other end's address", this_end, other_end);
    Ok(())
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
