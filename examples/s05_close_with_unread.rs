//! `close` with unread bytes sends a reset, and what was sent and has not arrived is lost.
//!
//! Article 5. man: close(2), shutdown(2). RFC 1122, 4.2.2.13; RFC 2525, 2.17.
//! Claim C9: A close with unread data sends a reset instead of a FIN, and may destroy data already
//!   sent. (The article leaves it out.)
//!
//! A server that answers before it has read the whole request, and closes, loses its answer: the
//! kernel tells the client that its bytes were not read, and drops the rest of the answer.
//!
//! Expect: with the request read, or with `lingering_close`, the whole answer and a FIN; with the
//! request unread, a part of the answer and ECONNRESET.
//!
//! Change and see: let the server read 6 of the 7 bytes; `shutdown` with SHUT_WR before the plain
//! `close` (the FIN waits for the answer to leave, and is dropped with it).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::{At, Out, Verdict, kernel, said};
use tcp_stream_io::stream::{lingering_close, recv_some};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // One connection for each of the server's three ways to end.
    let read = ask(at)?;
    out.check("the request read, close", "all of it, then 0", &read);
    // WRONG: what the server does here costs the answer.
    let unread = ask(at)?;
    out.check("the request unread, close", "part of it, then ECONNRESET", &unread);
    // The same server and the same unread request, but `lingering_close` in place of `close`.
    let lingering = ask(at)?;
    out.check("the request unread, lingering_close", "all of it, then 0", &lingering);

    // The reset comes with the unread bytes and only then; and it takes a part of the answer away.
    let reset = read.ends_with("then 0") && unread.ends_with("ECONNRESET");
    let destroys = read.starts_with("all") && unread.starts_with("part");
    let observed = format!("request read: {read}; request unread: {unread}");
    out.claim("C9", Verdict::holds_if(reset && destroys), observed);
    Ok(())
}

/// How much of the answer came, and what `recv` said then.
fn ask(at: &At) -> io::Result<String> {
    // On the second connection the server tells how many bytes its `send` has taken.
    let conn = connect_to(&at.host, at.port)?;
    let talk = connect_to(&at.host, at.port)?;
    send_all(&conn, b"request")?;
    let mut sent = [0; 8];
    recv_exact(&talk, &mut sent)?;

    // Reads to the end, whatever that is: 0, or an error.
    let (mut got, mut buf) = (0, [0; 64 * 1024]);
    let end = loop {
        match recv_some(&conn, &mut buf, None) {
            Ok(n) if n > 0 => got += n,
            end => break end,
        }
    };
    // Nothing at all would not be a part of it.
    let whole = u64::from_be_bytes(sent);
    let how_much = if got as u64 == whole { "all" } else { "part" };
    Ok(format!("{} of it, then {}", if got == 0 { "nothing" } else { how_much }, said(&end)))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    for (read, lingering) in [(true, false), (false, false), (false, true)] {
        // The whole request is there before the answer begins. It is read, or left where it is.
        let (conn, _) = accept(&listener)?;
        let (talk, _) = accept(&listener)?;
        kernel::wait_until_unread(&conn, 7)?;
        if read {
            recv_exact(&conn, &mut [0; 7])?;
        }
        // The answer is larger than the client's window, so a part of it is still here.
        let sent = (kernel::fill(&conn)? as u64).to_be_bytes();
        if lingering {
            // The client begins to read when it knows the size, and the close waits for that.
            send_all(&talk, &sent)?;
            lingering_close(conn, Instant::now() + Duration::from_secs(60))?;
        } else {
            // The client begins to read when this end has closed already.
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
