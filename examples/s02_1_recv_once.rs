//! Step 1, wrong: one `recv` for a message works, until a message comes in two pieces.
//!
//! Article 2.1. man: recv(2).
//!
//! Both sides know that a message has 5 bytes. `recv` hands over what is there (s01_short_read),
//! and on one machine a small message mostly is there as a whole. So this passes every test.
//!
//! Expect: the first message comes out right; then one comes in two pieces, and from there on
//! every message is wrong: the reader is out of step for good.
//!
//! Change and see: the pieces to FIRST, HELLO and WORLD (all is well, it seems); to FIRST, HELL and
//! OWORLD.

use std::io;
use std::process::ExitCode;

use stage::{At, Out, retry_eintr, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Three messages of 5 bytes, in pieces that are cut elsewhere. The next piece leaves when the
    // server has had its `recv`, so that each call finds one piece.
    let conn = connect_to(&at.host, at.port)?;
    for piece in [&b"FIRST"[..], b"HE", b"LLOWORLD"] {
        out.note(format_args!("sends {}", text(piece)));
        send_all(&conn, piece)?;
        recv_exact(&conn, &mut [0])?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let mut right = 0;
    for (sent, got) in [(b"FIRST", &b"FIRST"[..]), (b"HELLO", b"HE"), (b"WORLD", b"LLOWO")] {
        // WRONG: takes what one `recv` returns for the message. The cost: two messages of three.
        let mut message = [0; 5];
        let n = retry_eintr(|| sys::recv(&conn, &mut message, 0))?;
        out.check(format_args!("for {} one recv", text(sent)), text(got), text(&message[..n]));

        // No error came, and a reader without this comparison goes on with what it got.
        right += usize::from(&message[..n] == sent);
        send_all(&conn, b".")?;
    }
    out.check("messages that came out right, of 3", 1, right);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
