//! A closed loop on one thread: each client sends a frame, waits for its answer, sends the next.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use libc::{EPOLL_CTL_ADD, EPOLLIN};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tcp_stream_io::UniqueFd;

use crate::epoll::{NO_EVENT, epoll_create1, epoll_ctl, epoll_wait};
use crate::wait::{HANG_LIMIT, retry_eintr};

/// A frame of 64 bytes.
const FRAME: [u8; 68] = {
    let mut frame = [b'x'; 4 + 64];
    (frame[0], frame[1], frame[2], frame[3]) = (0, 0, 0, 64); // the header, big-endian
    frame
};

/// What carries the frames of one client.
pub trait Wire: Read + Write {
    /// The socket that it goes through.
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

struct Client {
    wire: Box<dyn Wire>,
    /// How much of the answer has come.
    got: usize,
    /// How many frames are to be sent yet.
    left: usize,
}

/// The clients, all connected.
pub struct Load {
    addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    epoll: UniqueFd,
    /// By descriptor.
    clients: Vec<Option<Client>>,
}

impl Load {
    /// Nobody yet. With `certificate` (PEM) the clients speak TLS, and trust that one alone.
    pub fn new(addr: SocketAddr, certificate: Option<&str>) -> io::Result<Load> {
        let tls = certificate.map(trust).transpose()?;
        Ok(Load { addr, tls, epoll: epoll_create1()?, clients: Vec::new() })
    }

    /// Adds clients. Each has had one answer before the next one comes.
    pub fn connect(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let wire = self.open()?;
            let socket = wire.socket();
            socket.set_nonblocking(true)?;
            epoll_ctl(&self.epoll, EPOLL_CTL_ADD, socket, EPOLLIN)?;
            let fd = socket.as_raw_fd() as usize;
            if fd >= self.clients.len() {
                self.clients.resize_with(fd + 1, || None);
            }
            self.clients[fd] = Some(Client { wire, got: 0, left: 0 });
        }
        Ok(())
    }

    /// One client after the other, with one frame each. Returns how many.
    pub fn single_shots(&self, count: usize) -> io::Result<usize> {
        (0..count).try_for_each(|_| self.open().map(drop)).map(|()| count)
    }

    /// Each client sends so many frames, and all their answers come. Returns how many.
    pub fn run(&mut self, frames: usize) -> io::Result<usize> {
        let mut active = 0;
        for client in self.clients.iter_mut().flatten() {
            client.left = frames;
            active += usize::from(client.send_next()?);
        }
        let total = active * frames;
        let mut events = [NO_EVENT; 256];
        while active > 0 {
            let limit = HANG_LIMIT.as_millis() as i32;
            let happened = retry_eintr(|| epoll_wait(&self.epoll, &mut events, limit))?;
            if happened == 0 {
                return Err(io::Error::new(ErrorKind::TimedOut, "an answer does not come"));
            }
            for event in &events[..happened] {
                if let Some(client) = &mut self.clients[event.u64 as usize] {
                    let answered = client.recv()?;
                    if answered && !client.send_next()? {
                        active -= 1;
                    }
                }
            }
        }
        Ok(total)
    }

    /// A connection that has had one answer.
    fn open(&self) -> io::Result<Box<dyn Wire>> {
        let mut wire = connect(self.addr, self.tls.as_ref())?;
        wire.write_all(&FRAME)?;
        let mut answer = [0; FRAME.len()];
        wire.read_exact(&mut answer)?;
        if answer != FRAME {
            return Err(io::Error::new(ErrorKind::InvalidData, "the answer is not the request"));
        }
        Ok(wire)
    }
}

/// One connection, with TLS or without.
pub fn connect(addr: SocketAddr, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<dyn Wire>> {
    let socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(HANG_LIMIT))?;
    let Some(config) = tls else { return Ok(Box::new(socket)) };
    let tls = ClientConnection::new(Arc::clone(config), ServerName::from(addr.ip()));
    Ok(Box::new(StreamOwned::new(tls.map_err(io::Error::other)?, socket)))
}

impl Client {
    /// `false`: it has sent all it had to.
    fn send_next(&mut self) -> io::Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        self.got = 0;
        self.wire.write_all(&FRAME).map(|()| true) // so little always finds room
    }

    /// Takes what has come. `true`: the answer is whole.
    fn recv(&mut self) -> io::Result<bool> {
        let mut buf = [0; FRAME.len()];
        while self.got < FRAME.len() {
            match self.wire.read(&mut buf[self.got..]) {
                Ok(0) => return Err(io::Error::new(ErrorKind::UnexpectedEof, "it hung up")),
                Ok(n) => self.got += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }
}

/// For a client that trusts one certificate (PEM) and no other.
pub fn trust(certificate: &str) -> io::Result<Arc<ClientConfig>> {
    let mut trusted = RootCertStore::empty();
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(io::Error::other)?;
    trusted.add(der).map_err(io::Error::other)?;
    let config = ClientConfig::builder().with_root_certificates(trusted);
    Ok(Arc::new(config.with_no_client_auth()))
}
