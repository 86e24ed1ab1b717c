//! The other end of the server: a client that speaks the protocol, well or badly.
//!
//! The frames are put together here by hand, for two ends that share code share its mistakes.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::tls;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tcp_stream_io::stream::{recv_exact_with_deadline, send_all_with_deadline, wait_ready};
use tcp_stream_io::sys;

/// The article's limit for a payload.
pub const CAP: usize = 1 << 20;

/// How long a client waits for anything, before it calls itself unserved.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A connection. Every wait on it ends after [`PATIENCE`].
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    tls: Option<tls::Session>,
}

impl Client {
    /// Connects, and shakes hands where the server speaks TLS.
    pub fn connect(addr: SocketAddr, tls: Option<&tls::Config>) -> Result<Client, String> {
        let connected = TcpStream::connect_timeout(&addr, PATIENCE);
        connected.and_then(|s| Client::of(s, tls)).map_err(|e| format!("connect: {e}"))
    }

    /// Connects with little room for answers: a small receive buffer, small segments.
    ///
    /// The segments matter more. With the loopback's of 64 KiB the server's send buffer begins at
    /// 2.5 MiB, and swallows every answer that a test has time to ask for.
    pub fn connect_narrow(addr: SocketAddr, tls: Option<&tls::Config>) -> Result<Client, String> {
        let connect = || {
            let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_recv_buffer_size(16 << 10)?;
            socket.set_tcp_mss(4096)?;
            socket.connect_timeout(&addr.into(), PATIENCE)?;
            Client::of(socket.into(), tls)
        };
        connect().map_err(|e: io::Error| format!("connect: {e}"))
    }

    fn of(stream: TcpStream, tls: Option<&tls::Config>) -> io::Result<Client> {
        stream.set_nodelay(true)?; // each part of a frame leaves at once
        let begin = |config| tls::Session::begin(&stream, config, Instant::now() + PATIENCE);
        let tls = tls.map(begin).transpose()?;
        Ok(Client { stream, tls })
    }

    fn send_by(&self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        match &self.tls {
            None => send_all_with_deadline(&self.stream, bytes, deadline),
            Some(tls) => tls.send(&self.stream, bytes, deadline),
        }
    }

    fn recv_exact_by(&self, buf: &mut [u8], deadline: Instant) -> io::Result<()> {
        match &self.tls {
            None => recv_exact_with_deadline(&self.stream, buf, deadline),
            Some(tls) => tls.recv_exact(&self.stream, buf, deadline),
        }
    }

    /// Sends bytes.
    pub fn send(&self, bytes: &[u8]) -> Result<(), String> {
        self.send_by(bytes, Instant::now() + PATIENCE).map_err(|e| format!("send: {e}"))
    }

    /// Sends bytes if all of them find room within `patience`, and the server has not gone.
    pub fn send_if_room(&self, bytes: &[u8], patience: Duration) -> bool {
        self.send_by(bytes, Instant::now() + patience).is_ok()
    }

