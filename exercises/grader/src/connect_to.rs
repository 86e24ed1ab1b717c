//! Exercise `connect_to`: try every address of a list. Article 7.1.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::ptr;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    bind, getsockname, socket,
};
use serde::{Deserialize, Serialize};

use crate::calls::{self, Calls};
use crate::child;
use crate::grading::{self, About};
use crate::inside::{After, Failure, fd_flags, observe, portable, show};
use crate::refusal::Refusal;

/// Where it stands.
pub const ABOUT: About = About {
    name: "connect_to",
    dir: "04_connect",
    section: "7.1",
    man: "socket(2), connect(2)",
    example: "s07_resolve",
};

/// An entry of the list. Without an address: of a family that this kernel does not know.
type Entry = Option<SocketAddr>;

#[derive(Serialize, Deserialize)]
struct Ask {
    list: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<RawFd, Failure>,
    /// What the kernel says of the descriptor that was returned.
    close_on_exec: bool,
    nonblocking: bool,
    /// `hello` was sent to it.
    sent: bool,
    calls: Calls,
    after: After,
}

type Child = child::Child<Ask, Said>;
type Case = grading::Case<Ask, Said>;

/// Grades the answer.
pub fn grade(answer: fn(&libc::addrinfo) -> io::Result<RawFd>) -> ExitCode {
    grading::grade(&ABOUT, CASES, |ask: Ask, given| {
        let addresses: Vec<_> = ask.list.iter().map(address).collect();
        let mut nodes: Vec<_> = addresses.iter().map(node).collect();
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
        // SAFETY:
        // - the bytes are readable; the descriptor was made for the grader, which closes it.
        let sent = unsafe {
            let sent = libc::send(fd, b"hello".as_ptr().cast(), 5, libc::MSG_NOSIGNAL) == 5;
            libc::close(fd);
            sent
        };
        let result = portable(result);
        (Said { result, close_on_exec, nonblocking, sent, calls, after }, Vec::new())
    })
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
    child.scene(
        "walking the list",
        "every address answers at once",
        "it tries the same address for ever: go on to ai_next",
    );
    let (said, _) = child.call(Ask { list }, &[], vec![])?;
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
    if said.after.opened.len() > 1 {
        return refuse(
            "the socket of an address that failed stays open: close it before the next try",
            "one new descriptor",
            said.after.opened.join(", "),
        );
    }
    if !said.after.opened.iter().any(|o| o.starts_with(&own)) {
        return refuse("the descriptor that it returned is not open", "open", format!("fd {fd}"));
    }
    if !said.sent {
        return refuse(
            "the socket that it returned is not connected: look at what connect returned",
            "send succeeds",
            "send failed".into(),
        );
    }
    let Ok((mut conn, _)) = listener.accept() else {
        return refuse("it is connected to another address", "a connection", "none".into());
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
    connected(said, &listener, "listens")
}

fn second(child: &mut Child) -> Result<(), Refusal> {
    let (_held, refused) = refusing(Ipv4Addr::LOCALHOST)?;
    let (listener, at) = listening()?;
    let said = call(child, vec![refused, at])?;
    connected(said, &listener, "the first address refuses, the second listens")?;
    let said = call(child, vec![refused, refused, refused, at])?;
    connected(said, &listener, "three addresses refuse, the fourth listens")
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

fn nobody(child: &mut Child) -> Result<(), Refusal> {
    let (_held, refused) = refusing(Ipv4Addr::LOCALHOST)?;
    let lists = [
        (vec![refused], libc::ECONNREFUSED, "refuses"),
        (vec![refused; 20], libc::ECONNREFUSED, "refuses at each of 20 addresses"),
        (vec![None, refused], libc::ECONNREFUSED, "has no such family, then refuses"),
        (vec![refused, None], libc::EAFNOSUPPORT, "refuses, then has no such family"),
    ];
    for (list, errno, peer) in lists {
        let said = call(child, list)?;
        let mistake = match &said.result {
            Ok(-1) => "it returned Ok(-1): -1 is no descriptor, but a failure",
            Ok(_) => "every connect failed, and it returned a socket all the same",
            Err(e) if e.errno.is_none() => "an error without errno: say why the last try failed",
            Err(e) if e.errno != Some(errno) => "the error is not the one of the last try",
            Err(_) if !said.after.opened.is_empty() => {
                "every connect failed, and the sockets stay open: close them"
            }
            Err(_) => continue,
        };
        let expected = format!("Err({})", io::Error::from_raw_os_error(errno));
        let seen = format!("{}; open: {:?}", show(&said.result), said.after.opened);
        return Err(Refusal::new(mistake).peer(peer).but(expected, seen));
    }
    Ok(())
}
