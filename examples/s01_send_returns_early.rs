//! `send` succeeds once the bytes are in the kernel's send buffer, not once they have arrived.
//!
//! Article 1.2. man: send(2), tcp(7) (SIOCOUTQ).
//! Claim K1: A send succeeds once the bytes are in the send buffer, not once they have arrived.
//!
//! The client sends more than the server's receive buffer can hold. The server reads a little and
//! goes away. If `send` waited for the bytes to arrive, it would never return.
//!
//! Expect: `send` returns all of 1 MiB, while the kernel still holds a part that the server's
//! kernel has no room for; then a reset, and all but 100 bytes were never read.
//!
//! Change and see: MESSAGE to 10,000 (it fits, and nothing is held); a server that reads all of it
//! before it accepts the second connection (the same).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr, said};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, sys};

const MESSAGE: usize = 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The server has not read a byte when this call returns.
    let conn = connect_to(&at.host, at.port)?;
    let sent = retry_eintr(|| sys::send(&conn, &vec![b'x'; MESSAGE], NO_SIGPIPE))?;
    out.check("send of 1 MiB", MESSAGE, sent);

    // When no segment is on its way any more, the rest waits for room at the server. `send` has
    // reported those bytes as sent, and they have not left this machine.
    kernel::wait_for("the last segment", || Ok(kernel::tcp_info(&conn)?.tcpi_unacked == 0))?;
    let held = kernel::unacked(&conn)?;
    out.check_that("of these bytes the kernel still holds", "more than 0", held, held > 0);
    let left = if held > 0 { "a part" } else { "nothing" };
    let observed = format!("send had returned, and {left} of it was still in the send buffer");
    out.claim("K1", Verdict::holds_if(sent == MESSAGE && held > 0), observed);

    // A second connection lets the server go. That the first bytes were lost, only a later call
    // says.
    let _looked = connect_to(&at.host, at.port)?;
    kernel::wait_until_peer_ended(&conn)?;
    let next = retry_eintr(|| sys::send(&conn, b"x", NO_SIGPIPE));
    out.check("the next send", "ECONNRESET", said(&next));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Nothing is read until the client has looked, which its second connection tells.
    let (conn, _) = accept(&listener)?;
    let (_looked, _) = accept(&listener)?;

    // A close with unread bytes is a reset, and they are gone.
    recv_exact(&conn, &mut [0; 100])?;
    out.note("has read 100 bytes, and closes");
    conn.close()
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
