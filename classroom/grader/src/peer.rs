//! The other end of a connection: a real socket on the loopback.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind,
    connect, getpeername, getsockname, listen, recv, send, setsockopt, socket, sockopt,
};

use crate::about::HANG;
use crate::{inside, kernel};

/// The grader's end.
pub struct Peer(TcpStream);

/// Much more than any exercise sends.
const MOST: u64 = 64 << 20;

/// Buffer sizes, in bytes; the kernel doubles them. `None`: as they are.
#[derive(Clone, Copy, Default)]
pub struct Buffers {
    /// SO_SNDBUF of the answer's end.
    pub send: Option<usize>,
    /// SO_RCVBUF of the answer's end.
    pub recv: Option<usize>,
    /// SO_RCVBUF of the peer.
    pub peer_recv: Option<usize>,
}

/// The smallest buffers: a call soon has to wait.
pub const TINY: Buffers = Buffers { send: Some(4096), recv: Some(4096), peer_recv: Some(4096) };

/// A connection: the peer, and the end for the child.
pub fn pair() -> io::Result<(Peer, OwnedFd)> {
    pair_with(Buffers::default())
}

/// A connection with buffers of given sizes.
pub fn pair_with(Buffers { send, recv, peer_recv }: Buffers) -> io::Result<(Peer, OwnedFd)> {
    let (listener, conn) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, lonely()?);
    let each = |bytes: Option<usize>| bytes.into_iter();
    // An accepted socket inherits it.
    each(peer_recv).try_for_each(|bytes| setsockopt(&listener, sockopt::RcvBuf, &bytes))?;
    each(send).try_for_each(|bytes| setsockopt(&conn, sockopt::SndBuf, &bytes))?;
    each(recv).try_for_each(|bytes| setsockopt(&conn, sockopt::RcvBuf, &bytes))?;
    connect(conn.as_raw_fd(), &SockaddrStorage::from(listener.local_addr()?))?;
    let (ours, _) = listener.accept()?;
    Ok((Peer::of(ours)?, conn))
}

/// Waits until this is so. The kernel tells nobody: it is looked at again, and not all the time, for
/// the answer may need the processor to get there.
fn until(is_so: impl Fn() -> bool) -> io::Result<()> {
    let give_up = Instant::now() + HANG;
    while !is_so() {
        if Instant::now() > give_up {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_micros(200));
    }
    Ok(())
}

impl Peer {
    /// A client of a server of the answer's; with a receive buffer of so many bytes.
    pub fn connect(to: SocketAddr, buffer: Option<usize>) -> io::Result<Peer> {
        let fd = lonely()?;
        if let Some(bytes) = buffer {
            setsockopt(&fd, sockopt::RcvBuf, &bytes)?;
        }
        connect(fd.as_raw_fd(), &SockaddrStorage::from(to))?;
        Peer::of(fd.into())
    }

    fn of(conn: TcpStream) -> io::Result<Peer> {
        conn.set_read_timeout(Some(HANG))?;
        conn.set_write_timeout(Some(HANG))?;
        conn.set_nodelay(true)?;
        Ok(Peer(conn))
    }

    /// Sends all of it. That the child has gone is not the peer's to tell: the child is asked.
    pub fn send(&self, bytes: &[u8]) {
        let _ = (&self.0).write_all(bytes);
    }

    /// Sends what goes at once, and says how much that was.
    pub fn sends_some(&self, bytes: &[u8]) -> usize {
        send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
            .unwrap_or(0)
    }

    /// Ends its stream with a FIN, and still reads.
    pub fn end(&self) {
        let _ = self.0.shutdown(Shutdown::Write);
    }

    /// Waits until the FIN has come to the other end.
    pub fn end_has_arrived(&self, other: &OwnedFd) -> io::Result<()> {
        until(|| inside::ended(other.as_raw_fd()))
    }

