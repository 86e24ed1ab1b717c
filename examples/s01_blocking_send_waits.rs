//! Into a full buffer a blocking `send` does not return short: it waits until all has been copied.
//!
//! Article 1.4. Claim: W1. man: send(2).
//!
//! The article lets a full send buffer end the call with a part. On a blocking socket the kernel
//! copies what fits, sleeps until the peer's reading has made room, and goes on. Only a signal, a
//! timeout or an error ends it sooner.
//!
//! Expect: one `send` of 64 MiB blocks with the buffer full; when the server reads, it returns
//! all of it.
//!
//! Change and see: O_NONBLOCK on the client's socket (a short count at once); let the server never
//! read (the stage says where the client hangs).

use std::io;
use std::process::ExitCode;
use std::thread;

use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

/// More than both buffers can hold.
const MESSAGE: usize = 64 * 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    let message = vec![b'x'; MESSAGE];
    let let_it_read = || connect_to(&at.host, at.port).map(|_| ());
    let (sent, waiting) = thread::scope(|scope| {
        let look = |_| {
            out.note("blocked in send");
            let held = kernel::unacked(&conn)?;
            out.check_that("bytes in the send buffer meanwhile", "some", held, held > 0);
            let_it_read()
        };
        let waiting = kernel::when_blocked_in(scope, libc::SYS_sendto, look);
        let sent = retry_eintr(|| sys::send(&conn, &message, NO_SIGPIPE));
        (sent, waiting.join().is_ok_and(|looked| looked.is_ok()))
    });
    let sent = sent?;
    if !waiting {
        let_it_read()?;
    }
    out.check("send has waited", true, waiting);
    out.check("send, of 64 MiB", MESSAGE, sent);
    let how = if waiting { "waited" } else { "did not wait" };
    let what = if sent < MESSAGE { "a part" } else { "all" };
    let observed = format!("with the buffer full it {how}, and returned {what} of 64 MiB");
    out.claim("W1", Verdict::holds_if(sent < MESSAGE), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    accept(&listener)?; // until the client is blocked
    out.note("begins to read");
    let mut buf = vec![0; 64 * 1024];
    while recv_some(&conn, &mut buf, None)? > 0 {}
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
