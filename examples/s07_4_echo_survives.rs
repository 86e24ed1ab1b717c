//! A server survives a vanished client, a silent one and a full table; the article's does not.
//!
//! Article 7, 13. man: send(2), poll(2), accept(2).
//! Claim E4: The article's echo program is a minimal safe template.
//!
//! The three before this one have shown the article's server end, wait and spin. Three differences
//! matter: MSG_NOSIGNAL, a deadline for the exchange, and a pause where `accept` says that no
//! descriptor is left. Both servers get the same troubles. stage/src/article.rs has the article's.
//!
//! Expect: the article's is ended by SIGPIPE, leaves the next client waiting, and spins; the other
//! lives, serves, and waits.
//!
//! Change and see: `recv_frame` in `serve` (the silent client wins here, too: the stage says who
//! waits); nothing in the arm for `AcceptAdvice::Wait` (this one spins, too).

use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use stage::child::{Child, FullTable, sigpipe_kills};
use stage::{Out, Verdict, article};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::framing::length::{recv_frame_with_deadline, send_frame_with_deadline};
use tcp_stream_io::net::{AcceptAdvice, accept_advice};
use tcp_stream_io::stream::lingering_close;
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, sys};

/// What a client may take for its exchange, and how long nothing is accepted for lack of room.
const LIMIT: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

const SAFE: &str = "lives, the next client is served, accept waits";

fn server(listener: &UniqueFd, until: Instant) -> io::Result<usize> {
    let mut failed = 0;
    while Instant::now() < until {
        match accept(listener) {
            // What goes wrong with one client is that client's own affair.
            Ok((conn, _)) => drop(serve(conn, Instant::now() + LIMIT)),
            Err(e) => {
                failed += 1;
                // Where this server lacks something, to call again at once would be to spin.
                match accept_advice(&e) {
                    AcceptAdvice::TryAgain => {}
                    AcceptAdvice::Wait => thread::sleep(PAUSE),
                    AcceptAdvice::GiveUp => return Err(e),
                }
            }
        }
    }
    Ok(failed)
}

/// One frame in, the same frame out, all before the deadline. It sends with MSG_NOSIGNAL.
fn serve(conn: UniqueFd, deadline: Instant) -> io::Result<()> {
    if let Some(frame) = recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline)? {
        send_frame_with_deadline(&conn, &frame, DEFAULT_CAP, deadline)?;
    }
    lingering_close(conn, deadline)
}

fn in_child(word: &str, listener: UniqueFd) -> io::Result<String> {
    // SIGPIPE as a C program has it: Rust would ignore it, and the article's server would live.
    sigpipe_kills()?;
    // With a full table it serves for three pauses, and says how often `accept` failed.
    let full = word.ends_with("full").then(FullTable::new).transpose()?;
    let until = Instant::now() + if full.is_some() { 3 * PAUSE } else { 600 * PAUSE };
    let serve = if word.starts_with("article") { article::run_server } else { server };
    Ok(serve(&listener, until)?.to_string())
}

fn run(out: &Out) -> io::Result<()> {
    // Whoever is not served in 300 ms here is not served at all: the silent client stays.
    let theirs = troubles("article", Some(3 * PAUSE))?.join(", ");
    out.check("the article's", "SIGPIPE, the next client waits, accept spins", &theirs);
    out.check("this one", SAFE, troubles("this", None)?.join(", "));
    // A safe template would come out of it as this one does.
    let observed = format!("vanished client, silent client, full table: {theirs}");
    out.claim("E4", Verdict::holds_if(theirs == SAFE), observed);
    Ok(())
}

fn troubles(server: &str, patience: Option<Duration>) -> io::Result<[&'static str; 3]> {
    let start = |word: &str| -> io::Result<(u16, Child)> {
        let listener = listen_on(Some("127.0.0.1"), 0, 16)?;
        Ok((sys::getsockname(&listener)?.port(), Child::start(word, listener)?))
    };

    // A client goes before its answer comes. Is the next one served? `kill` ends who is left.
    let (port, child) = start(server)?;
    article::vanish(port)?;
    let lives = article::is_served(port, None);
    let ended = child.kill()?.by.map_or("", |signal| signal.as_str());

    // A client says nothing, and another one waits for its turn.
    let (port, _child) = start(server)?;
    let _silent = connect_to("127.0.0.1", port)?;
    let served = article::is_served(port, patience);
    let served = if served { "the next client is served" } else { "the next client waits" };

    // No descriptor is left: `accept` fails at once, also without a client. With a pause after each
    // failure there are three at most.
    let (_, child) = start(&format!("{server} full"))?;
    let failed: usize = child.wait()?.said.parse().map_err(io::Error::other)?;
    let waits = if (1..=3).contains(&failed) { "accept waits" } else { "accept spins" };
    Ok([if lives { "lives" } else { ended }, served, waits])
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
