//! r02_many_frames  As many frames a connection as the client likes.
//!
//! Adds: a loop around the frame. The client decides when the conversation ends, by ending its
//!   stream; the handshake is paid once.
//! Does not survive: a second client, for as long as the first one stays.
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
        let conn = start::accept(&listener)?;
        start::report(serve_client(conn));
    }
}

fn serve_client(conn: UniqueFd) -> io::Result<()> {
    while let Some(frame) = recv_frame(&conn, DEFAULT_CAP)? {
        send_frame(&conn, &frame, DEFAULT_CAP)?;
    }
    conn.close()
}
