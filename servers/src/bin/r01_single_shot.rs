//! r01_single_shot  One client, one frame, one answer, then the next client: the article's design.
//!
//! Adds: a server at all: it answers in frames, and ends with a half-close.
//! Does not survive: a client that connects and says nothing, or reads nothing. It waits for
//!   that one for ever, and everyone else waits in the queue.
//! At work: never. It is where one begins.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use servers::start;
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, recv_frame, send_frame, sys};

fn main() -> ExitCode {
    start::run(include_str!("r01_single_shot.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    loop {
        let conn = start::accept(&listener)?;
        start::report(serve_client(conn));
    }
}

fn serve_client(conn: UniqueFd) -> io::Result<()> {
    let Some(frame) = recv_frame(&conn, DEFAULT_CAP)? else {
        return Ok(()); // it came and went without a word
    };
    send_frame(&conn, &frame, DEFAULT_CAP)?;
    // The half-close: nothing more will come from here. Then the client's end, then ours.
    sys::shutdown(&conn, libc::SHUT_WR)?;
    match recv_frame(&conn, DEFAULT_CAP)? {
        None => conn.close(),
        Some(_) => Err(io::Error::new(ErrorKind::InvalidData, "a second frame: one was agreed")),
    }
}
