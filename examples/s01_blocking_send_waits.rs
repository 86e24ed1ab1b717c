//! Into a full buffer a blocking `send` does not return short: it waits until all has been copied.
//!
//! Article 1.4. man: send(2).
//! Claim W1: When the send buffer is full, a send returns short, on a blocking socket too.
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

    // The server does not read before a second connection tells it to.
    let let_it_read = || connect_to(&at.host, at.port).map(|_| ());
    let (sent, waiting) = thread::scope(|scope| {
        // A helper thread looks at the send buffer while this thread is asleep in `send`. Until it
        // has looked, nobody reads, and so the buffer stays full.
        let look = |_| {
            out.note("blocked in send");
            let held = kernel::unacked(&conn)?;
            out.check_that("bytes in the send buffer meanwhile", "some", held, held > 0);
            let_it_read()
        };
        let waiting = kernel::when_blocked_in(scope, libc::SYS_sendto, look);

        // One call, on a blocking socket, for far more than there is room for.
        let sent = retry_eintr(|| sys::send(&conn, &message, NO_SIGPIPE));
        (sent, waiting.join().is_ok_and(|looked| looked.is_ok()))
    });
    let sent = sent?;

    // A `send` that did not wait has told nobody to read, and the server would wait for ever.
    if !waiting {
        let_it_read()?;
    }
    out.check("send has waited", true, waiting);
    out.check("send, of 64 MiB", MESSAGE, sent);

    // Had the full buffer ended the call, the count would be short, as the article has it.
    let how = if waiting { "waited" } else { "did not wait" };
    let what = if sent < MESSAGE { "a part" } else { "all" };
    let observed = format!("with the buffer full it {how}, and returned {what} of 64 MiB");
    out.claim("W1", Verdict::holds_if(sent < MESSAGE), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The second `accept` returns once the client has been seen to wait.
    let (conn, _) = accept(&listener)?;
    accept(&listener)?;
    out.note("begins to read");

    // Reading makes room, to the last byte: a 0 says that the client has ended its stream.
    let mut buf = vec![0; 64 * 1024];
    while recv_some(&conn, &mut buf, None)? > 0 {}
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
