//! Exercise `connect_to`: try every address of a list. Article 7.1.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::ptr;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    bind, getsockname, socket,
};
use say::say;
use serde::{Deserialize, Serialize};

use crate::calls::{self, AFTER_CLOSE, Calls};
use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, fd_flags, observe, portable, show, unasked_settings};
use crate::refusal::Refusal;

/// An entry of the list. Without an address: of a family that this kernel does not know.
type Entry = Option<SocketAddr>;

#[derive(Serialize, Deserialize)]
struct Ask {
    list: Vec<Entry>,
    /// Other than SOCK_STREAM and IPPROTO_TCP.
    kind: Option<(i32, i32)>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<RawFd, Failure>,
    /// What the kernel says of the descriptor that was returned.
    close_on_exec: bool,
    nonblocking: bool,
    kind: i32,
    protocol: i32,
    /// Settings that no new socket has.
    unasked: Vec<String>,
    /// `hello` was sent to it.
    sent: bool,
    calls: Calls,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(&libc::addrinfo) -> io::Result<RawFd>) -> ExitCode {
    grading::grade_raw("connect_to", CASES, |ask: Ask, given| {
        let addresses: Vec<_> = ask.list.iter().map(address).collect();
        let mut nodes: Vec<_> = addresses.iter().map(node).collect();
        if let Some(kind) = ask.kind {
            nodes.iter_mut().for_each(|node| (node.ai_socktype, node.ai_protocol) = kind);
        }
        for at in (1..nodes.len()).rev() {
            nodes[at - 1].ai_next = &mut nodes[at];
        }
        let (result, after) = observe(&given.fds, || {
            calls::start();
            answer(&nodes[0])
        });
        let calls = calls::counted();
        let fd = *result.as_ref().unwrap_or(&-1);
        let (close_on_exec, nonblocking) = fd_flags(fd);
        let kind = int_option(fd, libc::SO_TYPE);
        let protocol = int_option(fd, libc::SO_PROTOCOL);
        let unasked = unasked_settings(fd);
        // SAFETY:
        // - the bytes are readable; the descriptor was made for the grader, which closes it.
        let sent = unsafe {
            let sent = libc::send(fd, b"hello".as_ptr().cast(), 5, libc::MSG_NOSIGNAL) == 5;
            libc::close(fd);
            sent
        };
        let result = portable(result);
        let said = Said {
            result,
            close_on_exec,
            nonblocking,
            kind,
            protocol,
            unasked,
            sent,
            calls,
            after,
        };
        (said, Vec::new())
    })
}

fn int_option(fd: RawFd, option: libc::c_int) -> libc::c_int {
    let mut value = -1;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    let at = (&raw mut value).cast();
    // SAFETY:
    // - the pointer and the length are those of `value`.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, option, at, &mut len) };
    value
}

const UNKNOWN_FAMILY: libc::c_int = 250;

fn address(entry: &Entry) -> SockaddrStorage {
    match entry {
        Some(address) => SockaddrStorage::from(*address),
        None => SockaddrStorage::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))),
    }
    .to_owned()
}

fn node(address: &SockaddrStorage) -> libc::addrinfo {
    // SAFETY:
    // - addrinfo is integers and pointers, for which zero is a valid value.
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
    Case { name: "one address, where somebody listens", run: one },
    Case { name: "the first address refuses, the second accepts", run: second },
    Case { name: "it stops at the first that accepts", run: stops },
    Case { name: "a family that cannot be had is skipped", run: family },
    Case { name: "IPv6 refuses, IPv4 accepts: every address has a socket of its own", run: mixed },
    Case { name: "IPv6 accepts, and stands before IPv4", run: ipv6 },
    Case { name: "kind and protocol are those of the address", run: kind },
    Case { name: "nobody accepts: the last error, and no descriptor is left", run: nobody },
];

/// An address where connections are refused: bound, so that nobody else takes it, and not
/// listening.
fn refusing(ip: impl Into<std::net::IpAddr>) -> io::Result<(OwnedFd, Entry)> {
    let ip = ip.into();
    let family = if ip.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let held = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let at: SocketAddr = match SocketAddr::new(ip, 0) {
        SocketAddr::V4(at) => {
            bind(held.as_raw_fd(), &SockaddrIn::from(at))?;
            let at: SockaddrIn = getsockname(held.as_raw_fd())?;
            std::net::SocketAddrV4::from(at).into()
        }
        SocketAddr::V6(at) => {
            bind(held.as_raw_fd(), &SockaddrIn6::from(at))?;
            let at: SockaddrIn6 = getsockname(held.as_raw_fd())?;
            std::net::SocketAddrV6::from(at).into()
        }
    };
    Ok((held, Some(at)))
}

fn listening() -> io::Result<(TcpListener, Entry)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let at = listener.local_addr()?;
    Ok((listener, Some(at)))
}

fn call(child: &mut Child, list: Vec<Entry>) -> Result<Said, Refusal> {
    call_with(child, Ask { list, kind: None })
}

