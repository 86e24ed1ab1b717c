//! Many small sends leave as few segments, and one large send as many.
//!
//! Article 1.1. man: send(2), tcp(7) (TCP_INFO).
//! Claim B2: The number and size of sends say nothing of those of the segments, either.
//!
//! `send` only copies bytes into the send buffer. TCP cuts segments out of that buffer later: as
//! large as it may, and a small one not while an earlier one is unacknowledged (Nagle).
//!
//! Expect: 1000 sends of 10 bytes leave as fewer than 500 segments, one send of 1 MiB as more
//! than one. TCP_INFO has counted them.
//!
//! Change and see: LARGE to 1000 (one segment); TCP_NODELAY on the client's socket (more of them,
//! but now cwnd holds them back), and SENDS to 10, too (a segment a send).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const SENDS: usize = 1000;
const SMALL: &[u8] = b"ten bytes\n";
const LARGE: usize = 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;

    // While the first piece is unacknowledged, the next ones gather in the send buffer and leave
    // together.
    out.note(format_args!("sends {} bytes, {SENDS} times", SMALL.len()));
    for _ in 0..SENDS {
        send_all(&conn, SMALL)?;
    }
    let of_many = segments(&conn)?;
    let few = of_many < SENDS / 2;
    out.check_that("segments of them", "fewer than half as many", of_many, few);

    // One call, and more bytes than any segment can carry.
    out.note(format_args!("sends {LARGE} bytes, once"));
    let sent = retry_eintr(|| sys::send(&conn, &vec![b'x'; LARGE], NO_SIGPIPE))?;
    out.check("that one send", LARGE, sent);
    let of_one = segments(&conn)? - of_many;
    out.check_that("segments of that", "more than 1", of_one, of_one > 1);

    // Were each send a segment, there would be 1000 of the first kind and 1 of the second.
    let fewer = if few { "fewer than" } else { "at least" };
    let more = if of_one > 1 { "more than 1" } else { "1" };
    let half = SENDS / 2;
    let observed = format!("{SENDS} sends left as {fewer} {half} segments, 1 send as {more}");
    out.claim("B2", Verdict::holds_if(few && of_one > 1), observed);
    Ok(())
}

/// Segments with data in them that have left so far, once all of them have arrived.
fn segments(conn: &UniqueFd) -> io::Result<usize> {
    kernel::wait_until_acked(conn)?;
    kernel::segments_sent(conn)
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    // The small pieces are not read as they come, for reading would only hurry the
    // acknowledgements.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, SENDS * SMALL.len())?;
    recv_exact(&conn, &mut vec![0; SENDS * SMALL.len() + LARGE])
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
