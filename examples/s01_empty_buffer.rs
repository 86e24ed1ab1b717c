//! Where nothing has arrived, a blocking `recv` waits; one that may not wait says EAGAIN.
//!
//! Article 1.3. Claim: K4. man: recv(2) (MSG_DONTWAIT), fcntl(2) (O_NONBLOCK), socket(7).
//!
//! An empty receive buffer is not the end of the stream: more may come. So `recv` cannot return 0
//! here. It waits, or it says that it would have to (EAGAIN and EWOULDBLOCK are one number).
//!
//! Expect: EAGAIN by the flag, by the mode, and after a timeout. The plain `recv` waits, for the
//! client sends only once it has been seen to wait.
//!
//! Change and see: leave out the second `set_nonblocking` (the plain `recv` does not wait); let
//! the client close instead of sending.

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use stage::{At, Out, Verdict, kernel, retry_eintr, said, set_timeout};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let recv = |flags| retry_eintr(|| sys::recv(&conn, &mut [0; 100], flags));

    let by_flag = said(&recv(libc::MSG_DONTWAIT));
    out.check("MSG_DONTWAIT: recv", "EAGAIN", &by_flag);
    sys::set_nonblocking(&conn, true)?;
    let by_mode = said(&recv(0));
    out.check("O_NONBLOCK: recv", "EAGAIN", &by_mode);
    sys::set_nonblocking(&conn, false)?;
    set_timeout(&conn, libc::SO_RCVTIMEO, Duration::from_millis(20))?;
    out.check("SO_RCVTIMEO, after 20 ms: recv", "EAGAIN", said(&recv(0)));
    set_timeout(&conn, libc::SO_RCVTIMEO, Duration::ZERO)?;

    let (waited, plain) = thread::scope(|scope| {
        let go = |_| send_all(&conn, b"."); // only now may the client send
        let seen = kernel::when_blocked_in(scope, libc::SYS_recvfrom, go);
        let plain = said(&recv(0));
        (seen.join().is_ok_and(|seen| seen.is_ok()), plain)
    });
    out.check("a plain recv waits", true, waited);
    out.check("and returns what then came", "5", &plain);

    let eagain = by_flag == "EAGAIN" && by_mode == "EAGAIN";
    let waits = if waited { "waited" } else { "did not wait" };
    let observed = format!("blocking: {waits}, then {plain}; non-blocking: {by_mode}");
    out.claim("K4", Verdict::holds_if(waited && plain == "5" && eagain), observed);
    Ok(())
}

fn client(at: &At, _: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?; // the server waits
    send_all(&conn, b"HELLO")
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
