//! A length cast to 32 bits wraps: 4 GiB + 5 bytes are announced as 5, and the stream is lost.
//!
//! Article 3.1. man: send(2).
//!
//! The article makes its header of `static_cast<uint32_t>(payload.size())`, which keeps the low 32
//! bits and says nothing. The receiver takes 5 bytes for the message and the next four for a
//! header: it has lost its place in the stream, and there is no way back.
//!
//! Expect: a frame of 5 bytes that nobody sent; then ", an", taken for the next length, claims 706
//! MiB. `encode_header` refuses the length, and no byte leaves.
//!
//! Change and see: PAYLOAD to 4 GiB sharp (an empty frame); to one byte less (it fits).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, kernel, said, text};
use tcp_stream_io::framing::length::{DEFAULT_CAP, encode_header};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_all};

/// So long would the message be. It need not be there to see what becomes of its length.
const PAYLOAD: u64 = (4 << 30) + 5;
const BEGINS: &[u8] = b"HELLO, and 4 GiB more of it";

fn client(at: &At, out: &Out) -> io::Result<()> {
    // WRONG: the article's cast. The cost: a header that announces 5 bytes for 4 GiB of payload.
    let conn = connect_to(&at.host, at.port)?;
    let wrong = PAYLOAD as u32;
    out.check("4 GiB + 5, cast to 32 bits", 5, wrong);

    // The payload follows, of which the beginning is enough.
    send_all(&conn, &wrong.to_be_bytes())?;
    send_all(&conn, BEGINS)?;

    // A length that four bytes cannot say is refused, whatever the cap.
    let len = usize::try_from(PAYLOAD).map_err(io::Error::other)?;
    let right = encode_header(len, usize::MAX).map(|_| "a header");
    out.check("encode_header, without any other cap", "InvalidInput", said(&right));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The first frame is a fragment, and nothing about it looks wrong.
    let (conn, _) = accept(&listener)?;
    let first = recv_frame(&conn, DEFAULT_CAP)?;
    let first = first.map_or("the end of the stream".into(), |frame| text(&frame));
    out.check("the first frame, as it is received", text(&BEGINS[..5]), first);

    // From here on payload is read as header. That the claim is over the cap is luck.
    let next = recv_frame(&conn, DEFAULT_CAP).map(|_| "a frame");
    out.check("the next one", "InvalidData", said(&next));

    // The four bytes after HELLO, taken for a length.
    let claim = u32::from_be_bytes(*b", an");
    let expected = format!("a frame claims {claim} bytes, over the cap of {DEFAULT_CAP}");
    out.check("because", expected, next.map_or_else(|e| e.to_string(), str::to_owned));

    // Closed earlier, with bytes unread, the connection would be reset under the client.
    kernel::wait_until_peer_ended(&conn)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
