//! r04_bounded_pool  A fixed number of threads, each of which accepts for itself.
//!
//! Adds: a bound on threads and memory. Both are known at the start, whoever comes. The pool
//!   needs no queue of its own: the kernel's queue of connections is one, and every thread
//!   takes from it.
//! Promises: 64 threads and no more, however many clients come.
//! Limits: as many silent clients as it has threads. The next one waits for ever. A SIGTERM in the
//!   middle of a frame cuts it off.
//! At work: where a request is long work for the processor, and connections are short.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;

use servers::start;
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, recv_frame, send_frame};

const THREADS: usize = 64;

fn main() -> ExitCode {
    start::run(include_str!("r04_bounded_pool.rs"), serve)
}

fn serve(listener: UniqueFd) -> io::Result<()> {
    let listener = Arc::new(listener);
    let (tell, told) = mpsc::channel();
    for _ in 0..THREADS {
        let (listener, tell) = (Arc::clone(&listener), tell.clone());
        let worker = thread::Builder::new().name("worker".into());
        worker.spawn(move || tell.send(work(&listener)))?;
    }
    // A worker ends when `accept` fails for good. The server ends then, not one thread after another.
    told.recv().expect("it never closes, for `tell` is here")
}

fn work(listener: &UniqueFd) -> io::Result<()> {
    loop {
        start::report(serve_client(start::accept(listener)?));
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
