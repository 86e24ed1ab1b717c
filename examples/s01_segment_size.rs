//! MSS and the peer's window bound the size of a segment; cwnd only says how many may fly.
//!
//! Article 1.2. man: tcp(7) (TCP_INFO, TCP_MAXSEG), socket(7) (SO_RCVBUF).
//! Claim K2: MSS, congestion window and the peer's window decide the size of a segment.
//!
//! The client connects three times: plainly, with a small MSS, with the smallest receive buffer
//! there is. The server sends 20 kB to each and divides by the segments that TCP_INFO has counted.
//! Then it sends more, so that the congestion window grows, and measures again.
//!
//! Expect: smaller segments both times (half the peer's window: the rest of it keeps the stream
//! moving while the first half is being acknowledged), but none larger with a grown cwnd.
//!
//! Change and see: TCP_MAXSEG to 500; SO_RCVBUF to 100,000 (its check fails: back to the first).

use std::io;
use std::process::ExitCode;

use libc::{IPPROTO_TCP, SO_RCVBUF, SOL_SOCKET, TCP_MAXSEG};
use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The options count only before the handshake: MSS and window are announced in the SYN. For a
    // receive buffer of 1 byte the kernel takes its minimum.
    read_from(connect_to(&at.host, at.port)?)?;
    read_from(at.connect_with(|fd| sys::set_option(fd, IPPROTO_TCP, TCP_MAXSEG, 1000))?)?;
    read_from(at.connect_with(|fd| sys::set_option(fd, SOL_SOCKET, SO_RCVBUF, 1))?)
}

/// Reads to the end of the stream, so that no window stays closed.
fn read_from(conn: UniqueFd) -> io::Result<()> {
    let mut buf = [0; 4096];
    while recv_some(&conn, &mut buf, None)? > 0 {}
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The first connection is the one to compare with: nothing was set on it.
    let (plain, _) = segment_size(&accept(&listener)?.0)?;
    out.note(format_args!("plain: segments of {plain} bytes"));

    // The second client has announced that it takes 1000 bytes in a segment.
    let (conn, _) = accept(&listener)?;
    let (by_mss, at_first) = segment_size(&conn)?;
    let smaller = by_mss < plain && by_mss <= 1000;
    out.check_that("MSS 1000: bytes a segment", "fewer, at most 1000", by_mss, smaller);

    // Every segment that is acknowledged lets cwnd grow. It says how many segments may be on their
    // way, so their size should stay as it was.
    send_all(&conn, &vec![b'x'; 300_000])?;
    let (by_cwnd, later) = segment_size(&conn)?;
    conn.close()?;

    // Only where cwnd has grown, an equal size says something.
    let [few, many] = [at_first, later].map(|info| info.tcpi_snd_cwnd);
    out.check_that("cwnd, after more traffic", "more than doubled", many, many > 2 * few);
    let same = by_cwnd.abs_diff(by_mss) < by_mss / 10;
    out.check_that("then: bytes a segment", "as before, within 10 %", by_cwnd, same);

    // The third client has little room. Linux cuts segments of half the window that it announces.
    let (by_window, before) = segment_size(&accept(&listener)?.0)?;
    let small = by_window < plain && by_window <= before.tcpi_snd_wnd as usize / 2;
    let what = format!("a window of {}: bytes a segment", before.tcpi_snd_wnd);
    out.check_that(what, "fewer, at most half", by_window, small);

    // The claim names three things. If the size follows two of them, it holds without the third.
    let [mss, window, cwnd] =
        [smaller, small, !same].map(|does| if does { "follows" } else { "does not follow" });
    let verdict = Verdict::holds_if(smaller && small && !same)
        .or_when(smaller && small, "cwnd is left out, which decides how many may fly");

    // The size stands in words, for on another path it is another number.
    let observed = format!("the size {mss} the MSS, {window} the peer's window, {cwnd} cwnd");
    out.claim("K2", verdict, observed);
    Ok(())
}

/// Sends 20 kB. Returns the mean size of the segments that they left in, and TCP_INFO before.
fn segment_size(conn: &UniqueFd) -> io::Result<(usize, libc::tcp_info)> {
    // Nothing older may be on its way, or it would be counted, too.
    const BYTES: usize = 20_000;
    kernel::wait_until_acked(conn)?;
    let (before, sent) = (kernel::tcp_info(conn)?, kernel::segments_sent(conn)?);

    // All has left when all is acknowledged. Then the counter is read again.
    send_all(conn, &[b'x'; BYTES])?;
    kernel::wait_until_acked(conn)?;
    let segments = kernel::segments_sent(conn)? - sent;
    Ok((BYTES / segments, before))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
