//! To fill a link, bandwidth times round trip must be on the way: 125,000 bytes for 10 Mbit/s.
//!
//! Article 9.1. Claim: P1. man: tcp(7) (TCP_MAXSEG, TCP_INFO), socket(7) (SO_RCVBUF).
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

use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::addr::Hints;
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, net, resolve, send_all, sys};

const BIT_PER_SECOND: usize = 10_000_000;
const ROUND_TRIP: Duration = Duration::from_millis(100);
const PACKET: usize = 1000;

/// Bandwidth times round trip, in bytes.
fn bdp() -> usize {
    BIT_PER_SECOND / 8 * ROUND_TRIP.as_millis() as usize / 1000
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let addrs = resolve(Some(&at.host), at.port, &Hints::default())?;
    let addr = addrs.iter().next().ok_or(io::ErrorKind::NotFound)?;
    for receive_buffer in [16 * 1024, 250_000] {
        let conn = sys::socket(addr.family(), libc::SOCK_STREAM, 0)?;
        // Before connect: the handshake tells the peer how large the window can become.
        sys::set_option(&conn, libc::SOL_SOCKET, libc::SO_RCVBUF, receive_buffer)?;
        net::connect(&conn, addr, None)?;
        kernel::wait_until_peer_ended(&conn)?; // and does not read
    }

    let conn = sys::socket(addr.family(), libc::SOCK_STREAM, 0)?;
    // 12 bytes of each segment are for the timestamp option.
    sys::set_option(&conn, libc::SOL_TCP, libc::TCP_MAXSEG, PACKET as i32 + 12)?;
    net::connect(&conn, addr, None)?;
    // Or part of a segment may leave: where the window ends, or while `send` waits for room.
    sys::set_option(&conn, libc::SOL_TCP, libc::TCP_CORK, 1)?;
    sys::set_option(&conn, libc::SOL_SOCKET, libc::SO_SNDBUF, 2 * bdp() as i32)?;
    send_all(&conn, &vec![b'x'; bdp()])?;
    kernel::wait_until_acked(&conn)?;
    let info = kernel::tcp_info(&conn)?;
    let full = info.tcpi_snd_mss as usize; // the data of a full segment
    let segments = info.tcpi_data_segs_out - info.tcpi_total_retrans; // repeated ones aside
    out.check("bytes on the way to fill the link", 125_000, bdp());
    let filled = bdp().div_ceil(full);
    out.check(format!("segments of {full} that they fill"), 125, filled);
    out.check_that("segments that they left in", "125 or more", segments, segments >= 125);
    let as_said = bdp() == 125_000 && filled == 125 && segments >= 125;
    let observed = format!("{} bytes fill {filled} segments of {full}", bdp());
    out.claim("P1", Verdict::holds_if(as_said), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    for (buffer, expected) in [("16 KiB", "not all of it"), ("250,000 bytes", "all of it")] {
        let (conn, _) = accept(&listener)?;
        send_all(&conn, &vec![b'x'; bdp()])?;
        kernel::wait_for("the client to have all, or no room", || {
            let info = kernel::tcp_info(&conn)?; // how long it waited for room, in microseconds
            let no_room = info.tcpi_unacked == 0 && info.tcpi_rwnd_limited > 10_000;
            Ok(no_room || kernel::unacked(&conn)? == 0)
        })?;
        let fits = bdp() - kernel::unacked(&conn)?;
        let all = if fits == bdp() { "all of it" } else { "not all of it" };
        out.note(format_args!("{fits} bytes fit a receive buffer of {buffer}"));
        out.check("of what fills the link there fits", expected, all);
        kernel::reset_on_close(&conn)?; // the rest need not arrive
    }
    let (conn, _) = accept(&listener)?;
    while recv_some(&conn, &mut [0; 4096], None)? > 0 {}
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
