//! Exercise `connect_to`: try every address of a list. Article 7.1.

use std::io::Read;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockaddrLike, SockaddrStorage, bind, listen};

use crate::calls::AFTER_CLOSE;
use crate::denied::Denied;
use crate::inside::option;
use crate::peer::{bound, full};
use crate::prelude::*;

/// An address of the list, its kind and protocol. Without an address: of a family that this kernel
/// does not know.
type Entry = (Option<SocketAddr>, i32, i32);

#[derive(Serialize, Deserialize)]
struct Socket {
    fd: RawFd,
    protocol: i32,
    /// The list is as it was.
    same_list: bool,
    /// `hello` was sent to it.
    sent: bool,
}

/// Grades the answer: asked to connect to one of the list, perhaps where a call fails.
pub fn grade(answer: fn(&libc::addrinfo) -> io::Result<RawFd>) -> ExitCode {
    grading::grade("connect_to", CASES, |(list, denied): (Vec<Entry>, Option<Denied>), given| {
        denied.into_iter().for_each(Denied::from_here_on);
        let any = SocketAddr::from((V4, 1));
        let addresses: Vec<_> =
            list.iter().map(|(at, ..)| SockaddrStorage::from(at.unwrap_or(any))).collect();
        let mut nodes: Vec<_> = list.iter().zip(&addresses).map(node).collect();
        for at in (1..nodes.len()).rev() {
            nodes[at - 1].ai_next = &mut nodes[at];
        }
        let mut fd = -1;
        let keep = |made| {
            fd = made;
            (format!("Ok({made})"), Vec::new())
        };
        let fields = |node: &libc::addrinfo| {
            let libc::addrinfo { ai_flags, ai_family, ai_socktype, ai_protocol, .. } = *node;
            let numbers = [ai_flags, ai_family, ai_socktype, ai_protocol];
            (numbers, node.ai_addrlen, node.ai_addr, node.ai_canonname, node.ai_next)
        };
        let before = (nodes.iter().map(fields).collect::<Vec<_>>(), addresses.clone());
        let said = given.call(|| answer(&nodes[0]), keep);
        let same_list = before == (nodes.iter().map(fields).collect(), addresses);
        let protocol = option(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL);
        let protocol = protocol.try_into().map_or(-1, i32::from_ne_bytes);
        // SAFETY: the bytes are readable; the descriptor was made for the grader, which closes it.
        let sent = unsafe {
            let sent = libc::send(fd, b"hello".as_ptr().cast(), 5, libc::MSG_NOSIGNAL) == 5;
            libc::close(fd);
            sent
        };
        said.with(Socket { fd, protocol, same_list, sent })
    })
}

/// The length of an address, by its family.
const V4_LEN: u32 = size_of::<libc::sockaddr_in>() as u32;
const V6_LEN: u32 = size_of::<libc::sockaddr_in6>() as u32;

fn node(((at, kind, protocol), address): (&Entry, &SockaddrStorage)) -> libc::addrinfo {
    const UNKNOWN_FAMILY: libc::c_int = 250;
    // SAFETY: addrinfo is integers and pointers, for which zero is a valid value.
    let mut node: libc::addrinfo = unsafe { mem::zeroed() };
    let family = address.family().filter(|_| at.is_some());
    node.ai_family = family.map_or(UNKNOWN_FAMILY, |family| family as libc::c_int);
    (node.ai_socktype, node.ai_protocol) = (*kind, *protocol);
    node.ai_addrlen = if at.is_some_and(|at| at.is_ipv6()) { V6_LEN } else { V4_LEN };
    node.ai_addr = ptr::from_ref(address).cast_mut().cast();
    node
}

/// Who is at an address of the list.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Listens(IpAddr),
    /// Listens, and the list asks for MPTCP.
    Mptcp,
    /// A socket that takes datagrams.
    Datagrams,
    /// A socket that keeps the port, and does not listen.
    Refuses(IpAddr),
    /// Nobody can be: it is the address of all, and TCP is for two.
    Unreachable,
    /// Nobody: the family is one that this kernel does not have.
    NoFamily,
    /// An IPv6 address at which `connect` says this, as at all of that length.
    Fails(Errno),
    /// Listens, and `socket` says EMFILE.
    NoDescriptor,
}

