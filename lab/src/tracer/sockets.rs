//! Which descriptors are TCP sockets, and what they are connected to.
//!
//! Nothing is remembered of dup, fork, close or exec: /proc/PID/fd says at each call what the
//! descriptor is now. Only what a socket is (its inode number stays its own) is asked once, of a
//! copy taken with pidfd_getfd(2) and closed at once, while the program stands still.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockname, getsockopt,
    sockopt,
};
use nix::{getsockopt_impl, sockopt_impl};

/// Both ends of a connection: local, peer.
pub type Ends = (SocketAddr, SocketAddr);

sockopt_impl!(
    /// TCP_INFO of tcp(7).
    TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, libc::tcp_info
);

/// TCP_LISTEN of net/tcp_states.h.
const LISTEN: u8 = 10;

/// The sockets that were met.
#[derive(Default)]
pub struct Sockets {
    pidfds: HashMap<i32, OwnedFd>,
    /// By inode number; `None`: no TCP socket.
    known: HashMap<u64, Option<Tcp>>,
}

/// A TCP socket.
#[derive(Clone, Copy)]
pub struct Tcp {
    /// What it is connected to, or was.
    pub ends: Option<Ends>,
}

impl Sockets {
    /// What this descriptor of this process is, if it is a TCP socket.
    pub fn tcp(&mut self, pid: i32, fd: i32) -> Option<Tcp> {
        let inode = inode(pid, fd)?;
        match self.known.get(&inode) {
            Some(None) => return None,
            Some(Some(tcp)) if tcp.ends.is_some() => return Some(*tcp),
            _ => {}
        }
        let tcp = match self.copy(pid, fd) {
            Ok(copy) => is_tcp(&copy).then(|| Tcp { ends: ends(&copy) }),
            // A socket that cannot be looked at is shown rather than passed over.
            Err(_) => Some(Tcp { ends: None }),
        };
        self.known.insert(inode, tcp);
        tcp
    }

    /// The first TCP socket among the descriptors from `first` to `last`.
    pub fn first_in(
        &mut self,
        pid: i32,
        first: u64,
        last: u64,
    ) -> Option<(Option<i32>, Option<Ends>)> {
        let range = first as u32..=last as u32;
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let fds = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
        let mut fds: Vec<_> = fds.filter(|fd| range.contains(&(*fd as u32))).collect();
        fds.sort_unstable();
        fds.into_iter().find_map(|fd| Some((Some(fd), self.tcp(pid, fd)?.ends)))
    }

    /// Does this epoll descriptor watch a TCP socket?
    pub fn watches_tcp(&mut self, pid: i32, epoll: i32) -> bool {
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{epoll}")).unwrap_or_default();
        let watched = info.lines().filter_map(|line| line.strip_prefix("tfd:"));
        let mut fds = watched.filter_map(|rest| rest.split_whitespace().next()?.parse().ok());
        fds.any(|fd| self.tcp(pid, fd).is_some())
    }

    /// A listener, how many connections wait in its accept queue, and what `listen` has asked for.
    /// TCP_INFO of a listener has the two in fields that say other things of a connection.
    pub fn accept_queue(&mut self, pid: i32, fd: i32) -> Option<(SocketAddr, u32, u32)> {
        let listener = self.copy(pid, fd).ok()?;
        let local = getsockname::<SockaddrStorage>(listener.as_raw_fd()).ok()?;
        let info = getsockopt(&listener, TcpInfo).ok()?;
        let listens = info.tcpi_state == LISTEN;
        listens.then_some((address(&local)?, info.tcpi_unacked, info.tcpi_sacked))
    }

    /// A process has ended: its number may come again.
    pub fn forget(&mut self, pid: i32) {
        self.pidfds.remove(&pid);
    }

    fn copy(&mut self, pid: i32, fd: i32) -> io::Result<OwnedFd> {
        let pidfd = match self.pidfds.get(&pid) {
            Some(pidfd) => pidfd,
            None => self.pidfds.entry(pid).or_insert(descriptor(libc::SYS_pidfd_open, pid, 0)?),
        };
        descriptor(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd)
    }
}

/// pidfd_open(2) or pidfd_getfd(2): both take two integers and flags, and give a descriptor.
fn descriptor(number: libc::c_long, first: i32, second: i32) -> io::Result<OwnedFd> {
    // SAFETY: neither call touches memory.
    let fd = Errno::result(unsafe { libc::syscall(number, first, second, 0) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn inode(pid: i32, fd: i32) -> Option<u64> {
    let target = fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

fn is_tcp(socket: &OwnedFd) -> bool {
    let Ok(local) = getsockname::<SockaddrStorage>(socket.as_raw_fd()) else { return false };
    let inet = matches!(local.family(), Some(AddressFamily::Inet | AddressFamily::Inet6));
    inet && getsockopt(socket, sockopt::SockType) == Ok(SockType::Stream)
}

fn ends(socket: &OwnedFd) -> Option<Ends> {
    let local = getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let peer = getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    Some((address(&local)?, address(&peer)?))
}

/// An address as the segments have it: an IPv4 one stays so on an IPv6 socket, too.
fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let (ip, port) = match (storage.as_sockaddr_in(), storage.as_sockaddr_in6()) {
        (Some(v4), _) => (IpAddr::V4(v4.ip()), v4.port()),
        (_, Some(v6)) => (IpAddr::V6(v6.ip()), v6.port()),
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}
