//! Step 8, wrong: both sides send before they read, and a long message locks both of them.
//!
//! Article 2.2. man: send(2), poll(2).
//!
//! Since step 7: each call is right, but the two programs together are not. Each `send` waits for
//! room that only the peer's reading can make, and the peer is waiting in a `send` of its own.
//! Small messages fit into the buffers, so that this, too, passes every test.
//!
//! Expect: both say TimedOut, which only the deadline makes them do; with an order (one side reads
//! first) both messages arrive; and also if one side reads while it sends.
//!
//! Change and see: MESSAGE to 10,000 (all is well, it seems); `send_all` without a deadline, twice
//! (the stage says where both hang).

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{MSG_DONTWAIT, POLLIN, POLLOUT};
use stage::{At, Out, said};
use tcp_stream_io::stream::{send_all_with_deadline, wait_ready};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const MESSAGE: usize = 16 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_millis(200);

/// What each side says: its own bytes, again and again.
fn message(bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(MESSAGE / bytes.len())
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let (request, mut answer) = (message(b"request "), vec![0; MESSAGE]);

    // WRONG: sends all of it before it reads, and so does the server. The cost: nobody goes on.
    let locked = connect_to(&at.host, at.port)?;
    let result = send_all_with_deadline(&locked, &request, Instant::now() + PATIENCE);
    out.check("both send first: send_all", "TimedOut", said(&result));

    // Where the server reads first, the client's `send` always finds room again.
    let conn = connect_to(&at.host, at.port)?;
    let result = send_all(&conn, &request).and_then(|()| recv_exact(&conn, &mut answer));
    out.check("the server reads first: send_all, recv_exact", "ok", said(&result));
    out.check("and the answer is right", true, answer == message(b"answer. "));

    // Without an agreement on an order, one side has to read whenever something is there.
    answer.fill(0);
    let conn = connect_to(&at.host, at.port)?;
    let result = exchange(&conn, &request, &mut answer);
    out.check("the client reads while it sends: exchange", "ok", said(&result));
    out.check("and the answer is right", true, answer == message(b"answer. "));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (answer, mut request) = (message(b"answer. "), vec![0; MESSAGE]);

    // Both buffers of both sides are full of what nobody takes out.
    let (locked, _) = accept(&listener)?;
    let result = send_all_with_deadline(&locked, &answer, Instant::now() + PATIENCE);
    out.check("both send first: send_all", "TimedOut", said(&result));

    // An order, kept by both sides: the request first, then the answer.
    let (conn, _) = accept(&listener)?;
    let result = recv_exact(&conn, &mut request).and_then(|()| send_all(&conn, &answer));
    out.check("the server reads first: recv_exact, send_all", "ok", said(&result));
    out.check("and the request is right", true, request == message(b"request "));

    // The server sends first, as it did when both were locked. This client reads meanwhile.
    request.fill(0);
    let (conn, _) = accept(&listener)?;
    let result = send_all(&conn, &answer).and_then(|()| recv_exact(&conn, &mut request));
    out.check("the client reads while it sends: send_all, recv_exact", "ok", said(&result));
    out.check("and the request is right", true, request == message(b"request "));
    Ok(())
}

/// Sends one message and receives another, each whenever `poll` says that it can go on.
fn exchange(conn: &UniqueFd, mut give: &[u8], mut take: &mut [u8]) -> io::Result<()> {
    while !give.is_empty() || !take.is_empty() {
        // What is done is not asked for any more: a socket with room would make `poll` spin.
        let room = if give.is_empty() { 0 } else { POLLOUT };
        let data = if take.is_empty() { 0 } else { POLLIN };
        wait_ready(conn, room | data, None)?;

        // Neither call may wait, for the other one may be what the peer needs.
        if !give.is_empty() {
            let sent = sys::send(conn, give, NO_SIGPIPE | MSG_DONTWAIT);
            give = &give[sent.or_else(none_now)?..];
        }
        if !take.is_empty() {
            // A 0 is the peer's end, and bytes are missing.
            match sys::recv(conn, take, MSG_DONTWAIT) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                got => take = &mut take[got.or_else(none_now)?..],
            }
        }
    }
    Ok(())
}

/// EAGAIN or EINTR: nothing was moved, and `poll` will say when to try again.
fn none_now(e: io::Error) -> io::Result<usize> {
    let later = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
    if later { Ok(0) } else { Err(e) }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
