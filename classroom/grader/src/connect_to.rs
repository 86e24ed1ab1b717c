//! Exercise `connect_to`: try every address of a list. Article 7.1.

use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use nix::sys::socket::{SockaddrIn6, SockaddrLike, SockaddrStorage, bind, getsockname};

use crate::calls::AFTER_CLOSE;
use crate::inside::Made;
use crate::peer::bound;
use crate::prelude::*;

/// An entry of the list. Without an address: of a family that this kernel does not know.
type Entry = Option<SocketAddr>;

#[derive(Serialize, Deserialize)]
struct Socket {
    fd: RawFd,
    made: Made,
    kind: i32,
    protocol: i32,
    /// `hello` was sent to it.
    sent: bool,
}

/// Grades the answer: asked to connect to one of the list; with another kind and protocol than
/// SOCK_STREAM and IPPROTO_TCP.
pub fn grade(answer: fn(&libc::addrinfo) -> io::Result<RawFd>) -> ExitCode {
    type Ask = (Vec<Entry>, Option<(i32, i32)>);
    grading::grade("connect_to", CASES, |(list, kind): Ask, given| {
        let addresses: Vec<_> = list.iter().map(address).collect();
        let mut nodes: Vec<_> = addresses.iter().map(node).collect();
        if let Some(kind) = kind {
            nodes.iter_mut().for_each(|node| (node.ai_socktype, node.ai_protocol) = kind);
        }
        for at in (1..nodes.len()).rev() {
            nodes[at - 1].ai_next = &mut nodes[at];
        }
        let mut fd = -1;
        let keep = |made| {
            fd = made;
            (format!("Ok({made})"), Vec::new())
        };
        let said = given.call(|| answer(&nodes[0]), keep);
        let (made, kind) = (Made::of(fd), int_option(fd, libc::SO_TYPE));
        let protocol = int_option(fd, libc::SO_PROTOCOL);
        // SAFETY: the bytes are readable; the descriptor was made for the grader, which closes it.
        let sent = unsafe {
            let sent = libc::send(fd, b"hello".as_ptr().cast(), 5, libc::MSG_NOSIGNAL) == 5;
            libc::close(fd);
            sent
        };
        said.with(Socket { fd, made, kind, protocol, sent })
    })
}

fn int_option(fd: RawFd, option: libc::c_int) -> libc::c_int {
    let mut value = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let at = (&raw mut value).cast();
    // SAFETY: the pointer and the length are those of `value`.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, at, &mut len) };
    value
}

const UNKNOWN_FAMILY: libc::c_int = 250;

fn address(entry: &Entry) -> SockaddrStorage {
    SockaddrStorage::from(entry.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))))
}

fn node(address: &SockaddrStorage) -> libc::addrinfo {
    // SAFETY: addrinfo is integers and pointers, for which zero is a valid value.
    let mut node: libc::addrinfo = unsafe { mem::zeroed() };
    let refused_by_socket = address.as_sockaddr_in().is_some_and(|a| a.port() == 1);
    let family = address.family().map_or(0, |f| f as libc::c_int);
    node.ai_family = if refused_by_socket { UNKNOWN_FAMILY } else { family };
    node.ai_socktype = libc::SOCK_STREAM;
    node.ai_protocol = libc::IPPROTO_TCP;
    node.ai_addrlen = address.len();
    node.ai_addr = ptr::from_ref(address).cast_mut().cast();
    node
}

const CASES: &[Case] = &[
    ("one address, where somebody listens", one),
    ("the first address refuses, the second accepts", second),
    ("it stops at the first that accepts", stops),
    ("a family that cannot be had is skipped", family),
    ("IPv6 refuses, IPv4 accepts: every address has a socket of its own", mixed),
    ("IPv6 accepts, and stands before IPv4", ipv6),
    ("kind and protocol are those of the address", kind),
    ("nobody accepts: the last error, and no descriptor is left", nobody),
];

/// An address where connections are refused: bound, so that nobody else takes it, and not
/// listening.
fn refusing() -> io::Result<(OwnedFd, Entry)> {
    let (held, port) = bound(|_| Ok(()))?;
    Ok((held, Some((Ipv4Addr::LOCALHOST, port).into())))
}

