//! The other end of the server: a client that speaks the protocol, well or badly.
//!
//! The frames are put together here by hand, for two ends that share code share its mistakes.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::tls;
use crate::outside::{unread, within};
use crate::wait::{millis_until, retry_eintr};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tcp_stream_io::stream::{recv_some, send_all_with_deadline, wait_ready};
use tcp_stream_io::sys::{self, NO_SIGPIPE};
use tcp_stream_io::{UniqueFd, stream};

/// The article's limit for a payload.
pub const CAP: usize = 1 << 20;

/// A connection.
#[derive(Debug)]
pub struct Client {
    fd: UniqueFd,
    tls: Option<tls::Session>,
    /// Where the server's end is, and ours.
    server: SocketAddr,
    us: SocketAddr,
    /// How long it waits for anything, before it calls itself unserved.
    patience: Duration,
}

/// Where a client connects to, and how.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// It speaks TLS.
    pub tls: Option<&'a tls::Config>,
    /// How long the client waits for anything.
    pub patience: Duration,
}

impl Client {
    /// Connects, and shakes hands where the server speaks TLS.
    pub fn connect(way: Way) -> Result<Client, String> {
        let connected = TcpStream::connect_timeout(&way.addr, way.patience);
        connected.and_then(|s| Client::of(s, way)).map_err(|e| format!("connect: {e}"))
    }

    /// Connects with little room for answers: a small receive buffer, small segments.
    ///
    /// The segments matter more. With the loopback's of 64 KiB the server's send buffer begins at
    /// 2.5 MiB, and swallows every answer that a test has time to ask for.
    pub fn connect_narrow(way: Way) -> Result<Client, String> {
        let connect = || {
            let domain = Domain::for_address(way.addr);
            let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
            socket.set_recv_buffer_size(16 << 10)?;
            socket.set_tcp_mss(4096)?;
            socket.connect_timeout(&way.addr.into(), way.patience)?;
            Client::of(socket.into(), way)
        };
        connect().map_err(|e: io::Error| format!("connect: {e}"))
    }

    fn of(stream: TcpStream, way: Way) -> io::Result<Client> {
        stream.set_nodelay(true)?; // each part of a frame leaves at once
        let (server, us) = (stream.peer_addr()?, stream.local_addr()?);
        let fd = UniqueFd::from(OwnedFd::from(stream));
        let deadline = Instant::now() + way.patience;
        let begin = |config| tls::Session::begin(&fd, server.ip(), config, deadline);
        let tls = way.tls.map(begin).transpose()?;
        Ok(Client { fd, tls, server, us, patience: way.patience })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.patience
    }

    /// Sends bytes.
    pub fn send(&self, mut bytes: &[u8]) -> Result<(), String> {
        let deadline = self.deadline();
        let result = match &self.tls {
            None => send_all_with_deadline(&self.fd, bytes, deadline),
            Some(tls) => loop {
                match tls.flush(&self.fd, deadline).and_then(|()| tls.send_some(&self.fd, bytes)) {
                    Ok(n) if n == bytes.len() => break tls.flush(&self.fd, deadline),
                    Ok(n) => bytes = &bytes[n..],
                    Err(e) => break Err(e),
                }
            },
        };
        result.map_err(|e| format!("send: {e}"))
    }

