//! The other end of the server: a client that speaks the protocol, well or badly.
//!
//! The frames are put together here by hand, for two ends that share code share its mistakes.

use std::ffi::c_short;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use super::idle::Watched;
use super::tls;
use super::unread::unread;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tcp_stream_io::stream::wait_ready;
use tcp_stream_io::sys;

/// The article's limit for a payload.
pub const CAP: usize = 1 << 20;

/// A client calls itself unserved once the server has been asleep in so many looks, of 10 ms each.
pub const PATIENCE: u32 = 200;

/// A server that sleeps in so many looks has done what it had to do.
pub const AT_ONCE: u32 = 70;

/// A connection. Every wait on it ends where the server sleeps, and so brings nothing any more.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    tls: Option<tls::Session>,
    server: Watched,
}

/// A socket and how long to wait on it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    stream: &'a TcpStream,
    server: Watched,
    /// So many looks at a sleeping server end a wait.
    looks: u32,
    /// But none before this instant: so long the server may well sleep.
    from: Option<Instant>,
}

impl Line<'_> {
    /// Waits until the socket is ready for `POLLIN` or `POLLOUT`. `TimedOut`: the server sleeps.
    pub fn wait(&self, event: c_short) -> io::Result<()> {
        let by = |deadline| match wait_ready(self.stream, event, Some(deadline)) {
            Err(e) if e.kind() == ErrorKind::TimedOut => None,
            result => Some(result),
        };
        let now = self.from.and_then(by);
        let then = || self.server.until_asleep(self.looks, |time| by(Instant::now() + time));
        now.or_else(then).unwrap_or_else(|| {
            Err(io::Error::new(ErrorKind::TimedOut, "nothing comes, and the server sleeps"))
        })
    }

    /// At least a byte, or the end (0).
    pub fn recv_some(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match sys::recv(self.stream, buf, libc::MSG_DONTWAIT) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(libc::POLLIN)?,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn recv_exact(&self, buf: &mut [u8]) -> io::Result<()> {
        let (mut got, wanted) = (0, buf.len());
        while got < wanted {
            match self.recv_some(&mut buf[got..]) {
                Ok(0) => return Err(so_far("got", got, wanted, &tls::ended())),
                Ok(n) => got += n,
                Err(e) => return Err(so_far("got", got, wanted, &e)),
            }
        }
        Ok(())
    }

    /// All of it.
    pub fn send_all(&self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            let flags = libc::MSG_DONTWAIT | sys::NO_SIGPIPE;
            let result = match sys::send(self.stream, &bytes[sent..], flags) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.wait(libc::POLLOUT).map(|()| 0),
                Err(e) if e.kind() == ErrorKind::Interrupted => Ok(0),
                result => result,
            };
            sent += result.map_err(|e| so_far("sent", sent, bytes.len(), &e))?;
        }
        Ok(())
    }
}

/// How far it came: "got 3 of 8 bytes, then …".
pub fn so_far(did: &str, n: usize, wanted: usize, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{did} {n} of {wanted} bytes, then {e}"))
}

impl Client {
    /// Connects, and shakes hands where the server speaks TLS.
    pub fn connect(
        addr: SocketAddr,
        tls: Option<&tls::Config>,
        server: Watched,
    ) -> Result<Client, String> {
        Client::connect_with(addr, tls, server, |_| Ok(()))
    }

    /// Connects with little room for answers: a small receive buffer, small segments.
    ///
    /// The segments matter more. With the loopback's of 64 KiB the server's send buffer begins at
    /// 2.5 MiB, and swallows every answer that a test has time to ask for.
    pub fn connect_narrow(
        addr: SocketAddr,
        tls: Option<&tls::Config>,
        server: Watched,
    ) -> Result<Client, String> {
        Client::connect_with(addr, tls, server, |socket| {
            socket.set_recv_buffer_size(16 << 10)?;
            socket.set_tcp_mss(4096)
        })
    }

