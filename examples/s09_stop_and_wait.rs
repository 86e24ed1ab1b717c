//! One packet at a time uses 1/126 of a link of 10 Mbit/s and 100 ms; many at once fill it.
//!
//! Article 9.1. Claim: P2. man: tcp(7) (TCP_NODELAY, TCP_INFO).
//!
//! A packet of 1000 bytes takes 0.8 ms to leave on such a link, and its answer comes 100 ms later:
//! 0.8 of 100.8 ms are used. The article divides by 100 ms, without the packet's own time. Loopback
//! has no such delay, but there, too, one at a time is the slow way. A real link is the lab's.
//!
//! Expect: 1/126, computed, and 1/125 without the packet's own time; on loopback 500 packets wait
//! for 500 answers one at a time, and for less than half of that 50 at once.
//!
//! Change and see: ROUND_TRIP to 10 ms (1/13.5 and 1/12.5: the packet's own time counts); 1 for
//! 50 in `answers(50)` (no difference is left).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const BIT_PER_SECOND: f64 = 10e6;
const ROUND_TRIP: f64 = 0.1;
const PACKET: usize = 1000;
const PACKETS: usize = 500;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    sys::set_option(&conn, libc::SOL_TCP, libc::TCP_NODELAY, 1)?; // or Nagle's waits count, too
    let answers = |at_once: usize| -> io::Result<usize> {
        let before = kernel::tcp_info(&conn)?.tcpi_data_segs_in;
        for _ in 0..PACKETS / at_once {
            send_all(&conn, &vec![b'x'; at_once * PACKET])?;
            recv_exact(&conn, &mut vec![0; at_once])?; // one byte is the answer to a packet
        }
        Ok((kernel::tcp_info(&conn)?.tcpi_data_segs_in - before) as usize)
    };
    let [one, many] = [answers(1)?, answers(50)?];
    let less = if 2 * many < one { "less than half" } else { "half or more" };
    out.check("on loopback, one packet at a time: answers to wait for", PACKETS, one);
    out.check_that(
        "50 at once: answers to wait for",
        "less than half of that",
        many,
        2 * many < one,
    );

    let own = PACKET as f64 * 8.0 / BIT_PER_SECOND;
    let part = |time: f64| format!("1/{}", (10.0 * time / own).round() / 10.0);
    let (used, without_own) = (part(ROUND_TRIP + own), part(ROUND_TRIP));
    out.check("stop-and-wait: the part of the link that is used", "1/126", &used);
    out.check("the same without the packet's own time", "1/125", &without_own);
    let verdict = Verdict::holds_if(used == "1/125")
        .or_when(without_own == "1/125", "the packet's own time on the link is left out");
    let observed =
        format!("computed {used}; on loopback 50 at once wait for {less} of the answers");
    out.claim("P2", verdict, observed);
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    sys::set_option(&conn, libc::SOL_TCP, libc::TCP_NODELAY, 1)?;
    let (mut buf, mut got, mut answered) = (vec![0; 256 * PACKET], 0, 0);
    loop {
        match recv_some(&conn, &mut buf, None)? {
            0 => return Ok(()),
            n => got += n,
        }
        let whole = got / PACKET;
        send_all(&conn, &vec![b'.'; whole - answered])?;
        answered = whole;
    }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
