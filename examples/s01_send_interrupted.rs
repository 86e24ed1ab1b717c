//! A signal in the middle of `send`: the count if something was copied, EINTR only if nothing was.
//!
//! Article 1.4. man: send(2), signal(7), socket(7) (SO_SNDTIMEO).
//! Claim W2: A signal after some bytes were copied makes send fail with EINTR.
//!
//! Bytes that are in the send buffer cannot be taken back, so the kernel has to tell how many
//! there are. Before the first byte nothing has happened: that call can fail, or be restarted.
//!
//! Expect: after a part, the count, with SA_RESTART and without. Into a full buffer: EINTR;
//! restarted with SA_RESTART; but EINTR all the same where SO_SNDTIMEO is set.
//!
//! Change and see: no flags for SA_RESTART (the last `send` says EINTR, too); leave SO_SNDTIMEO
//! out (the stage says where `send` waits).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, said, set_timeout, signals};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

/// More than both buffers can hold.
const MESSAGE: usize = 64 * 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let message = vec![b'x'; MESSAGE];

    // Without SA_RESTART: this `send` has copied what fits when the signal comes.
    let conn = connect_to(&at.host, at.port)?;
    signals::handle(SIGUSR1, SaFlags::empty())?;
    let plain = took_a_part(out, "after a part: send", &interrupted(&conn, &message)?);

    // Now the buffer is full, and the next `send` waits before its first byte.
    kernel::fill(&conn)?;
    let full = interrupted(&conn, b"x")?;
    out.check("into a full buffer: send", "EINTR", said(&full));

    // With SA_RESTART: a count is no failure, so there is nothing to restart.
    let conn = connect_to(&at.host, at.port)?;
    signals::handle(SIGUSR1, SaFlags::SA_RESTART)?;
    let what = "SA_RESTART, after a part: send";
    let restart = took_a_part(out, what, &interrupted(&conn, &message)?);

    // A call with a timeout is not restarted, for its time would begin anew.
    kernel::fill(&conn)?;
    set_timeout(&conn, libc::SO_SNDTIMEO, Duration::from_secs(600))?;
    let timed = interrupted(&conn, b"x")?;
    out.check("SA_RESTART and SO_SNDTIMEO, full: send", "EINTR", said(&timed));
    set_timeout(&conn, libc::SO_SNDTIMEO, Duration::ZERO)?;

    // Without a timeout it is: this `send` is interrupted, too, and returns as if it had not been.
    let seen = signals::counted();
    let restarted = thread::scope(|scope| {
        // Only when the handler has run, a third connection makes the server read.
        kernel::when_blocked_in(scope, libc::SYS_sendto, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > seen))?;
            connect_to(&at.host, at.port).map(|_| ())
        });
        sys::send(&conn, b"x", NO_SIGPIPE)
    });
    out.check("SA_RESTART, full: send, once there is room", "1", said(&restarted));

    // The claim is about the calls that had copied a part: did either say EINTR?
    let fails = plain == "EINTR" || restart == "EINTR";
    let full = said(&full);
    let observed =
        format!("after a part {plain}, with SA_RESTART {restart}; before the first byte {full}");
    out.claim("W2", Verdict::holds_if(fails), observed);
    Ok(())
}

/// Checks that `send` said how much it took. Returns that in words, for the number varies.
fn took_a_part(out: &Out, what: &str, sent: &io::Result<usize>) -> String {
    let part = sent.as_ref().is_ok_and(|&n| 0 < n && n < MESSAGE);
    out.check_that(what, "part of 64 MiB", said(sent), part);
    if part { "the count".into() } else { said(sent) }
}

/// One `send`, and a signal as soon as it blocks: a helper thread watches for that.
fn interrupted(conn: &UniqueFd, bytes: &[u8]) -> io::Result<io::Result<usize>> {
    thread::scope(|scope| {
        let signal =
            kernel::when_blocked_in(scope, libc::SYS_sendto, |caller| caller.signal(SIGUSR1));
        let sent = sys::send(conn, bytes, NO_SIGPIPE);
        signal.join().expect("it does not panic").map(|()| sent)
    })
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Neither connection is read from while the client's calls are interrupted.
    let (_first, _) = accept(&listener)?;
    let (second, _) = accept(&listener)?;

    // The third connection says that the last handler has run. Reading makes room for that `send`.
    accept(&listener)?;
    out.note("begins to read");
    while recv_some(&second, &mut [0; 4096], None)? > 0 {}
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
