//! A message sent by two calls waits for an acknowledgement, and the acknowledgement waits, too.
//!
//! Article 11.1. Claim: N2. man: tcp(7) (TCP_NODELAY, TCP_QUICKACK).
//!
//! The header leaves at once. The payload is small, too, and the header is not acknowledged: Nagle
//! holds the payload back. The receiver delays its acknowledgement, to put it on the answer; but
//! nobody answers a header. After 40 ms it goes alone, and that in each direction.
//!
//! Expect: a round trip takes more than 80 ms. Without Nagle, or with acknowledgements at once, it
//! takes next to nothing: the delay needs both.
//!
//! Change and see: ROUNDS to 1 (a new connection does not delay acknowledgements yet: a short test
//! misses it all); the payload to 100,000 bytes (too large for Nagle). Next: s11_2_one_send.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use libc::{SOL_TCP, TCP_NODELAY, TCP_QUICKACK};
use stage::{At, Out, Verdict, fastest, ms};
use tcp_stream_io::stream::or_clean_end;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const ROUNDS: usize = 7;
const DELAY: Duration = Duration::from_millis(60); // of the 80 that are expected
const HEADER: [u8; 4] = 60_u32.to_be_bytes();
const PAYLOAD: [u8; 60] = [b'x'; 60];

/// Whether Nagle is off, and whether what arrives is acknowledged at once.
const WAYS: [(bool, bool); 3] = [(false, false), (true, false), (false, true)];

fn client(at: &At, out: &Out) -> io::Result<()> {
    let mut round_trips = Vec::new();
    for (no_nagle, no_delayed_ack) in WAYS {
        let conn = connect_to(&at.host, at.port)?;
        sys::set_option(&conn, SOL_TCP, TCP_NODELAY, no_nagle.into())?;
        round_trips.push(fastest(ROUNDS, || {
            send(&conn)?;
            recv(&conn, no_delayed_ack).map(|_| ())
        })?);
    }
    let [as_is, no_nagle, no_delayed_ack] = round_trips[..] else { unreachable!() };
    let saves = |time| as_is.saturating_sub(time) > DELAY;
    out.check_that("a round trip", "more than 60 ms", ms(as_is), as_is > DELAY);
    out.check_that("Nagle off", "60 ms less", ms(no_nagle), saves(no_nagle));
    out.check_that("delayed ACKs off", "60 ms less", ms(no_delayed_ack), saves(no_delayed_ack));

    let less = |time| if saves(time) { "60 ms less" } else { "no less" };
    let observed = format!(
        "{} than 60 ms a round trip; Nagle off: {}; delayed ACKs off: {}",
        if as_is > DELAY { "more" } else { "less" },
        less(no_nagle),
        less(no_delayed_ack),
    );
    let together = saves(no_nagle) && saves(no_delayed_ack);
    out.claim("N2", Verdict::holds_if(together), observed);
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for (no_nagle, no_delayed_ack) in WAYS {
        let (conn, _) = accept(&listener)?;
        sys::set_option(&conn, SOL_TCP, TCP_NODELAY, no_nagle.into())?;
        while recv(&conn, no_delayed_ack)? {
            send(&conn)?;
        }
    }
    Ok(())
}

/// WRONG: two calls for one message, as in the article's `send_frame`.
fn send(conn: &UniqueFd) -> io::Result<()> {
    send_all(conn, &HEADER)?;
    send_all(conn, &PAYLOAD)
}

/// `false` at the end of the stream.
fn recv(conn: &UniqueFd, no_delayed_ack: bool) -> io::Result<bool> {
    let (mut header, mut payload) = (HEADER, PAYLOAD);
    if !or_clean_end(recv_exact(conn, &mut header))? {
        return Ok(false);
    }
    if no_delayed_ack {
        sys::set_option(conn, SOL_TCP, TCP_QUICKACK, 1)?; // acknowledges the header now
    }
    recv_exact(conn, &mut payload)?;
    Ok(true)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