use At::{Datagrams, Fails, Listens, Mptcp, NoDescriptor, NoFamily, Refuses, Unreachable};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

const CASES: &[Case] = &[
    ("one address, where somebody listens", |c| walk(c, "listens", &[Listens(V4)], "")),
    ("the first address refuses, the second accepts", |c| {
        const GIVES_UP: &str = "it gives up before the end of the list: go on up to null";
        let second = "the first address refuses, the second listens";
        walk(c, second, &[Refuses(V4), Listens(V4)], "")?;
        let many = [&[Refuses(V4); 50][..], &[Listens(V4)]].concat();
        walk(c, "50 addresses refuse, the next one listens", &many, GIVES_UP)
    }),
    ("it stops at the first that accepts", |c| {
        let list = [Refuses(V4), Listens(V4), Listens(V4), Refuses(V4)];
        walk(c, "listens at two addresses", &list, "")
    }),
    ("a family that cannot be had is skipped", |c| {
        let did = "the first address is of a family that this kernel does not have";
        let mistake = "socket failed for the first address: that ends only this try";
        walk(c, did, &[NoFamily, Listens(V4)], mistake)
    }),
    ("IPv6 refuses, IPv4 accepts: every address has a socket of its own", |c| {
        let mistake = "one socket was used for two addresses: each needs its own family";
        walk(c, "[::1] refuses, 127.0.0.1 listens", &[Refuses(V6), Listens(V4)], mistake)
    }),
    ("IPv6 accepts, and stands before IPv4", |c| {
        walk(c, "listens at [::1]", &[Listens(V6)], "")?;
        let both = [Listens(V6), Listens(V4)];
        walk(c, "listens at [::1] and at 127.0.0.1, in this order", &both, "")?;
        let both = [Listens(V4), Listens(V6)];
        walk(c, "listens at 127.0.0.1 and at [::1], in this order", &both, "")
    }),
    ("an address cannot be reached: the next one is tried, whatever the error", unreachable),
    ("no descriptor is to be had: EMFILE", |c| {
        walk(c, "listens; socket says EMFILE", &[NoDescriptor, NoDescriptor], "")
    }),
    ("kind and protocol are those of the address", |c| {
        let mistake = "the socket is of another kind than the address: take ai_socktype";
        walk(c, "takes datagrams", &[Datagrams], mistake)?;
        walk(c, "listens, for MPTCP, too", &[Mptcp], "")
    }),
    ("an address takes its time", slow),
    ("0 is a descriptor, too", |c| {
        c.zero = true;
        walk(c, "listens; descriptor 0 is free", &[Listens(V4)], ZERO)
    }),
    ("nobody accepts: the last error, and no descriptor is left", |c| {
        walk(c, "refuses", &[Refuses(V4)], "")?;
        walk(c, "refuses at each of 20 addresses", &[Refuses(V4); 20], "")?;
        walk(c, "refuses, the last time at [::1]", &[Refuses(V4), Refuses(V6)], "")?;
        walk(c, "has no such family, then refuses", &[NoFamily, Refuses(V4)], "")?;
        walk(c, "refuses, then has no such family", &[Refuses(V4), NoFamily], "")
    }),
];

/// The socket that keeps the address, and the entry of the list.
fn open(at: At) -> io::Result<(TcpListener, Entry)> {
    let ip = if matches!(at, Listens(V6) | Refuses(V6) | Fails(_)) { V6 } else { V4 };
    let family = if ip.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let kind = if at == Datagrams { SockType::Datagram } else { SockType::Stream };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    let mut port = 0;
    if at == Datagrams {
        // A stream to this number is not to reach another program: it is held until this one ends.
        let (held, free) = bound(|_| Ok(()))?;
        mem::forget(held);
        port = free;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(ip, port)))?;
    if matches!(at, Listens(_) | Mptcp | NoDescriptor) {
        listen(&fd, Backlog::new(8)?)?;
    }
    let socket = TcpListener::from(fd);
    let mut address = socket.local_addr().ok().filter(|_| at != NoFamily);
    if let (Unreachable, Some(address)) = (at, &mut address) {
        address.set_ip(Ipv4Addr::new(127, 255, 255, 255).into());
    }
    let protocol = match at {
        Datagrams => libc::IPPROTO_UDP,
        Mptcp => libc::IPPROTO_MPTCP,
        _ => libc::IPPROTO_TCP,
    };
    Ok((socket, (address, kind as i32, protocol)))
}

