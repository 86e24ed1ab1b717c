//! A `connect` with a deadline: do not block, poll until it is writable, ask SO_ERROR how it went.
//!
//! Article 4.1. man: connect(2) (EINPROGRESS), poll(2), socket(7) (SO_ERROR).
//!
//! Where nobody answers, a blocking `connect` waits until the kernel gives up: two minutes with
//! the usual six repetitions of the SYN. `connect_by` is what `net::connect_at` does, less EINTR.
//!
//! Expect: TimedOut at the deadline while the server's queue is full; ECONNREFUSED when the server
//! has gone.
//!
//! Change and see: leave out SO_ERROR in `connect_by` (a refusal looks like success); leave out
//! `listen` in the server (no SYN is lost, and nothing is TimedOut).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libc::{AF_UNSPEC, EINPROGRESS, POLLOUT, SO_ERROR, SOCK_STREAM, SOL_SOCKET};
use stage::{At, Out, kernel, said};
use tcp_stream_io::addr::Addr;
use tcp_stream_io::stream::wait_ready;
use tcp_stream_io::{UniqueFd, accept, connect_to, net, recv_exact, resolve, send_all, sys};

const TIME: Duration = Duration::from_millis(100);

fn connect_by(addr: Addr, until: Option<Instant>) -> io::Result<UniqueFd> {
    // Writable means that the attempt is over, one way or the other. SO_ERROR says which.
    let fd = begin_to_connect(addr)?;
    wait_ready(&fd, POLLOUT, until)?;
    match sys::get_option(&fd, SOL_SOCKET, SO_ERROR)? {
        0 => sys::set_nonblocking(&fd, false)?,
        errno => return Err(io::Error::from_raw_os_error(errno)),
    };
    Ok(fd)
}

fn begin_to_connect(addr: Addr) -> io::Result<UniqueFd> {
    // EINPROGRESS is what a non-blocking `connect` says when the SYN has left.
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0)?;
    sys::set_nonblocking(&fd, true)?;
    match sys::connect(&fd, addr) {
        Err(e) if e.raw_os_error() == Some(EINPROGRESS) => Ok(fd),
        result => result.map(|()| fd),
    }
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Where the server answers, no deadline is needed.
    let list = resolve(Some(&at.host), at.port, AF_UNSPEC, 0)?;
    let addr = list.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let talk = connect_by(addr, None)?;

    // The server's byte says that its queue has two places now. They are taken.
    recv_exact(&talk, &mut [0])?;
    let connect = || kernel::wait_until_in_queue(connect_to(&at.host, at.port)?);
    let _queued = [connect()?, connect()?];

    // To the next SYN nobody says anything, and the deadline ends the waiting. Not sooner.
    let start = Instant::now();
    let lost = connect_by(addr, Some(start + TIME));
    let took = start.elapsed();
    out.check("a full queue: connect_by", "TimedOut", said(&lost));
    out.check_that("ms that it took", "100 or more", took.as_millis(), took >= TIME);

    // The reference does the same for whoever gives it a deadline.
    let same = net::connect_at(addr, Some(Instant::now() + TIME)).map_err(|(_, e)| e);
    out.check("a full queue: net::connect_at", "TimedOut", said(&same));

    // A server that has gone is another thing: its kernel answers, with a reset.
    send_all(&talk, b".")?;
    kernel::wait_until_peer_ended(&talk)?;
    let refused = connect_by(addr, None);
    out.check("nobody listens: connect_by", "ECONNREFUSED", said(&refused));

    // WRONG: takes writable for connected. The cost: the first `send` fails instead of `connect`.
    let fd = begin_to_connect(addr)?;
    let writable = wait_ready(&fd, POLLOUT, None);
    out.check("nobody listens: poll says writable", "ok", said(&writable));
    let sent = send_all(&fd, b"HELLO");
    out.check("nobody listens: send", "ECONNREFUSED", said(&sent));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // A second call of `listen` only sets the backlog: 1, which on Linux makes two places.
    let (talk, _) = accept(&listener)?;
    sys::listen(&listener, 1)?;
    send_all(&talk, b".")?;

    // The client's byte says that it has been kept waiting.
    recv_exact(&talk, &mut [0])?;
    out.note("goes away");
    listener.close()
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
