//! The same client, encrypted: `--tls`.
//!
//! It takes whatever certificate the server shows. The suite asks how a server speaks, not who it
//! is; a client that has a secret to keep must never do this.

use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use super::client::{Line, so_far};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

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
    pub fn begin(line: &Line, server: SocketAddr, config: &Config) -> io::Result<Session> {
        let name = ServerName::from(server.ip());
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        let session = Session(RefCell::new(tls));
        while session.0.borrow().is_handshaking() {
            session.flush(line)?;
            session.receive(line)?;
        }
        session.flush(line)?;
        Ok(session)
    }

    /// Sends bytes, in as many records as they take.
    pub fn send(&self, line: &Line, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let taken = self.0.borrow_mut().writer().write(bytes)?;
            self.flush(line)?;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Fills `buf`. `UnexpectedEof` at the end of the stream.
    pub fn recv_exact(&self, line: &Line, buf: &mut [u8]) -> io::Result<()> {
        let (mut got, wanted) = (0, buf.len());
        while got < wanted {
            self.wait(line).map_err(|e| so_far("got", got, wanted, &e))?;
            got += self.0.borrow_mut().reader().read(&mut buf[got..])?;
        }
        Ok(())
    }

    /// Waits until there is something to read.
    pub fn wait(&self, line: &Line) -> io::Result<()> {
        loop {
            match self.0.borrow_mut().reader().fill_buf() {
                Ok([]) => return Err(ended()),
                Ok(_) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
            self.receive(line)?;
        }
    }

    /// Tells the server that nothing more will come.
    pub fn end(&self, line: &Line) -> io::Result<()> {
        self.0.borrow_mut().send_close_notify();
        self.flush(line)
    }

    fn flush(&self, line: &Line) -> io::Result<()> {
        let mut records = Vec::new();
        while self.0.borrow().wants_write() {
            self.0.borrow_mut().write_tls(&mut records)?;
        }
        line.send_all(&records)
    }

    fn receive(&self, line: &Line) -> io::Result<()> {
        let mut records = [0; 16 << 10];
        let n = line.recv_some(&mut records)?;
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

/// The end of a stream, as an error.
pub fn ended() -> io::Error {
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
