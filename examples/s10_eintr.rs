//! A signal makes a blocked `recv` fail with EINTR, unless its handler has SA_RESTART.
//!
//! Article 10.2. Claim: X3. man: signal(7), sigaction(2).
//!
//! The article sends SIGUSR1 and looks for EINTR. There are three cases: no handler, a handler,
//! and a handler with SA_RESTART.
//!
//! Expect: the process (a shell) dies; `recv` says EINTR; `recv` goes on and returns the data.
//!
//! Change and see: swap the two flags, or `retry_eintr` around the first `recv` (that `recv` never
//! returns then: the stage says where it hangs).

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, retry_eintr, said, signals};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, _: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?; // the server has been interrupted
    send_all(&conn, b"HELLO")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let died = Command::new("sh").args(["-c", "kill -USR1 $$"]).status()?;
    let signal = died.signal().unwrap_or(0);
    out.check("no handler: the process is ended by signal", SIGUSR1 as i32, signal);

    let (conn, _) = accept(&listener)?;
    let mut buf = [0; 100];
    signals::count(SIGUSR1, SaFlags::empty())?;
    let plain = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| caller.signal(SIGUSR1));
        sys::recv(&conn, &mut buf, 0)
    });
    out.check("a handler: recv", "EINTR", said(&plain));

    signals::count(SIGUSR1, SaFlags::SA_RESTART)?;
    let seen = signals::counted();
    let restarted = thread::scope(|scope| {
        kernel::when_blocked_in(scope, libc::SYS_recvfrom, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > seen))?;
            send_all(&conn, b".") // only now may the client send
        });
        sys::recv(&conn, &mut buf, 0)
    });
    out.check("a handler with SA_RESTART: recv", "5", said(&restarted));

    let always = said(&plain) == "EINTR" && said(&restarted) == "EINTR";
    let without = said(&plain) == "EINTR";
    let verdict = Verdict::holds_if(always)
        .or_when(without, "a handler is installed, and without SA_RESTART");
    let observed = format!("without {}, with SA_RESTART {}", said(&plain), said(&restarted));
    out.claim("X3", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
