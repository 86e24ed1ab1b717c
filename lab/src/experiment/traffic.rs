//! Sockets on the two hosts, and what goes through them.
//!
//! A socket belongs to the host on which it was made. Who uses it later, and where, makes no
//! difference; so the experiments make sockets on the hosts and use them from outside.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, setsockopt, sockopt,
};
use nix::sys::time::TimeVal;
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

use crate::world::{Node, World};

/// Where the experiments' servers listen.
pub const PORT: u16 = 9000;

/// Catches a hang: no call in an experiment lasts longer, unless it fails (EAGAIN).
const NO_LONGER: Duration = Duration::from_secs(60);

sockopt_impl!(
    /// Hold back what is not a full segment, until it is taken off. See tcp(7).
    Cork, Both, libc::IPPROTO_TCP, libc::TCP_CORK, bool);
sockopt_impl!(
    /// Acknowledge at once, until the kernel thinks otherwise. See tcp(7).
    QuickAck, Both, libc::IPPROTO_TCP, libc::TCP_QUICKACK, bool);

/// What is set on a socket before it is connected, or listens: options that the handshake tells
/// the peer, or that a listener hands on.
pub type Setup = fn(&OwnedFd) -> nix::Result<()>;

/// Nothing to set.
pub fn plain(_: &OwnedFd) -> nix::Result<()> {
    Ok(())
}

/// A socket of a host.
pub fn socket_on(node: &Node) -> nix::Result<OwnedFd> {
    node.run(|| socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None))
}

fn set_limit(fd: &OwnedFd) -> nix::Result<()> {
    let limit = TimeVal::new(NO_LONGER.as_secs() as i64, 0);
    setsockopt(fd, sockopt::ReceiveTimeout, &limit)?;
    setsockopt(fd, sockopt::SendTimeout, &limit)
}

/// Where a host's port is.
pub fn at(node: &Node, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(node.address, port)
}

/// Binds and listens at the server's [`PORT`].
pub fn listener(world: &World, setup: Setup) -> nix::Result<TcpListener> {
    let fd = socket_on(&world.server)?;
    set_limit(&fd)?;
    setup(&fd)?;
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(at(&world.server, PORT)))?;
    socket::listen(&fd, Backlog::new(64)?)?;
    Ok(TcpListener::from(fd))
}

/// Connects to the server's [`PORT`]. Nagle is on, as it is by default.
pub fn connection(world: &World, setup: Setup) -> nix::Result<TcpStream> {
    let fd = socket_on(&world.client)?;
    setup(&fd)?;
    connect(fd, at(&world.server, PORT))
}

/// Connects a socket. The time limit comes after that: a call that has one fails with EINTR where
/// this process is stopped and goes on (signal(7)), and connect(2) is not to be called twice. It
/// gives up by itself.
pub fn connect(fd: OwnedFd, to: SocketAddrV4) -> nix::Result<TcpStream> {
    socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to))?;
    set_limit(&fd)?;
    Ok(TcpStream::from(fd))
}

/// Accepts a connection, and sets the time limit, which accept(2) does not hand on.
pub fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(NO_LONGER))?;
    stream.set_write_timeout(Some(NO_LONGER))?;
    Ok(stream)
}

/// A connection: the client's end, the server's end.
pub fn pair(world: &World, server: Setup, client: Setup) -> io::Result<(TcpStream, TcpStream)> {
    let listener = listener(world, server)?;
    let near = connection(world, client)?;
    Ok((near, accept(&listener)?))
}

/// recv(2), once more where it was only interrupted: see `connect`.
pub fn read(mut stream: &TcpStream, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Chooses the congestion control, which may be another for each connection.
pub fn congestion_control(fd: &impl AsFd, name: &str) -> nix::Result<()> {
    setsockopt(fd, sockopt::TcpCongestion, &name.into())
}

/// Answers each `request` bytes with `answer` bytes, until the peer is done. Gives how often.
pub fn answer(mut stream: TcpStream, request: usize, answer: usize) -> io::Result<usize> {
    stream.set_nodelay(true)?;
    let (mut buf, answer) = (vec![0; request], vec![b'a'; answer]);
    for answered in 0.. {
        match stream.read_exact(&mut buf) {
            Ok(()) => stream.write_all(&answer)?,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(answered),
            Err(e) => return Err(e),
        }
    }
    unreachable!("the peer is done before the numbers are")
}

/// The port of an address.
pub fn port(address: io::Result<SocketAddr>) -> io::Result<u16> {
    address.map(|address| address.port())
}
