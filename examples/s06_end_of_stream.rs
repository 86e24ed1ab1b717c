//! `recv` returns 0 at the peer's FIN: between frames a clean end, inside one a broken frame.
//!
//! Article 6. man: recv(2).
//! Claim E1: A recv of 0 is the peer's FIN, after all that was sent before it.
//! Claim E2: A 0 inside a frame is a protocol error.
//!
//! The 0 comes after everything that was sent before the FIN, and it comes again at every further
//! call. Only the framing knows whether the stream was allowed to end there.
//!
//! Expect: 5 bytes, then 0, then 0; `None` from `recv_frame` after a whole frame; UnexpectedEof
//! after each of the 8 places where a frame of 9 bytes can be cut.
//!
//! Change and see: WHOLE to an empty payload; let the client cut at 9 as well.

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, said};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all};

const WHOLE: &[u8] = b"\0\0\0\x05HELLO";
const CUTS: usize = WHOLE.len() - 1;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Bytes without a frame around them, and a whole frame.
    send_and_end(at, b"HELLO")?;
    send_and_end(at, WHOLE)?;
    // The same frame, cut after its first byte, after its second, and so on.
    out.note(format_args!("cuts a frame of {} bytes at every place", WHOLE.len()));
    (1..=CUTS).try_for_each(|cut| send_and_end(at, &WHOLE[..cut]))
}

/// A connection of its own for these bytes; `close` sends the FIN after them.
fn send_and_end(at: &At, bytes: &[u8]) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, bytes)?;
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The FIN is here before anything has been read. The bytes still come first.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?;
    let recv = || recv_some(&conn, &mut [0; 100], None);
    let reads = [said(&recv()), said(&recv()), said(&recv())].join(", ");
    out.check("recv, three times, after the FIN", "5, 0, 0", &reads);
    out.claim("E1", Verdict::holds_if(reads == "5, 0, 0"), format!("recv said {reads}"));

    // After a whole frame the stream may end: that is no error, and no frame either.
    let (conn, _) = accept(&listener)?;
    let frame = || recv_frame(&conn, DEFAULT_CAP).map(|f| f.map_or("None".into(), len));
    let between = [said(&frame()), said(&frame())].join(", ");
    out.check("recv_frame, twice, after a whole frame", "5 bytes, None", &between);

    // Inside a frame it may not, neither in the header nor in the payload.
    let mut broken = 0;
    for _ in 1..=CUTS {
        let (conn, _) = accept(&listener)?;
        let result = recv_frame(&conn, DEFAULT_CAP);
        broken += usize::from(said(&result.map(|_| "a frame or None")) == "UnexpectedEof");
    }
    out.check("broken frames, of those cut short", CUTS, broken);
    // An error everywhere would not do: between frames the same 0 has to be a clean end.
    let both = broken == CUTS && between.ends_with("None");
    let observed = format!("{between} between frames; {broken} of {CUTS} cuts UnexpectedEof");
    out.claim("E2", Verdict::holds_if(both), observed);
    Ok(())
}

fn len(frame: Vec<u8>) -> String {
    format!("{} bytes", frame.len())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
