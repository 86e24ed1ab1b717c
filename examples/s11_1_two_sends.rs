//! A message sent by two calls waits for an acknowledgement, and the acknowledgement waits, too.
//!
//! Article 11.1. man: tcp(7) (TCP_NODELAY, TCP_QUICKACK, TCP_INFO).
//! Claim N2: Nagle and delayed acknowledgements together add a visible delay.
//!
//! The header leaves at once. The payload is small, too, and the header is not acknowledged: Nagle
//! holds the payload back. The receiver delays its acknowledgement, to put it on the answer; but
//! nobody answers a header. After 40 ms it goes alone, and that in each direction.
//!
//! Expect: a round trip takes more than 80 ms. Without Nagle the payload is not held back; without
//! the delay the acknowledgement leaves when the header is read. The delay needs both.
//!
//! Change and see: the first of the two round trips instead of the second (a new connection
//! acknowledges at once: a short test misses the half of it); leave out the server's last `recv`
//! (its `close` pushes the payload out). Next: s11_2_one_send.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{SOL_TCP, TCP_NODELAY, TCP_QUICKACK};
use stage::{At, Out, Verdict, kernel, ms};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

/// Of the 80 ms that are expected: the kernel's clock may tick only every 10 ms.
const DELAY: Duration = Duration::from_millis(60);
const HEADER: [u8; 4] = 60_u32.to_be_bytes();
const PAYLOAD: [u8; 60] = [b'x'; 60];

/// Whether Nagle is off, and whether a header is acknowledged when it is read.
const WAYS: [(bool, bool); 3] = [(false, false), (true, false), (false, true)];

fn client(at: &At, out: &Out) -> io::Result<()> {
    // A connection for each way, and two round trips on it.
    let mut seen = Vec::new();
    for (no_nagle, at_once) in WAYS {
        let conn = connect_to(&at.host, at.port)?;
        sys::set_option(&conn, SOL_TCP, TCP_NODELAY, no_nagle.into())?;
        round_trip(&conn, at_once)?;
        // The second counts: by now both ends are as they will be for the rest of a conversation.
        seen.push(round_trip(&conn, at_once)?);
    }
    let [(both, ..), (no_nagle, held_back, _), (no_delay, _, acks)] = seen[..] else { panic!() };
    // With both, the payload waits for an acknowledgement, and that for its timer: twice.
    out.check_that("a round trip", "more than 60 ms", ms(both), both > DELAY);
    // Without Nagle the payload leaves, acknowledged or not.
    out.note(format_args!("Nagle off: a round trip of {}", ms(no_nagle)));
    out.check("Nagle off: bytes that the second send held back", 0, held_back);
    // Without the delay there is an acknowledgement, and it lets the payload go.
    out.note(format_args!("delayed ACKs off: a round trip of {}", ms(no_delay)));
    out.check_that("delayed ACKs off: sent for the header", "1 or more", acks, acks >= 1);

    // With either of them off the payload has nothing to wait for. So the delay needs both.
    let together = both > DELAY && held_back == 0 && acks >= 1;
    let more = if both > DELAY { "more" } else { "less" };
    let ack = if acks >= 1 { "an ACK" } else { "no ACK" };
    let off = format!("Nagle off: {held_back} bytes held back; delayed ACKs off: {ack} at once");
    out.claim("N2", Verdict::holds_if(together), format!("{more} than 60 ms a round trip; {off}"));
    Ok(())
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for (no_nagle, at_once) in WAYS {
        // The same at this end, for the answer waits as the request does.
        let (conn, _) = accept(&listener)?;
        sys::set_option(&conn, SOL_TCP, TCP_NODELAY, no_nagle.into())?;
        for _ in 0..2 {
            recv(&conn, at_once)?;
            send(&conn)?;
        }
        // The client's end comes first: a `close` here would push out what Nagle holds back.
        recv_some(&conn, &mut [0], None)?;
    }
    Ok(())
}

/// How long it took, how many bytes the second `send` held back, and how many acknowledgements had
/// left when the answer's header had been read.
fn round_trip(conn: &UniqueFd, at_once: bool) -> io::Result<(Duration, u32, u32)> {
    let (start, before) = (Instant::now(), acks_sent(conn)?);
    send(conn)?;
    let held_back = kernel::tcp_info(conn)?.tcpi_notsent_bytes;
    let acks = recv(conn, at_once)? - before;
    Ok((start.elapsed(), held_back, acks))
}

fn send(conn: &UniqueFd) -> io::Result<()> {
    // Who answers acknowledges late: the kernel sets this itself, if the answer comes in 40 ms.
    sys::set_option(conn, SOL_TCP, TCP_QUICKACK, 0)?;
    // WRONG: two calls for one message, as in the article's `send_frame`.
    send_all(conn, &HEADER)?;
    send_all(conn, &PAYLOAD)
}

fn recv(conn: &UniqueFd, at_once: bool) -> io::Result<u32> {
    // Nagle has let the header go alone.
    recv_exact(conn, &mut [0; 4])?;
    // Acknowledges what has arrived, now.
    if at_once {
        sys::set_option(conn, SOL_TCP, TCP_QUICKACK, 1)?;
    }
    let acks = acks_sent(conn)?;
    recv_exact(conn, &mut [0; 60]).map(|()| acks)
}

/// Segments that carried nothing but an acknowledgement.
fn acks_sent(conn: &UniqueFd) -> io::Result<u32> {
    kernel::tcp_info(conn).map(|info| info.tcpi_segs_out - info.tcpi_data_segs_out)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
