//! A full accept queue loses the next SYN: that `connect` waits, and succeeds once there is room.
//!
//! Article 4.1. man: listen(2), connect(2).
//!
//! `listen` says how many connections may wait for `accept`; Linux lets one more in. To a further
//! SYN the kernel says nothing, and the client's kernel sends it again, the first time after 1 s.
//!
//! Expect: with a deadline of 100 ms the next `connect` is TimedOut; without one it blocks, and
//! returns after the server has called `accept` and the SYN has come again.
//!
//! Change and see: BACKLOG to 5; leave out `when_blocked_in` (nobody tells the server to accept:
//! the stage says where both wait).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::{At, Out, kernel, said};
use tcp_stream_io::net::connect_to_with_deadline;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const BACKLOG: usize = 1;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let talk = connect_to(&at.host, at.port)?;
    recv_exact(&talk, &mut [0])?; // the backlog is set
    let mut queued = Vec::new();
    for _ in 0..BACKLOG + 1 {
        queued.push(connect_to(&at.host, at.port)?);
    }
    out.check("connections that nobody has accepted", BACKLOG + 1, queued.len());

    let soon = Instant::now() + Duration::from_millis(100);
    let next = connect_to_with_deadline(&at.host, at.port, soon);
    out.check("one more, with a deadline", "TimedOut", said(&next));

    let patient = thread::scope(|scope| {
        // Once it is blocked, its first SYN is lost. Then the server may make room.
        kernel::when_blocked_in(scope, libc::SYS_connect, |_| send_all(&talk, b"."));
        connect_to(&at.host, at.port)
    })?;
    let again = kernel::tcp_info(&patient)?.tcpi_total_retrans;
    out.check_that("one more, which waits: its SYN was sent again", "1 or more", again, again >= 1);
    send_all(&patient, b"HELLO")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (talk, _) = accept(&listener)?;
    sys::listen(&listener, BACKLOG as i32)?; // a second call only sets the backlog
    send_all(&talk, b".")?;
    recv_exact(&talk, &mut [0])?; // the client is blocked in connect
    out.check("in the queue", BACKLOG + 1, kernel::queued(&listener)?);
    let mut accepted = Vec::new();
    for _ in 0..BACKLOG + 1 {
        accepted.push(accept(&listener)?);
    }
    let (late, _) = accept(&listener)?;
    let hello = recv_exact(&late, &mut [0; 5]);
    out.check("the one that had to wait", "ok", said(&hello));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
