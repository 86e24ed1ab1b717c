//! Header and payload gathered into one call leave in one segment, and nobody waits.
//!
//! Article 11.2. Claim: N3. man: sendmsg(2), tcp(7) (TCP_INFO).
//!
//! The rung after s11_1_two_sends. `sendmsg` takes several buffers in one call, so that nothing has
//! to be copied together. Nothing small is left over that Nagle could hold back.
//!
//! Expect: a round trip shorter by more than 60 ms, and one segment a message instead of two.
//!
//! Change and see: `send_all` of `[header, payload].concat()` in place of `send_frame`; the wrong
//! one at the server only (half of the delay).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use stage::kernel::segments_sent;
use stage::{At, Out, Verdict, fastest, ms};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all};

const ROUNDS: usize = 7;
const DELAY: Duration = Duration::from_millis(60); // of the 80 that are expected
const MESSAGE: [u8; 60] = [b'x'; 60];

/// WRONG: two calls for one message. It costs 80 ms a round trip.
fn in_two_sends(conn: &UniqueFd, payload: &[u8]) -> io::Result<()> {
    send_all(conn, &length::encode_header(payload.len(), DEFAULT_CAP)?)?;
    send_all(conn, payload)
}

/// The library's `send_frame`: one `sendmsg` for both.
fn in_one_send(conn: &UniqueFd, payload: &[u8]) -> io::Result<()> {
    length::send_frame(conn, payload, DEFAULT_CAP)
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let mut seen = Vec::new();
    for send in [in_two_sends, in_one_send] {
        let conn = connect_to(&at.host, at.port)?;
        let round_trip = fastest(ROUNDS, || {
            send(&conn, &MESSAGE)?;
            recv_frame(&conn, DEFAULT_CAP).map(drop)
        })?;
        seen.push((round_trip, segments_sent(&conn)? / ROUNDS));
    }
    let [(two, two_segments), (one, one_segment)] = seen[..] else { unreachable!() };
    let saves = two.saturating_sub(one) > DELAY;
    out.check_that("two sends: a round trip", "more than 60 ms", ms(two), two > DELAY);
    out.check_that("one send: a round trip", "60 ms less", ms(one), saves);
    out.check("two sends: segments a message", 2, two_segments);
    out.check("one send: segments a message", 1, one_segment);

    let observed = format!(
        "a round trip {} by 60 ms; {one_segment} segment a message instead of {two_segments}",
        if saves { "shorter" } else { "not shorter" }
    );
    out.claim("N3", Verdict::holds_if(saves), observed);
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for send in [in_two_sends, in_one_send] {
        let (conn, _) = accept(&listener)?;
        while let Some(message) = recv_frame(&conn, DEFAULT_CAP)? {
            send(&conn, &message)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
