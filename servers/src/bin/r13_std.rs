//! r13_std  r03 again, in std and nothing else.
//!
//! Adds: nothing to install. `TcpListener` picks the options, `BufReader` makes one `recv` of
//!   header and payload, and `write_all` and `read_exact` retry EINTR.
//! Promises: what r03 does.
//! Limits: what r03's are. A timeout (`set_read_timeout`) is per call: who sends a byte now and
//!   then is never late. And `read_exact` does not tell an end between frames from one inside:
//!   hence the look with `fill_buf`.
//! At work: the first choice while a thread a client will do.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;

use servers::start;

const CAP: u32 = 1 << 20;

fn main() -> ExitCode {
    start::run_at(include_str!("r13_std.rs"), |addr, port| {
        let addr: IpAddr = addr.parse().map_err(io::Error::other)?;
        let listener = TcpListener::bind((addr, port))?; // with SO_REUSEADDR, and its own backlog
        start::announce(listener.local_addr()?)?;
        loop {
            match listener.accept() {
                Ok((conn, _)) => spawn(conn),
                Err(e) => start::pass_over(e)?,
            }
        }
    })
}

fn spawn(conn: TcpStream) {
    let client = thread::Builder::new().name("client".into());
    let spawned = client.spawn(move || start::report(serve_client(conn)));
    start::report(spawned.map(|_| ()));
}

fn serve_client(conn: TcpStream) -> io::Result<()> {
    let result = answer(&conn);
    start::finish(conn, result)
}

fn answer(mut conn: &TcpStream) -> io::Result<()> {
    conn.set_nodelay(true)?;
    let mut input = BufReader::new(conn);
    let mut frame = Vec::new();
    while !input.fill_buf()?.is_empty() {
        let mut header = [0; 4];
        input.read_exact(&mut header)?;
        let len = u32::from_be_bytes(header);
        if len > CAP {
            return Err(io::Error::new(ErrorKind::InvalidData, "a frame over the cap"));
        }
        frame.clear();
        frame.extend(header);
        // Grows as bytes arrive: `vec![0; len]` would believe the header.
        if input.by_ref().take(len.into()).read_to_end(&mut frame)? < len as usize {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        conn.write_all(&frame)?; // one call for header and payload
    }
    Ok(())
}
