//! `recv` returns 0 at the peer's FIN: between frames a clean end, inside one a broken frame.
//!
//! Article 6. Claims: E1, E2. man: recv(2).
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

fn client(at: &At, out: &Out) -> io::Result<()> {
    send_all(connect_to(&at.host, at.port)?, b"HELLO")?; // and close, for it is not lent: the FIN
    send_all(connect_to(&at.host, at.port)?, WHOLE)?;
    out.note(format_args!("cuts a frame of {} bytes at every place", WHOLE.len()));
    for cut in 1..WHOLE.len() {
        send_all(connect_to(&at.host, at.port)?, &WHOLE[..cut])?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?; // the FIN is here, the bytes are not read yet
    let recv = || recv_some(&conn, &mut [0; 100], None);
    let reads = [said(&recv()), said(&recv()), said(&recv())].join(", ");
    out.check("recv, three times, after the FIN", "5, 0, 0", &reads);
    out.claim("E1", Verdict::holds_if(reads == "5, 0, 0"), format!("recv said {reads}"));

    let (conn, _) = accept(&listener)?;
    let frame = || recv_frame(&conn, DEFAULT_CAP).map(|f| f.map_or("None".into(), len));
    let between = [said(&frame()), said(&frame())].join(", ");
    out.check("recv_frame, twice, after a whole frame", "5 bytes, None", &between);

    let mut broken = 0;
    for _ in 1..WHOLE.len() {
        let (conn, _) = accept(&listener)?;
        let result = recv_frame(&conn, DEFAULT_CAP);
        broken += usize::from(said(&result.map(|_| "a frame or None")) == "UnexpectedEof");
    }
    out.check("broken frames, of those cut short", WHOLE.len() - 1, broken);
    let both = broken == WHOLE.len() - 1 && between.ends_with("None");
    let observed = format!("{between} between frames; {broken} of 8 cuts UnexpectedEof");
    out.claim("E2", Verdict::holds_if(both), observed);
    Ok(())
}

fn len(frame: Vec<u8>) -> String {
    format!("{} bytes", frame.len())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
