//! `send_all` delivers every byte, however often a signal cuts its `send` short.
//!
//! Article 2.1. Claim: S1. man: send(2), signal(7).
//!
//! Blocked in a full buffer, `send` is interrupted again and again by a signal whose handler was
//! installed without SA_RESTART (the subject is the loop; EINTR has an example of its own).
//!
//! Expect: one interrupted `send` returns part of the message; `send_all` goes on, over and over,
//! and the server gets all of it in order.
//!
//! Change and see: the wrong one, in place of `send_all`.

use std::io;
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, signals};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const MESSAGE: usize = 16 * 1024 * 1024;

/// Byte i of the message; 251 is prime, so that no block looks like the next.
fn byte(i: usize) -> u8 {
    (i % 251) as u8
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let message: Vec<u8> = (0..MESSAGE).map(byte).collect();
    let conn = connect_to(&at.host, at.port)?;
    signals::count(SIGUSR1, SaFlags::empty())?;

    // WRONG: one send for a message, while a signal is on its way.
    let sent = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_sendto, |caller| caller.signal(SIGUSR1));
        retry_eintr(|| sys::send(&conn, &message, NO_SIGPIPE))
    })?;
    out.check_that("one send, interrupted", "part of 16 MiB", sent, sent < MESSAGE);

    let storm = signals::Storm::on_this_thread(SIGUSR1, libc::SYS_sendto)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            kernel::wait_for("ten signals", || Ok(signals::counted() >= 10))?;
            connect_to(&at.host, at.port) // tells the server that it may read
        });
        send_all(&conn, &message[sent..])
    })?;
    storm.stop()?;
    let signals = signals::counted();
    out.check_that("signals in the middle of send", "at least 10", signals, signals >= 10);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    accept(&listener)?; // until the client has seen its one send return
    let mut message = vec![0; MESSAGE];
    let result = recv_exact(&conn, &mut message);
    let right = (0..MESSAGE).filter(|&i| message[i] == byte(i)).count();
    out.check("bytes that came in their place", MESSAGE, right);
    let observed = format!("{right} of {MESSAGE} bytes came in their place");
    out.claim("S1", Verdict::holds_if(result.is_ok() && right == MESSAGE), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
