//! Step 4, wrong: who ignores what `send` returns does not notice that a part never left.
//!
//! Article 2.1. man: send(2), signal(7).
//!
//! The other direction. A blocking `send` mostly takes all, so its count looks like an answer to
//! nothing. But a signal, a timeout or O_NONBLOCK cuts it short (s01_short_send), and no error
//! says so.
//!
//! Expect: `send` says neither error nor warning; the peer, which waits for 16 MiB, is told that
//! the stream has ended, with millions of bytes missing.
//!
//! Change and see: no signal (all arrives: that is why this survives tests); `send_all` for `send`.

use std::io;
use std::process::ExitCode;
use std::thread;

use nix::sys::signal::{SaFlags, Signal::SIGUSR1};
use stage::{At, Out, kernel, retry_eintr, said, signals};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, sys};

const MESSAGE: usize = 16 * 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    let message = vec![b'x'; MESSAGE];

    // SA_RESTART does not help: a call that has copied a part returns its count.
    signals::handle(SIGUSR1, SaFlags::SA_RESTART)?;
    let result = thread::scope(|scope| {
        // The signal comes when `send` waits for room. Only then a second connection lets the
        // server read.
        kernel::when_blocked_in(scope, libc::SYS_sendto, |caller| {
            caller.signal(SIGUSR1)?;
            kernel::wait_for("the handler to run", || Ok(signals::counted() > 0))?;
            connect_to(&at.host, at.port).map(|_| ())
        });
        // WRONG: drops the count. The cost is what `send` did not take.
        retry_eintr(|| sys::send(&conn, &message, NO_SIGPIPE)).map(|_| ())
    });

    // No call has failed, and so the connection is closed as if all had been sent.
    out.check("one send of 16 MiB", "ok", said(&result));
    conn.close()
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The second connection says that the client's `send` has been interrupted.
    let (conn, _) = accept(&listener)?;
    accept(&listener)?;
    let mut message = vec![0; MESSAGE];
    let result = recv_exact(&conn, &mut message);
    out.check("recv_exact of 16 MiB", "UnexpectedEof", said(&result));

    // What came are the letters. The zeros were there before.
    let got = message.iter().take_while(|&&byte| byte == b'x').count();
    let lost = MESSAGE - got;
    out.check_that("bytes that never left", "some, not all", lost, 0 < lost && lost < MESSAGE);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
