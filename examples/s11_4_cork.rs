//! MSG_MORE and TCP_CORK let the kernel gather: two calls, one segment, no delay.
//!
//! Article 11.2. man: send(2) (MSG_MORE), tcp(7) (TCP_CORK, TCP_QUICKACK).
//!
//! For a header and a payload that cannot be put into one buffer. MSG_MORE says of one call that
//! more will come; TCP_CORK says it of all calls until it is taken off. What never gets its last
//! call leaves after 200 ms all the same.
//!
//! Expect: two plain sends take two segments and more than 20 ms; with either of the two a message
//! is one segment, and nothing is held back.
//!
//! Change and see: leave the cork on, or give the payload MSG_MORE as well (200 ms).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{MSG_MORE, SOL_TCP, TCP_CORK, TCP_QUICKACK};
use stage::kernel::{segments_sent, tcp_info};
use stage::{At, Out, ms, retry_eintr};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame, sys};

/// Of the 40 ms that are expected: the kernel's clock may tick only every 10 ms.
const DELAY: Duration = Duration::from_millis(20);
const HEADER: [u8; 4] = 60_u32.to_be_bytes();
const PAYLOAD: [u8; 60] = [b'x'; 60];

/// WRONG: two calls, and nothing said. It costs 40 ms a round trip.
fn plain(conn: &UniqueFd) -> io::Result<()> {
    send_all(conn, &HEADER)?;
    send_all(conn, &PAYLOAD)
}

/// MSG_MORE: the first call says that it is not the last.
fn more(conn: &UniqueFd) -> io::Result<()> {
    retry_eintr(|| sys::send(conn, &HEADER, NO_SIGPIPE | MSG_MORE))?;
    send_all(conn, &PAYLOAD)
}

/// TCP_CORK: whatever is sent stays here until the cork is taken off.
fn cork(conn: &UniqueFd) -> io::Result<()> {
    sys::set_option(conn, SOL_TCP, TCP_CORK, 1)?;
    send_all(conn, &HEADER)?;
    send_all(conn, &PAYLOAD)?;
    sys::set_option(conn, SOL_TCP, TCP_CORK, 0)
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    // With nothing said the header leaves alone, and the payload waits.
    let (time, _, segments) = run(at, plain)?;
    out.check_that("two sends: a round trip", "more than 20 ms", ms(time), time > DELAY);
    out.check("two sends: segments a message", 2, segments);

    // With either of the two the header waits for the payload, which comes at once.
    for (way, send) in [("MSG_MORE", more as fn(&UniqueFd) -> _), ("TCP_CORK", cork)] {
        let (time, held_back, segments) = run(at, send)?;
        out.note(format_args!("{way}: a round trip of {}", ms(time)));
        out.check(format!("{way}: segments a message"), 1, segments);
        out.check(format!("{way}: bytes held back"), 0, held_back);
    }
    Ok(())
}

/// How long a round trip took, how many bytes were held back, and how many segments left.
fn run(at: &At, send: fn(&UniqueFd) -> io::Result<()>) -> io::Result<(Duration, u32, usize)> {
    // One round trip makes the server delay its acknowledgements.
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, &PAYLOAD, DEFAULT_CAP)?;
    recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    // The next one counts. When its answer is here, all of it has left.
    let (start, before) = (Instant::now(), segments_sent(&conn)?);
    send(&conn)?;
    let held_back = tcp_info(&conn)?.tcpi_notsent_bytes;
    recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((start.elapsed(), held_back, segments_sent(&conn)? - before))
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for _ in ["two sends", "MSG_MORE", "TCP_CORK"] {
        let (conn, _) = accept(&listener)?;
        while let Some(message) = recv_frame(&conn, DEFAULT_CAP)? {
            // Who answers delays acknowledgements: the kernel itself sets this, if it is in time.
            sys::set_option(&conn, SOL_TCP, TCP_QUICKACK, 0)?;
            send_frame(&conn, &message, DEFAULT_CAP)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
