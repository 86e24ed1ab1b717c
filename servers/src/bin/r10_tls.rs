//! r10_tls  The same conversation, encrypted: rustls between the frames and the descriptor.
//!
//! Adds: TLS, over r03's threads. rustls needs `Read` and `Write` and never sees the socket, so
//!   two `impl`s for our descriptor are all. The certificate is made on the spot and printed
//!   after the first line; a client has to be told to trust it.
//! Promises: nobody in between reads or changes a frame, and an end that was not the peer's shows.
//! Limits: what r03's are. A silent client now costs a thread and TLS's buffers.
//! At work: rustls, with a certificate from a CA; with tokio, tokio-rustls.

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use servers::start;
use tcp_stream_io::framing::length::{DEFAULT_CAP, decode_header};
use tcp_stream_io::{UniqueFd, send_all, stream, sys};

fn main() -> ExitCode {
    start::run(include_str!("r10_tls.rs"), |listener| {
        let config = Arc::new(config().map_err(io::Error::other)?);
        loop {
            let (conn, config) = (start::accept(&listener)?, Arc::clone(&config));
            let spawned = thread::Builder::new()
                .name("client".into())
                .spawn(move || start::report(serve_client(conn, config)));
            start::report(spawned.map(|_| ()));
        }
    })
}

fn config() -> Result<ServerConfig, Box<dyn Error + Send + Sync>> {
    let names = ["localhost".into(), "127.0.0.1".into(), "::1".into()];
    let made = rcgen::generate_simple_self_signed(names)?;
    start::print(&made.cert.pem())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    Ok(config.with_single_cert(vec![made.cert.into()], key)?)
}

/// What rustls needs to know about a socket.
struct Socket {
    conn: UniqueFd,
    /// The header of the record that is being read, as far as it has come.
    header: Vec<u8>,
    /// How much of the record is still to come after that.
    left: usize,
}

/// Up to the end of a record and no further. After a record that was tampered with, rustls gives out
/// nothing, not even what came whole in those before: they are answered before it is read.
impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Type, version, and in two bytes the length of what follows. RFC 8446, section 5.1.
        let is_header = self.left == 0;
        let most = buf.len().min(if is_header { 5 - self.header.len() } else { self.left });
        let came = stream::recv_some(&self.conn, &mut buf[..most], None)?;
        if is_header {
            self.header.extend_from_slice(&buf[..came]);
        } else {
            self.left -= came;
        }
        if let [_, _, _, high, low] = self.header[..] {
            self.left = usize::from(u16::from_be_bytes([high, low]));
            self.header.clear();
        }
        Ok(came)
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        send_all(&self.conn, buf).map(|()| buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is kept back
    }
}

fn serve_client(conn: UniqueFd, config: Arc<ServerConfig>) -> io::Result<()> {
    // The handshake is several sends in a row: with Nagle's rule each waits for the other side.
    sys::set_option(&conn, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    // The handshake comes with the first read.
    let mut tls = StreamOwned::new(tls, Socket { conn, header: Vec::new(), left: 0 });
    let result = answer(&mut tls);
    tls.conn.send_close_notify(); // TLS's own end: a bare FIN could be an attacker's
    let (mut tls, mut socket) = tls.into_parts();
    // Not `flush`, which would wait for the rest of a handshake that will never come.
    while tls.wants_write() && tls.write_tls(&mut socket).is_ok() {}
    start::finish(socket.conn, result)
}

fn answer(tls: &mut (impl Read + Write)) -> io::Result<()> {
    let mut frame = Vec::new();
    while recv_frame(tls, &mut frame)? {
        tls.write_all(&frame)?;
    }
    Ok(())
}

/// Receives a frame, header included. `false`: the client ended its stream, and said so.
fn recv_frame(tls: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<bool> {
    frame.clear();
    if tls.take(4).read_to_end(frame)? == 0 {
        return Ok(false);
    }
    let header = frame.first_chunk().ok_or(ErrorKind::UnexpectedEof)?;
    let len = decode_header(*header, DEFAULT_CAP)?;
    match tls.take(len as u64).read_to_end(frame)? {
        n if n == len => Ok(true),
        _ => Err(ErrorKind::UnexpectedEof.into()),
    }
}
