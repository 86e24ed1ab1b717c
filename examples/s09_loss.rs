//! With random loss p, Reno's window is about 1/sqrt(p) segments, if nothing else limits it.
//!
//! Article 9.2. man: tcp(7) (TCP_CONGESTION, TCP_INFO), socket(7) (SO_ATTACH_FILTER).
//! Claim P3: Throughput is about MSS / (RTT sqrt p).
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
//! Change and see: "bbr" for "reno", where it may be set (its window hardly depends on p); 16 for
//! the 64 in RUNS (the window halves once more).

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::child::{self, Child};
use stage::kernel::{self, unacked, unread};
use stage::{Out, Verdict, retry_eintr};
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, sys};

/// One loss in how many segments, and the send buffer, if it is not the kernel's to choose.
const RUNS: [(f64, Option<i32>); 4] =
    [(256.0, None), (144.0, None), (64.0, None), (256.0, Some(64 * 1024))];

/// What a child says that may not have a network of its own. All other errors are errors.
const NOT_HERE: &str = "no network of one's own here: ";

fn in_child(_: &str, _: UniqueFd) -> io::Result<String> {
    if let Err(e) = child::own_network() {
        return Ok(format!("{NOT_HERE}{e}"));
    }
    RUNS.iter().map(|(one_in, send_buffer)| mean_window(*one_in, *send_buffer)).collect()
}

/// Both roles in turn: sends what there is room for, reads what has come, until 40 segments have
/// been lost. Returns the mean window in segments.
fn mean_window(one_in: f64, send_buffer: Option<i32>) -> io::Result<String> {
    // The server's socket loses what arrives; the client's window answers to that.
    let listener = listen_on(Some("127.0.0.1"), 0, 1)?;
    let client = connect_to("127.0.0.1", sys::getsockname(&listener)?.port())?;
    let (server, _) = accept(&listener)?;
    kernel::lose_at_random(&server, 1.0 / one_in)?;
    kernel::set_congestion_control(&client, "reno")?;
    // What is not in the send buffer cannot be under way: that is another limit.
    if let Some(bytes) = send_buffer {
        sys::set_option(&client, libc::SOL_SOCKET, libc::SO_SNDBUF, bytes)?;
    }

    let (piece, mut buf) = (vec![b'x'; 1024 * 1024], vec![0; 1024 * 1024]);
    let (mut sum, mut sent) = (0.0, 0.0);
    loop {
        // The window counts as often as it was used: by the bytes that `send` took. The first
        // losses end slow start, which is not what the law is about.
        let n = or_none(retry_eintr(|| sys::send(&client, &piece, libc::MSG_DONTWAIT)))? as f64;
        let info = kernel::tcp_info(&client)?;
        if info.tcpi_total_retrans > 10 {
            (sum, sent) = (sum + n * f64::from(info.tcpi_snd_cwnd), sent + n);
        }
        if info.tcpi_total_retrans > 40 {
            return Ok(format!("{:.1}\n", sum / sent));
        }
        // The server reads all that has come, so that its window never is the limit. Nothing more
        // comes, if the client had no room for it before the last acknowledgement.
        kernel::wait_for("bytes, or room", || Ok(unread(&server)? > 0 || unacked(&client)? == 0))?;
        while or_none(retry_eintr(|| sys::recv(&server, &mut buf, libc::MSG_DONTWAIT)))? > 0 {}
    }
}

/// 0 where there is no room, or nothing to read.
fn or_none(result: io::Result<usize>) -> io::Result<usize> {
    result.or_else(|e| if e.kind() == ErrorKind::WouldBlock { Ok(0) } else { Err(e) })
}

fn run(out: &Out) -> io::Result<()> {
    let child = Child::start_alone("")?.wait()?.said;
    if let Some(why) = child.strip_prefix(NOT_HERE) {
        out.claim("P3", Verdict::NotObserved, "it takes a network of one's own to lose in");
        return out.not_here(format_args!("{NOT_HERE}{why}"));
    }
    // One line for each run, and every line a number.
    let windows: Vec<f64> = child.lines().filter_map(|line| line.parse().ok()).collect();
    let &[_, _, _, limited] = &windows[..] else { return Err(io::Error::other(child)) };

    // "About" is within a factor of two: so few losses do not tell it more closely.
    let mut by_law = 0;
    for (window, (one_in, _)) in windows.iter().zip(&RUNS[..3]) {
        let law = one_in.sqrt();
        let about = (law / 2.0..law * 2.0).contains(window);
        by_law += usize::from(about);
        // In segments, which is what TCP_INFO counts the window in.
        out.check_that(format!("window, p = 1/{one_in}"), format!("about {law}"), window, about);
    }
    // The last run had a limit of its own. By the law alone it would be where the first one is.
    let below = (1.0..8.0).contains(&limited);
    out.check_that("window, p = 1/256, 64 KiB to send from", "below 8", limited, below);

    // The claim names no limit but loss.
    let verdict = Verdict::holds_if(by_law == 3 && !below)
        .or_when(by_law == 3, "the congestion control is Reno, and loss alone limits the window");
    let buffer = usize::from(!below);
    let observed = format!("by the law: {by_law} of 3 limited by loss, {buffer} of 1 by a buffer");
    out.claim("P3", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
