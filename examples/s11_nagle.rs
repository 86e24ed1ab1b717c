//! Nagle holds a small segment back while another small one is not acknowledged.
//!
//! Article 11.1. Claim: N1. man: tcp(7) (TCP_NODELAY, TCP_INFO).
//!
//! The article has it hold back whenever anything is not acknowledged, as RFC 896 did. Linux looks
//! closer (Minshall's variant): behind a full segment a small one may leave at once, so that the
//! tail of a large message does not wait. TCP_INFO tells what is under way and what is held back.
//!
//! Expect: held back behind a small segment; not behind a full one; not with TCP_NODELAY.
//!
//! Change and see: `full` to `full - 1`; leave out TCP_NODELAY.

use std::io;
use std::process::ExitCode;

use libc::{SOL_TCP, TCP_MAXSEG, TCP_NODELAY};
use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::{UniqueFd, accept, recv_frame, send_all, send_frame, sys};

const SMALL: usize = 60;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = at.connect_with(|fd| sys::set_option(fd, SOL_TCP, TCP_MAXSEG, 1000))?;
    let full = kernel::tcp_info(&conn)?.tcpi_snd_mss as usize;

    let behind_small = held_back(&conn, SMALL)?;
    out.check("a small segment behind a small one", "held back", behind_small);
    let behind_full = held_back(&conn, full)?;
    out.check("a small segment behind a full one", "sent", behind_full);
    sys::set_option(&conn, SOL_TCP, TCP_NODELAY, 1)?;
    let nodelay = held_back(&conn, SMALL)?;
    out.check("TCP_NODELAY: behind a small one", "sent", nodelay);

    let held = [behind_small, behind_full].map(|what| what == "held back");
    let verdict = Verdict::holds_if(held == [true; 2] && nodelay == "sent")
        .or_when(held[0] && nodelay == "sent", "what is not acknowledged is a small segment, too");
    let observed = format!("behind a small one {behind_small}, behind a full one {behind_full}");
    out.claim("N1", verdict, observed);
    Ok(())
}

/// Sends a frame in two pieces, of `first` bytes and a few, and looks what became of the second.
fn held_back(conn: &UniqueFd, first: usize) -> io::Result<&'static str> {
    let payload = vec![b'x'; first + SMALL - 4]; // the header is 4
    let header = length::encode_header(payload.len(), DEFAULT_CAP)?;
    let frame = [&header[..], &payload].concat();
    // The first few may be acknowledged at once, before the second piece is there.
    for _ in 0..100 {
        send_all(conn, &frame[..first])?;
        send_all(conn, &frame[first..])?;
        let info = kernel::tcp_info(conn)?;
        recv_frame(conn, DEFAULT_CAP)?;
        if info.tcpi_unacked > 0 && info.tcpi_notsent_bytes > 0 {
            return Ok("held back");
        }
    }
    Ok("sent")
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    while recv_frame(&conn, DEFAULT_CAP)?.is_some() {
        send_frame(&conn, b"", DEFAULT_CAP)?;
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
