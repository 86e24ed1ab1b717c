//! TCP_NODELAY sends every small piece at once: no delay, but a segment for each.
//!
//! Article 11.2. man: tcp(7) (TCP_NODELAY, TCP_INFO, TCP_QUICKACK).
//! Claim N4: TCP_NODELAY removes it too, at the price of more segments.
//!
//! The other way out of s11_1_two_sends: Nagle is switched off, and two sends stay two. What that
//! costs depends on how much Nagle would have gathered. Of two pieces it makes two segments itself,
//! for the first leaves at once; and of eight it makes two as well.
//!
//! Expect: with Nagle a delay of 40 ms a round trip, without it nothing is held back; two pieces
//! are two segments either way; eight pieces are eight segments instead of two.
//!
//! Change and see: pieces of 64 for those of 32 (one segment either way, and nobody waits); frames
//! of 800 for the eight pieces (a hundred: now the congestion window holds some back).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{SOL_TCP, TCP_NODELAY, TCP_QUICKACK};
use stage::kernel::{segments_sent, tcp_info};
use stage::{At, Out, Verdict, ms};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all, send_frame, sys};

/// Of the 40 ms that are expected: the kernel's clock may tick only every 10 ms.
const DELAY: Duration = Duration::from_millis(20);

fn client(at: &At, out: &Out) -> io::Result<()> {
    let mut seen = Vec::new();
    for nodelay in [0, 1] {
        let conn = connect_to(&at.host, at.port)?;
        sys::set_option(&conn, SOL_TCP, TCP_NODELAY, nodelay)?;
        // The first round trip makes the server delay its acknowledgements.
        round_trip(&conn, 64, 64)?;
        seen.push((round_trip(&conn, 64, 32)?, round_trip(&conn, 64, 8)?));
    }
    // The delay: with Nagle the second piece waits, without it nothing does.
    let [(nagle, nagle_many), (nodelay, many)] = seen[..] else { panic!() };
    out.check_that("Nagle: a round trip", "more than 20 ms", ms(nagle.time), nagle.time > DELAY);
    out.note(format_args!("TCP_NODELAY: a round trip of {}", ms(nodelay.time)));
    out.check("TCP_NODELAY: bytes held back", 0, nodelay.held_back);
    // The price: nothing where there are two pieces, and more segments where there are many.
    out.check("Nagle: segments for 2 pieces", 2, nagle.segments);
    out.check("TCP_NODELAY: segments for 2 pieces", 2, nodelay.segments);
    // Of eight pieces Nagle gathers what comes while the first is not acknowledged.
    out.note(format_args!("Nagle: {} segments for 8 pieces", nagle_many.segments));
    let dearer = many.segments > nagle_many.segments;
    out.check_that("TCP_NODELAY: segments for 8 pieces", "more than that", many.segments, dearer);

    // The price that the claim names is paid only for many pieces.
    let gone = nagle.time > DELAY && nodelay.held_back == 0;
    let price = [nodelay.segments > nagle.segments, dearer];
    let condition = "Nagle has something to gather; of two pieces it makes two segments, too";
    let verdict =
        Verdict::holds_if(gone && price == [true; 2]).or_when(gone && price[1], condition);
    // Words, for how much Nagle gathers differs from run to run.
    let more = price.map(|more| if more { "more segments" } else { "no more segments" });
    let delay = if gone { "the delay is gone" } else { "the delay is still there" };
    out.claim("N4", verdict, format!("{delay}; 2 pieces: {}; 8 pieces: {}", more[0], more[1]));
    Ok(())
}

/// How long it took, how many bytes the last `send` held back, and how many segments left.
#[derive(Clone, Copy)]
struct RoundTrip {
    time: Duration,
    held_back: u32,
    segments: usize,
}

/// A frame of `total` bytes, a send for each `size` of them, and its answer.
fn round_trip(conn: &UniqueFd, total: usize, size: usize) -> io::Result<RoundTrip> {
    let (start, before) = (Instant::now(), segments_sent(conn)?);
    let header = length::encode_header(total - 4, DEFAULT_CAP)?;
    let frame = [&header[..], &vec![b'x'; total - 4]].concat();
    frame.chunks(size).try_for_each(|piece| send_all(conn, piece))?;
    // What `send` has taken and the kernel has not sent is held back.
    let held_back = tcp_info(conn)?.tcpi_notsent_bytes;
    // When the answer is here, all of the frame has left.
    recv_frame(conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let segments = segments_sent(conn)? - before;
    Ok(RoundTrip { time: start.elapsed(), held_back, segments })
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for _ in ["Nagle", "TCP_NODELAY"] {
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
