//! A full descriptor table makes the article's server spin: `accept` fails, again and again.
//!
//! Article 7. man: accept(2), getrlimit(2) (RLIMIT_NOFILE).
//!
//! A new connection needs a descriptor. Where there is none, `accept` says EMFILE at once, and the
//! connection stays in the queue. The article prints the error and calls again. The server here
//! is a process of its own, for the limit is the whole process's.
//!
//! Expect: a thousand calls fail, in a few milliseconds; if it waits 100 ms after each, one or two
//! fail in 100 ms; the client that was in the queue is served in the end.
//!
//! Change and see: 10 ms for the wait (10 failures); no client (`accept` fails all the same, where
//! it would have waited: it looks for a descriptor first).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::child::{Child, FullTable};
use stage::{At, Out, said, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::net::{self, AcceptAdvice};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame, stream, sys};

const CALLS: usize = 1000;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, b"HELLO", DEFAULT_CAP)?;
    let answer = recv_frame(&conn, DEFAULT_CAP)?.unwrap_or_default();
    out.check("the answer, in the end", text(b"HELLO"), text(&answer));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let said = Child::start("", listener)?.wait()?.said;
    let counts: Vec<usize> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [failed, waiting] = counts[..] else { return Err(io::Error::other(said)) };
    out.check("calls of accept that failed", CALLS, failed);
    out.check_that("failed in 100 ms, with a wait after each", "1 or 2", waiting, waiting <= 2);
    Ok(())
}

fn in_child(_: &str, listener: UniqueFd) -> io::Result<String> {
    let table = FullTable::new()?;

    // WRONG: the article's loop. Nothing has changed since the last call, so it fails again.
    let mut failed = 0;
    for _ in 0..CALLS {
        failed += usize::from(said(&accept(&listener).map(|_| ())) == "EMFILE");
    }

    let (mut waiting, until) = (0, Instant::now() + Duration::from_millis(100));
    while Instant::now() < until {
        let Err(e) = accept(&listener) else { break };
        waiting += 1;
        if net::accept_advice(&e) == AcceptAdvice::Wait {
            stream::retry_eintr(|| sys::poll(&mut [], 100))?; // something may be closed meanwhile
        }
    }

    drop(table); // there is room again: the connection is still in the queue
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.unwrap_or_default();
    send_frame(&conn, &frame, DEFAULT_CAP)?;
    Ok(format!("{failed} {waiting}"))
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::pair(stage::about!(), server, client))
}
