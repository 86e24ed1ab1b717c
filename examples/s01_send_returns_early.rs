//! `send` succeeds once the bytes are in the kernel's send buffer, not once they have arrived.
//!
//! Article 1.2. Claim: K1. man: send(2), tcp(7) (SIOCOUTQ).
//!
//! The server accepts and never reads. Its receive buffer fills up, then the client's send buffer
//! does. Every `send` so far has succeeded. Then the server goes away.
//!
//! Expect: the kernel still holds bytes that `send` took; later the connection is reset, and not
//! one byte was ever read.
//!
//! Change and see: let the server read a little before it goes.

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, said};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    let mut taken = 0;
    while kernel::unacked(&conn)? < PIECE.len() {
        taken += retry_eintr(|| sys::send(&conn, &PIECE, NO_SIGPIPE))?;
    }
    let held = kernel::unacked(&conn)?;
    out.check_that("of the bytes that send took, the kernel holds", "some", held, held > 0);
    let left = if held > 0 { "bytes of it were" } else { "nothing was" };
    let observed = format!("when send had returned, {left} still in the send buffer");
    out.claim("K1", Verdict::holds_if(held > 0), observed);

    let _looked = connect_to(&at.host, at.port)?; // tells the server that it may go
    kernel::wait_until_peer_ended(&conn)?;
    let next = retry_eintr(|| sys::send(&conn, &PIECE, NO_SIGPIPE));
    out.check("the next send, after as much success", "ECONNRESET", said(&next));
    out.check_that("bytes that send took and nobody read", "more than 0", taken, taken > 0);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let (_looked, _) = accept(&listener)?; // until the client has looked
    out.note("closes without having read");
    conn.close()
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
