//! Rung 6, wrong: SO_RCVTIMEO taken for a deadline; a peer that drips stretches it at will.
//!
//! Article 2.2. man: socket(7) (SO_RCVTIMEO).
//!
//! Since rung 5: nobody should wait for ever, so the loop of rung 3 gets a timeout. But it is the
//! socket's, for one call. A message takes many calls, and each byte that comes starts it anew.
//!
//! Expect: with "1 s" on the socket, a message of 100 bytes at 25 ms a byte takes more than 2 s, and
//! no call has said that it took too long. A message of a million bytes would take seven hours.
//!
//! Change and see: MESSAGE; the drip to 2 s and MESSAGE to 3 (the first wait says EAGAIN: the
//! timeout bounds a silence, nothing else).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::{At, Out, said};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const MESSAGE: usize = 100;
const DRIP: Duration = Duration::from_millis(25);
const TIMEOUT: Duration = Duration::from_secs(1);

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    out.note("drips a byte every 25 ms");
    for _ in 0..MESSAGE {
        thread::sleep(DRIP);
        send_all(&conn, b"x")?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    // WRONG: this bounds each recv, not the message. The cost: two timeouts and more.
    sys::set_timeout(&conn, libc::SO_RCVTIMEO, TIMEOUT)?;
    let start = Instant::now();
    let result = recv_exact(&conn, &mut [0; MESSAGE]);
    let times = start.elapsed().as_secs_f64() / TIMEOUT.as_secs_f64();

    out.check("recv_exact, every call with a timeout of 1 s", "ok", said(&result));
    let observed = format!("{times:.1}");
    out.check_that("time that it took, in timeouts", "more than 2", observed, times > 2.0);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
