//! A `send` that may not wait takes what fits and says how much: a short write.
//!
//! Article 1.4. man: send(2), socket(7) (SO_SNDTIMEO).
//! Claim W3: With O_NONBLOCK or SO_SNDTIMEO a short write is normal.
//!
//! The server does not read, so that the buffers fill up. Two ways not to wait for ever: not at
//! all (O_NONBLOCK), or for a limited time (SO_SNDTIMEO).
//!
//! Expect: either `send` returns a count below what was asked, and EAGAIN once there is no room.
//!
//! Change and see: MESSAGE to 1000 (the first `send` takes all of it); leave out both options (the
//! client hangs: the stage says where).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use stage::{At, Out, Verdict, retry_eintr, said, set_timeout};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

/// More than both buffers can hold.
const MESSAGE: usize = 64 * 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let message = vec![b'x'; MESSAGE];
    let is_part = |n| 0 < n && n < MESSAGE;

    // A non-blocking `send` takes what there is room for at this moment.
    let conn = connect_to(&at.host, at.port)?;
    sys::set_nonblocking(&conn, true)?;
    let (at_once, error) = send_until_refused(&conn, &message)?;
    out.check_that("O_NONBLOCK: send", "part of 64 MiB", at_once, is_part(at_once));
    out.check("O_NONBLOCK: send into full buffers", "EAGAIN", error);

    // With a timeout it waits for more room, but not for ever. Nobody reads, so none comes.
    let conn = connect_to(&at.host, at.port)?;
    set_timeout(&conn, libc::SO_SNDTIMEO, Duration::from_millis(50))?;
    let (in_time, error) = send_until_refused(&conn, &message)?;
    out.check_that("SO_SNDTIMEO: send", "part of 64 MiB", in_time, is_part(in_time));
    out.check("SO_SNDTIMEO: send into full buffers", "EAGAIN", error);

    // Neither call called its short count an error: who does not look at it loses the rest.
    let short = [at_once, in_time].map(|n| if is_part(n) { "short" } else { "whole" });
    let observed = format!("O_NONBLOCK {}, SO_SNDTIMEO {}", short[0], short[1]);
    out.claim("W3", Verdict::holds_if(short == ["short", "short"]), observed);

    // A third connection tells the server that it may go.
    let _looked = connect_to(&at.host, at.port)?;
    Ok(())
}

/// What the first `send` took, and what `send` says once there is no room.
fn send_until_refused(conn: &UniqueFd, message: &[u8]) -> io::Result<(usize, String)> {
    let send = || retry_eintr(|| sys::send(conn, message, NO_SIGPIPE));
    let first = send()?;
    let refused = std::iter::repeat_with(send).find(Result::is_err);
    Ok((first, refused.map_or("nothing".into(), |e| said(&e))))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Two connections are kept open and never read from.
    let (_first, _) = accept(&listener)?;
    let (_second, _) = accept(&listener)?;
    out.note("accepts, and does not read");

    // The third one says that the client has seen enough.
    accept(&listener)?;
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
