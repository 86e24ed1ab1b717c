//! `accept` hands over a connection that the client has already reset: the first `recv` tells.
//!
//! Article 4.1. man: accept(2), getpeername(2).
//!
//! Between handshake and `accept` anything may happen. Other systems make `accept` fail with
//! ECONNABORTED; Linux succeeds. A server has to expect both, for the next client is waiting.
//!
//! Expect: `accept` works and names the peer; `getpeername` says ENOTCONN, `recv` ECONNRESET; the
//! next client is served.
//!
//! Change and see: leave out `reset_on_close` (a FIN: `recv` gives 0); put a `?` after
//! `getpeername` (one impatient client ends the server).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, kernel, retry_eintr, said};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The handshake is over, and nobody has called `accept`, when the reset leaves.
    let impatient = connect_to(&at.host, at.port)?;
    let port = sys::getsockname(&impatient)?.port();
    out.note("resets its first connection");
    kernel::reset_on_close(&impatient)?;
    impatient.close()?;

    // A second connection, which keeps to the rules, tells at which port the first one was.
    send_all(&connect_to(&at.host, at.port)?, &port.to_be_bytes())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // With both in the queue, the reset has arrived: the client sent it before its second SYN.
    kernel::wait_until_queued(&listener, 2)?;

    // `accept` says who connected, and not what has become of the connection since. Asked for its
    // peer's name, the socket has none any more.
    let (conn, peer) = accept(&listener)?;
    let name = sys::getpeername(&conn);
    out.check("getpeername", "ENOTCONN", said(&name));
    let first = retry_eintr(|| sys::recv(&conn, &mut [0; 100], 0));
    out.check("recv", "ECONNRESET", said(&first));

    // All of that concerns one connection. The next client gets what it came for.
    let (conn, _) = accept(&listener)?;
    let mut told = [0; 2];
    recv_exact(&conn, &mut told)?;
    let told = u16::from_be_bytes(told);
    out.check("the port of the first peer, by accept", told, peer.port());
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
