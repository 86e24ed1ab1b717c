//! Step 2, wrong: a loop, but one that gives up at EINTR loses what it had already received.
//!
//! Article 2.1. man: recv(2), signal(7).
//!
//! Since step 1: `recv` is called until the message is complete. But a signal with a handler
//! (a timer, a child that ended, a resized window) makes a waiting `recv` fail, and to this loop
//! a failure is the end.
//!
//! Expect: the signal comes after 5 of 11 bytes. They have left the kernel, and the caller gets an
//! error instead of them. Whoever calls again takes the second half for a message.
//!
//! Change and see: SA_RESTART for no flags (the message is complete, until somebody else installs
//! the handler); `recv_exact` for the first `recv_loop`.

use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, kernel, said, signals, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

/// Calls `recv` until `buf` is full.
fn recv_loop(conn: &UniqueFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        // WRONG: `?` passes EINTR on, and forgets `got`. The cost: the bytes that came before.
        match sys::recv(conn, &mut buf[got..], 0)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            n => got += n,
        }
    }
    Ok(())
}

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The second half leaves when the server says that a signal has come.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;
    recv_exact(&conn, &mut [0])?;
    send_all(&conn, b" WORLD")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;

    // A handler without SA_RESTART: the kernel does not go on with a call that it has interrupted.
    signals::handle(SIGUSR1, SaFlags::empty())?;
    kernel::wait_until_unread(&conn, 5)?;
    let mut message = [0; 11];
    let result = thread::scope(|scope| {
        // Blocked in `recv`, the loop has had five bytes and waits for six. Then the signal comes.
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > 0))?;
            send_all(&conn, b".")
        });
        recv_loop(&conn, &mut message)
    });
    out.check("the loop, when a signal comes", "EINTR", said(&result));

    // What the socket does not have any more, and the caller did not get, is lost.
    kernel::wait_until_unread(&conn, 6)?;
    let lost = message.len() - kernel::unread(&conn)?;
    out.check("bytes lost, of a message of 11", 5, lost);

    // A second call does not begin where the first one stopped: it takes the rest for a message.
    let mut next = [0; 6];
    let again = recv_loop(&conn, &mut next).map(|()| text(&next));
    out.check("the loop, called again", text(b" WORLD"), said(&again));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
