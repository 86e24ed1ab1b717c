//! Step 7: one deadline for the whole message ends both loops, however the peer drips.
//!
//! Article 2.2. man: poll(2), recv(2) (MSG_DONTWAIT).
//! Claim S4: With poll and a deadline both loops end in a timeout error at the deadline.
//!
//! Since step 6: an instant instead of a duration. Before each call the loop asks `poll` to wait
//! for what is left until that instant, and the call itself may not wait (MSG_DONTWAIT). Progress
//! does not move an instant.
//!
//! Expect: both loops say TimedOut, not before the deadline, though they make progress. A timeout
//! for each call would never strike.
//!
//! Change and see: `recv_exact` and SO_RCVTIMEO for the first (step 6: the stage ends it); a
//! deadline that has passed already (TimedOut at once, though a byte is there).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::{At, Out, Verdict, kernel, said};
use tcp_stream_io::stream::{
    recv_exact_with_deadline, recv_some, send_all_with_deadline, wait_ready,
};
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all};

const LONG: usize = 64 * 1024 * 1024;
const DRIP: Duration = Duration::from_millis(5);
const DEADLINE: Duration = Duration::from_millis(400);

fn client(at: &At, out: &Out) -> io::Result<()> {
    // A byte now and then, and never a silence. At this rate 64 MiB take four days.
    let conn = connect_to(&at.host, at.port)?;
    out.note("sends a byte every 5 ms");
    while send_all(&conn, b"x").is_ok() {
        thread::sleep(DRIP);
    }

    // The same in the other direction: room for some of the server's bytes now and then.
    let conn = connect_to(&at.host, at.port)?;
    out.note("reads 100 kB every 5 ms");
    let (mut got, mut buf) = (0, vec![0; 100_000]);
    while let Ok(n @ 1..) = recv_some(&conn, &mut buf, None) {
        got += n;
        thread::sleep(DRIP);
    }

    // The server's reset ended it, in the middle of the message.
    out.check_that("bytes that came before send_all gave up", "some", got, 0 < got && got < LONG);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The deadline is set when the drip has begun.
    let mut message = vec![0; LONG];
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, 1)?;

    // From here on the loop looks at the clock before each call.
    let start = Instant::now();
    let recv = recv_exact_with_deadline(&conn, &mut message, start + DEADLINE);
    let recv_took = start.elapsed();
    out.check("recv_exact_with_deadline", "TimedOut", said(&recv));

    // The peer drips on. It was not a silence that ended the loop. A reset tells it to stop.
    let drips = kernel::wait_until_unread(&conn, 1);
    out.check("one more byte, after recv_exact gave up", "ok", said(&drips));
    kernel::reset_on_close(&conn)?;
    conn.close()?;

    // What came before the deadline stands at the beginning of the buffer, which was all zeros.
    let got = message.iter().take_while(|&&byte| byte == b'x').count();
    out.check_that("bytes that came before it gave up", "some", got, 0 < got && got < LONG);

    // `poll` for room, then a `send` that may not wait: a blocking one would wait for all of it.
    let (conn, _) = accept(&listener)?;
    let start = Instant::now();
    let send = send_all_with_deadline(&conn, &message, start + DEADLINE);
    let send_took = start.elapsed();
    out.check("send_all_with_deadline", "TimedOut", said(&send));

    // There will be room again: nor was it a peer that had stopped reading.
    let reads = wait_ready(&conn, libc::POLLOUT, None);
    out.check("room again, after send_all gave up", "ok", said(&reads));
    kernel::reset_on_close(&conn)?;

    // To give up too early would be as wrong as not to give up.
    let shorter = recv_took.min(send_took);
    let in_time = shorter >= DEADLINE;
    out.check_that("ms until then, at least", "400", shorter.as_millis(), in_time);

    // With a timeout for each call neither loop would have come to an end.
    let (recv, send) = (said(&recv), said(&send));
    let both = recv == "TimedOut" && send == "TimedOut";
    let dripped = drips.is_ok() && reads.is_ok();
    let when = if in_time { "at the deadline" } else { "not at the deadline" };

    // Both loops have to give up by themselves, while the peer goes on.
    let observed = format!("{when} recv_exact said {recv}, send_all {send}, to a dripping peer");
    out.claim("S4", Verdict::holds_if(both && in_time && dripped), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
