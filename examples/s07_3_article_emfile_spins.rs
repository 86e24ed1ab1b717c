//! A full descriptor table makes the article's server spin: `accept` fails, again and again.
//!
//! Article 7. man: accept(2), getrlimit(2) (RLIMIT_NOFILE).
//!
//! A new connection needs a descriptor. Where there is none, `accept` says EMFILE at once, and the
//! connection stays in the queue. The article prints the error and calls again. The server here
//! is a process of its own, for the limit is the whole process's.
//!
//! Expect: 1000 calls are 1000 failures, and not one of them waits; with a pause after each there
//! are three at most in three pauses; the client that was in the queue is served in the end.
//!
//! Change and see: a second for PAUSE (the client waits for three); no client (`accept` fails all
//! the same, where it would have waited: it looks for a descriptor first).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::child::{Child, FullTable};
use stage::{At, Out, said, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::net::{self, AcceptAdvice};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_frame, send_frame};

const CALLS: usize = 1000;
const PAUSE: Duration = Duration::from_millis(100);

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The handshake is the kernel's, and takes no descriptor. Only the answer has to wait.
    let conn = connect_to(&at.host, at.port)?;
    send_frame(&conn, b"HELLO", DEFAULT_CAP)?;
    let answer = recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    out.check("the answer, in the end", text(b"HELLO"), text(&answer));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The child returns its two counts as text.
    let said = Child::start("", listener)?.wait()?.said;
    let counts: Vec<usize> = said.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [at_once, paused] = counts[..] else { return Err(io::Error::other(said)) };
    // Each pause takes its time, so no more of them fit into the time of three.
    out.check("called again at once: failures in 1000 calls", CALLS, at_once);
    let few = (1..=3).contains(&paused);
    out.check_that("with a pause after each: failures in 3 pauses", "1 to 3", paused, few);
    Ok(())
}

fn in_child(_: &str, listener: UniqueFd) -> io::Result<String> {
    // From here on this process can open nothing.
    let table = FullTable::new()?;

    // WRONG: the article's loop. Nothing has changed since the last call, so it fails again.
    let mut at_once = 0;
    for _ in 0..CALLS {
        at_once += usize::from(said(&accept(&listener).map(|_| ())) == "EMFILE");
    }

    // A server that pauses gives time in which something may be closed.
    let (mut paused, until) = (0, Instant::now() + 3 * PAUSE);
    while paused == 0 || Instant::now() < until {
        let Err(e) = accept(&listener) else { break };
        paused += 1;
        if net::accept_advice(&e) == AcceptAdvice::Wait {
            thread::sleep(PAUSE);
        }
    }

    // There is room again. The connection is still in the queue, and loses nothing but time.
    drop(table);
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    send_frame(&conn, &frame, DEFAULT_CAP)?;
    Ok(format!("{at_once} {paused}"))
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::pair(stage::about!(), server, client))
}
