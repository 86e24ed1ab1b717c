//! A `connect` that says EINTR goes on without you: poll and SO_ERROR, never a second `connect`.
//!
//! Article 4.1, 10.2. man: connect(2) (EINTR), signal(7).
//!
//! The handshake is the kernel's. A signal ends only your waiting for it: the SYN has left, and
//! the answer will come. A loop that calls `connect` again on EINTR gets an answer that depends on
//! the moment, and takes a connection that is being made, or is made, for a failure.
//!
//! Expect: EINTR, and the state is SYN_SENT still; later it is ESTABLISHED, without another call.
//! Three more calls, WRONG each, give three answers: EALREADY, ok, EISCONN.
//!
//! Change and see: SA_RESTART (the kernel itself goes on waiting: the stage says where); leave out
//! `listen` in the server (the first `connect` succeeds at once: there is nothing to interrupt).

use std::io;
use std::process::ExitCode;
use std::thread;

use libc::{AF_UNSPEC, POLLOUT, SO_ERROR, SOCK_STREAM, SOL_SOCKET};
use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, kernel, said, signals};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, resolve, send_all, stream, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The server's byte says that its queue has two places now. They are taken, so that the next
    // SYN is not answered, and `connect` blocks.
    let talk = connect_to(&at.host, at.port)?;
    recv_exact(&talk, &mut [0])?;
    let connect = || kernel::wait_until_in_queue(connect_to(&at.host, at.port)?);
    let _queued = [connect()?, connect()?];

    // The bare calls, for `net::connect` would hide what this is about.
    let list = resolve(Some(&at.host), at.port, AF_UNSPEC, 0)?;
    let addr = list.iter().next().ok_or(io::ErrorKind::NotFound)?;
    let conn = sys::socket(addr.family(), SOCK_STREAM, 0)?;

    // A helper thread sends a signal as soon as this thread is asleep in `connect`.
    signals::handle(SIGUSR1, SaFlags::empty())?;
    let interrupted = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_connect, |caller| caller.signal(SIGUSR1));
        sys::connect(&conn, addr)
    });

    // The call has ended, and the attempt has not.
    out.check("connect, interrupted", "EINTR", said(&interrupted));
    out.check("and the state is", "SYN_SENT", kernel::tcp_state(&conn)?);

    // WRONG: calls `connect` again while the attempt is under way. The cost: EALREADY looks like a
    // failure. (The socket does not block here, or this call would wait like the first one.)
    sys::set_nonblocking(&conn, true)?;
    let under_way = sys::connect(&conn, addr);
    out.check("WRONG: connect again, under way", "EALREADY", said(&under_way));

    // Right: wait until the attempt is over, and ask how it went. The server makes room, and the
    // SYN is sent again after a second.
    send_all(&talk, b".")?;
    stream::wait_ready(&conn, POLLOUT, None)?;
    let error = sys::get_option(&conn, SOL_SOCKET, SO_ERROR)?;
    out.check("poll, then SO_ERROR", 0, error);
    out.check("and the state is", "ESTABLISHED", kernel::tcp_state(&conn)?);

    // WRONG: calls `connect` on what is connected. The first such call reports the success that
    // nobody had been told of yet. The cost comes with the next one: EISCONN, again no failure.
    let twice = [sys::connect(&conn, addr), sys::connect(&conn, addr)].map(|result| said(&result));
    out.check("WRONG: connect again, twice, connected", "ok, EISCONN", twice.join(", "));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Linux queues one connection more than it is told to: a third one has to wait.
    let (talk, _) = accept(&listener)?;
    sys::listen(&listener, 1)?;
    send_all(&talk, b".")?;

    // The client's byte says that its `connect` was interrupted. Two calls make room for the third.
    recv_exact(&talk, &mut [0])?;
    let _queued = [accept(&listener)?, accept(&listener)?];
    let (conn, _) = accept(&listener)?;
    out.note("has accepted a third connection");
    kernel::wait_until_peer_ended(&conn)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