    /// Receives the answer to `payload`: the same frame, byte for byte.
    pub fn expect_answer(&self, payload: &[u8]) -> Result<(), String> {
        let mut answer = vec![0; 4 + payload.len()];
        let deadline = Instant::now() + PATIENCE;
        let (header, body) = answer.split_at_mut(4);
        self.recv_exact_by(header, deadline).map_err(|e| unanswered("header", &e))?;
        let expected = header_of(payload.len());
        if header != expected {
            return Err(format!("header {} instead of {}", hex(header), hex(&expected)));
        }
        self.recv_exact_by(body, deadline).map_err(|e| unanswered("payload", &e))?;
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
            tls.end(&self.stream, Instant::now() + PATIENCE).map_err(|e| format!("send: {e}"))?;
        }
        self.stream.shutdown(Shutdown::Write).map_err(|e| format!("shutdown: {e}"))
    }

    /// The server ends the stream, and sends no byte more: "the end", or "a reset".
    pub fn expect_end(&self, patience: Duration) -> Result<&'static str, String> {
        let from = Instant::now();
        let mut more = [0];
        match self.recv_exact_by(&mut more, from + patience) {
            Ok(()) => Err(format!("the server sent more: byte {}", hex(&more))),
            Err(e) => match e.kind() {
                ErrorKind::UnexpectedEof => Ok("the end"),
                ErrorKind::ConnectionReset => Ok("a reset"),
                ErrorKind::TimedOut => Err(format!("the connection stays open, {patience:?} long")),
                _ => Err(e.to_string()),
            },
        }
    }

    /// Waits for the first byte of an answer, and leaves it unread.
    pub fn wait_for_answer(&self) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        let waited = match &self.tls {
            None => wait_ready(&self.stream, libc::POLLIN, Some(deadline)),
            Some(tls) => tls.wait(&self.stream, deadline),
        };
        waited.map(drop).map_err(|e| format!("no answer: {e}"))
    }

    /// Waits until the server has read what was sent, as the kernel tells of the server's socket.
    /// Not for ever: a server may have reason not to read.
    pub fn wait_until_read(&self) {
        let (Ok(us), Ok(server)) = (self.stream.local_addr(), self.stream.peer_addr()) else {
            return;
        };
        let _ = within(Duration::from_millis(200), || match unread(server, us) {
            None | Some(0) => Ok(()),
            Some(_) => Err(()),
        });
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

/// The bytes that wait in the receive buffer of the socket with these two ends.
fn unread(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    ask_the_kernel(local, remote).or_else(|| look_it_up(local.port(), remote.port()))
}

/// sock_diag(7): one socket, without a walk through all of them.
fn ask_the_kernel(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let address = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(v4) => [&v4.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let request = [
        // struct nlmsghdr: length, type, flags, sequence, port.
        &72u32.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &(libc::NLM_F_REQUEST as u16).to_ne_bytes(),
        &[0; 8],
        // struct inet_diag_req_v2: family, protocol, no extensions, every state, which socket.
        &[family as u8, libc::IPPROTO_TCP as u8, 0, 0],
        &[0xff; 4],
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &address(local),
        &address(remote),
        &[0; 4],    // any interface
        &[0xff; 8], // no cookie
    ]
    .concat();
    let netlink = sys::socket(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_SOCK_DIAG).ok()?;
    sys::send(&netlink, &request, 0).ok()?;
    let mut answer = [0; 1024];
    let n = sys::recv(&netlink, &mut answer, libc::MSG_DONTWAIT).ok()?;
    let found = answer[4..6] == SOCK_DIAG_BY_FAMILY.to_ne_bytes();
    // struct inet_diag_msg, behind the header: idiag_rqueue is its bytes 56 to 59.
    let queue = answer[..n].get(72..76)?.try_into().ok()?;
    found.then(|| u32::from_ne_bytes(queue))
}

/// `/proc/net/tcp`, proc(5): all sockets as text. Slow where there are many.
fn look_it_up(local: u16, remote: u16) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(fs::read_to_string);
    tables.iter().flatten().flat_map(|table| table.lines()).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |at: usize| u16::from_str_radix(words.get(at)?.rsplit(':').next()?, 16).ok();
        let queue = words.get(4)?.split_once(':')?.1;
        let ours = port(1) == Some(local) && port(2) == Some(remote);
        ours.then(|| u32::from_str_radix(queue, 16).ok()).flatten()
    })
}

/// Looks again every few milliseconds until it is `Ok` or the time is over: for what another
/// process does, of which no event tells us.
pub fn within<T, E>(time: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let until = Instant::now() + time;
    loop {
        match look() {
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
            result => return result,
        }
    }
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn both_ways_to_see_unread_bytes_agree() {
        for addr in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let listener = TcpListener::bind(addr).unwrap();
            let mut to = listener.local_addr().unwrap();
            if to.ip().is_unspecified() {
                to.set_ip([127, 0, 0, 1].into()); // a socket of IPv6 with a client of IPv4
            }
            let client = Client::connect(to, None).unwrap();
            let (_server, us) = listener.accept().unwrap();
            client.send(b"unread").unwrap();
            within(PATIENCE, || {
                if look_it_up(to.port(), us.port()) == Some(6) { Ok(()) } else { Err(()) }
            })
            .unwrap();
            let us = client.stream.local_addr().unwrap();
            assert_eq!(ask_the_kernel(to, us), Some(6), "{addr}");
            assert_eq!(ask_the_kernel(us, to), Some(0), "{addr}");
        }
    }
}
