//! `recv` removes from the receive buffer what it copied; with MSG_PEEK it does not.
//!
//! Article 1.3. man: recv(2) (MSG_PEEK), tcp(7) (SIOCINQ).
//! Claim K3: A recv removes from the buffer what it copied.
//!
//! The receive buffer is a queue. `recv` takes from its front and gives the room back to the peer,
//! whose window it is. A peek copies and leaves all as it was, so it can be asked again.
//!
//! Expect: 11 bytes are there before and after a peek; `recv` of 5 leaves 6, and those are the
//! next to be read.
//!
//! Change and see: leave MSG_PEEK out (its two checks fail); peek with room for 100.

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    out.note("sends HELLO WORLD");
    send_all(&conn, b"HELLO WORLD")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;

    // Each call tells two things: what it returned, and how many bytes can still be read after it.
    let recv = |room, flags| -> io::Result<(String, usize)> {
        let mut buf = [0; 100];
        let n = retry_eintr(|| sys::recv(&conn, &mut buf[..room], flags))?;
        Ok((text(&buf[..n]), kernel::unread(&conn)?))
    };

    // All 11 bytes have arrived before the first call, so that only `recv` can change their number.
    kernel::wait_until_unread(&conn, 11)?;
    let (peeked, left) = recv(5, libc::MSG_PEEK)?;
    out.check("MSG_PEEK, 5 bytes", r#""HELLO""#, &peeked);
    out.check("unread after it", 11, left);

    // The next call finds the same five bytes at the front, and takes them away.
    let (first, left) = recv(5, 0)?;
    out.check("recv, 5 bytes", peeked, &first);
    out.check("unread after it", 6, left);

    // There is room for 100 now, but only the rest is there.
    let (second, at_last) = recv(100, 0)?;
    out.check("recv, 100 bytes", r#"" WORLD""#, &second);
    out.check("unread after it", 0, at_last);

    // A `recv` that only copied would have left 11, and would have returned HELLO once more.
    let removed = left == 6 && at_last == 0 && second == r#"" WORLD""#;
    let observed = format!("of 11 bytes, {left} were left after a recv of 5, then {at_last}");
    out.claim("K3", Verdict::holds_if(removed), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
