//! r03_thread_per_connection  Each client has a thread of its own, so none waits for another.
//!
//! Adds: a thread a client: `spawn` around the conversation, which is still written as if it
//!   were the only one. The kernel's scheduler does the rest.
//! Promises: no client holds up another.
//! Limits: more clients than there may be threads. Each costs a stack, and a silent one keeps it
//!   for ever. Nobody says no. A SIGTERM in the middle of a frame cuts it off.
//! At work: for some hundreds of well-known clients this is the simplest server that is right.

use std::io;
use std::process::ExitCode;
use std::thread;

use servers::start;
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, recv_frame, send_frame};

fn main() -> ExitCode {
    start::run(include_str!("r03_thread_per_connection.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    loop {
        let conn = start::accept(&listener)?;
        // The closure owns the connection: where no thread can be had, it is dropped, and closed.
        let spawned = thread::Builder::new()
            .name("client".into())
            .spawn(move || start::report(serve_client(conn)));
        start::report(spawned.map(|_| ())); // the handle is dropped: nobody waits for its end
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
