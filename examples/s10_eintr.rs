//! A signal makes a blocked `recv` fail with EINTR, unless its handler has SA_RESTART.
//!
//! Article 10.2. man: signal(7), sigaction(2).
//! Claim X3: SIGUSR1 makes recv and send fail with EINTR.
//!
//! The article sends SIGUSR1 and looks for EINTR. There are three cases: no handler, a handler,
//! and a handler with SA_RESTART. This is `recv`; for `send` see s01_send_interrupted.
//!
//! Expect: the process (a shell) dies; `recv` says EINTR; `recv` goes on and returns the data.
//!
//! Change and see: swap the two flags, or `retry_eintr` around the first `recv` (either way that
//! `recv` never returns: the stage says where it hangs).

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, said, signals};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, _: &Out) -> io::Result<()> {
    // It sends only when it is told that the server has been interrupted.
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?;
    send_all(&conn, b"HELLO")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The default action of SIGUSR1 ends the process, so this part is a shell's.
    let died = Command::new("sh").args(["-c", "kill -USR1 $$"]).status()?;
    let by = died.signal().map_or("none".into(), |signal| signal.to_string());
    out.check("no handler: the process is ended by signal", SIGUSR1 as i32, &by);

    // A handler, and the signal comes while this thread is asleep in `recv`.
    let (conn, _) = accept(&listener)?;
    let mut buf = [0; 100];
    signals::handle(SIGUSR1, SaFlags::empty())?;
    // This `recv` stands alone: a loop around it would hide what it says.
    let plain = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| caller.signal(SIGUSR1));
        sys::recv(&conn, &mut buf, 0)
    });
    out.check("a handler: recv", "EINTR", said(&plain));

    // With SA_RESTART the same signal runs the same handler, and the kernel goes on waiting.
    signals::handle(SIGUSR1, SaFlags::SA_RESTART)?;
    let seen = signals::counted();
    let restarted = thread::scope(|scope| {
        // The dot tells the client to send.
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > seen))?;
            send_all(&conn, b".")
        });
        sys::recv(&conn, &mut buf, 0)
    });
    out.check("a handler with SA_RESTART: recv", "5", said(&restarted));

    // The claim names no condition. Two of the three cases show that there are some.
    let eintr = [said(&plain), said(&restarted)].map(|said| said == "EINTR");
    let verdict = Verdict::holds_if(eintr == [true, true])
        .or_when(eintr == [true, false], "a handler is installed, and without SA_RESTART");
    let observed = format!("no SA_RESTART: {}; SA_RESTART: {}", said(&plain), said(&restarted));
    out.claim("X3", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