/// It has to connect to the first that accepts, or to say why the last one does not. `gives_up` is
/// what it is called if it says that none does.
fn walk(child: &mut Child, did: &str, list: &[At], gives_up: &str) -> Verdict {
    let Ok(open) = list.iter().map(|at| open(*at)).collect::<io::Result<Vec<_>>>() else {
        return Ok(()); // no IPv6 on this machine
    };
    let (sockets, entries): (Vec<_>, Vec<_>) = open.into_iter().unzip();
    let denied = list.iter().find_map(|at| match *at {
        Fails(errno) => Some((libc::SYS_connect, Some((2, V6_LEN.into())), errno)),
        NoDescriptor => Some((libc::SYS_socket, None, Errno::EMFILE)),
        _ => None,
    });
    let denied = denied.map(|(call, only, errno)| Denied { call, only, errno: errno as i32 });
    let ever = "it tries the same address for ever: go on to ai_next";
    child.scene("walking the list", did, ever);
    let said: Said<Socket> = child.makes((entries, denied), vec![])?;
    if said.after.calls.freed_no_list > 0 {
        return Err(Refusal::new("the list is only lent: who called getaddrinfo frees it"));
    }
    if !said.more.same_list {
        return Err(Refusal::new("the list was written to, and it is only lent"));
    }
    match list.iter().position(|at| matches!(at, Listens(_) | Datagrams | Mptcp)) {
        Some(first) => connected(&said, list, first, &sockets, gives_up),
        None => nobody(&said, list),
    }?;
    // Two may take turns, where the last one is closed once the next is there.
    let few = said.after.calls.connected.len() <= 2;
    let mistake = "sockets of addresses that failed stay open until the walk ends: a long list \
                   needs more descriptors than there are";
    ensure(few, mistake, "each closed before the next but one", "all of them open")
}

fn connected(
    said: &Said<Socket>,
    list: &[At],
    first: usize,
    sockets: &[TcpListener],
    gives_up: &str,
) -> Verdict {
    let (socket, opened, fails) = (&said.more, &said.after.opened, said.result.is_err());
    let errno = said.errno();
    if list[first] == Mptcp && errno == libc::EPROTONOSUPPORT {
        return Ok(()); // no MPTCP on this machine
    }
    let connection = sockets[first].accept();
    let others = sockets[first + 1..].iter().any(|other| other.accept().is_ok());
    let number = |opened: &String| opened.split('(').next_back().map(String::from);
    let is_copy = opened.len() > 1 && number(&opened[0]) == number(&opened[opened.len() - 1]);
    let own = format!("fd {} ", socket.fd);
    let mistake = first! {
        fails && !gives_up.is_empty() => gives_up,
        fails && first == 0 && errno == libc::EAFNOSUPPORT =>
            "the socket is of another family than the address: take ai_family",
        fails && first == 0 && errno == libc::EINVAL =>
            "an IPv6 address is longer than an IPv4 address: take ai_addrlen",
        fails => "an address further down the list accepts: go on after a failure",
        others && connection.is_ok() =>
            "it goes on after a connect that succeeded: one is enough",
        others => "the order of the list is the order to try in",
        is_copy => "the socket has two descriptors: where one is returned, close the other",
        opened.len() > 1 =>
            "the socket of an address that failed stays open: close it before the next try",
        !opened.iter().any(|opened| opened.starts_with(&own)) =>
            "the descriptor that it returned is not open",
    };
    judge(mistake, "Ok(fd), and one new descriptor", say!("{}; open: {opened:?}", said.shown()))?;
    said.after.made()?;
    let mistake = first! {
        said.after.calls.inherited =>
            "the socket becomes close-on-exec after connect: a program that another thread starts \
             meanwhile has it, too",
        list[first] == Mptcp && socket.protocol != libc::IPPROTO_MPTCP =>
            "the socket has the usual protocol of its kind: take ai_protocol",
        !socket.sent =>
            "the socket that it returned is not connected: look at what connect returned",
    };
    judge(mistake, "a socket as the list has it, and a send that succeeds", said.shown())?;
    if list[first] == Datagrams {
        return Ok(());
    }
    let Ok((mut connection, _)) = connection else {
        return refuse("it is connected to another address", "a connection", say!("none"));
    };
    let mut hello = Vec::new();
    connection.read_to_end(&mut hello)?;
    if hello != b"hello" {
        let mistake = "something was sent that nobody asked for";
        return Err(Refusal::new(mistake).bytes(b"hello", &hello));
    }
    Ok(())
}