    /// Sends what there is room for now, and returns how much.
    pub fn send_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = libc::MSG_DONTWAIT | NO_SIGPIPE;
        let sent = match &self.tls {
            None => retry_eintr(|| sys::send(&self.fd, bytes, flags)),
            Some(tls) => tls.send_some(&self.fd, bytes),
        };
        match sent {
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(0),
            sent => sent,
        }
    }

    /// Sends all of it, and takes an answer only where nothing more can be sent before: the server's
    /// answers wait for as long as they can. Returns what came so far.
    pub fn send_reluctant(&self, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (mut sent, mut came) = (0, Vec::new());
        while sent < bytes.len() {
            match self.send_some(&bytes[sent..]).map_err(|e| format!("send: {e}"))? {
                0 if self.can_send(self.deadline())? => {}
                0 => {
                    let mut piece = [0; 4096];
                    match self.recv_some(&mut piece, self.deadline()) {
                        Ok(0) => return Err(format!("the end, {} bytes after", came.len())),
                        Ok(n) => came.extend(&piece[..n]),
                        Err(e) => return Err(format!("{} bytes, then {e}", came.len())),
                    }
                }
                n => sent += n,
            }
        }
        if let Some(tls) = &self.tls {
            tls.flush(&self.fd, self.deadline()).map_err(|e| format!("send: {e}"))?;
        }
        Ok(came)
    }

    /// Waits until something can be sent (`true`) or, if not, received.
    fn can_send(&self, until: Instant) -> Result<bool, String> {
        if self.tls.as_ref().is_some_and(tls::Session::holds_some) {
            return Ok(false);
        }
        let events = libc::POLLIN | libc::POLLOUT;
        let ready = || sys::poll(self.fd.as_fd(), events, millis_until(Some(until)));
        match retry_eintr(ready).map_err(|e| format!("poll: {e}"))? {
            0 => Err(format!("nothing can be sent or received for {:?}", self.patience)),
            ready => Ok(ready & libc::POLLOUT != 0),
        }
    }

    fn recv_some(&self, buf: &mut [u8], deadline: Instant) -> io::Result<usize> {
        match &self.tls {
            None => recv_some(&self.fd, buf, Some(deadline)),
            Some(tls) => tls.recv_some(&self.fd, buf, deadline),
        }
    }

    /// Fills `buf`; says how much came where the stream ends before.
    fn recv_exact(&self, buf: &mut [u8], deadline: Instant) -> io::Result<()> {
        let (mut got, wanted) = (0, buf.len());
        while got < wanted {
            let how = match self.recv_some(&mut buf[got..], deadline) {
                Ok(0) => io::Error::new(ErrorKind::UnexpectedEof, "the peer ended its stream"),
                Ok(n) => {
                    got += n;
                    continue;
                }
                Err(e) => e,
            };
            let text = format!("got {got} of {wanted} bytes, then {how}");
            return Err(io::Error::new(how.kind(), text));
        }
        Ok(())
    }

    /// Receives all that comes until the server's end, after what came before.
    pub fn recv_to_end(&self, mut came: Vec<u8>) -> Result<Vec<u8>, String> {
        let mut piece = vec![0; 64 << 10];
        loop {
            match self.recv_some(&mut piece, self.deadline()) {
                Ok(0) => return Ok(came),
                Ok(n) => came.extend(&piece[..n]),
                Err(e) => return Err(format!("{} bytes, then {e}", came.len())),
            }
        }
    }

    /// Receives the answer to `payload`: the same frame, byte for byte.
    pub fn expect_answer(&self, payload: &[u8]) -> Result<(), String> {
        let mut answer = vec![0; 4 + payload.len()];
        let deadline = self.deadline();
        let (header, body) = answer.split_at_mut(4);
        self.recv_exact(header, deadline).map_err(|e| unanswered("header", &e))?;
        let expected = header_of(payload.len());
        if header != expected {
            return Err(format!("header {} instead of {}", hex(header), hex(&expected)));
        }
        self.recv_exact(body, deadline).map_err(|e| unanswered("payload", &e))?;
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

    /// Ends our direction: a FIN after what was sent.
    pub fn end(&self) -> Result<(), String> {
        if let Some(tls) = &self.tls {
            tls.end(&self.fd, self.deadline()).map_err(|e| format!("send: {e}"))?;
        }
        sys::shutdown(&self.fd, libc::SHUT_WR).map_err(|e| format!("shutdown: {e}"))
    }

    /// The server ends the stream, and sends no byte more: "the end", or "a reset".
    pub fn expect_end(&self, patience: Duration) -> Result<&'static str, String> {
        let mut more = [0];
        match self.recv_some(&mut more, Instant::now() + patience) {
            Ok(0) => Ok("the end"),
            Ok(_) => Err(format!("the server sent more: byte {}", hex(&more))),
            Err(e) => match e.kind() {
                ErrorKind::ConnectionReset => Ok("a reset"),
                ErrorKind::TimedOut => Err(format!("the connection stays open, {patience:?} long")),
                _ => Err(e.to_string()),
            },
        }
    }

    /// Waits for the first byte of an answer, and leaves it unread.
    pub fn wait_for_answer(&self) -> Result<(), String> {
        let deadline = self.deadline();
        let waited = match &self.tls {
            None => wait_ready(&self.fd, libc::POLLIN, Some(deadline)),
            Some(tls) => tls.wait(&self.fd, deadline),
        };
        waited.map_err(|e| format!("no answer: {e}"))
    }

    /// Whether something has come by now: bytes, or the end.
    pub fn has_something(&self) -> bool {
        sys::poll(self.fd.as_fd(), libc::POLLIN, 0).is_ok_and(|ready| ready != 0)
    }

    /// Waits until the server has read what was sent, as the kernel tells of the server's socket.
    /// Not for ever: a server may have reason not to read.
    pub fn wait_until_read(&self) {
        let _ = within(self.patience / 10, || match unread(self.server, self.us) {
            None | Some(0) => Ok(()),
            Some(_) => Err(()),
        });
    }

    /// The two ends: the server's, ours.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.server, self.us)
    }

    /// Waits for room to send, for a moment.
    pub fn wait_for_room(&self, moment: Duration) {
        let _ = stream::wait_ready(&self.fd, libc::POLLOUT, Some(Instant::now() + moment));
    }

    /// Closes with a reset instead of a FIN.
    pub fn reset(self) -> Result<(), String> {
        SockRef::from(&self.fd).set_linger(Some(Duration::ZERO)).map_err(|e| e.to_string())
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
