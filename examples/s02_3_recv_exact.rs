//! Step 3: `recv_exact` returns all n bytes, or says why no more will come.
//!
//! Article 2.1. man: recv(2).
//! Claim S2: The receive loop returns all n bytes, or says that the peer ended first.
//!
//! Since step 2: the loop calls `recv` again after EINTR. The client stops half-way, once with a
//! FIN, once with a reset: two different things, and two different errors.
//!
//! Expect: the whole text in spite of a signal in its middle; then UnexpectedEof, whose text says
//! how far it got; then ECONNRESET, as the kernel said it.
//!
//! Change and see: leave out `reset_on_close` (the reset becomes a FIN); no bytes before the
//! first `close` (0 of 11: whether that is a clean end, only the caller knows).

use std::io;
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, said, signals, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The second half leaves when the server says that a signal has come.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;
    recv_exact(&conn, &mut [0])?;
    send_all(&conn, b" WORLD")?;

    // A plain close ends the stream in order: what was sent arrives, and a FIN after it.
    recv_exact(&conn, &mut [0])?;
    out.note("stops after 5 more bytes, with a FIN");
    send_all(&conn, b"HELLO")?;
    conn.close()?;

    // A reset breaks it off. It leaves when the server has had the five bytes, and waits for more.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;
    recv_exact(&conn, &mut [0])?;
    out.note("stops after 5 bytes, with a reset");
    kernel::reset_on_close(&conn)?;
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    signals::handle(SIGUSR1, SaFlags::empty())?;

    // The same signal at the same place as in step 2: five bytes were received, six are missing.
    kernel::wait_until_unread(&conn, 5)?;
    let mut message = [0; 11];
    let whole = thread::scope(|scope| {
        // The client sends those six when the handler has run.
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > 0))?;
            send_all(&conn, b".")
        });
        recv_exact(&conn, &mut message).map(|()| text(&message))
    });
    out.check("recv_exact, when a signal comes", text(b"HELLO WORLD"), said(&whole));

    // `recv` says 0 where bytes are missing. That is an end, but not of a whole message.
    send_all(&conn, b".")?;
    let fin = recv_exact(&conn, &mut message);
    out.check("recv_exact, then a FIN in the middle", "UnexpectedEof", said(&fin));

    // The client resets the connection when this thread waits for the sixth byte.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, 5)?;
    let reset = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |_| send_all(&conn, b"."));
        recv_exact(&conn, &mut message)
    });
    out.check("recv_exact, then a reset in the middle", "ECONNRESET", said(&reset));

    // Who reads has to know which it was: after a reset more was lost than the rest of a message.
    let all_of_it = said(&whole) == text(b"HELLO WORLD");
    let told_apart = said(&fin) == "UnexpectedEof" && said(&reset) == "ECONNRESET";
    let [fin, reset] =
        [fin, reset].map(|result| result.map_or_else(|e| e.to_string(), |()| "ok".into()));

    // How far it got stands in the error's text.
    out.check("in words", "the peer ended its stream after 5 of 11 bytes", &fin);
    out.claim("S2", Verdict::holds_if(all_of_it && told_apart), format!("{fin}; {reset}"));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