fn refusing_ipv6() -> io::Result<(OwnedFd, Entry)> {
    let held = socket(AddressFamily::Inet6, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let any = SocketAddrV6::new(Ipv6Addr::LOCALHOST, 0, 0, 0);
    bind(held.as_raw_fd(), &SockaddrIn6::from(any))?;
    let at: SockaddrIn6 = getsockname(held.as_raw_fd())?;
    Ok((held, Some(SocketAddrV6::from(at).into())))
}

fn listening(at: impl Into<std::net::IpAddr>) -> io::Result<(TcpListener, Entry)> {
    let listener = TcpListener::bind((at.into(), 0))?;
    listener.set_nonblocking(true)?;
    let at = listener.local_addr()?;
    Ok((listener, Some(at)))
}

/// Called with this list; the peer does this.
fn call(child: &mut Child, list: &[Entry], did: &str) -> Result<Said<Socket>, Refusal> {
    call_with(child, list, None, did)
}

fn call_with(
    child: &mut Child,
    list: &[Entry],
    kind: Option<(i32, i32)>,
    did: &str,
) -> Result<Said<Socket>, Refusal> {
    let ever = "it tries the same address for ever: go on to ai_next";
    child.scene("walking the list", did, ever);
    let said: Said<Socket> = child.call_unchecked((list, kind), vec![])?;
    let calls = &said.after.calls;
    if calls.freed_no_list + calls.freed > 0 {
        return Err(Refusal::new("the list is only lent: who called getaddrinfo frees it"));
    }
    if calls.closed_nothing > 0 {
        let mistake = "close was called for a number under which nothing was open";
        return refuse(mistake, "one close for each socket that failed", "EBADF");
    }
    Ok(said)
}

/// It has to be connected to this listener.
fn connected(said: &Said<Socket>, listener: &TcpListener) -> Verdict {
    let (socket, opened) = (&said.more, &said.after.opened);
    let list = || opened.join(", ");
    if said.result.is_err() {
        let mistake = "an address further down the list accepts: go on after a failure";
        return Err(said.refused(mistake, "Ok(fd)"));
    }
    let own = format!("fd {} ", socket.fd);
    if let [one, .., other] = &opened[..] {
        let copy = one.split('(').next_back() == other.split('(').next_back();
        let mistake = if copy {
            "the socket has two descriptors: where one is returned, close the other"
        } else {
            "the socket of an address that failed stays open: close it before the next try"
        };
        return refuse(mistake, "one new descriptor", list());
    }
    if !opened.iter().any(|opened| opened.starts_with(&own)) {
        let mistake = "the descriptor that it returned is not open";
        return Err(said.refused(mistake, "an open descriptor"));
    }
    socket.made.check()?;
    if !socket.sent {
        let mistake = "the socket that it returned is not connected: look at what connect returned";
        return refuse(mistake, "send succeeds", "send failed");
    }
    let Ok((mut conn, _)) = listener.accept() else {
        return refuse("it is connected to another address", "a connection", say!("none"));
    };
    conn.set_nonblocking(false)?;
    let mut hello = Vec::new();
    io::Read::read_to_end(&mut conn, &mut hello)?;
    if hello == b"hello" {
        return Ok(());
    }
    Err(Refusal::new("something was sent that nobody asked for").bytes(b"hello", &hello))
}

/// The last of the list accepts; with a mistake where it says that none does.
fn last_accepts(child: &mut Child, list: &[Entry], did: &str, mistake: &str) -> Verdict {
    let (listener, at) = listening(Ipv4Addr::LOCALHOST)?;
    let said = call(child, &[list, &[at]].concat(), did)?;
    if said.result.is_err() && !mistake.is_empty() {
        return Err(said.refused(mistake, "Ok(fd)"));
    }
    connected(&said, &listener)
}

fn one(child: &mut Child) -> Verdict {
    last_accepts(child, &[], &say!("listens"), "")
}

fn second(child: &mut Child) -> Verdict {
    const GIVES_UP: &str = "it gives up before the end of the list: go on up to null";
    let (_held, refused) = refusing()?;
    last_accepts(child, &[refused], "the first address refuses, the second listens", "")?;
    last_accepts(child, &[refused; 3], "three addresses refuse, the fourth listens", "")?;
    last_accepts(child, &[refused; 50], "50 addresses refuse, the next one listens", GIVES_UP)
}

fn stops(child: &mut Child) -> Verdict {
    let (_held, refused) = refusing()?;
    let v4 = Ipv4Addr::LOCALHOST;
    let [(listener, at), (other, further)] = [listening(v4)?, listening(v4)?];
    let said = call(child, &[refused, at, further, refused], "listens at two addresses")?;
    if other.accept().is_ok() {
        let mistake = "it goes on after a connect that succeeded: one is enough";
        let seen = "a connection to the second";
        return refuse(mistake, "one connection, to the first of them", seen);
    }
    connected(&said, &listener)
}

fn family(child: &mut Child) -> Verdict {
    let did = "the first address is of a family that this kernel does not have";
    let mistake = "socket failed for the first address: that ends only this try";
    last_accepts(child, &[None], did, mistake)
}

fn mixed(child: &mut Child) -> Verdict {
    let Ok((_held, refused)) = refusing_ipv6() else {
        return Ok(()); // no IPv6 on this machine
    };
    let mistake = "one socket was used for two addresses: each needs its own family";
    last_accepts(child, &[refused], "[::1] refuses, 127.0.0.1 listens", mistake)
}

fn ipv6(child: &mut Child) -> Verdict {
    let Ok((v6, first)) = listening(Ipv6Addr::LOCALHOST) else {
        return Ok(()); // no IPv6 on this machine
    };
    const EXPECTED: &str = "Ok(fd), connected to [::1]";
    let said = call(child, &[first], "listens at [::1]")?;
    let mistake = match said.errno() {
        libc::EAFNOSUPPORT => "the socket is of another family than the address: take ai_family",
        libc::EINVAL => "an IPv6 address is longer than an IPv4 address: take ai_addrlen",
        _ => "",
    };
    said.judged(mistake, EXPECTED)?;
    connected(&said, &v6)?;
    let (v4, second) = listening(Ipv4Addr::LOCALHOST)?;
    let did = "listens at [::1] and at 127.0.0.1, in this order";
    let said = call(child, &[first, second], did)?;
    if v4.accept().is_ok() {
        let mistake = "the order of the list is the order to try in";
        return refuse(mistake, EXPECTED, "127.0.0.1 came first");
    }
    connected(&said, &v6)
}

fn kind(child: &mut Child) -> Verdict {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let datagrams = Some((libc::SOCK_DGRAM, libc::IPPROTO_UDP));
    let said = call_with(child, &[Some(socket.local_addr()?)], datagrams, "takes datagrams")?;
    let mistake = "the socket is of another kind than the address: take ai_socktype";
    let right = said.more.kind == libc::SOCK_DGRAM;
    said.ensure(right, mistake, "SOCK_DGRAM")?;
    // A protocol that is not the usual one of its kind, where this kernel has it.
    let mptcp = (libc::SOCK_STREAM, libc::IPPROTO_MPTCP);
    // SAFETY: socket takes numbers; the descriptor is ours alone.
    let known = unsafe {
        let fd = libc::socket(libc::AF_INET, mptcp.0, mptcp.1);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    };
    if known.is_none() {
        return Ok(());
    }
    let (_listener, at) = listening(Ipv4Addr::LOCALHOST)?;
    let said = call_with(child, &[at], Some(mptcp), "listens, for MPTCP, too")?;
    let mistake = "the socket has the usual protocol of its kind: take ai_protocol";
    let right = said.more.protocol == libc::IPPROTO_MPTCP;
    said.ensure(right, mistake, "IPPROTO_MPTCP")
}

fn nobody(child: &mut Child) -> Verdict {
    let (_held, refused) = refusing()?;
    let refuses = say!("refuses");
    for (list, errno, did) in [
        (vec![refused], libc::ECONNREFUSED, &*refuses),
        (vec![refused; 20], libc::ECONNREFUSED, "refuses at each of 20 addresses"),
        (vec![None, refused], libc::ECONNREFUSED, "has no such family, then refuses"),
        (vec![refused, None], libc::EAFNOSUPPORT, "refuses, then has no such family"),
    ] {
        let said = call(child, &list, did)?;
        let mistake = if said.text() == "Ok(-1)" {
            "it returned Ok(-1): -1 is no descriptor, but a failure"
        } else if said.result.is_ok() {
            "every connect failed, and it returned a socket all the same"
        } else if said.errno() == 0 {
            "an error without errno: say why the last try failed"
        } else if said.errno() == AFTER_CLOSE as i32 {
            "errno was read behind close, which may change it: read it behind connect"
        } else if said.errno() != errno {
            "the error is not the one of the last try"
        } else if !said.after.opened.is_empty() {
            "every connect failed, and the sockets stay open: close them"
        } else if said.calls("socket") < list.len() {
            "a socket whose connect had failed was used again: make a new one for each try"
        } else {
            continue;
        };
        let seen = say!("{}; open: {:?}", said.shown(), said.after.opened);
        let expected = format!("Err({})", io::Error::from_raw_os_error(errno));
        return refuse(mistake, expected, seen);
    }
    Ok(())
}
