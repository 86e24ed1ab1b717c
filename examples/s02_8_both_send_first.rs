//! Rung 8, wrong: both sides send before they read, and a long message locks both of them.
//!
//! Article 2.2. man: send(2), poll(2).
//!
//! Since rung 7: each call is right, but the two programs together are not. Each `send` waits for
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

fn client(at: &At, out: &Out) -> io::Result<()> {
    let (message, mut answer) = (vec![b'c'; MESSAGE], vec![0; MESSAGE]);
    let locked = connect_to(&at.host, at.port)?;
    // WRONG: sends all of it before it reads, and so does the server.
    let result = send_all_with_deadline(&locked, &message, Instant::now() + PATIENCE);
    out.check("both send first: send_all", "TimedOut", said(&result));

    let conn = connect_to(&at.host, at.port)?;
    let result = send_all(&conn, &message).and_then(|()| recv_exact(&conn, &mut answer));
    out.check("the server reads first: send_all, recv_exact", "ok", said(&result));

    let conn = connect_to(&at.host, at.port)?;
    let result = exchange(&conn, &message, &mut answer);
    out.check("the client reads while it sends: exchange", "ok", said(&result));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (message, mut request) = (vec![b's'; MESSAGE], vec![0; MESSAGE]);
    let (locked, _) = accept(&listener)?;
    let result = send_all_with_deadline(&locked, &message, Instant::now() + PATIENCE);
    out.check("both send first: send_all", "TimedOut", said(&result));

    let (conn, _) = accept(&listener)?;
    let result = recv_exact(&conn, &mut request).and_then(|()| send_all(&conn, &message));
    out.check("the server reads first: recv_exact, send_all", "ok", said(&result));

    let (conn, _) = accept(&listener)?;
    let result = send_all(&conn, &message).and_then(|()| recv_exact(&conn, &mut request));
    out.check("the client reads while it sends: send_all, recv_exact", "ok", said(&result));
    Ok(())
}

/// Sends one message and receives another, each whenever `poll` says that it can go on.
fn exchange(conn: &UniqueFd, mut give: &[u8], mut take: &mut [u8]) -> io::Result<()> {
    while !give.is_empty() || !take.is_empty() {
        let room = if give.is_empty() { 0 } else { POLLOUT };
        let data = if take.is_empty() { 0 } else { POLLIN };
        wait_ready(conn, room | data, None)?;
        if !give.is_empty() {
            let sent = sys::send(conn, give, NO_SIGPIPE | MSG_DONTWAIT);
            give = &give[sent.or_else(none_now)?..];
        }
        if !take.is_empty() {
            match sys::recv(conn, take, MSG_DONTWAIT) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                got => take = &mut take[got.or_else(none_now)?..],
            }
        }
    }
    Ok(())
}

fn none_now(e: io::Error) -> io::Result<usize> {
    let later = matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
    if later { Ok(0) } else { Err(e) }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