fn call_with(child: &mut Child, ask: Ask) -> Result<Said, Refusal> {
    child.scene(
        "walking the list",
        "every address answers at once",
        "it tries the same address for ever: go on to ai_next",
    );
    let (said, _) = child.call_as::<Said>(ask, &[], vec![])?;
    if said.calls.freed_no_list + said.calls.freed > 0 {
        return Err(Refusal::new("the list is only lent: who called getaddrinfo frees it"));
    }
    if said.calls.closed_nothing > 0 {
        return Err(Refusal::new("close was called for a number under which nothing was open")
            .but("one close for each socket that failed", "EBADF"));
    }
    Ok(said)
}

/// It has to be connected to this listener.
fn connected(said: Said, listener: &TcpListener, list: &str) -> Result<(), Refusal> {
    let refuse = |mistake: &str, expected: &str, seen: String| {
        Err(Refusal::new(mistake).peer(list).but(expected, seen))
    };
    let fd = match &said.result {
        Ok(fd) => *fd,
        result => {
            let mistake = "an address further down the list accepts: go on after a failure";
            return refuse(mistake, "Ok(fd)", show(result));
        }
    };
    let own = format!("fd {fd} ");
    let [_, ..] = &said.after.opened[..] else {
        return refuse(
            "the descriptor that it returned is not open",
            "an open descriptor",
            say!("fd {fd}"),
        );
    };
    if let [one, .., other] = &said.after.opened[..]
        && one.split('(').next_back() == other.split('(').next_back()
    {
        return refuse(
            "the socket has two descriptors: where one is returned, close the other",
            "one new descriptor",
            said.after.opened.join(", "),
        );
    }
    if said.after.opened.len() > 1 {
        return refuse(
            "the socket of an address that failed stays open: close it before the next try",
            "one new descriptor",
            said.after.opened.join(", "),
        );
    }
    if !said.after.opened.iter().any(|o| o.starts_with(&own)) {
        return refuse(
            "the descriptor that it returned is not open",
            "an open descriptor",
            say!("fd {fd}"),
        );
    }
    if let [first, ..] = &said.unasked[..]
        && !said.nonblocking
    {
        return refuse(
            "the socket has a setting that nobody asked for",
            "the settings of a new socket",
            first.clone(),
        );
    }
    if !said.sent {
        return refuse(
            "the socket that it returned is not connected: look at what connect returned",
            "send succeeds",
            "send failed".into(),
        );
    }
    let Ok((mut conn, _)) = listener.accept() else {
        return refuse("it is connected to another address", "a connection", say!("none"));
    };
    conn.set_nonblocking(false)?;
    let mut hello = Vec::new();
    io::Read::read_to_end(&mut conn, &mut hello)?;
    if hello != b"hello" {
        return Err(
            Refusal::new("something was sent that nobody asked for").bytes(b"hello", &hello)
        );
    }
    if !said.close_on_exec {
        return refuse(
            "a program that this one starts would inherit the socket: SOCK_CLOEXEC",
            "close-on-exec",
            "not set".into(),
        );
    }
    if said.nonblocking {
        return refuse(
            "the socket was left non-blocking",
            "a blocking socket",
            "O_NONBLOCK".into(),
        );
    }
    Ok(())
}

fn one(child: &mut Child) -> Result<(), Refusal> {
    let (listener, at) = listening()?;
    let said = call(child, vec![at])?;
    connected(said, &listener, &say!("listens"))
}

fn second(child: &mut Child) -> Result<(), Refusal> {
    let (_held, refused) = refusing(Ipv4Addr::LOCALHOST)?;
    let (listener, at) = listening()?;
    let said = call(child, vec![refused, at])?;
    connected(said, &listener, "the first address refuses, the second listens")?;
    let said = call(child, vec![refused, refused, refused, at])?;
    connected(said, &listener, "three addresses refuse, the fourth listens")?;
    let said = call(child, [vec![refused; 50], vec![at]].concat())?;
    if said.result.is_err() {
        return Err(Refusal::new("it gives up before the end of the list: go on up to null")
            .peer("50 addresses refuse, the next one listens")
            .but("Ok(fd)", show(&said.result)));
    }
    connected(said, &listener, "50 addresses refuse, the next one listens")
}

fn stops(child: &mut Child) -> Result<(), Refusal> {
    let (_held, refused) = refusing(Ipv4Addr::LOCALHOST)?;
    let [(listener, at), (other, further)] = [listening()?, listening()?];
    let said = call(child, vec![refused, at, further, refused])?;
    if other.accept().is_ok() {
        return Err(Refusal::new("it goes on after a connect that succeeded: one is enough")
            .peer("listens at two addresses")
            .but("one connection, to the first of them", "a connection to the second"));
    }
    connected(said, &listener, "listens at two addresses")
}

fn family(child: &mut Child) -> Result<(), Refusal> {
    let (listener, at) = listening()?;
    let said = call(child, vec![None, at])?;
    if said.result.is_err() {
        return Err(Refusal::new("socket failed for the first address: that ends only this try")
            .peer("the first address is of a family that this kernel does not have")
            .but("Ok(fd), connected to the second", show(&said.result)));
    }
    connected(said, &listener, "the first address cannot have a socket, the second listens")
}

