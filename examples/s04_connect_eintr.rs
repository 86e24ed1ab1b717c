//! A `connect` that says EINTR goes on without you: poll and SO_ERROR, never a second `connect`.
//!
//! Article 4.1, 10.2. man: connect(2) (EINTR), signal(7).
//!
//! The handshake is the kernel's, and a signal only ends your waiting for it. What a second call
//! says depends on the moment; a loop that tries again on EINTR takes a success for a failure.
//!
//! Expect: EINTR, and SYN_SENT still; connected later, without another call. Three more calls,
//! WRONG each, give three answers.
//!
//! Change and see: SA_RESTART (the kernel itself goes on waiting: the stage says where); leave out
//! `listen` in the server (there is nothing to interrupt).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use libc::{POLLOUT, SO_ERROR, SOCK_STREAM, SOL_SOCKET};
use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, HANG, Out, kernel, said, signals};
use tcp_stream_io::addr::{Hints, resolve};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, stream, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let list = resolve(Some(&at.host), at.port, &Hints::default())?;
    let addr = list.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let talk = connect_to(&at.host, at.port)?;
    recv_exact(&talk, &mut [0])?; // the queue has two places now
    let _queued = [connect_to(&at.host, at.port)?, connect_to(&at.host, at.port)?];

    signals::count(SIGUSR1, SaFlags::empty())?;
    let conn = sys::socket(addr.family(), SOCK_STREAM, 0)?;
    let interrupted = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_connect, |caller| caller.signal(SIGUSR1));
        sys::connect(&conn, addr)
    });
    out.check("connect, interrupted", "EINTR", said(&interrupted));
    out.check("and the state is", "SYN_SENT", kernel::tcp_state(&conn)?);

    // WRONG: calls it again. Here the socket does not block, as it would not with a deadline.
    sys::set_nonblocking(&conn, true)?;
    let under_way = sys::connect(&conn, addr);
    out.check("WRONG: connect again, under way", "EALREADY", said(&under_way));

    send_all(&talk, b".")?; // the server may make room; the SYN is sent again after a second
    stream::wait_ready(&conn, POLLOUT, Some(Instant::now() + HANG))?;
    let error = sys::get_option(&conn, SOL_SOCKET, SO_ERROR)?;
    out.check("poll, then SO_ERROR", 0, error);
    out.check("and the state is", "ESTABLISHED", kernel::tcp_state(&conn)?);

    // WRONG: calls it again.
    let twice = [sys::connect(&conn, addr), sys::connect(&conn, addr)].map(|result| said(&result));
    out.check("WRONG: connect again, twice, connected", "ok, EISCONN", twice.join(", "));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (talk, _) = accept(&listener)?;
    sys::listen(&listener, 1)?; // Linux queues one more than it is told: a third blocks
    send_all(&talk, b".")?;
    recv_exact(&talk, &mut [0])?; // the client has been interrupted
    let _queued = [accept(&listener)?, accept(&listener)?];
    let (conn, _) = accept(&listener)?;
    out.note("has accepted a third connection");
    kernel::wait_until_peer_ended(&conn)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
