//! To fill a link, bandwidth times round trip must be on the way: 125,000 bytes for 10 Mbit/s.
//!
//! Article 9.1. man: tcp(7) (TCP_MAXSEG, TCP_INFO), socket(7) (SO_RCVBUF).
//! Claim P1: 10 Mbit/s times 100 ms is 125,000 bytes, 125 segments of 1000.
//!
//! What is on the way has to fit the receiver's window. A small receive buffer is a small window,
//! and costs rate on such a link: at most one window leaves in a round trip. Loopback has hardly a
//! round trip, so it shows what fits and not what it costs; a link with delay is the lab's.
//!
//! Expect: 125,000 bytes leave in 125 segments of 1000, or one more where the machine is so busy
//! that the cork's 200 ms pass; a receive buffer of 16 KiB takes less than 125,000 bytes at once,
//! one of 250,000 takes them all.
//!
//! Change and see: the small buffer to 125,000 (it takes it all: the kernel doubles what it is
//! asked for, for its own use of the space); leave out TCP_CORK (126 segments, mostly).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use libc::{SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, SOL_TCP, TCP_CORK, TCP_MAXSEG};
use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, recv_exact, send_all, sys};

const BIT_PER_SECOND: usize = 10_000_000;
const ROUND_TRIP: Duration = Duration::from_millis(100);
const PACKET: usize = 1000;

/// Bandwidth times round trip, in bytes.
fn bdp() -> usize {
    BIT_PER_SECOND / 8 * ROUND_TRIP.as_millis() as usize / 1000
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    for receive_buffer in [16 * 1024, 250_000] {
        // Before connect: the handshake tells the peer how large the window can become.
        let set = |fd: &UniqueFd| sys::set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer);
        let conn = at.connect_with(set)?;
        // The byte says that `connect` is over. The server sends, and sees what fits: nothing is
        // read here.
        send_all(&conn, b".")?;
        kernel::wait_until_peer_ended(&conn)?;
    }

    // Segments of 1000 bytes: 12 more of each are for the timestamp option.
    let set = |fd: &UniqueFd| sys::set_option(fd, SOL_TCP, TCP_MAXSEG, PACKET as i32 + 12);
    let conn = at.connect_with(set)?;
    // Corked, no part of a segment leaves: not where the window ends, nor while `send` waits.
    sys::set_option(&conn, SOL_TCP, TCP_CORK, 1)?;
    sys::set_option(&conn, SOL_SOCKET, SO_SNDBUF, 2 * bdp() as i32)?;
    send_all(&conn, &vec![b'x'; bdp()])?;
    kernel::wait_until_acked(&conn)?;

    // The kernel has counted what left. What it sent again is not counted twice.
    let info = kernel::tcp_info(&conn)?;
    let bytes = (info.tcpi_bytes_sent - info.tcpi_bytes_retrans) as usize;
    let (full, segments) = (info.tcpi_snd_mss as usize, kernel::segments_sent(&conn)?);
    out.check("bytes on the way to fill the link", 125_000, bytes);
    let filled = bytes.div_ceil(full);
    out.check(format!("segments of {full} that they fill"), 125, filled);
    // After 200 ms the cork lets a part of a segment go: on a busy machine there may be one more.
    out.check_that("segments that they left in", "125 or more", segments, segments >= 125);
    let as_said = bytes == 125_000 && filled == 125 && segments >= 125;
    // Both numbers are the article's; how long a link takes for them is the lab's to say.
    let observed = format!("{bytes} bytes fill {filled} segments of {full}");
    out.claim("P1", Verdict::holds_if(as_said), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    for (buffer, expected) in [("16 KiB", "not all of it"), ("250,000 bytes", "all of it")] {
        let (conn, _) = accept(&listener)?;
        recv_exact(&conn, &mut [0])?;
        send_all(&conn, &vec![b'x'; bdp()])?;
        // Nothing is under way and nothing may leave: so long that it is no mere pause. Or all of
        // it has arrived. (`rwnd_limited`: how long it waited for room, in microseconds.)
        kernel::wait_for("the client to have all, or no room", || {
            let info = kernel::tcp_info(&conn)?;
            let no_room = info.tcpi_unacked == 0 && info.tcpi_rwnd_limited > 10_000;
            Ok(no_room || kernel::unacked(&conn)? == 0)
        })?;
        // What is not acknowledged is still here, for want of room there.
        let fits = bdp() - kernel::unacked(&conn)?;
        let all = if fits == bdp() { "all of it" } else { "not all of it" };
        out.note(format_args!("{fits} bytes fit a receive buffer of {buffer}"));
        out.check("of what fills the link there fits", expected, all);
        // The rest need not arrive.
        kernel::reset_on_close(&conn)?;
    }
    // This one is read, so that all of it can leave.
    let (conn, _) = accept(&listener)?;
    while recv_some(&conn, &mut [0; 4096], None)? > 0 {}
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
