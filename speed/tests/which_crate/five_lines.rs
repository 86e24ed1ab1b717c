//! The same five lines in six ways: connect, send all, receive exactly that much, half-close, close.
//! The book's page "Which crate at work" shows them, each body as it stands here.

use std::io;
use std::net::SocketAddrV4;

pub fn with_libc(
    addr: SocketAddrV4,
    request: &[u8],
    answer: &mut [u8],
    deadline: std::time::Instant,
) -> io::Result<()> {
    use tcp_stream_io::{net, stream, sys};

    let conn = net::connect_to(&addr.ip().to_string(), addr.port())?;
    stream::send_all_with_deadline(&conn, request, deadline)?;
    stream::recv_exact_with_deadline(&conn, answer, deadline)?;
    sys::shutdown(&conn, libc::SHUT_WR)?;
    conn.close()
}

pub fn with_nix(addr: SocketAddrV4, request: &[u8], answer: &mut [u8]) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::sys::socket::*;
    use std::os::fd::AsRawFd;

    let conn = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    connect(conn.as_raw_fd(), &SockaddrIn::from(addr))?;
    let mut sent = 0;
    while sent < request.len() {
        match send(conn.as_raw_fd(), &request[sent..], MsgFlags::MSG_NOSIGNAL) {
            Err(Errno::EINTR) => continue,
            count => sent += count?,
        }
    }
    let mut got = 0;
    while got < answer.len() {
        match recv(conn.as_raw_fd(), &mut answer[got..], MsgFlags::empty()) {
            Err(Errno::EINTR) => continue,
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => got += count?,
        }
    }
    shutdown(conn.as_raw_fd(), Shutdown::Write)?;
    Ok(nix::unistd::close(conn)?)
}

pub fn with_rustix(addr: SocketAddrV4, request: &[u8], answer: &mut [u8]) -> io::Result<()> {
    use rustix::io::retry_on_intr;
    use rustix::net::*;

    let conn = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&conn, &addr)?;
    let mut sent = 0;
    while sent < request.len() {
        sent += retry_on_intr(|| send(&conn, &request[sent..], SendFlags::NOSIGNAL))?;
    }
    let mut got = 0;
    while got < answer.len() {
        match retry_on_intr(|| recv(&conn, &mut answer[got..], RecvFlags::empty()))? {
            (_, 0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (_, count) => got += count,
        }
    }
    shutdown(&conn, Shutdown::Write)?;
    drop(conn);
    Ok(())
}

pub fn with_socket2(addr: SocketAddrV4, request: &[u8], answer: &mut [u8]) -> io::Result<()> {
    use socket2::{Domain, Socket, Type};
    use std::io::{Read, Write};

    let mut conn = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    conn.connect(&addr.into())?;
    conn.write_all(request)?;
    conn.read_exact(answer)?;
    conn.shutdown(std::net::Shutdown::Write)?;
    drop(conn);
    Ok(())
}

pub fn with_std(addr: SocketAddrV4, request: &[u8], answer: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};

    let mut conn = TcpStream::connect(addr)?;
    conn.write_all(request)?;
    conn.read_exact(answer)?;
    conn.shutdown(Shutdown::Write)?;
    drop(conn);
    Ok(())
}

pub async fn with_tokio(
    addr: SocketAddrV4,
    request: &[u8],
    answer: &mut [u8],
    deadline: tokio::time::Instant,
) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    let lines = async {
        let mut conn = TcpStream::connect(addr).await?;
        conn.write_all(request).await?;
        conn.read_exact(answer).await?;
        conn.shutdown().await?;
        drop(conn);
        Ok(())
    };
    tokio::time::timeout_at(deadline, lines).await?
}