fn mixed(child: &mut Child) -> Result<(), Refusal> {
    let Ok((_held, refused)) = refusing(Ipv6Addr::LOCALHOST) else {
        return Ok(()); // no IPv6 on this machine
    };
    let (listener, at) = listening()?;
    let said = call(child, vec![refused, at])?;
    if said.result.is_err() {
        return Err(Refusal::new(
            "one socket was used for two addresses: each needs its own family",
        )
        .peer("[::1] refuses, 127.0.0.1 listens")
        .but("Ok(fd)", show(&said.result)));
    }
    connected(said, &listener, "[::1] refuses, 127.0.0.1 listens")
}

fn ipv6(child: &mut Child) -> Result<(), Refusal> {
    let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
        return Ok(()); // no IPv6 on this machine
    };
    v6.set_nonblocking(true)?;
    let first = Some(v6.local_addr()?);
    const PEER: &str = "listens at [::1] and at 127.0.0.1, in this order";
    let refuse = |mistake: &str, seen: String| {
        Err(Refusal::new(mistake).peer(PEER).but("Ok(fd), connected to [::1]", seen))
    };
    let said = call(child, vec![first])?;
    match said.result.as_ref().err().and_then(|e| e.errno) {
        Some(libc::EAFNOSUPPORT) => {
            let mistake = "the socket is of another family than the address: take ai_family";
            return refuse(mistake, show(&said.result));
        }
        Some(libc::EINVAL) => {
            let mistake = "an IPv6 address is longer than an IPv4 address: take ai_addrlen";
            return refuse(mistake, show(&said.result));
        }
        _ => connected(said, &v6, "listens at [::1]")?,
    }
    let (v4, second) = listening()?;
    let said = call(child, vec![first, second])?;
    if v4.accept().is_ok() {
        return refuse(
            "the order of the list is the order to try in",
            "127.0.0.1 came first".into(),
        );
    }
    connected(said, &v6, PEER)
}

fn kind(child: &mut Child) -> Result<(), Refusal> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let list = vec![Some(socket.local_addr()?)];
    let datagrams = (libc::SOCK_DGRAM, libc::IPPROTO_UDP);
    let said = call_with(child, Ask { list, kind: Some(datagrams) })?;
    if said.kind != libc::SOCK_DGRAM {
        return Err(Refusal::new(
            "the socket is of another kind than the address: take ai_socktype",
        )
        .but("SOCK_DGRAM", show(&said.result)));
    }
    // A protocol that is not the usual one of its kind, where this kernel has it.
    let mptcp = (libc::SOCK_STREAM, libc::IPPROTO_MPTCP);
    // SAFETY:
    // - socket takes numbers; the descriptor is ours alone.
    let known = unsafe {
        let fd = libc::socket(libc::AF_INET, mptcp.0, mptcp.1);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))
    };
    if known.is_none() {
        return Ok(());
    }
    let (_listener, at) = listening()?;
    let said = call_with(child, Ask { list: vec![at], kind: Some(mptcp) })?;
    if said.protocol != libc::IPPROTO_MPTCP {
        return Err(Refusal::new(
            "the socket has the usual protocol of its kind: take ai_protocol",
        )
        .but("IPPROTO_MPTCP", said.protocol.to_string()));
    }
    Ok(())
}

fn nobody(child: &mut Child) -> Result<(), Refusal> {
    let (_held, refused) = refusing(Ipv4Addr::LOCALHOST)?;
    let refuses = say!("refuses");
    let lists = [
        (vec![refused], libc::ECONNREFUSED, &*refuses),
        (vec![refused; 20], libc::ECONNREFUSED, "refuses at each of 20 addresses"),
        (vec![None, refused], libc::ECONNREFUSED, "has no such family, then refuses"),
        (vec![refused, None], libc::EAFNOSUPPORT, "refuses, then has no such family"),
    ];
    for (list, errno, peer) in lists {
        let tries = list.len();
        let said = call(child, list)?;
        let mistake = match &said.result {
            Ok(-1) => "it returned Ok(-1): -1 is no descriptor, but a failure",
            Ok(_) => "every connect failed, and it returned a socket all the same",
            Err(e) if e.errno.is_none() => "an error without errno: say why the last try failed",
            Err(e) if e.errno == Some(AFTER_CLOSE as i32) => {
                "errno was read behind close, which may change it: read it behind connect"
            }
            Err(e) if e.errno != Some(errno) => "the error is not the one of the last try",
            Err(_) if !said.after.opened.is_empty() => {
                "every connect failed, and the sockets stay open: close them"
            }
            Err(_) if said.calls.sockets < tries => {
                "a socket whose connect had failed was used again: make a new one for each try"
            }
            Err(_) => continue,
        };
        let expected = format!("Err({})", io::Error::from_raw_os_error(errno));
        let seen = say!("{}; open: {:?}", show(&said.result), said.after.opened);
        return Err(Refusal::new(mistake).peer(peer).but(expected, seen));
    }
    Ok(())
}
