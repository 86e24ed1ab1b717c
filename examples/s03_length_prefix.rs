//! A length prefix marks where a message ends, and needs a cap: a header can claim 4 GiB.
//!
//! Article 3.1. man: recv(2), malloc(3).
//! Claim L1: Without a cap one header makes the receiver allocate 4 GiB.
//!
//! Four bytes, big-endian, say how long the payload is; `send_frame` and `recv_frame` do both
//! halves. Those four bytes come from the other side. Nothing stops it from sending ff ff ff ff.
//!
//! Expect: two frames come out as they went in, an empty one among them; a claim of 4 GiB, taken
//! at its word, allocates 4 GiB; with a cap it is InvalidData, and only its text takes memory.
//!
//! Change and see: DEFAULT_CAP to 4 (the first frame is refused); HOSTILE to 00 00 00 05 (its
//! payload is missing then).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, memory, said, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, recv_frame, send_all, send_frame};

const HOSTILE: [u8; 4] = [0xff; 4];

fn client(at: &At, out: &Out) -> io::Result<()> {
    // A frame may be empty: its header says so, and nothing follows.
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, b"HELLO", DEFAULT_CAP)?;
    send_frame(&conn, b"", DEFAULT_CAP)?;

    // Eight bytes are all that this costs the sender.
    out.note("sends two headers that claim 4 GiB, and no payload");
    send_all(&conn, &[HOSTILE, HOSTILE].concat())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // An empty frame is a message. The end of the stream is none.
    let (conn, _) = accept(&listener)?;
    for expected in [&b"HELLO"[..], b""] {
        let frame = recv_frame(&conn, DEFAULT_CAP)?;
        let got = frame.map_or("the end of the stream".into(), |frame| text(&frame));
        out.check("recv_frame", text(expected), got);
    }

    // WRONG: believes the header. The cost: as much memory as a stranger asks for.
    let mut header = [0; 4];
    recv_exact(&conn, &mut header)?;
    let claim = u32::from_be_bytes(header) as usize;
    let (_, without) = memory::peak_of(|| Vec::<u8>::new().try_reserve_exact(claim));
    out.check("without a cap: bytes allocated for 4 received", u32::MAX, without);

    // `recv_frame` looks at the claim before it asks for memory.
    let (refused, with) = memory::peak_of(|| recv_frame(&conn, DEFAULT_CAP).map(|_| "a frame"));
    out.check("with a cap: recv_frame", "InvalidData", said(&refused));
    out.check_that("with a cap: bytes allocated", "an error's text", with, with < 1024);

    // The same four bytes came twice. The cap made the difference.
    let gib = (without as f64 / (1u64 << 30) as f64).round();
    let bound = if with < 1024 { "less than" } else { "more than" };
    let observed = format!("without a cap {gib} GiB, with it {bound} 1 KiB");
    out.claim("L1", Verdict::holds_if(gib >= 4.0), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
