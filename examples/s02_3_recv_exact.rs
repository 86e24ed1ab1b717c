//! Rung 3: `recv_exact` returns all n bytes, or says how far it got and why no more will come.
//!
//! Article 2.1. Claim: S2. man: recv(2).
//!
//! Since rung 2: the loop calls `recv` again after EINTR, and an error carries the count. The
//! client stops half-way, once with a FIN, once with a reset: two different things, and two
//! different errors.
//!
//! Expect: the whole text in spite of a signal in its middle; then UnexpectedEof and ECONNRESET,
//! each with the count so far.
//!
//! Change and see: leave out `reset_on_close` (the reset becomes a FIN); no bytes before the
//! first `close` (0 of 11, which may be a clean end: see `or_clean_end`).

use std::io;
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, said, signals, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;
    recv_exact(&conn, &mut [0])?; // the server has been interrupted
    send_all(&conn, b" WORLD")?;

    recv_exact(&conn, &mut [0])?;
    out.note("stops after 5 more bytes, with a FIN");
    send_all(&conn, b"HELLO")?;
    conn.close()?;

    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;
    recv_exact(&conn, &mut [0])?; // the server has had those, and waits for more
    out.note("stops after 5 bytes, with a reset");
    kernel::reset_on_close(&conn)?;
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    signals::count(SIGUSR1, SaFlags::empty())?;
    kernel::wait_until_unread(&conn, 5)?;
    let mut message = [0; 11];
    let whole = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > 0))?;
            send_all(&conn, b".") // the client may send the rest
        });
        recv_exact(&conn, &mut message).map(|()| text(&message))
    });
    out.check("recv_exact, when a signal comes", text(b"HELLO WORLD"), said(&whole));

    send_all(&conn, b".")?;
    let fin = recv_exact(&conn, &mut message);
    out.check("recv_exact, then a FIN in the middle", "UnexpectedEof", said(&fin));

    let (conn, _) = accept(&listener)?;
    let reset = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |_| send_all(&conn, b"."));
        recv_exact(&conn, &mut message)
    });
    out.check("recv_exact, then a reset in the middle", "ECONNRESET", said(&reset));

    let all_of_it = said(&whole) == text(b"HELLO WORLD");
    let told_apart = said(&fin) == "UnexpectedEof" && said(&reset) == "ECONNRESET";
    let [fin, reset] =
        [fin, reset].map(|result| result.map_or_else(|e| e.to_string(), |()| "ok".into()));
    out.claim("S2", Verdict::holds_if(all_of_it && told_apart), format!("{fin}; {reset}"));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
