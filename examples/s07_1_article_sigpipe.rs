//! A client that goes before its answer comes kills the article's server, for everyone.
//!
//! Article 7, 12.2. man: send(2) (MSG_MORE), signal(7).
//!
//! The article's `send_all` passes flags 0. Its `send_frame` calls it twice: the first time nobody
//! is there, and a reset comes back; the second time a `send` raises SIGPIPE, which ends a C
//! program. So the server here is a process of its own, with SIGPIPE as a C program has it.
//!
//! Expect: one client closes early; the server is ended by SIGPIPE; the client that comes next in
//! the queue gets a reset, and the one after it is refused. (`s07_4_echo_survives` does it right.)
//!
//! Change and see: `sys::NO_SIGPIPE` for the 0 in `send`, or no `sigpipe_kills`, for Rust ignores
//! SIGPIPE (either way the server lives on, and after a minute the stage ends what hangs).

use std::io;
use std::process::ExitCode;

use stage::child::{self, Child};
use stage::{At, Out, kernel, retry_eintr, said};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = kernel::wait_until_in_queue(connect_to(&at.host, at.port)?)?;
    // A second client waits in the queue after it. It has done nothing wrong.
    let second = connect_to(&at.host, at.port)?;
    out.note("sends its request, and goes");
    let request = [&(DEFAULT_CAP as u32).to_be_bytes()[..], &vec![b'x'; DEFAULT_CAP]].concat();
    let (most, last) = request.split_at(request.len() - 1);
    send_all(&conn, most)?;
    kernel::wait_until_acked(&conn)?;
    // MSG_MORE: the last byte and the FIN leave together. Nobody is left to get the answer.
    retry_eintr(|| sys::send(&conn, last, sys::NO_SIGPIPE | libc::MSG_MORE))?;
    conn.close()?;

    // The second client is told when the server's process has ended, and the third is not let in.
    let answer = retry_eintr(|| sys::recv(&second, &mut [0], 0));
    out.check("recv of the client that waits in the queue", "ECONNRESET", said(&answer));
    let third = connect_to(&at.host, at.port);
    out.check("connect of the next one", "ConnectionRefused", said(&third));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Accepted sockets inherit it. Less than a frame: it cannot be sent before the reset has come.
    sys::set_option(&listener, libc::SOL_SOCKET, libc::SO_SNDBUF, 64 * 1024)?;
    // The child takes the listener over. When it ends, nobody listens any more.
    let ended = Child::start("article", listener)?.wait()?;
    let by = ended.by.map_or("nothing", |signal| signal.as_str());
    out.check("the article's server was ended by", "SIGPIPE", by);
    Ok(())
}

/// The article's server, in the child: one client after the other.
fn article_server(_: &str, listener: UniqueFd) -> io::Result<String> {
    child::sigpipe_kills()?;
    loop {
        // A client that fails is left, and the next one accepted. So far the article is right.
        let (conn, _) = accept(&listener)?;
        let Ok(Some(frame)) = recv_frame(&conn, DEFAULT_CAP) else { continue };
        // Two sends for one frame: the first brings the reset, the second meets it.
        let header = (frame.len() as u32).to_be_bytes();
        if article_send_all(&conn, &header).and_then(|()| article_send_all(&conn, &frame)).is_ok() {
            let _ = sys::shutdown(&conn, libc::SHUT_WR);
        }
    }
}

fn article_send_all(conn: &UniqueFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        // WRONG: flags 0. A peer that has gone ends this process, whomever else it would serve.
        sent += retry_eintr(|| sys::send(conn, &buf[sent..], 0))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::with_child(article_server, || stage::pair(stage::about!(), server, client))
}