/// The queue of the first is full, and its kernel tries again within a second.
fn slow(child: &mut Child) -> Verdict {
    let (listener, _, _filler, _held) = full()?;
    let (further, entry) = open(Listens(V4))?;
    let first = (Some(listener.local_addr()?), entry.1, entry.2);
    child.scene("walking the list", "lets the first try wait, and then takes the connection", "");
    child.ask((vec![first, entry], None::<Denied>), &[], vec![])?;
    let _room = if child.until_blocked()? { Some(listener.accept()?) } else { None };
    let said: Said<Socket> = child.unchecked()?;
    let waited = said.result.is_ok() && further.accept().is_err();
    let mistake = "an address that takes its time was given up: connect waits until it is decided";
    said.ensure(waited, mistake, "Ok(fd), connected to the first address")
}

fn unreachable(child: &mut Child) -> Verdict {
    let mut tries = |at, errno| {
        let did = say!("connect says {errno:?} at the first address, the second listens");
        let gives_up =
            say!("after {errno:?} it gives up: whatever the error, the next one is tried");
        walk(child, &did, &[at, Listens(V4)], &gives_up)?;
        let did = say!("refuses at the first address, connect says {errno:?} at the second");
        walk(child, &did, &[Refuses(V4), at], "")
    };
    use Errno::{EACCES, EADDRNOTAVAIL, EHOSTUNREACH, ENETDOWN, ENETUNREACH, ETIMEDOUT};
    tries(Unreachable, ENETUNREACH)?;
    let errnos = [ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ENETDOWN, EACCES, EADDRNOTAVAIL];
    errnos.into_iter().try_for_each(|errno| tries(Fails(errno), errno))
}

fn nobody(said: &Said<Socket>, list: &[At]) -> Verdict {
    let last = match list.last() {
        Some(NoFamily) => libc::EAFNOSUPPORT,
        Some(Unreachable) => libc::ENETUNREACH,
        Some(Fails(errno)) => *errno as i32,
        Some(NoDescriptor) => libc::EMFILE,
        _ => libc::ECONNREFUSED,
    };
    let (connects, sockets) = (said.calls("connect"), said.calls("socket"));
    let errno = Errno::from_raw(said.errno());
    let gives_up = say!("after {errno:?} it gives up: whatever the error, the next one is tried");
    let mistake: &str = first! {
        said.text() == "Ok(-1)" => "it returned Ok(-1): -1 is no descriptor, but a failure",
        said.result.is_ok() => "every connect failed, and it returned a socket all the same",
        said.errno() == 0 => "an error without errno: say why the last try failed",
        said.errno() == AFTER_CLOSE as i32 =>
            "errno was read after close, which may change it: read it after connect",
        connects <= sockets && sockets < list.len() => &gives_up,
        said.errno() != last => "the error is not the one of the last try",
        !said.after.opened.is_empty() =>
            "every connect failed, and the sockets stay open: close them",
        connects > list.iter().filter(|at| **at != NoFamily).count() =>
            "connect was called again for an address that had failed: one try for each",
        sockets < list.len() =>
            "a socket whose connect had failed was used again: make a new one for each try",
    };
    let seen = say!("{}; open: {:?}", said.shown(), said.after.opened);
    judge(mistake, format!("Err({})", io::Error::from_raw_os_error(last)), seen)
}
