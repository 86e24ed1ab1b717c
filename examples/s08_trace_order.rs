//! `strace` shows accept, recv, send and shutdown in order; close only if it is asked for it.
//!
//! Article 8.3. man: strace(1).
//! Claim O3: strace shows accept, recv, send, shutdown and close in order.
//!
//! The article's filter is `-e trace=network`. `close` is a call on descriptors of any kind, and
//! not of that class. The server here runs under strace, once with each filter; the client is
//! this process.
//!
//! Expect: accept4; recvfrom for the header and for the payload; sendto for both at once;
//! shutdown; recvfrom for the client's end; and close only with `-e trace=network,close`.
//!
//! Change and see: swap `shutdown` and `send_frame` in the server (EPIPE, and no echo);
//! `%net,%desc` for the second filter (the same calls).

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::trace::{Call, Strace};
use stage::{Out, Verdict, text};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, recv_frame, send_frame, sys};

/// The server of the echo program, for one client. It runs under strace.
fn server(_: &str, listener: UniqueFd) -> io::Result<String> {
    let (conn, _) = accept(&listener)?;
    let frame = recv_frame(&conn, DEFAULT_CAP)?.ok_or(ErrorKind::UnexpectedEof)?;
    send_frame(&conn, &frame, DEFAULT_CAP)?;
    sys::shutdown(&conn, libc::SHUT_WR)?;
    // The client's end, which is a `recv` of 0.
    recv_some(&conn, &mut [0], None)?;
    conn.close()?;
    Ok(String::new())
}

fn run(out: &Out) -> io::Result<()> {
    let mut shown = Vec::new();
    for filter in ["network", "network,close"] {
        // A server of its own for each filter, and one exchange with it.
        let listener = listen_on(Some("127.0.0.1"), 0, 1)?;
        let port = sys::getsockname(&listener)?.port();
        let strace = Strace::start(filter, "server", listener)?;
        // The exchange is the echo program's.
        let conn = connect_to("127.0.0.1", port)?;
        send_frame(&conn, b"HELLO", DEFAULT_CAP)?;
        let echoed = recv_frame(&conn, DEFAULT_CAP)?.ok_or(ErrorKind::UnexpectedEof)?;
        out.check("the echo", text(b"HELLO"), text(&echoed));
        // The server ends when this end does, and strace with it.
        conn.close()?;
        let Some(calls) = strace.wait()? else {
            let why = "this machine has no strace, or it may not trace";
            out.claim("O3", Verdict::NotObserved, why);
            return Ok(());
        };
        shown.push(of_the_connection(&calls));
    }
    // One more word in the filter, and one more line in the trace.
    let [network, and_close] = &shown[..] else { unreachable!("two filters") };
    let order = "accept4, recvfrom, recvfrom, sendto, shutdown, recvfrom";
    out.check("-e trace=network", order, network);
    out.check("-e trace=network,close", format!("{order}, close"), and_close);

    // The claim wants all of it from the article's filter.
    let all = |shown: &str| shown.starts_with(order) && shown.ends_with(", close");
    let verdict = Verdict::holds_if(all(network))
        .or_when(all(and_close), "close is added to the filter: -e trace=network,close");
    out.claim("O3", verdict, format!("with the article's filter: {network}"));
    Ok(())
}

/// The calls on the descriptor that `accept4` returned, that one first.
fn of_the_connection(calls: &[Call]) -> String {
    let calls = calls.iter().skip_while(|call| call.name != "accept4");
    let fd = calls.clone().next().map(|call| &call.result);
    let on_it = calls.filter(|call| call.name == "accept4" || Some(&call.first) == fd);
    on_it.map(|call| call.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn main() -> ExitCode {
    stage::with_child(server, || stage::solo(stage::about!(), run))
}
