//! Header and payload gathered into one call leave in one segment, and nobody waits.
//!
//! Article 11.2. man: send(2), tcp(7) (TCP_INFO, TCP_QUICKACK).
//! Claim N3: To gather small messages in the application removes that delay.
//!
//! The step after s11_1_two_sends. `send_frame` copies header and payload into one buffer and hands
//! it over in one call. Nothing small is left over that Nagle could hold back.
//!
//! Expect: two sends take more than 60 ms a round trip, and two segments a message; one send takes
//! one segment, and nothing of it is held back.
//!
//! Change and see: `in_one_send` at the server both times (half of the delay); 100,000 bytes for
//! MESSAGE (too large for Nagle: nobody waits either way). Next: s11_3_nodelay.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{SOL_TCP, TCP_QUICKACK};
use stage::kernel::{segments_sent, tcp_info};
use stage::{At, Out, Verdict, ms};
use tcp_stream_io::framing::length::{DEFAULT_CAP, encode_header};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame, sys};

/// Of the 80 ms that are expected: the kernel's clock may tick only every 10 ms.
const DELAY: Duration = Duration::from_millis(60);
const MESSAGE: [u8; 60] = [b'x'; 60];

/// WRONG: two calls for one message. It costs 80 ms a round trip.
fn in_two_sends(conn: &UniqueFd, payload: &[u8]) -> io::Result<()> {
    send_all(conn, &encode_header(payload.len(), DEFAULT_CAP)?)?;
    send_all(conn, payload)
}

/// The library's `send_frame`: one call for both.
fn in_one_send(conn: &UniqueFd, payload: &[u8]) -> io::Result<()> {
    send_frame(conn, payload, DEFAULT_CAP)
}

type SendFrame = fn(&UniqueFd, &[u8]) -> io::Result<()>;
const WAYS: [SendFrame; 2] = [in_two_sends, in_one_send];

fn client(at: &At, out: &Out) -> io::Result<()> {
    let mut seen = Vec::new();
    for send in WAYS {
        // The second round trip counts: a new connection does not delay acknowledgements yet.
        let conn = connect_to(&at.host, at.port)?;
        round_trip(&conn, send)?;
        seen.push(round_trip(&conn, send)?);
    }
    // In two sends the payload waits for the acknowledgement of the header, in each direction.
    let [(two, _, two_segments), (one, held_back, one_segment)] = seen[..] else { panic!() };
    out.check_that("two sends: a round trip", "more than 60 ms", ms(two), two > DELAY);
    out.check("two sends: segments a message", 2, two_segments);
    // In one send there is no payload without its header, and so nothing to wait for.
    out.note(format_args!("one send: a round trip of {}", ms(one)));
    out.check("one send: segments a message", 1, one_segment);
    out.check("one send: bytes held back", 0, held_back);

    // Removed is what was there before, and has no cause any more.
    let removed = two > DELAY && held_back == 0 && one_segment == 1;
    let more = if two > DELAY { "more" } else { "less" };
    // A bound and counts, for the times differ from run to run.
    let observed = format!(
        "two sends: {more} than 60 ms a round trip; one send: {held_back} bytes held back, \
         {one_segment} segment instead of {two_segments}"
    );
    out.claim("N3", Verdict::holds_if(removed), observed);
    Ok(())
}

/// How long it took, how many bytes were held back, and how many segments the message took.
fn round_trip(conn: &UniqueFd, send: SendFrame) -> io::Result<(Duration, u32, usize)> {
    let (start, before) = (Instant::now(), segments_sent(conn)?);
    // What `send` has taken and the kernel has not sent is held back.
    delay_acks(conn)?;
    send(conn, &MESSAGE)?;
    let held_back = tcp_info(conn)?.tcpi_notsent_bytes;
    // When the answer is here, all of the message has left.
    recv_frame(conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok((start.elapsed(), held_back, segments_sent(conn)? - before))
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for send in WAYS {
        // The answer is sent as the request is, so it waits just as long.
        let (conn, _) = accept(&listener)?;
        while let Some(message) = recv_frame(&conn, DEFAULT_CAP)? {
            delay_acks(&conn)?;
            send(&conn, &message)?;
        }
    }
    Ok(())
}

/// What the kernel does itself with a connection that answers, if it answers within 40 ms.
fn delay_acks(conn: &UniqueFd) -> io::Result<()> {
    sys::set_option(conn, SOL_TCP, TCP_QUICKACK, 0)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
