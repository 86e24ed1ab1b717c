//! Where nothing has arrived, a blocking `recv` waits; one that may not wait says EAGAIN.
//!
//! Article 1.3. man: recv(2) (MSG_DONTWAIT), fcntl(2) (O_NONBLOCK), socket(7).
//! Claim K4: At an empty buffer a blocking recv waits, a non-blocking one says EAGAIN.
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
use std::time::{Duration, Instant};

use stage::{At, Out, Verdict, kernel, retry_eintr, said, set_timeout};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The client sends nothing before it is told to: the receive buffer is empty.
    let (conn, _) = accept(&listener)?;
    let recv = |flags| retry_eintr(|| sys::recv(&conn, &mut [0; 100], flags));

    // The flag is for this one call.
    let by_flag = said(&recv(libc::MSG_DONTWAIT));
    out.check("MSG_DONTWAIT: recv", "EAGAIN", &by_flag);

    // The mode is for every call on this socket, until it is turned off again.
    sys::set_nonblocking(&conn, true)?;
    let by_mode = said(&recv(0));
    out.check("O_NONBLOCK: recv", "EAGAIN", &by_mode);
    sys::set_nonblocking(&conn, false)?;

    // With a timeout the call waits for so long, and then says the same. Zero means for ever.
    set_timeout(&conn, libc::SO_RCVTIMEO, Duration::from_millis(40))?;
    let start = Instant::now();
    out.check("SO_RCVTIMEO of 40 ms: recv", "EAGAIN", said(&recv(0)));
    let waited = start.elapsed() > Duration::from_millis(20);
    out.check("and it has waited first", true, waited);
    set_timeout(&conn, libc::SO_RCVTIMEO, Duration::ZERO)?;

    // A helper thread lets the client send, but only when this thread is asleep in `recv`.
    let (waited, plain) = thread::scope(|scope| {
        let go = |_| send_all(&conn, b".");
        let seen = kernel::when_blocked_in(scope, libc::SYS_recvfrom, go);
        let plain = said(&recv(0));
        (seen.join().is_ok_and(|seen| seen.is_ok()), plain)
    });

    // It was asleep before anything was there, and returned what then came.
    out.check("a plain recv waits", true, waited);
    out.check("and returns what then came", "5", &plain);

    // Both halves of the claim were seen on one socket, with nothing to read in either case.
    let eagain = by_flag == "EAGAIN" && by_mode == "EAGAIN";
    let waits = if waited { "waited" } else { "did not wait" };
    let observed = format!("blocking: {waits}, then {plain}; non-blocking: {by_mode}");
    out.claim("K4", Verdict::holds_if(waited && plain == "5" && eagain), observed);
    Ok(())
}

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The byte comes when the server is seen to wait.
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?;
    send_all(&conn, b"HELLO")
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
