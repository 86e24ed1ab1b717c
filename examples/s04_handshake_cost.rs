//! A new connection for every request waits for two round trips each time, a kept one for one.
//!
//! Article 4.2. Claim: H3. man: tcp(7) (TCP_INFO).
//!
//! No byte of the request leaves before the SYN+ACK has come. On the loopback a round trip is a
//! few microseconds, so count the segments that have to come before the client can go on.
//!
//! Expect: 2 to wait for on a new connection (SYN+ACK, answer), 1 on a kept one. And a note: even
//! where there is no distance, the new one takes longer, on a machine with nothing else to do.
//!
//! Change and see: an answer of two bytes, by two `send_all`, with TCP_NODELAY at the server (one
//! more to wait for on either); put the first `tcp_info` behind the request.

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

const REQUESTS: usize = 20;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let kept = connect_to(&at.host, at.port)?;
    let (mut new_waits, mut kept_waits) = (Vec::new(), Vec::new());
    let (mut new_times, mut kept_times) = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        let start = Instant::now();
        let new = connect_to(&at.host, at.port)?;
        let connected = kernel::tcp_info(&new)?;
        request(&new)?;
        new_times.push(start.elapsed());
        let answered = kernel::tcp_info(&new)?;
        let too_late = connected.tcpi_data_segs_out > 0; // the request did not wait
        let handshake = if too_late { 0 } else { connected.tcpi_segs_in };
        new_waits.push(handshake + answered.tcpi_data_segs_in);

        let before = kernel::tcp_info(&kept)?;
        let start = Instant::now();
        request(&kept)?;
        kept_times.push(start.elapsed());
        let after = kernel::tcp_info(&kept)?;
        kept_waits.push(after.tcpi_data_segs_in - before.tcpi_data_segs_in);
    }
    let waits = [&new_waits, &kept_waits].map(|waits| each(waits));
    out.check("segments to wait for, on a new connection", 2, &waits[0]);
    out.check("segments to wait for, on a kept one", 1, &waits[1]);

    let (new, kept) = (median(new_times), median(kept_times));
    out.note(format_args!("a request on a new connection {new} us, on a kept one {kept} us"));
    let observed = format!("{} segments to wait for on a new connection, {}", waits[0], waits[1]);
    let verdict = Verdict::holds_if(waits == ["2", "1"]);
    out.claim("H3", verdict, format!("{observed} on a kept one"));
    Ok(())
}

fn request(conn: &UniqueFd) -> io::Result<()> {
    send_all(conn, b"?")?; // one byte travels in one segment
    recv_exact(conn, &mut [0])
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    let answer = |conn: &UniqueFd| {
        recv_exact(conn, &mut [0])?;
        send_all(conn, b"!")
    };
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

fn median(mut times: Vec<Duration>) -> u128 {
    times.sort_unstable();
    times[times.len() / 2].as_micros()
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
