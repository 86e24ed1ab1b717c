//! `recv_exact` returns all n bytes, or says how far it got and why no more will come.
//!
//! Article 2.1. Claim: S2. man: recv(2).
//!
//! The client drips "HELLO WORLD" a byte at a time. A single `recv` takes the first drop for the
//! message; the loop does not. Then the client stops half-way, once with a FIN, once with a reset:
//! two different things, and two different errors.
//!
//! Expect: "H" from one `recv`; the whole text from the loop; UnexpectedEof and ECONNRESET, each
//! with the count so far.
//!
//! Change and see: leave out `reset_on_close` (the reset becomes a FIN).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, said, text};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"H")?;
    recv_exact(&conn, &mut [0])?; // the server has had its one recv
    for drop in b"HELLO WORLD" {
        send_all(&conn, &[*drop])?;
        kernel::wait_until_acked(&conn)?; // so that each byte travels alone
    }
    out.note("stops after 5 more bytes, with a FIN");
    send_all(&conn, b"HELLO")?;
    conn.close()?;

    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;
    kernel::wait_until_acked(&conn)?;
    out.note("stops after 5 bytes, with a reset");
    kernel::reset_on_close(&conn)?;
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let mut message = [0; 11];
    // WRONG: takes what one recv returns for the message.
    let n = retry_eintr(|| sys::recv(&conn, &mut message, 0))?;
    out.check("one recv for a message of 11 bytes", text(b"H"), text(&message[..n]));
    send_all(&conn, b".")?;

    let whole = recv_exact(&conn, &mut message).map(|()| text(&message));
    out.check("recv_exact", text(b"HELLO WORLD"), said(&whole));

    let fin = recv_exact(&conn, &mut message);
    out.check("recv_exact, then a FIN in the middle", "UnexpectedEof", said(&fin));
    let (conn, _) = accept(&listener)?;
    let reset = recv_exact(&conn, &mut message);
    out.check("recv_exact, then a reset in the middle", "ECONNRESET", said(&reset));

    let told_apart = whole.is_ok() && said(&fin) != said(&reset);
    let [fin, reset] =
        [fin, reset].map(|result| result.map_or_else(|e| e.to_string(), |()| "ok".into()));
    out.claim("S2", Verdict::holds_if(told_apart), format!("{fin}; {reset}"));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
