//! MSG_MORE and TCP_CORK let the kernel gather: two calls, one segment, no delay.
//!
//! Article 11.2. man: send(2) (MSG_MORE), tcp(7) (TCP_CORK).
//!
//! For a header and a payload that cannot be passed to one `sendmsg`. MSG_MORE says of one call
//! that more will come; TCP_CORK says it of all calls until it is taken off. What never gets its
//! last call leaves after 200 ms all the same.
//!
//! Expect: with either a round trip is shorter by more than 20 ms, and a message one segment.
//!
//! Change and see: leave the cork on, or give the payload MSG_MORE as well (200 ms).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use libc::{MSG_MORE, SOL_TCP, TCP_CORK};
use stage::kernel::segments_sent;
use stage::{At, Out, Times, ms};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame, sys};

const ROUNDS: usize = 7;
const DELAY: Duration = Duration::from_millis(20); // of the 40 that are expected
const HEADER: [u8; 4] = 60_u32.to_be_bytes();
const PAYLOAD: [u8; 60] = [b'x'; 60];

/// WRONG: two calls, and nothing said. It costs 40 ms a round trip.
fn plain(conn: &UniqueFd) -> io::Result<()> {
    send_all(conn, &HEADER)?;
    send_all(conn, &PAYLOAD)
}

fn more(conn: &UniqueFd) -> io::Result<()> {
    retry_eintr(|| sys::send(conn, &HEADER, NO_SIGPIPE | MSG_MORE))?;
    send_all(conn, &PAYLOAD)
}

fn cork(conn: &UniqueFd) -> io::Result<()> {
    sys::set_option(conn, SOL_TCP, TCP_CORK, 1)?;
    send_all(conn, &HEADER)?;
    send_all(conn, &PAYLOAD)?;
    sys::set_option(conn, SOL_TCP, TCP_CORK, 0) // and off it goes
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let run = |send: fn(&UniqueFd) -> io::Result<()>| -> io::Result<(Times, usize)> {
        let conn = connect_to(&at.host, at.port)?;
        let round_trip = Times::of(ROUNDS, || {
            send(&conn)?;
            recv_frame(&conn, DEFAULT_CAP).map(drop)
        })?;
        Ok((round_trip, segments_sent(&conn)? / ROUNDS))
    };
    let (slow, segments) = run(plain)?;
    let slow = slow.median();
    out.check_that("two sends: a round trip", "more than 20 ms", ms(slow), slow > DELAY);
    out.check("two sends: segments a message", 2, segments);

    for (way, send) in [("MSG_MORE", more as fn(&UniqueFd) -> _), ("TCP_CORK", cork)] {
        let (fast, segments) = run(send)?;
        let fast = fast.least(); // it needs one to show that nobody waits
        let saves = slow.saturating_sub(fast) > DELAY;
        out.check_that(format!("{way}: a round trip"), "20 ms less", ms(fast), saves);
        out.check(format!("{way}: segments a message"), 1, segments);
    }
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for _ in ["two sends", "MSG_MORE", "TCP_CORK"] {
        let (conn, _) = accept(&listener)?;
        while let Some(message) = recv_frame(&conn, DEFAULT_CAP)? {
            send_frame(&conn, &message, DEFAULT_CAP)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
