//! r16_batched  What has come together leaves together, in a thread a client.
//!
//! Adds: the reader and the writer of `speed/`: one receive takes all frames that have arrived, one
//!   send takes all their answers. A client that sends many requests before it reads costs a few
//!   calls for hundreds of them.
//! Promises: what r03 promises. No answer waits for a request that has not come.
//! Limits: those of r03, and each client's two buffers, which grow to 1.5 MiB where much comes, and
//!   stay.
//! At work: any protocol with small messages that are not waited for one by one. Redis calls it
//!   pipelining.

use std::io;
use std::process::ExitCode;
use std::thread;

use libc::{IPPROTO_TCP, TCP_NODELAY};
use servers::start;
use speed::batch::{FrameReader, FrameWriter};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, sys};

fn main() -> ExitCode {
    start::run(include_str!("r16_batched.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    loop {
        let conn = start::accept(&listener)?;
        let spawned = thread::Builder::new()
            .name("client".into())
            .spawn(move || start::report(serve_client(conn)));
        start::report(spawned.map(|_| ()));
    }
}

fn serve_client(conn: UniqueFd) -> io::Result<()> {
    let result = answer(&conn);
    start::finish(conn, result)
}

fn answer(conn: &UniqueFd) -> io::Result<()> {
    // An answer that leaves must not wait until an earlier one is acknowledged.
    let _ = sys::set_option(conn, IPPROTO_TCP, TCP_NODELAY, 1);
    let mut requests = FrameReader::new(conn, DEFAULT_CAP);
    let mut answers = FrameWriter::new(conn, DEFAULT_CAP);
    while let Some(arrived) = requests.next_frames()? {
        for frame in arrived {
            answers.write_frame(frame)?;
        }
        // The next frame has to be waited for, and its client may be waiting for these answers.
        answers.flush()?;
    }
    Ok(())
}