    /// Ends both directions, and wakes whoever waits in one of its calls.
    pub fn abandon(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// Closes with a reset.
    pub fn reset(self) -> io::Result<()> {
        Ok(setsockopt(&self.0, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?)
    }

    /// Closes with a reset; with its stream ended before, and that seen at the other end.
    pub fn goes(self, other: &OwnedFd, ended: bool) -> io::Result<()> {
        if ended {
            self.end();
            self.end_has_arrived(other)?;
        }
        self.reset()
    }

    /// Reads until the child's end is closed, on a thread of its own. It reads no further than
    /// `MOST`: who sends on without an end comes to wait for it.
    pub fn read_all(self) -> JoinHandle<Vec<u8>> {
        thread::spawn(move || {
            let mut all = Vec::new();
            let _ = (&self.0).take(MOST).read_to_end(&mut all);
            while all.len() as u64 == MOST {
                thread::park();
            }
            all
        })
    }

    /// Reads until `count` bytes have come, or the stream has ended.
    pub fn read(&self, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = (&self.0).take(count as u64).read_to_end(&mut all);
        all
    }

    /// What has come so far; `None` as well at the end of the stream.
    pub fn read_waiting(&self) -> io::Result<Heard> {
        let mut buf = vec![0; 65_536];
        match recv(self.0.as_raw_fd(), &mut buf, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Ok(Heard::End),
            Ok(n) => Ok(Heard::Bytes(buf[..n].into())),
            Err(Errno::EAGAIN) => Ok(Heard::Nothing),
            Err(Errno::ECONNRESET) => Ok(Heard::Reset),
            Err(e) => Err(e.into()),
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Waits for so long until there is something to read, or the end of the stream.
pub fn readable(fd: impl AsFd, milliseconds: u16) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::from(milliseconds))? > 0)
}

/// Waits until `count` bytes wait to be read from `fd`.
pub fn arrived(fd: impl AsFd, count: usize) -> io::Result<()> {
    until(|| inside::unread(fd.as_fd().as_raw_fd()) >= count)
}

/// Waits until all that was sent, the FIN as well, has come to the other end.
pub fn acknowledged(fd: impl AsFd) -> io::Result<()> {
    until(|| inside::outstanding(fd.as_fd().as_raw_fd()) == 0)
}

/// Whether the other end of this connection has bytes to send that find no room here: its timer is
/// the one that asks for room again, which is 4 in `struct inet_diag_msg`, sock_diag(7).
pub fn holds_back(fd: impl AsFd) -> bool {
    let fd = fd.as_fd().as_raw_fd();
    let ends = (getsockname(fd), getpeername(fd));
    let (Ok::<SockaddrIn, _>(ours), Ok::<SockaddrIn, _>(theirs)) = ends else { return false };
    kernel::timer(theirs.into(), ours.into()) == Some(4)
}

/// A TCP socket that is not connected. It has a flag that is none of an answer's business.
pub fn lonely() -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_APPEND))?;
    Ok(fd)
}

/// Makes the answer's end non-blocking.
pub fn non_blocking((peer, conn): (Peer, OwnedFd)) -> io::Result<(Peer, OwnedFd)> {
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((peer, conn))
}

/// Fills the send buffer, until nothing has made room for 20 ms; says how many bytes that took.
pub fn fill(conn: &OwnedFd) -> io::Result<usize> {
    let mut filled = 0;
    loop {
        match send(conn.as_raw_fd(), &[0; 4096], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(n) => filled += n,
            // What is still on its way to the peer may yet make room.
            Err(Errno::EAGAIN) => {
                let mut fds = [PollFd::new(conn.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, PollTimeout::from(20_u8))? == 0 {
                    return Ok(filled);
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// A socket that keeps a port of the loopback, prepared like this: whoever connects is refused.
pub fn bound(prepare: impl FnOnce(&OwnedFd) -> nix::Result<()>) -> io::Result<(OwnedFd, u16)> {
    let fd = lonely()?;
    prepare(&fd)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
    let port = getsockname::<SockaddrIn>(fd.as_raw_fd())?.port();
    Ok((fd, port))
}

/// A listener on the loopback, and a socket that keeps its port without listening: once the
/// listener is closed connections are refused, and nobody else is given the port.
pub fn listener(backlog: i32) -> io::Result<(TcpListener, OwnedFd)> {
    let shared = |fd: &OwnedFd| setsockopt(fd, sockopt::ReuseAddr, &true);
    let ((held, port), listener) = (bound(shared)?, lonely()?);
    shared(&listener)?;
    bind(listener.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    listen(&listener, Backlog::new(backlog)?)?;
    Ok((TcpListener::from(listener), held))
}

/// A listener whose queue is full: the next `connect` has to wait. Its port, the one that fills it,
/// and the socket that keeps the port.
pub fn full() -> io::Result<(TcpListener, u16, TcpStream, OwnedFd)> {
    let (listener, held) = listener(0)?; // the queue holds one
    let at = listener.local_addr()?;
    Ok((listener, at.port(), TcpStream::connect(at)?, held))
}

/// Has the kernel give up, with ETIMEDOUT, what nobody answers: TCP_USER_TIMEOUT of tcp(7).
pub fn impatient(conn: OwnedFd) -> io::Result<OwnedFd> {
    setsockopt(&conn, sockopt::TcpUserTimeout, &100)?;
    Ok(conn)
}

/// What a peer finds when it looks.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing.
    Nothing,
    /// Bytes.
    Bytes(Vec<u8>),
    /// The end of the stream.
    End,
    /// The connection has been reset.
    Reset,
}

/// So many bytes of a pattern have no period: more than any buffer has, and a prime number of them.
const PERIOD: usize = 1_000_003;

/// `len` bytes without a period that a mistake could hide behind.
pub fn pattern(len: usize) -> Vec<u8> {
    static SO_FAR: Mutex<(u32, Vec<u8>)> = Mutex::new((0x9e37_79b9, Vec::new()));
    let (state, all) = &mut *SO_FAR.lock().unwrap();
    while all.len() < len.min(PERIOD) {
        *state ^= *state << 13;
        *state ^= *state >> 17;
        *state ^= *state << 5;
        all.extend_from_slice(&state.to_ne_bytes());
    }
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        bytes.extend_from_slice(&all[..(len - bytes.len()).min(PERIOD)]);
    }
    bytes
}
