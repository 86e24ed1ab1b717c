//! `accept` hands over a connection that the client has already reset: the first `recv` tells.
//!
//! Article 4.1. man: accept(2), getpeername(2).
//!
//! Between handshake and `accept` anything may happen. Other systems make `accept` fail with
//! ECONNABORTED; Linux succeeds. A server has to expect both, for the next client is waiting.
//!
//! Expect: `accept` works and names the peer; `getpeername` says ENOTCONN, `recv` ECONNRESET; the
//! client behind it is served.
//!
//! Change and see: leave out `reset_on_close` (a FIN: `recv` gives 0); put a `?` behind
//! `getpeername` (one impatient client ends the server).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, kernel, retry_eintr, said, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let impatient = connect_to(&at.host, at.port)?;
    out.note("resets its first connection");
    kernel::reset_on_close(&impatient)?;
    impatient.close()?;
    send_all(connect_to(&at.host, at.port)?, b"HELLO") // and close: not lent, but given
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    kernel::wait_until_queued(&listener, 2)?; // the second connect came behind the reset
    let mut buf = [0; 100];

    let (conn, peer) = accept(&listener)?;
    out.check_that("accept: the peer's port", "not 0", peer.port(), peer.port() != 0);
    let peer = sys::getpeername(&conn);
    out.check("getpeername", "ENOTCONN", said(&peer));
    let first = retry_eintr(|| sys::recv(&conn, &mut buf, 0));
    out.check("recv", "ECONNRESET", said(&first));

    let (conn, _) = accept(&listener)?;
    let n = retry_eintr(|| sys::recv(&conn, &mut buf, 0))?;
    out.check("the next client: recv", text(b"HELLO"), text(&buf[..n]));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
