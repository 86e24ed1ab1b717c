//! The echo program: one frame in, the same frame out, then a half-close, which is read as 0.
//!
//! Article 7. man: send(2), recv(2), shutdown(2), tcp(7) (TCP_INFO).
//! Claim E3: The echo program exchanges one frame each way and ends with a half-close.
//!
//! All that the sections before have made, in one exchange. `send_frame` hands header and payload
//! to the kernel in one call, and they leave in one segment. SHUT_WR says that no more will come.
//!
//! Expect: the frame comes back; then `recv` says 0; 15 bytes in 1 data segment each way.
//!
//! Change and see: header and payload in two `send_all` (2 data segments that way, and the second
//! waits for the first to be acknowledged); no `shutdown` (both wait: the stage says where).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr, said, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame, sys};

const MESSAGE: &[u8] = b"HELLO-WORLD";

fn client(at: &At, out: &Out) -> io::Result<()> {
    // One frame each way.
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, MESSAGE, DEFAULT_CAP)?;
    let echoed = recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    out.check("the frame that came back", text(MESSAGE), text(&echoed));
    // After the frame comes the server's end, and no further byte.
    let end = retry_eintr(|| sys::recv(&conn, &mut [0], 0));
    out.check("recv after the server's SHUT_WR", 0, said(&end));

    // A header of 4 bytes and a payload of 11. The kernel has counted segments, too.
    let request = sent(&conn)?;
    out.check("the request", "15 bytes in 1 data segment", &request);

    // This is all that the claim says. How many segments it took is the wire's part of it.
    let exchanged = echoed == MESSAGE && said(&end) == "0";
    let observed = format!("{request} each way; recv {}", said(&end));
    out.claim("E3", Verdict::holds_if(exchanged), observed);
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // One frame in, the same frame out.
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    send_frame(&conn, &frame, DEFAULT_CAP)?;
    // The half-close: nothing more will come from here.
    sys::shutdown(&conn, libc::SHUT_WR)?;

    // First the client's end, then ours: a `close` before it might be a reset.
    let end = retry_eintr(|| sys::recv(&conn, &mut [0], 0));
    out.check("recv after the client's close", 0, said(&end));
    out.check("the answer", "15 bytes in 1 data segment", sent(&conn)?);
    conn.close()
}

/// What has left for the first time: whatever the kernel has sent again does not count.
fn sent(conn: &UniqueFd) -> io::Result<String> {
    let info = kernel::tcp_info(conn)?;
    let bytes = info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
    let segments = kernel::segments_sent(conn)?;
    let plural = if segments == 1 { "" } else { "s" };
    Ok(format!("{bytes} bytes in {segments} data segment{plural}"))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
