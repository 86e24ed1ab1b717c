//! TCP_NODELAY sends every small piece at once: no delay, but a segment for each.
//!
//! Article 11.2. Claim: N4. man: tcp(7) (TCP_NODELAY, TCP_INFO).
//!
//! The other way out of s11_1_two_sends: Nagle is switched off, and two sends stay two. What that
//! costs depends on how much Nagle would have gathered. Of two pieces it makes two segments itself,
//! for the first leaves at once; and of eight it makes two as well.
//!
//! Expect: the delay of 40 ms a round trip is gone; two pieces are two segments either way; eight
//! pieces are eight segments instead of two.
//!
//! Change and see: pieces of 64 (one segment either way, and nobody waits); a hundred
//! pieces (more than ten are under way: now the congestion window holds some back).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use libc::{SOL_TCP, TCP_NODELAY};
use stage::kernel::segments_sent;
use stage::{At, Out, Verdict, fastest, ms};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame, sys};

const ROUNDS: usize = 7;
const DELAY: Duration = Duration::from_millis(20); // of the 40 that are expected

fn client(at: &At, out: &Out) -> io::Result<()> {
    let mut seen = Vec::new();
    for nodelay in [0, 1] {
        let conn = connect_to(&at.host, at.port)?;
        sys::set_option(&conn, SOL_TCP, TCP_NODELAY, nodelay)?;
        let round_trip = fastest(ROUNDS, || {
            send_in_pieces(&conn, 64, 32)?;
            recv_frame(&conn, DEFAULT_CAP).map(drop)
        })?;
        let short = segments_sent(&conn)?;
        send_in_pieces(&conn, 64, 8)?;
        recv_frame(&conn, DEFAULT_CAP)?; // all of it has arrived
        seen.push((round_trip, short / ROUNDS, segments_sent(&conn)? - short));
    }
    let [(slow, nagle_two, nagle_many), (fast, two, many)] = seen[..] else { unreachable!() };
    let saves = slow.saturating_sub(fast) > DELAY;
    out.check_that("Nagle: a round trip", "more than 20 ms", ms(slow), slow > DELAY);
    out.check_that("TCP_NODELAY: a round trip", "20 ms less", ms(fast), saves);
    out.check("Nagle: segments for 2 pieces", 2, nagle_two);
    out.check("TCP_NODELAY: segments for 2 pieces", 2, two);
    out.check_that("Nagle: segments for 8 pieces", "below 5", nagle_many, nagle_many < 5);
    out.check_that("TCP_NODELAY: segments for 8 pieces", "above 5", many, many > 5);

    let price = [two > nagle_two, many > nagle_many];
    let verdict = Verdict::holds_if(saves && price == [true; 2]).or_when(
        saves && price[1],
        "Nagle has something to gather; of two pieces it makes two segments, too",
    );
    let more = price.map(|more| if more { "more segments" } else { "no more segments" });
    let delay = if saves { "the delay is gone" } else { "the delay is still there" };
    out.claim("N4", verdict, format!("{delay}; 2 pieces: {}; 8 pieces: {}", more[0], more[1]));
    Ok(())
}

/// A frame of `total` bytes, a send for each `size` of them.
fn send_in_pieces(conn: &UniqueFd, total: usize, size: usize) -> io::Result<()> {
    let header = length::encode_header(total - 4, DEFAULT_CAP)?;
    let frame = [&header[..], &vec![b'x'; total - 4]].concat();
    frame.chunks(size).try_for_each(|piece| send_all(conn, piece))
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for _ in ["Nagle", "TCP_NODELAY"] {
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
