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

use stage::{At, Out, kernel, said, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, net, recv_exact, resolve, send_all, sys};

const BACKLOG: usize = 1;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The server's byte says that the backlog is set.
    let talk = connect_to(&at.host, at.port)?;
    recv_exact(&talk, &mut [0])?;

    // The handshake is the kernel's: these succeed, and nobody has called `accept`.
    let mut queued = Vec::new();
    for _ in 0..BACKLOG + 1 {
        queued.push(kernel::wait_until_in_queue(connect_to(&at.host, at.port)?)?);
    }

    // The next SYN finds the queue full. It is neither answered nor refused.
    let list = resolve(Some(&at.host), at.port, libc::AF_UNSPEC, 0)?;
    let addr = list.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let soon = Instant::now() + Duration::from_millis(100);
    let next = net::connect_at(addr, Some(soon)).map_err(|(_, e)| e);
    out.check("one more, with a deadline", "TimedOut", said(&next));

    // Without a deadline `connect` waits. Once it is blocked, its first SYN is lost, and the server
    // is told to make room.
    let patient = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_connect, |_| send_all(&talk, b"."));
        connect_to(&at.host, at.port)
    })?;

    // It was not told to try again. Its kernel has done that.
    let again = kernel::tcp_info(&patient)?.tcpi_total_retrans;
    out.check_that("one more, which waits: its SYN was sent again", "1 or more", again, again >= 1);
    send_all(&patient, b"HELLO")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // A second call of `listen` only sets the backlog.
    let (talk, _) = accept(&listener)?;
    sys::listen(&listener, BACKLOG as i32)?;
    send_all(&talk, b".")?;

    // The client's byte says that it is blocked in `connect`. The queue has one more than it may.
    recv_exact(&talk, &mut [0])?;
    out.check("in the queue", BACKLOG + 1, kernel::queued(&listener)?);

    // Each `accept` makes room for one, and the SYN that comes again finds it.
    let mut accepted = Vec::new();
    for _ in 0..BACKLOG + 1 {
        accepted.push(accept(&listener)?);
    }
    let (late, _) = accept(&listener)?;

    // The one that had to wait has not noticed anything but the time.
    let mut hello = [0; 5];
    recv_exact(&late, &mut hello)?;
    out.check("from the one that had to wait", text(b"HELLO"), text(&hello));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
