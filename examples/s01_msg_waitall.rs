//! MSG_WAITALL makes `recv` wait for the full count, but a signal or the end still cuts it short.
//!
//! Article 1.5. man: recv(2) (MSG_WAITALL), signal(7).
//!
//! The flag moves the loop into the kernel, but not what a loop knows: after a signal the kernel
//! returns what it has taken so far, with SA_RESTART or without, since a count is no failure that
//! could be restarted.
//!
//! Expect: all 10 bytes though they came in two pieces; 5 of 10 at a signal; 5 of 10 at the end
//! of the stream.
//!
//! Change and see: leave the signal out (the stage says where both wait); `recv_exact` for the
//! last `recv` (it does not take a half for the whole).

use std::io;
use std::process::ExitCode;
use std::thread;

use libc::{MSG_WAITALL, SYS_recvfrom};
use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, kernel, retry_eintr, said, signals, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;

    // Twice a message of 10 bytes in two pieces. The second piece leaves when the server says that
    // it has seen what the first one alone does.
    for _ in 0..2 {
        send_all(&conn, b"HELLO")?;
        recv_exact(&conn, &mut [0])?;
        send_all(&conn, b"WORLD")?;
    }

    // The third message ends in its middle: the connection is closed on return.
    out.note("stops half-way");
    send_all(&conn, b"HELLO")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    signals::handle(SIGUSR1, SaFlags::SA_RESTART)?;

    // Five bytes are there, which would be enough for a plain `recv`. This one goes on waiting, and
    // the second piece comes because it has been seen to wait.
    kernel::wait_until_unread(&conn, 5)?;
    let mut buf = [0; 10];
    let n = thread::scope(|scope| {
        kernel::when_blocked_in(scope, SYS_recvfrom, |_| send_all(&conn, b"."));
        retry_eintr(|| sys::recv(&conn, &mut buf, MSG_WAITALL))
    })?;
    out.check("10 bytes in two pieces: recv", text(b"HELLOWORLD"), text(&buf[..n]));

    // WRONG: takes MSG_WAITALL for a promise. A signal comes in the middle of the wait, and half of
    // a message passes for the whole.
    kernel::wait_until_unread(&conn, 5)?;
    let mut buf = [0; 10];
    let n = thread::scope(|scope| {
        kernel::when_blocked_in(scope, SYS_recvfrom, |caller| caller.signal(SIGUSR1));
        retry_eintr(|| sys::recv(&conn, &mut buf, MSG_WAITALL))
    })?;
    out.check("a signal after 5 of 10, SA_RESTART: recv", text(b"HELLO"), text(&buf[..n]));

    // A loop knows how far it got, and asks for the rest.
    send_all(&conn, b".")?;
    let rest = recv_exact(&conn, &mut buf[n..]).map(|()| text(&buf));
    out.check("recv_exact for the rest", text(b"HELLOWORLD"), said(&rest));

    // The peer's end cuts the call short, too. Nothing but the count tells it from a whole message.
    let mut buf = [0; 10];
    let n = retry_eintr(|| sys::recv(&conn, &mut buf, MSG_WAITALL))?;
    out.check("the end after 5 of 10: recv", text(b"HELLO"), text(&buf[..n]));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
