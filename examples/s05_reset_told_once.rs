//! A reset is told once: the call that hears of it takes it away, and `recv` then says 0.
//!
//! Article 5. man: send(2), recv(2), socket(7) (SO_ERROR), shutdown(2).
//!
//! The kernel keeps one pending error a socket. Whoever reports it clears it, be it `send`, `recv`
//! or SO_ERROR. What is left looks like a clean end, so a reader that failed must stay failed.
//!
//! Expect: ECONNRESET from the first call, whichever it is, and 0 from the next `recv`; a frame
//! reader that asks too late says "no more frames". `shutdown` says ENOTCONN and takes nothing.
//!
//! Change and see: a plain close in the server (no error at all); `recv` before `send` at the end.

use std::io;
use std::process::ExitCode;

use libc::{SHUT_WR, SO_ERROR, SOL_SOCKET};
use stage::{At, Out, kernel, said};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, recv_frame, send_all, sys};

const CONNECTIONS: usize = 6;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The first `recv` tells of the reset. The second looks like a clean end.
    let recv = |conn: &UniqueFd| said(&recv_some(conn, &mut [0; 100], None));
    let conn = reset_by_server(at)?;
    let told = [recv(&conn), recv(&conn)].join(", ");
    out.check("recv, recv", "ECONNRESET, 0", told);

    // A `send` takes the error away just so.
    let conn = reset_by_server(at)?;
    let told = [said(&send_all(&conn, b"x")), recv(&conn)].join(", ");
    out.check("send, recv", "ECONNRESET, 0", told);

    // So does SO_ERROR, which looks like a mere question.
    let conn = reset_by_server(at)?;
    let error = io::Error::from_raw_os_error(sys::get_option(&conn, SOL_SOCKET, SO_ERROR)?);
    let told = [said::<()>(&Err(error)), recv(&conn)].join(", ");
    out.check("SO_ERROR, recv", "ECONNRESET, 0", told);

    // `shutdown` has an error of its own, and leaves the pending one where it is.
    let conn = reset_by_server(at)?;
    let told = [said(&sys::shutdown(&conn, SHUT_WR)), recv(&conn)].join(", ");
    out.check("shutdown, recv", "ENOTCONN, ECONNRESET", told);

    // WRONG: leaves an error of `send` to `recv`, which is to tell it again. It does not.
    let conn = reset_by_server(at)?;
    let _ = send_all(&conn, b"request");
    let frame = recv_frame(&conn, DEFAULT_CAP).map(or_no_more);
    out.check("send, its error ignored; recv_frame", "no more frames", said(&frame));

    // The first error is the answer, and nothing is asked after it.
    let conn = reset_by_server(at)?;
    let frame = send_all(&conn, b"request").and_then(|()| recv_frame(&conn, DEFAULT_CAP));
    out.check("send, and recv_frame if it succeeded", "ECONNRESET", said(&frame.map(or_no_more)));
    Ok(())
}

fn or_no_more(frame: Option<Vec<u8>>) -> &'static str {
    if frame.is_some() { "a frame" } else { "no more frames" }
}

/// A connection that the server has reset, and nobody here has been told.
fn reset_by_server(at: &At) -> io::Result<UniqueFd> {
    // The byte asks for the reset. `poll` sees it arrive, and takes nothing away.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b".")?;
    kernel::wait_until_peer_ended(&conn)?;
    Ok(conn)
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    out.note("resets every connection");
    for _ in 0..CONNECTIONS {
        // Nothing is left unread, so a plain `close` would be a FIN. SO_LINGER makes it a reset.
        let (conn, _) = accept(&listener)?;
        recv_exact(&conn, &mut [0])?;
        kernel::reset_on_close(&conn)?;
        conn.close()?;
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
