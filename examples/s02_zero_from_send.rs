//! `send` returns 0 only for an empty buffer, and nothing leaves; `recv` with one still waits.
//!
//! Article 2.1. man: send(2), recv(2), tcp(7) (TCP_INFO).
//! Claim S3: A send that returns 0 means that no progress is possible.
//!
//! The article's loop takes 0 from `send` for "no progress possible". Where there is no progress,
//! Linux waits, or says EAGAIN or EPIPE. A 0 answers a question for 0 bytes. From `recv` 0 is the
//! end of the stream, unless 0 bytes were asked for.
//!
//! Expect: 0 from an empty `send`, no segment, and the next `send` works; EAGAIN, not 0, where
//! nothing fits. An empty `recv` waits for data, takes none and returns 0; `recv_exact` of 0 bytes
//! makes no call.
//!
//! Change and see: a byte in the empty `send`; room for a byte in the empty `recv`.

use std::io;
use std::process::ExitCode;
use std::thread;

use stage::{At, Out, Verdict, kernel, retry_eintr, said};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The server's byte says that it waits in a `recv` for 0 bytes.
    let conn = connect_to(&at.host, at.port)?;
    let send = |bytes, flags| retry_eintr(|| sys::send(&conn, bytes, NO_SIGPIPE | flags));
    recv_exact(&conn, &mut [0])?;

    // There is nothing to send, and so no segment leaves, not even an empty one.
    let before = kernel::tcp_info(&conn)?.tcpi_segs_out;
    let empty = send(b"", 0);
    let left = kernel::tcp_info(&conn)?.tcpi_segs_out - before;
    out.check("send of 0 bytes", "0", said(&empty));
    out.check("segments that left", 0, left);

    // Progress was possible all the time.
    let next = send(b"HELLO", 0);
    out.check("send of 5 bytes, right after it", "5", said(&next));

    // Here it is not: the server reads no more, and the buffers are full.
    recv_exact(&conn, &mut [0])?;
    kernel::fill(&conn)?;
    let full = send(b"HELLO", libc::MSG_DONTWAIT);
    out.check("send of 5 bytes where nothing fits", "EAGAIN", said(&full));

    // If 0 meant "no progress", it would have come here, and there it would not.
    let [empty, next, full] = [empty, next, full].map(|result| said(&result));
    let only_if_stuck = full == "0" && (empty != "0" || next == "0");
    let verdict =
        Verdict::holds_if(only_if_stuck).or_when(full == "0", "the buffer is not an empty one");
    let observed = format!("an empty send: {empty}, the next: {next}; into a full buffer: {full}");
    out.claim("S3", verdict, observed);

    // A second connection tells the server that it may go.
    let _looked = connect_to(&at.host, at.port)?;
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Nothing has come yet, so that any call would wait. The loop makes none.
    let (conn, _) = accept(&listener)?;
    let nothing = recv_exact(&conn, &mut []);
    out.check("recv_exact of 0 bytes, before anything has come", "ok", said(&nothing));

    // The call itself waits. The client sends when it has been seen to.
    let (waited, empty) = thread::scope(|scope| {
        let go = |_| send_all(&conn, b".");
        let seen = kernel::when_blocked_in(scope, libc::SYS_recvfrom, go);
        let empty = retry_eintr(|| sys::recv(&conn, &mut [], 0));
        (seen.join().is_ok_and(|seen| seen.is_ok()), empty)
    });

    // Its 0 looks like the end of the stream, while five bytes are there.
    out.check("recv of 0 bytes waits", true, waited);
    out.check("and returns", "0", said(&empty));
    out.check("which is not the end: unread", 5, kernel::unread(&conn)?);

    // The second connection says that the client has looked.
    send_all(&conn, b".")?;
    accept(&listener)?;
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
