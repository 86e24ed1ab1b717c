//! r02_many_frames  As many frames a connection as the client likes.
//!
//! Adds: a loop around the frame. The client decides when the conversation ends, by ending its
//!   stream; the handshake is paid once.
//! Promises: every whole frame is answered, also where a bad header or a cut follows.
//! Limits: a second client waits for as long as the first one stays. A SIGTERM in the middle of a
//!   frame cuts it off.
//! At work: for tools with one client at a time, such as a debugger's server.

use std::io;
use std::process::ExitCode;

use servers::start;
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, recv_frame, send_frame};

fn main() -> ExitCode {
    start::run(include_str!("r02_many_frames.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    loop {
        start::report(serve_client(start::accept(&listener)?));
    }
}

fn serve_client(conn: UniqueFd) -> io::Result<()> {
    let result = answer(&conn);
    start::finish(conn, result)
}

fn answer(conn: &UniqueFd) -> io::Result<()> {
    while let Some(frame) = recv_frame(conn, DEFAULT_CAP)? {
        send_frame(conn, &frame, DEFAULT_CAP)?;
    }
    Ok(())
}
