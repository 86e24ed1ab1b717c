//! A length prefix marks where a message ends, and needs a cap: a header can claim 4 GiB.
//!
//! Article 3.1. Claim: L1. man: recv(2), malloc(3).
//!
//! Four bytes, big-endian, say how long the payload is; `send_frame` and `recv_frame` do both
//! halves. Those four bytes come from the other side. Nothing stops it from sending ff ff ff ff.
//!
//! Expect: two frames come out as they went in, an empty one among them; a claim of 4 GiB, taken
//! at its word, allocates 4 GiB; with a cap it is InvalidData and costs nothing.
//!
//! Change and see: the cap, to 4; the hostile header, to 00 00 00 05 (it lacks a payload then).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, memory, said, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, recv_frame, send_all, send_frame};

const HOSTILE: [u8; 4] = [0xff; 4];

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, b"HELLO", DEFAULT_CAP)?;
    send_frame(&conn, b"", DEFAULT_CAP)?;

    out.note("sends two headers that claim 4 GiB, and nothing behind them");
    send_all(&conn, &[HOSTILE, HOSTILE].concat())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    for expected in [&b"HELLO"[..], b""] {
        let frame = recv_frame(&conn, DEFAULT_CAP)?.unwrap_or_default();
        out.check("recv_frame", text(expected), text(&frame));
    }

    // WRONG: believes the header.
    let mut header = [0; 4];
    recv_exact(&conn, &mut header)?;
    let claim = u32::from_be_bytes(header) as usize;
    let (_, without) = memory::peak_of(|| Vec::<u8>::new().try_reserve_exact(claim));
    out.check("without a cap: bytes allocated for 4 received", claim, without);

    let (refused, with) = memory::peak_of(|| recv_frame(&conn, DEFAULT_CAP).map(|_| "a frame"));
    out.check("with a cap: recv_frame", "InvalidData", said(&refused));
    out.check_that("with a cap: bytes allocated", "an error's text", with, with < 1024);

    let gib = (without as f64 / (1u64 << 30) as f64).round();
    let bound = if with < 1024 { "less than" } else { "more than" };
    let observed = format!("without a cap {gib} GiB, with it {bound} 1 KiB");
    out.claim("L1", Verdict::holds_if(gib >= 4.0), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
