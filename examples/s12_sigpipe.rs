//! Writing to a peer that has gone raises SIGPIPE and ends the process; MSG_NOSIGNAL prevents it.
//!
//! Article 12.2. man: send(2), signal(7).
//! Claim G1: To write to a closed connection raises SIGPIPE, which ends the process.
//! Claim G2: MSG_NOSIGNAL, or SIGPIPE ignored, turns that into EPIPE.
//!
//! Rust ignores SIGPIPE before `main`. So a child process puts the default action back, which is
//! what a C program has, and sends with flags 0.
//!
//! Expect: the first `send` after the peer's close succeeds (its answer is a reset); after that
//! the child dies of SIGPIPE, and with MSG_NOSIGNAL, or SIGPIPE ignored, it is EPIPE.
//!
//! Change and see: NO_SIGPIPE in the child; leave out the first `send`.

use std::io;
use std::process::ExitCode;

use nix::sys::signal::{SigHandler, Signal::SIGPIPE, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use stage::{At, Out, Verdict, kernel, retry_eintr, said};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The peer has closed, and says so by a FIN. That alone does not forbid to send.
    let conn = connect_to(&at.host, at.port)?;
    kernel::wait_until_peer_ended(&conn)?;
    let first = retry_eintr(|| sys::send(&conn, b"x", NO_SIGPIPE));
    out.check("the first send after the peer's close", "1", said(&first));
    // Nobody has that socket any more: the byte is answered by a reset.
    kernel::wait_for("the reset", || Ok(kernel::tcp_state(&conn)? == "CLOSE"))?;

    // What follows would end this process, so a child does it.
    // SAFETY: until `_exit` the child makes system calls only, all it may do beside threads.
    let child = match unsafe { fork() }? {
        ForkResult::Parent { child } => child,
        // SAFETY: as above; SigDfl installs no handler.
        ForkResult::Child => unsafe {
            let _ = signal(SIGPIPE, SigHandler::SigDfl);
            // WRONG: flags 0, as in the article's `send_all`.
            let _ = retry_eintr(|| sys::send(&conn, b"x", 0));
            libc::_exit(0)
        },
    };
    // A child that came to its `_exit` would not have been ended by a signal.
    let killed = match retry_eintr(|| Ok(waitpid(child, None)?))? {
        WaitStatus::Signaled(_, signal, _) => signal.to_string(),
        other => format!("{other:?}"),
    };
    out.check("default action, flags 0: the child was ended by", "SIGPIPE", &killed);

    // The flag prevents the signal call by call; to ignore it does so for the whole process.
    let flag = retry_eintr(|| sys::send(&conn, b"x", NO_SIGPIPE));
    out.check("MSG_NOSIGNAL: send", "EPIPE", said(&flag));
    let ignored = retry_eintr(|| sys::send(&conn, b"x", 0));
    out.check("SIGPIPE ignored, flags 0: send", "EPIPE", said(&ignored));

    // This process made the same call as the child, and lives to tell.
    out.claim("G1", Verdict::holds_if(killed == "SIGPIPE"), format!("ended by {killed}"));
    let epipe = said(&flag) == "EPIPE" && said(&ignored) == "EPIPE";
    out.claim("G2", Verdict::holds_if(epipe), format!("{}, {}", said(&flag), said(&ignored)));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Nothing is unread here, so the `close` is a FIN and not a reset.
    let (conn, _) = accept(&listener)?;
    out.note("closes at once");
    conn.close()
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
