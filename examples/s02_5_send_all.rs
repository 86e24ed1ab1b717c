//! Step 5: `send_all` delivers every byte, however often a signal cuts its `send` short.
//!
//! Article 2.1. man: send(2), signal(7).
//! Claim S1: The send loop delivers every byte, whatever the short writes.
//!
//! Since step 4: the count is used. What `send` did not take is sent by the next call, and a call
//! that took nothing (EINTR) is made again. A storm of signals hits `send` whenever it blocks.
//!
//! Expect: ten signals or more in the middle of `send`, and the server gets all of it, in order.
//!
//! Change and see: SA_RESTART for no flags (the kernel hides EINTR then, but not the short counts);
//! `buf = &buf[1..]` for a short count in `send_all` (bytes come twice).

use std::io;
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, Verdict, kernel, signals};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

/// 251 is prime: bytes that are out of place by a power of two do not fit the pattern.
const BLOCK: usize = 251;
const MESSAGE: usize = 64 * 1024 * BLOCK;

fn block() -> Vec<u8> {
    (0..BLOCK as u8).collect()
}

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;

    // From now on a helper thread sends a signal each time that this thread is asleep in `send`.
    signals::handle(SIGUSR1, SaFlags::empty())?;
    let storm = signals::Storm::on_this_thread(SIGUSR1, libc::SYS_sendto)?;
    thread::scope(|scope| {
        // Only after ten signals a second connection lets the server read.
        scope.spawn(|| {
            kernel::wait_for("10 signals", || Ok(signals::counted() >= 10))?;
            connect_to(&at.host, at.port)
        });
        send_all(&conn, &block().repeat(MESSAGE / BLOCK))
    })?;

    // The first one left a short count, and those into the full buffer EINTR.
    storm.stop()?;
    let signals = signals::counted();
    out.check_that("signals in the middle of send", "10 or more", signals, signals >= 10);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The second connection says that the client was interrupted often enough.
    let (conn, _) = accept(&listener)?;
    accept(&listener)?;
    let mut message = vec![0; MESSAGE];
    let result = recv_exact(&conn, &mut message);

    // A byte that was lost, or sent twice, would move every block after it.
    let block = block();
    let right = message.chunks(BLOCK).take_while(|&chunk| chunk == block).count() * BLOCK;
    out.check("bytes that came in their place", MESSAGE, right);
    let observed = format!("{right} of {MESSAGE} bytes came in their place");
    out.claim("S1", Verdict::holds_if(result.is_ok() && right == MESSAGE), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
