//! r12_socket2  r03 again, in socket2: any socket and its options, as std might have done it.
//!
//! Adds: every option of a socket: before `bind` and `listen`, too, where std decides: the
//!   backlog, whether `::` serves IPv4 too, keep-alive. A `Socket` reads and writes like a std
//!   stream.
//! Promises: what r03 does, and a client whose machine has gone is noticed at last.
//! Limits: what r03's are.
//! At work: to open the socket as you need it. Then turn it into std's or tokio's with
//!   `into()`.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use servers::start;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};

fn main() -> ExitCode {
    start::run_at(include_str!("r12_socket2.rs"), |addr, port| {
        let addr = SocketAddr::new(addr.parse().map_err(io::Error::other)?, port);
        let listener = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            listener.set_only_v6(false)?;
        }
        listener.set_reuse_address(true)?;
        listener.bind(&addr.into())?;
        listener.listen(start::BACKLOG)?;
        let bound = listener.local_addr()?.as_socket();
        start::announce(bound.ok_or(ErrorKind::AddrNotAvailable)?)?;
        loop {
            match listener.accept() {
                Ok((conn, _)) => spawn(conn),
                Err(e) => start::pass_over(e)?,
            }
        }
    })
}

fn spawn(conn: Socket) {
    let client = thread::Builder::new().name("client".into());
    let spawned = client.spawn(move || start::report(serve_client(conn)));
    start::report(spawned.map(|_| ()));
}

fn serve_client(conn: Socket) -> io::Result<()> {
    let result = answer(&conn);
    start::finish(conn, result)
}

fn answer(mut conn: &Socket) -> io::Result<()> {
    conn.set_tcp_nodelay(true)?;
    // A client whose machine has gone is noticed at last, if not soon.
    conn.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
    let mut frame = Vec::new();
    while recv_frame(conn, &mut frame)? {
        conn.write_all(&frame)?;
    }
    Ok(())
}

/// Receives a frame, header included. `false`: the client ended its stream.
fn recv_frame(conn: &Socket, frame: &mut Vec<u8>) -> io::Result<bool> {
    frame.clear();
    if conn.take(4).read_to_end(frame)? == 0 {
        return Ok(false);
    }
    let header = frame.first_chunk().ok_or(ErrorKind::UnexpectedEof)?;
    let len = decode_header(*header, DEFAULT_CAP)?;
    match conn.take(len as u64).read_to_end(frame)? {
        n if n == len => Ok(true),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
