//! Rung 7: one deadline for the whole message ends both loops in time, however the peer drips.
//!
//! Article 2.2. Claim: S4. man: poll(2), recv(2) (MSG_DONTWAIT).
//!
//! Since rung 6: an instant instead of a duration. Before each call the loop asks `poll` to wait
//! for what is left until that instant, and the call itself may not wait (MSG_DONTWAIT). Progress
//! does not move an instant.
//!
//! Expect: both loops say TimedOut, with the count, not before the deadline, and while the peer still
//! drips; both had made progress until then.
//!
//! Change and see: `recv_exact` and SO_RCVTIMEO for the first (rung 6: the peer drips on, and the
//! stage ends it); one byte instead of the drip (no progress).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::{At, Out, Verdict, kernel, said};
use tcp_stream_io::stream::{Partial, recv_exact_with_deadline, recv_some, send_all_with_deadline};
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all};

const LONG: usize = 64 * 1024 * 1024;
const DRIP: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_millis(400);

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    out.note("sends a byte every 5 ms, for as long as it can");
    while send_all(&conn, b"x").is_ok() {
        thread::sleep(DRIP);
    }
    let conn = connect_to(&at.host, at.port)?;
    out.note("reads 100 kB every 5 ms, up to the end");
    while recv_some(&conn, &mut vec![0; 100_000], None).is_ok_and(|n| n > 0) {
        thread::sleep(DRIP);
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let mut message = vec![0; LONG];
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, 1)?; // the drip has begun
    let start = Instant::now();
    let recv = recv_exact_with_deadline(&conn, &mut message, start + DEADLINE);
    let recv = (recv, start.elapsed());
    kernel::reset_on_close(&conn)?; // tells the client to stop
    conn.close()?;

    let (conn, _) = accept(&listener)?;
    let start = Instant::now();
    let send = send_all_with_deadline(&conn, &message, start + DEADLINE);
    let send = (send, start.elapsed());
    kernel::reset_on_close(&conn)?;

    let mut in_time = true;
    for (what, (result, took)) in [("recv_exact", &recv), ("send_all", &send)] {
        out.check(format_args!("{what}_with_deadline"), "TimedOut", said(result));
        let done = result.as_ref().err().and_then(Partial::of).map_or(0, Partial::done);
        let some = 0 < done && done < LONG;
        out.check_that("bytes by then", "some, not all", done, some);
        let ok = DEADLINE <= *took;
        out.check_that("after", "400 ms, no less", format!("{} ms", took.as_millis()), ok);
        in_time &= ok && some;
    }
    let (recv, send) = (said(&recv.0), said(&send.0));
    let both = recv == "TimedOut" && send == "TimedOut";
    let when = if in_time { "after the deadline" } else { "before the deadline" };
    let observed = format!("{when} recv_exact said {recv}, send_all {send}, to a dripping peer");
    out.claim("S4", Verdict::holds_if(both && in_time), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
