//! The echo program: one frame in, the same frame out, then a half-close, which is read as 0.
//!
//! Article 7. Claim: E3. man: send(2), recv(2), shutdown(2), tcp(7) (TCP_INFO).
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
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, MESSAGE, DEFAULT_CAP)?;
    let echoed = recv_frame(&conn, DEFAULT_CAP)?.unwrap_or_default();
    out.check("the frame that came back", text(MESSAGE), text(&echoed));
    let end = retry_eintr(|| sys::recv(&conn, &mut [0], 0));
    out.check("recv after the server's SHUT_WR", 0, said(&end));

    let request = sent(&conn)?;
    out.check("the request", "15 bytes in 1 data segment", &request);
    let answer = kernel::tcp_info(&conn)?.tcpi_data_segs_in;
    out.check("data segments that came back", 1, answer);

    let exchanged = echoed == MESSAGE && said(&end) == "0";
    let observed = format!("{request}; {answer} data segment back; recv {}", said(&end));
    out.claim("E3", Verdict::holds_if(exchanged), observed);
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.unwrap_or_default();
    send_frame(&conn, &frame, DEFAULT_CAP)?;
    sys::shutdown(&conn, libc::SHUT_WR)?; // the half-close: nothing more will come from here

    let end = retry_eintr(|| sys::recv(&conn, &mut [0], 0)); // the client's end; only then ours
    out.check("recv after the client's close", 0, said(&end));
    out.check("the answer", "15 bytes in 1 data segment", sent(&conn)?);
    conn.close()
}

fn sent(conn: &UniqueFd) -> io::Result<String> {
    let info = kernel::tcp_info(conn)?;
    let plural = if info.tcpi_data_segs_out == 1 { "" } else { "s" };
    Ok(format!(
        "{} bytes in {} data segment{plural}",
        info.tcpi_bytes_sent, info.tcpi_data_segs_out
    ))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
