//! A server survives a vanished client, a silent one and a full table; the article's does not.
//!
//! Article 7, 13. Claim: E4. man: send(2), poll(2), accept(2).
//!
//! The three before this one have shown the article's server end, wait and spin. Three small
//! differences: MSG_NOSIGNAL, a deadline for the exchange, and a wait where `accept` says that no
//! descriptor is left. Both servers, in processes of their own, get the same three troubles.
//!
//! Expect: the article's is ended by SIGPIPE, leaves the next client waiting, and spins; the other
//! lives, serves, and waits.
//!
//! Change and see: LIMIT to 2 minutes (the silent client wins here, too); nothing in the arm for
//! `AcceptAdvice::Wait` (this one spins, too).

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stage::article::{self, is_served};
use stage::child::{Child, FullTable, sigpipe_kills};
use stage::{HANG, Out, Verdict, kernel};
use tcp_stream_io::framing::length::{
    DEFAULT_CAP, recv_frame_with_deadline, send_frame_with_deadline,
};
use tcp_stream_io::net::{AcceptAdvice, accept_advice};
use tcp_stream_io::stream::{lingering_close, retry_eintr};
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, sys};

/// What a client may take for its exchange: more than one that is not silent needs.
const LIMIT: Duration = Duration::from_millis(500);

const SAFE: &str = "lives, the next client is served, accept waits";

fn server(listener: &UniqueFd, failures: usize) -> io::Result<()> {
    let mut failed = 0;
    while failed < failures {
        match accept(listener) {
            Ok((conn, _)) => drop(serve(conn, Instant::now() + LIMIT)), // its errors are its own
            Err(e) => {
                failed += 1;
                match accept_advice(&e) {
                    AcceptAdvice::TryAgain => {}
                    AcceptAdvice::Wait => drop(retry_eintr(|| sys::poll(&mut [], 100))),
                    AcceptAdvice::GiveUp => return Err(e),
                }
            }
        }
    }
    Ok(())
}

fn serve(conn: UniqueFd, deadline: Instant) -> io::Result<()> {
    if let Some(frame) = recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline)? {
        send_frame_with_deadline(&conn, &frame, DEFAULT_CAP, deadline)?; // with MSG_NOSIGNAL
    }
    lingering_close(conn, deadline)
}

fn in_child(word: &str, listener: UniqueFd) -> io::Result<String> {
    sigpipe_kills()?; // as in a C program; Rust ignores SIGPIPE
    let _full = word.ends_with("full").then(FullTable::new).transpose()?;
    let serve = if word.starts_with("article") { article::run_server } else { server };
    serve(&listener, 1000)?; // failures of accept; or until it is killed
    Ok(String::new())
}

fn run(out: &Out) -> io::Result<()> {
    // A second shows that nobody comes; where somebody does, it is no matter how soon.
    let theirs = troubles("article", Duration::from_secs(1))?.join(", ");
    out.check("the article's", "SIGPIPE, the next client waits, accept spins", &theirs);
    out.check("this one", SAFE, troubles("this", HANG)?.join(", "));
    let observed = format!("vanished client, silent client, full table: {theirs}");
    out.claim("E4", Verdict::holds_if(theirs == SAFE), observed);
    Ok(())
}

fn troubles(server: &str, patience: Duration) -> io::Result<[&'static str; 3]> {
    let start = |word: &str| -> io::Result<(u16, Child)> {
        let listener = listen_on(Some("127.0.0.1"), 0, 16)?;
        Ok((sys::getsockname(&listener)?.port(), Child::start(word, listener)?))
    };
    let (port, child) = start(server)?;
    article::vanish(port)?;
    let lives = is_served(port, HANG);
    let ended = child.kill()?.by.map_or("", |signal| signal.as_str());

    let (port, _child) = start(server)?;
    let _silent = connect_to("127.0.0.1", port)?;
    let served = is_served(port, patience);
    let served = if served { "the next client is served" } else { "the next client waits" };

    let (_, child) = start(&format!("{server} full"))?;
    // Either it sleeps in poll, after the first failure, or it comes to its end, after the last.
    let waits = if child.sleeps_in(kernel::SYS_POLL)? { "accept waits" } else { "accept spins" };
    Ok([if lives { "lives" } else { ended }, served, waits])
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
