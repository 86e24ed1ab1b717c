//! The same client, encrypted: `--tls`.
//!
//! It takes whatever certificate the server shows. The suite asks how a server speaks, not who it
//! is; a client that has a secret to keep must never do this.

use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use tcp_stream_io::stream::{recv_some, send_all_with_deadline};

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
    pub fn begin(stream: &TcpStream, config: &Config, deadline: Instant) -> io::Result<Session> {
        let name = ServerName::from(stream.peer_addr()?.ip());
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let session = Session(RefCell::new(tls));
        while session.0.borrow().is_handshaking() {
            session.flush(stream, deadline)?;
            session.receive(stream, deadline)?;
        }
        session.flush(stream, deadline)?;
        Ok(session)
    }

    /// Sends bytes, in as many records as they take.
    pub fn send(&self, stream: &TcpStream, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.0.borrow_mut().writer().write(bytes)?;
            self.flush(stream, deadline)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Fills `buf`. `UnexpectedEof` at the end of the stream.
    pub fn recv_exact(
        &self,
        stream: &TcpStream,
        buf: &mut [u8],
        deadline: Instant,
    ) -> io::Result<()> {
        let (mut got, wanted) = (0, buf.len());
        let so_far = |got: usize, e: &io::Error| {
            io::Error::new(e.kind(), format!("got {got} of {wanted} bytes, then {e}"))
        };
        while got < wanted {
            self.wait(stream, deadline).map_err(|e| so_far(got, &e))?;
            got += self.0.borrow_mut().reader().read(&mut buf[got..])?;
        }
        Ok(())
    }

    /// Waits until there is something to read.
    pub fn wait(&self, stream: &TcpStream, deadline: Instant) -> io::Result<()> {
        loop {
            match self.0.borrow_mut().reader().fill_buf() {
                Ok([]) => return Err(ended()),
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            self.receive(stream, deadline)?;
        }
    }

    /// Tells the server that nothing more will come.
    pub fn end(&self, stream: &TcpStream, deadline: Instant) -> io::Result<()> {
        self.0.borrow_mut().send_close_notify();
        self.flush(stream, deadline)
    }

    fn flush(&self, stream: &TcpStream, deadline: Instant) -> io::Result<()> {
        let mut records = Vec::new();
        while self.0.borrow().wants_write() {
            self.0.borrow_mut().write_tls(&mut records)?;
        }
        send_all_with_deadline(stream, &records, deadline)
    }

    fn receive(&self, stream: &TcpStream, deadline: Instant) -> io::Result<()> {
        let mut records = [0; 16 << 10];
        let n = recv_some(stream, &mut records, Some(deadline))?;
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
