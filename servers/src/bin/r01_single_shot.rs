//! r01_single_shot  One client, one frame, one answer, then the next client: the article's design.
//!
//! Adds: a server at all: it answers in frames, and ends with a half-close.
//! Promises: the answer arrives, whatever the client sends after its frame.
//! Limits: a client that connects and says nothing, or reads nothing. It waits for that one for
//!   ever, and everyone else waits in the queue. A SIGTERM in the middle of a frame cuts it off.
//! At work: never. It is where one begins.

use std::io;
use std::process::ExitCode;

use servers::start;
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, recv_frame, send_frame};

fn main() -> ExitCode {
    start::run(include_str!("r01_single_shot.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    loop {
        let conn = start::accept(&listener)?;
        let result = answer(&conn);
        // The half-close: nothing more will come from here. Then the client's end, then ours.
        start::report(start::finish(conn, result));
    }
}

fn answer(conn: &UniqueFd) -> io::Result<()> {
    match recv_frame(conn, DEFAULT_CAP)? {
        Some(frame) => send_frame(conn, &frame, DEFAULT_CAP),
        None => Ok(()), // it came and went without a word
    }
}
