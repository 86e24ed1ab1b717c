//! The same client, encrypted: `--tls`.
//!
//! It takes whatever certificate the server shows. The suite asks how a server speaks, not who it
//! is; a client that has a secret to keep must never do this.

use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use tcp_stream_io::UniqueFd;
use tcp_stream_io::stream::{recv_some, wait_ready};
use tcp_stream_io::sys::{self, NO_SIGPIPE};

/// What all connections share.
pub type Config = Arc<ClientConfig>;

/// A configuration that takes any certificate.
pub fn config() -> Result<Config, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| e.to_string())?;
    let verifier = Arc::new(AnyCertificate(provider));
    Ok(Arc::new(
        builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth(),
    ))
}

/// The encrypted side of a connection. The socket stays with the client.
#[derive(Debug)]
pub struct Session(RefCell<ClientConnection>);

impl Session {
    /// The handshake.
    pub fn begin(
        fd: &UniqueFd,
        server: IpAddr,
        config: &Config,
        deadline: Instant,
    ) -> io::Result<Session> {
        let name = ServerName::from(server);
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let session = Session(RefCell::new(tls));
        while session.0.borrow().is_handshaking() {
            session.flush(fd, deadline)?;
            session.receive(fd, deadline)?;
        }
        session.flush(fd, deadline)?;
        Ok(session)
    }

    /// Encrypts as much as there is room for now, and returns how much: 0, where records from before
    /// still wait for room.
    pub fn send_some(&self, fd: &UniqueFd, bytes: &[u8]) -> io::Result<usize> {
        if !self.flush_some(fd)? {
            return Ok(0);
        }
        let taken = self.0.borrow_mut().writer().write(bytes)?;
        self.flush_some(fd)?;
        Ok(taken)
    }

    /// Sends the records that wait.
    pub fn flush(&self, fd: &UniqueFd, deadline: Instant) -> io::Result<()> {
        while !self.flush_some(fd)? {
            wait_ready(fd, libc::POLLOUT, Some(deadline))?;
        }
        Ok(())
    }

    /// Sends what there is room for now. `true`: nothing is left.
    fn flush_some(&self, fd: &UniqueFd) -> io::Result<bool> {
        let mut tls = self.0.borrow_mut();
        while tls.wants_write() {
            match tls.write_tls(&mut NoWait(fd)) {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Waits for bytes and takes what there is of them. 0: the end.
    pub fn recv_some(&self, fd: &UniqueFd, buf: &mut [u8], deadline: Instant) -> io::Result<usize> {
        match self.wait(fd, deadline) {
            Ok(()) => self.0.borrow_mut().reader().read(buf),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(0),
            Err(e) => Err(e),
        }
    }

    /// Waits until there is something to read.
    pub fn wait(&self, fd: &UniqueFd, deadline: Instant) -> io::Result<()> {
        loop {
            match self.0.borrow_mut().reader().fill_buf() {
                Ok([]) => return Err(ended()),
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            self.receive(fd, deadline)?;
        }
    }

    /// Whether there is something to read that has left the socket already.
    pub fn holds_some(&self) -> bool {
        self.0.borrow_mut().reader().fill_buf().is_ok()
    }

    /// Tells the server that nothing more will come.
    pub fn end(&self, fd: &UniqueFd, deadline: Instant) -> io::Result<()> {
        self.0.borrow_mut().send_close_notify();
        self.flush(fd, deadline)
    }

    fn receive(&self, fd: &UniqueFd, deadline: Instant) -> io::Result<()> {
        let mut records = [0; 16 << 10];
        let n = recv_some(fd, &mut records, Some(deadline))?;
        if n == 0 {
            return Err(ended());
        }
        let mut records = &records[..n];
        while !records.is_empty() {
            let mut tls = self.0.borrow_mut();
            tls.read_tls(&mut records)?;
            tls.process_new_packets().map_err(|e| io::Error::new(ErrorKind::InvalidData, e))?;
        }
        Ok(())
    }
}

/// A socket to write to, as far as there is room.
struct NoWait<'fd>(&'fd UniqueFd);

impl Write for NoWait<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        sys::send(self.0, buf, libc::MSG_DONTWAIT | NO_SIGPIPE)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ended() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "the peer ended its stream")
}

#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 was not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
