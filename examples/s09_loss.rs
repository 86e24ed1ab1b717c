//! With random loss p, Reno's window is about 1/sqrt(p) segments, if nothing else limits it.
//!
//! Article 9.2. Claim: P3. man: tcp(7) (TCP_CONGESTION, TCP_INFO), socket(7) (SO_ATTACH_FILTER).
//!
//! MSS / (RTT sqrt p) is a window of 1/sqrt(p) segments, sent once a round trip. A filter on the
//! server's socket loses segments at random before TCP sees them; TCP_INFO tells the client's
//! window. Who may not set a filter here may in a network of his own, so a child plays both roles.
//! That is the half of the law that needs no delay. A rate, on a link with a round trip of its own,
//! is the lab's.
//!
//! Expect: about 16, 12 and 8 segments at p = 1/256, 1/144 and 1/64; at 1/256 about 4 with a send
//! buffer of 64 KiB, whatever the law says: a window that is not used does not grow.
//!
//! Change and see: "bbr" for RENO, where it may be set (its window hardly depends on p); 16 for
//! the 64 in RUNS (the window halves once more).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::child::{self, Child};
use stage::{Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::stream::wait_ready;
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, sys};

const RENO: &str = "reno";

/// One loss in how many segments, and the send buffer, if it is not the kernel's to choose.
const RUNS: [(f64, Option<i32>); 4] =
    [(256.0, None), (144.0, None), (64.0, None), (256.0, Some(64 * 1024))];

fn in_child(_: &str, _: UniqueFd) -> io::Result<String> {
    child::own_network()?;
    RUNS.iter().map(|(one_in, send_buffer)| mean_window(*one_in, *send_buffer)).collect()
}

/// Both roles in turn: sends what there is room for, reads what has come, until some 60 segments
/// have been lost, or 40 and time is up. Returns the mean window in segments.
fn mean_window(one_in: f64, send_buffer: Option<i32>) -> io::Result<String> {
    let listener = listen_on(Some("127.0.0.1"), 0, 1)?;
    let client = connect_to("127.0.0.1", sys::getsockname(&listener)?.port())?;
    let (server, _) = accept(&listener)?;
    kernel::lose_at_random(&server, 1.0 / one_in)?;
    kernel::set_congestion_control(&client, RENO)?;
    if let Some(bytes) = send_buffer {
        sys::set_option(&client, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)?;
    }
    let (piece, mut buf) = (vec![b'x'; 1024 * 1024], vec![0; 1024 * 1024]);
    let until = Instant::now() + Duration::from_millis(400);
    let (mut sum, mut sent) = (0.0, 0.0);
    loop {
        let n = retry_eintr(|| sys::send(&client, &piece, libc::MSG_DONTWAIT)).unwrap_or(0) as f64;
        let info = kernel::tcp_info(&client)?;
        let lost = info.tcpi_total_retrans;
        if lost > 15 {
            (sum, sent) = (sum + n * f64::from(info.tcpi_snd_cwnd), sent + n); // no slow start now
        }
        if lost > 60 || (lost > 40 && Instant::now() > until) {
            return Ok(format!("{:.1}\n", sum / sent));
        }
        wait_ready(&server, libc::POLLIN, None)?;
        while retry_eintr(|| sys::recv(&server, &mut buf, libc::MSG_DONTWAIT)).is_ok() {}
    }
}

fn run(out: &Out) -> io::Result<()> {
    let windows = match Child::start_alone("").and_then(Child::wait) {
        Ok(child) => child.said,
        Err(e) => {
            out.claim("P3", Verdict::NotObserved, "it takes a network of one's own to lose in");
            return out.not_here(e);
        }
    };
    let mut by_law = [0, 0]; // of those that loss alone limits, and of those that a buffer does
    for (window, (one_in, send_buffer)) in windows.lines().zip(RUNS) {
        let law: f64 = one_in.sqrt();
        let about = (law / 2.0..law * 2.0).contains(&window.parse().unwrap_or(0.0));
        by_law[usize::from(send_buffer.is_some())] += usize::from(about);
        let (limit, not) = if send_buffer.is_some() { ("buffer", "not ") } else { ("loss", "") };
        let what = format!("segments under way, p = 1/{one_in}, limited by {limit}");
        out.check_that(what, format!("{not}about {law}"), window, about == not.is_empty());
    }
    let [free, limited] = by_law;
    let verdict = Verdict::holds_if(free == 3 && limited == 1)
        .or_when(free == 3, "the congestion control is Reno, and loss alone limits the window");
    let observed = format!("by the law: {free} of 3 limited by loss, {limited} of 1 by a buffer");
    out.claim("P3", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
