//! Nagle holds a small segment back while another small one is not acknowledged.
//!
//! Article 11.1. man: tcp(7) (TCP_NODELAY, TCP_QUICKACK, TCP_INFO).
//! Claim N1: Nagle holds a small segment back while an acknowledgement is outstanding.
//!
//! The article has it hold back whenever anything is not acknowledged, as RFC 896 did. Linux looks
//! closer (Minshall's variant): after a full segment a small one may leave at once, so that the
//! tail of a large message does not wait. TCP_INFO tells what is under way and what is held back.
//!
//! Expect: held back after a small segment; never after a full one; never with TCP_NODELAY.
//!
//! Change and see: `full` to `full - 1`; leave out TCP_NODELAY.

use std::io;
use std::process::ExitCode;

use libc::{SOL_TCP, TCP_MAXSEG, TCP_NODELAY, TCP_QUICKACK};
use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::{UniqueFd, accept, recv_frame, send_all, send_frame, sys};

const SMALL: usize = 60;
const TIMES: usize = 5;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Segments of 1000 bytes: on the loopback a full one would have 65,483.
    let conn = at.connect_with(|fd| sys::set_option(fd, SOL_TCP, TCP_MAXSEG, 1000))?;
    let full = kernel::tcp_info(&conn)?.tcpi_snd_mss as usize;

    // The server acknowledges late, so what has left is not acknowledged when the rest is sent.
    let after_small = held_back(&conn, SMALL)?;
    let what = "a small segment after a small one: held back";
    out.check_that(what, "at least once in 5", after_small, after_small > 0);
    // A full segment is not acknowledged either. Linux does not wait for it.
    let after_full = held_back(&conn, full)?;
    out.check("a small segment after a full one: held back", 0, after_full);
    // The option turns Nagle off. Nothing else has changed.
    sys::set_option(&conn, SOL_TCP, TCP_NODELAY, 1)?;
    let nodelay = held_back(&conn, SMALL)?;
    out.check("TCP_NODELAY, after a small one: held back", 0, nodelay);

    // It is Nagle's doing if it ends with the option. The claim says so of any segment.
    let nagle = after_small > 0 && nodelay == 0;
    let verdict = Verdict::holds_if(nagle && after_full > 0)
        .or_when(nagle, "what is not acknowledged is a small segment, too");
    // How often it is seen depends on the machine, and so it is not told.
    let [small, full] = [after_small, after_full].map(|n| if n > 0 { "held back" } else { "sent" });
    let observed = format!("after a small one {small}, after a full one {full}");
    out.claim("N1", verdict, observed);
    Ok(())
}

/// Sends frames in two pieces, of `first` bytes and a few. Returns how often the second was held
/// back. A slow machine may miss it, but never sees it where it was not so.
fn held_back(conn: &UniqueFd, first: usize) -> io::Result<usize> {
    // The header is 4 bytes of the first piece.
    let payload = vec![b'x'; first + SMALL - 4];
    let header = length::encode_header(payload.len(), DEFAULT_CAP)?;
    let frame = [&header[..], &payload].concat();
    // Each time the first piece is under way when the second is sent.
    let mut times = 0;
    for _ in 0..TIMES {
        // After the second call: something is under way, and something has not left.
        send_all(conn, &frame[..first])?;
        send_all(conn, &frame[first..])?;
        let info = kernel::tcp_info(conn)?;
        times += usize::from(info.tcpi_unacked > 0 && info.tcpi_notsent_bytes > 0);
        // The answer acknowledges all of it, and the next frame finds nothing under way.
        recv_frame(conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    Ok(times)
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    while recv_frame(&conn, DEFAULT_CAP)?.is_some() {
        // The acknowledgement waits and travels with the answer. The kernel does so by itself once
        // it has seen answers follow; with the option it is sure.
        sys::set_option(&conn, SOL_TCP, TCP_QUICKACK, 0)?;
        send_frame(&conn, b"", DEFAULT_CAP)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
