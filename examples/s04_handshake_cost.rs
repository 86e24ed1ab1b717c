//! A new connection for every request waits for two round trips each time, a kept one for one.
//!
//! Article 4.2. man: tcp(7) (TCP_INFO).
//! Claim H3: The handshake costs one RTT, and the first answer another.
//!
//! No byte of the request leaves before the SYN+ACK has come. On the loopback a round trip is a
//! few microseconds, so count the segments that have to come before the client can go on.
//!
//! Expect: 2 to wait for on a new connection (SYN+ACK, answer), 1 on a kept one.
//!
//! Change and see: an answer of two bytes, by two `send_all`, with TCP_NODELAY at the server (one
//! more to wait for on either); put the first `tcp_info` after the request (then the request did
//! not wait, and there is 1 to wait for).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

const REQUESTS: usize = 20;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let kept = connect_to(&at.host, at.port)?;
    let (mut new_waits, mut kept_waits) = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        // The kernel counts the segments of each connection, so it is asked before and after.
        let new = connect_to(&at.host, at.port)?;
        let connected = kernel::tcp_info(&new)?;
        request(&new)?;
        let answered = kernel::tcp_info(&new)?;

        // The request had to wait for what came before any data left: the SYN+ACK. Then comes the
        // answer.
        let waited = connected.tcpi_data_segs_out == 0;
        let handshake = if waited { connected.tcpi_segs_in } else { 0 };
        new_waits.push(handshake + answered.tcpi_data_segs_in);

        // On the kept connection the handshake was paid for once, before the first request.
        let before = kernel::tcp_info(&kept)?;
        request(&kept)?;
        let after = kernel::tcp_info(&kept)?;
        kept_waits.push(after.tcpi_data_segs_in - before.tcpi_data_segs_in);
    }

    // Every request has to come out the same, the last one as the first.
    let waits = [&new_waits, &kept_waits].map(|waits| each(waits));
    out.check("segments to wait for, on a new connection", 2, &waits[0]);
    out.check("segments to wait for, on a kept one", 1, &waits[1]);

    // A segment to wait for is a round trip: it answers one that went the other way.
    let verdict = Verdict::holds_if(waits == ["2", "1"]);
    let observed = format!("{} segments to wait for on a new connection, {}", waits[0], waits[1]);
    out.claim("H3", verdict, format!("{observed} on a kept one"));
    Ok(())
}

/// One byte there and one byte back: each travels in one segment.
fn request(conn: &UniqueFd) -> io::Result<()> {
    send_all(conn, b"?")?;
    recv_exact(conn, &mut [0])
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    let answer = |conn: &UniqueFd| {
        recv_exact(conn, &mut [0])?;
        send_all(conn, b"!")
    };
    // The first connection is the kept one. Each new one is good for one request.
    let (kept, _) = accept(&listener)?;
    for _ in 0..REQUESTS {
        let (new, _) = accept(&listener)?;
        answer(&new)?;
        answer(&kept)?;
    }
    Ok(())
}

/// The number that all are, or all of them.
fn each(counts: &[u32]) -> String {
    let same = counts.iter().all(|count| *count == counts[0]);
    if same { counts[0].to_string() } else { format!("{counts:?}") }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
