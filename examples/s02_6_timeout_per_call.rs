//! Step 6, wrong: SO_RCVTIMEO taken for a deadline; a peer that drips stretches it at will.
//!
//! Article 2.2. man: socket(7) (SO_RCVTIMEO).
//!
//! Since step 5: nobody should wait for ever, so the loop of step 3 gets a timeout. But it is the
//! socket's, for one call. A message takes many calls, and each byte that comes starts it anew.
//!
//! Expect: with "2 seconds" on the socket, a message of 24 bytes at 100 ms a byte takes more than
//! that, and no call has said so. A message of a million bytes would take a day.
//!
//! Change and see: MESSAGE; the drip to 2500 ms (the first wait says EAGAIN: the timeout bounds a
//! silence, nothing else).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::{At, Out, said, set_timeout, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

const MESSAGE: usize = 24;
const DRIP: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(2);

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The drip begins when the server's clock runs.
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?;

    // Every silence is far shorter than the timeout.
    out.note("drips a byte every 100 ms");
    for _ in 0..MESSAGE {
        thread::sleep(DRIP);
        send_all(&conn, b"x")?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // WRONG: this bounds each `recv`, not the message. The cost: the peer decides how long the
    // message takes.
    let (conn, _) = accept(&listener)?;
    set_timeout(&conn, libc::SO_RCVTIMEO, TIMEOUT)?;

    // The loop makes a call for each byte that drips in, and each call has two seconds of its own.
    let start = Instant::now();
    send_all(&conn, b".")?;
    let mut message = [0; MESSAGE];
    let result = recv_exact(&conn, &mut message);
    let took = start.elapsed();

    // No call waited for a whole timeout, and all of them together waited for more than one.
    out.check("recv_exact, every call with a timeout of 2 s", "ok", said(&result));
    out.check("what came", text(&[b'x'; MESSAGE]), text(&message));
    out.check_that("ms that it took", "more than 2000", took.as_millis(), took > TIMEOUT);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
