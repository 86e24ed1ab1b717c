//! `close` with unread bytes sends a reset, and the reset destroys what was sent and not yet read.
//!
//! Article 5. Claim: C9. man: close(2), shutdown(2). RFC 1122, 4.2.2.13; RFC 2525, 2.17.
//!
//! A server that answers before it has read the whole request, and closes, loses its answer: the
//! kernel tells the client that its bytes were not read, and drops the rest of the answer.
//!
//! Expect: with the request read, or with `lingering_close`, the whole answer and a FIN; with the
//! request unread, a part of the answer and ECONNRESET.
//!
//! Change and see: let the server read 6 of the 7 bytes; `shutdown` with SHUT_WR before the plain
//! `close` (the FIN stands behind the answer, and is dropped with it).

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use stage::{At, HANG, Out, Verdict, kernel, said};
use tcp_stream_io::stream::{lingering_close, recv_some};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let read = ask(at)?;
    out.check("the request read, close", "all of it, then 0", &read);
    // WRONG: what the server does here costs the answer.
    let unread = ask(at)?;
    out.check("the request unread, close", "part of it, then ECONNRESET", &unread);
    let lingering = ask(at)?;
    out.check("the request unread, lingering_close", "all of it, then 0", &lingering);

    let reset = !read.ends_with("ECONNRESET") && unread.ends_with("ECONNRESET");
    let destroys = read.starts_with("all") && unread.starts_with("part");
    let observed = format!("request read: {read}; request unread: {unread}");
    out.claim("C9", Verdict::holds_if(reset && destroys), observed);
    Ok(())
}

/// How much of the answer came, and what `recv` said then.
fn ask(at: &At) -> io::Result<String> {
    let conn = connect_to(&at.host, at.port)?;
    let talk = connect_to(&at.host, at.port)?;
    send_all(&conn, b"request")?;
    let mut sent = [0; 8];
    recv_exact(&talk, &mut sent)?; // the server's send took so many bytes
    let (mut got, mut buf) = (0, [0; 64 * 1024]);
    let end = loop {
        match recv_some(&conn, &mut buf, None) {
            Ok(n) if n > 0 => got += n,
            end => break end,
        }
    };
    let whole = got == usize::from_be_bytes(sent);
    Ok(format!("{} of it, then {}", if whole { "all" } else { "part" }, said(&end)))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    for (read, lingering) in [(true, false), (false, false), (false, true)] {
        let (conn, _) = accept(&listener)?;
        let (talk, _) = accept(&listener)?;
        kernel::wait_until_unread(&conn, 7)?;
        if read {
            recv_exact(&conn, &mut [0; 7])?;
        }
        let sent = kernel::fill(&conn)?.to_be_bytes(); // an answer larger than the window
        if lingering {
            send_all(&talk, &sent)?;
            lingering_close(conn, Instant::now() + HANG)?;
        } else {
            conn.close()?;
            send_all(&talk, &sent)?;
        }
    }
    out.note("has closed three connections");
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
