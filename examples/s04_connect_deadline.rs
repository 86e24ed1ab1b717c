//! A `connect` with a deadline: do not block, poll until it is writable, ask SO_ERROR how it went.
//!
//! Article 4.1. man: connect(2) (EINPROGRESS), poll(2), socket(7) (SO_ERROR).
//!
//! Where nobody answers, a blocking `connect` waits until the kernel gives up: two minutes with
//! the usual six repetitions of the SYN. `connect_by` below is what `net::connect` does.
//!
//! Expect: TimedOut at the deadline while the server's queue is full; ECONNREFUSED at once when
//! the server has gone.
//!
//! Change and see: leave out SO_ERROR in `connect_by` (a refusal looks like success); leave out
//! `listen` in the server (no SYN is lost, and nothing is TimedOut).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{EINPROGRESS, POLLOUT, SO_ERROR, SOCK_STREAM, SOL_SOCKET};
use stage::{At, HANG, Out, kernel, said};
use tcp_stream_io::addr::{Addr, Hints, resolve};
use tcp_stream_io::net::connect_to_with_deadline;
use tcp_stream_io::stream::wait_ready;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const TIME: Duration = Duration::from_millis(100);

fn connect_by(addr: Addr, deadline: Instant) -> io::Result<UniqueFd> {
    let fd = begin_to_connect(addr)?;
    wait_ready(&fd, POLLOUT, Some(deadline))?; // writable: it is over, one way or the other
    match sys::get_option(&fd, SOL_SOCKET, SO_ERROR)? {
        0 => sys::set_nonblocking(&fd, false)?,
        errno => return Err(io::Error::from_raw_os_error(errno)),
    }
    Ok(fd)
}

fn begin_to_connect(addr: Addr) -> io::Result<UniqueFd> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0)?;
    sys::set_nonblocking(&fd, true)?;
    match sys::connect(&fd, addr) {
        Err(e) if e.raw_os_error() == Some(EINPROGRESS) => Ok(fd), // the SYN has left
        result => result.map(|()| fd),
    }
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let list = resolve(Some(&at.host), at.port, &Hints::default())?;
    let addr = list.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let talk = connect_by(addr, Instant::now() + HANG)?;
    recv_exact(&talk, &mut [0])?; // the queue has two places now
    let _queued = [connect_to(&at.host, at.port)?, connect_to(&at.host, at.port)?];

    let start = Instant::now();
    let lost = connect_by(addr, start + TIME);
    let took = start.elapsed();
    out.check("a full queue: connect_by", "TimedOut", said(&lost));
    out.check_that("which took", "100 ms, no less", took.as_millis(), TIME <= took);
    let same = connect_to_with_deadline(&at.host, at.port, Instant::now() + TIME);
    out.check("a full queue: connect_to_with_deadline", "TimedOut", said(&same));

    send_all(&talk, b".")?;
    kernel::wait_until_peer_ended(&talk)?; // the server has gone
    let refused = connect_by(addr, Instant::now() + HANG);
    out.check("nobody listens: connect_by", "ECONNREFUSED", said(&refused));

    // WRONG: takes writable for connected. The first send finds out.
    let fd = begin_to_connect(addr)?;
    wait_ready(&fd, POLLOUT, Some(Instant::now() + HANG))?;
    let sent = send_all(&fd, b"HELLO");
    out.check("nobody listens: writable, then send", "ECONNREFUSED", said(&sent));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (talk, _) = accept(&listener)?;
    sys::listen(&listener, 1)?; // room for two
    send_all(&talk, b".")?;
    recv_exact(&talk, &mut [0])?; // the client has been kept waiting
    out.note("goes away");
    listener.close()
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