    fn connect_with(
        addr: SocketAddr,
        tls: Option<&tls::Config>,
        server: Watched,
        prepare: fn(&Socket) -> io::Result<()>,
    ) -> Result<Client, String> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            prepare(&socket)?;
            socket.set_nonblocking(true)?;
            match socket.connect(&addr.into()) {
                Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) => {}
                result => result?,
            }
            let stream = TcpStream::from(socket);
            let line = Line { stream: &stream, server, looks: PATIENCE, from: None };
            line.wait(libc::POLLOUT)?;
            stream.take_error()?.map_or(Ok(()), Err)?;
            stream.set_nodelay(true)?; // each part of a frame leaves at once
            let tls = tls.map(|config| tls::Session::begin(&line, stream.peer_addr()?, config));
            let tls = tls.transpose()?;
            Ok(Client { stream, tls, server })
        };
        connect().map_err(|e: io::Error| format!("connect: {e}"))
    }

    fn line(&self, looks: u32) -> Line<'_> {
        Line { stream: &self.stream, server: self.server, looks, from: None }
    }

    fn send_by(&self, bytes: &[u8], line: Line) -> io::Result<()> {
        match &self.tls {
            None => line.send_all(bytes),
            Some(tls) => tls.send(&line, bytes),
        }
    }

    fn recv_exact_by(&self, buf: &mut [u8], line: Line) -> io::Result<()> {
        match &self.tls {
            None => line.recv_exact(buf),
            Some(tls) => tls.recv_exact(&line, buf),
        }
    }

    /// Sends bytes.
    pub fn send(&self, bytes: &[u8]) -> Result<(), String> {
        self.send_by(bytes, self.line(PATIENCE)).map_err(|e| format!("send: {e}"))
    }

    /// Sends bytes if all of them find room before the server has been asleep in so many looks, and
    /// the server has not gone.
    pub fn send_if_room(&self, bytes: &[u8], looks: u32) -> bool {
        self.send_by(bytes, self.line(looks)).is_ok()
    }

    /// Receives the answer to `payload`: the same frame, byte for byte.
    pub fn expect_answer(&self, payload: &[u8]) -> Result<(), String> {
        let mut answer = vec![0; 4 + payload.len()];
        let line = self.line(PATIENCE);
        let (header, body) = answer.split_at_mut(4);
        self.recv_exact_by(header, line).map_err(|e| unanswered("header", &e))?;
        let expected = header_of(payload.len());
        if header != expected {
            return Err(format!("header {} instead of {}", hex(header), hex(&expected)));
        }
        self.recv_exact_by(body, line).map_err(|e| unanswered("payload", &e))?;
        match (0..body.len()).find(|&i| body[i] != payload[i]) {
            None => Ok(()),
            Some(at) => Err(format!("byte {at} of {} of the payload is another", body.len())),
        }
    }

    /// Sends a frame, and receives it back.
    pub fn exchange(&self, payload: &[u8]) -> Result<(), String> {
        self.send(&frame(payload))?;
        self.expect_answer(payload)
    }

    /// Ends our direction: a FIN behind what was sent.
    pub fn end(&self) -> Result<(), String> {
        if let Some(tls) = &self.tls {
            tls.end(&self.line(PATIENCE)).map_err(|e| format!("send: {e}"))?;
        }
        self.stream.shutdown(Shutdown::Write).map_err(|e| format!("shutdown: {e}"))
    }

    /// The server ends the stream, and sends no byte more: "the end", or "a reset".
    pub fn expect_end(&self, looks: u32) -> Result<&'static str, String> {
        self.expect_end_on(self.line(looks))
    }

    /// The same where the server may well sleep until then.
    pub fn expect_end_by(&self, then: Instant) -> Result<&'static str, String> {
        self.expect_end_on(Line { from: Some(then), ..self.line(AT_ONCE) })
    }

    fn expect_end_on(&self, line: Line) -> Result<&'static str, String> {
        let mut more = [0];
        match self.recv_exact_by(&mut more, line) {
            Ok(()) => Err(format!("the server sent more: byte {}", hex(&more))),
            Err(e) => match e.kind() {
                ErrorKind::UnexpectedEof => Ok("the end"),
                ErrorKind::ConnectionReset => Ok("a reset"),
                ErrorKind::TimedOut => {
                    Err("the connection stays open, and the server sleeps".into())
                }
                _ => Err(e.to_string()),
            },
        }
    }

    /// Waits for the first byte of an answer, and leaves it unread.
    pub fn wait_for_answer(&self) -> Result<(), String> {
        let line = self.line(PATIENCE);
        let waited = match &self.tls {
            None => line.wait(libc::POLLIN),
            Some(tls) => tls.wait(&line),
        };
        waited.map_err(|e| format!("no answer: {e}"))
    }

    /// Waits until the server has read what was sent, as the kernel tells of the server's socket.
    /// Not for ever: a server may have reason not to read.
    pub fn wait_until_read(&self) {
        let (Ok(us), Ok(server)) = (self.stream.local_addr(), self.stream.peer_addr()) else {
            return;
        };
        let read = || matches!(unread(server, us), None | Some(0)).then_some(());
        let _ = self.server.asks(20, read);
    }

    /// Closes with a reset instead of a FIN.
    pub fn reset(self) -> Result<(), String> {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).map_err(|e| e.to_string())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn unanswered(part: &str, e: &io::Error) -> String {
    format!("no answer: its {part}: {e}")
}

/// A frame: four bytes of length, big-endian, then the payload.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    [&header_of(payload.len())[..], payload].concat()
}

fn header_of(n: usize) -> [u8; 4] {
    [(n >> 24) as u8, (n >> 16) as u8, (n >> 8) as u8, n as u8]
}

/// A payload in which a byte that is lost, doubled or out of place shows.
pub fn payload(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i + seed) % 251) as u8 ^ (i >> 8) as u8).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}
