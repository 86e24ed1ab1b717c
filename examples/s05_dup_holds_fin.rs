//! `close` sends the FIN when the last descriptor goes; `shutdown` sends it at once, for all.
//!
//! Article 5.2. Claim: C4. man: close(2), dup(2), fork(2), shutdown(2).
//!
//! A descriptor is a reference to the socket. `dup` makes a second one, and so does `fork`: a
//! child that inherits a connection and lives on keeps the peer waiting.
//!
//! Expect: ESTABLISHED at the server after the first `close`, CLOSE_WAIT after the last; the same
//! with a child process; CLOSE_WAIT at once after `shutdown`, with two descriptors open.
//!
//! Change and see: `shutdown` before the first `conn.close()` (the 5 bytes are EPIPE); let the
//! child end at once.

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;

use libc::{SHUT_WR, SO_RCVTIMEO};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};
use stage::{At, HANG, Out, Verdict, kernel};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let (conn, copy) = connected_twice(at)?;
    out.note("closes one of two descriptors");
    conn.close()?;
    send_all(&copy, b"HELLO")?; // behind a FIN, if there was one
    recv_exact(&copy, &mut [0])?; // the server has looked
    copy.close()?;

    let conn = connect_to(&at.host, at.port)?;
    sys::set_timeout(&conn, SO_RCVTIMEO, HANG)?; // the child ends in any case
    // SAFETY:
    // - until `_exit` the child makes system calls only, which is all it may do beside threads.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            let _ = retry_eintr(|| sys::recv(&conn, &mut [0], 0)); // until the server has looked
            // SAFETY:
            // - as above.
            unsafe { libc::_exit(0) }
        }
    };
    out.note("closes its descriptor, the child has another");
    conn.close()?;
    let _closed = connect_to(&at.host, at.port)?; // tells the server
    retry_eintr(|| Ok(waitpid(child, None)?))?;

    let (conn, copy) = connected_twice(at)?;
    sys::shutdown(&conn, SHUT_WR)?;
    recv_exact(&copy, &mut [0]) // the server has looked
}

/// A connection with two descriptors.
fn connected_twice(at: &At) -> io::Result<(UniqueFd, UniqueFd)> {
    let conn = connect_to(&at.host, at.port)?;
    let copy = conn.as_fd().try_clone_to_owned()?.into(); // dup(2)
    Ok((conn, copy))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    recv_exact(&conn, &mut [0; 5])?;
    let first = kernel::tcp_state(&conn)?;
    out.check("after the first close", "ESTABLISHED", first);
    send_all(&conn, b".")?;
    kernel::wait_until_peer_ended(&conn)?;
    let last = kernel::tcp_state(&conn)?;
    out.check("after the last close", "CLOSE_WAIT", last);

    let (conn, _) = accept(&listener)?;
    accept(&listener)?; // the client has closed its descriptor
    let inherited = kernel::tcp_state(&conn)?;
    out.check("after close, while a child has it open", "ESTABLISHED", inherited);
    send_all(&conn, b".")?;
    kernel::wait_until_peer_ended(&conn)?;
    out.check("when the child has ended", "CLOSE_WAIT", kernel::tcp_state(&conn)?);

    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?;
    out.check("after shutdown, both open", "CLOSE_WAIT", kernel::tcp_state(&conn)?);
    send_all(&conn, b".")?;

    let with_last = [first, inherited, last] == ["ESTABLISHED", "ESTABLISHED", "CLOSE_WAIT"];
    let observed = format!("{first} after the first close, {last} after the last");
    out.claim("C4", Verdict::holds_if(with_last), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
