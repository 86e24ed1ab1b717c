//! Exercise `listen_on`: socket, bind, listen, and the port that came out. Article 7.1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{BorrowedFd, FromRawFd};
use std::process::id;
use std::{fs, mem, ptr};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{Backlog, SockaddrIn, getsockname, getsockopt, listen, setsockopt, sockopt};

use crate::about::HANG;
use crate::calls::{self, AFTER_CLOSE, Seldom};
use crate::inside::Made;
use crate::peer::bound;
use crate::prelude::*;

#[derive(Serialize, Deserialize)]
struct Listener {
    fd: RawFd,
    /// The port that was returned.
    told: u16,
    /// What the kernel says of the descriptor.
    address: Option<SocketAddrV4>,
    backlog: Option<u32>,
    made: Made,
    /// SO_REUSEADDR is set.
    reuse: bool,
}

/// Grades the answer: asked to listen on a port; where the process may open no more descriptors;
/// where a rival, which is given, begins to listen just before it does; or to accept one connection
/// on the listener, and echo five bytes.
pub fn grade(answer: fn(u16) -> io::Result<(RawFd, u16)>) -> ExitCode {
    let mut fd = -1;
    grading::grade("listen_on", CASES, move |(what, port): (String, u16), given| {
        let mut told = 0;
        let keep = |(made, port)| {
            (fd, told) = (made, port);
            (format!("Ok({made}, {port})"), Vec::new())
        };
        let said = match &*what {
            "accept" => return given.call(|| echo(fd), ok).with(None),
            "listen" => given.call(|| answer(port), keep),
            "listen_full" => given.call(|| without_room(|| answer(0)), keep),
            _ => {
                let call = || {
                    calls::start_with(Seldom::Rival(given.fds[0]));
                    answer(port)
                };
                given.call(call, keep)
            }
        };
        fd = if said.result.is_ok() { fd } else { -1 };
        let address = getsockname::<SockaddrIn>(fd).ok().map(SocketAddrV4::from);
        let reuse = fd >= 0 && {
            // SAFETY: the listener is open during this call.
            let listener = unsafe { BorrowedFd::borrow_raw(fd) };
            getsockopt(&listener, sockopt::ReuseAddr).unwrap_or(false)
        };
        let (backlog, made) = (backlog_of(fd), Made::of(fd));
        said.with(Some(Listener { fd, told, address, backlog, made, reuse }))
    })
}

/// Runs `work` where every call that makes a descriptor says EMFILE.
fn without_room<T>(work: impl FnOnce() -> T) -> T {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit that there is");
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).expect("less than before");
    let done = work();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).expect("what it was");
    done
}

/// The listener's work, so that the parent can see that connections come in.
fn echo(listener: RawFd) -> io::Result<()> {
    // SAFETY: no address is asked for; the new descriptor is ours alone.
    let mut conn = unsafe {
        let fd = libc::accept4(listener, ptr::null_mut(), ptr::null_mut(), 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        TcpStream::from_raw_fd(fd)
    };
    let mut hello = [0; 5];
    conn.read_exact(&mut hello)?;
    conn.write_all(&hello)
}

/// How many connections may wait; `None` if it does not listen. Linux tells it in TCP_INFO.
fn backlog_of(fd: RawFd) -> Option<u32> {
    const LISTEN: u8 = 10;
    // SAFETY:
    // - tcp_info is integers, for which zero is a valid value;
    // - the pointer and the length are those of `info`.
    let (rc, info) = unsafe {
        let mut info: libc::tcp_info = mem::zeroed();
        let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
        let at = (&raw mut info).cast();
        (libc::getsockopt(fd, libc::SOL_TCP, libc::TCP_INFO, at, &mut len), info)
    };
    (rc == 0 && info.tcpi_state == LISTEN).then_some(info.tcpi_sacked)
}

const CASES: &[Case] = &[
    ("port 0: a free port, and its number", free_port),
    ("a given port, on the loopback only", given_port),
    ("a backlog of 128", backlog),
    ("close-on-exec, and blocking", flags),
    ("again at once where a server has just ended", time_wait),
    ("a port where somebody listens: EADDRINUSE, and no descriptor is left", in_use),
    ("no descriptor is to be had: EMFILE", no_room),
    ("somebody else listens first, behind bind: EADDRINUSE", rival),
];

type Listens = Said<Option<Listener>>;

fn call(child: &mut Child, port: u16, did: &str) -> Result<Listens, Refusal> {
    called(child, ("listen", port), vec![], did)
}

fn called(
    child: &mut Child,
    ask: (&str, u16),
    fds: Vec<OwnedFd>,
    did: &str,
) -> Result<Listens, Refusal> {
    child.scene("", did, "it waits, though none of socket, bind, listen does");
    let said: Listens = child.call_unchecked(ask, fds)?;
    if said.after.calls.closed_nothing > 0 {
        let mistake = "close was called for a number under which nothing was open";
        return refuse(mistake, "one close of a socket that cannot be used", "EBADF");
    }
    if said.after.opened.len() > 1 {
        let mistake = "one listener needs one descriptor: another one was left open";
        return refuse(mistake, "one new descriptor", said.after.opened.join(", "));
    }
    Ok(said)
}

/// Called for this port, it listens there, and says so. `0`: at any.
fn listens(child: &mut Child, port: u16, did: &str) -> Result<(u16, Listener), Refusal> {
    let mut said = call(child, port, did)?;
    let mistake = match said.errno() {
        _ if said.result.is_ok() => "",
        libc::EADDRNOTAVAIL => "s_addr is in network byte order, too: 127.0.0.1, not 1.0.0.127",
        _ => "it failed where nothing is in the way",
    };
    said.judged(mistake, "Ok")?;
    let listener = said.more.take().ok_or_else(|| Refusal::new("the grader lost its place"))?;
    let at = listener.address.map_or(0, |at| at.port());
    let mistake = if listener.address.is_none() && listener.backlog.is_some() {
        "127.0.0.1 is an IPv4 address: AF_INET"
    } else if listener.address.is_none() {
        "the listener is closed by the time it returns"
    } else if listener.backlog.is_none() {
        "the socket does not listen: listen comes after bind"
    } else if port != 0 && at == port.swap_bytes() && port != port.swap_bytes() {
        "sin_port is in network byte order: to_be"
    } else if port != 0 && at != port {
        "it listens at another port: was bind called, and its result read?"
    } else if listener.address.is_some_and(|at| *at.ip() != Ipv4Addr::LOCALHOST) {
        "it listens for other machines, too: the address has to be 127.0.0.1"
    } else if listener.told == 0 {
        "port 0 means any free port: getsockname tells which one it became"
    } else if listener.told != at && listener.told == at.swap_bytes() {
        "the port it returns is in network byte order"
    } else if listener.told != at {
        "the port it returns is not the one it listens at"
    } else {
        return Ok((at, listener));
    };
    let what = listener.address.map_or(say!("no IPv4 address"), |at| at.to_string());
    let seen = say!("fd {} at {what}, and {}", listener.fd, said.shown());
    refuse(mistake, say!("a listener at 127.0.0.1, port {port}"), seen)
}

/// A connection comes through.
fn serves(child: &mut Child, port: u16) -> Verdict {
    let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    conn.set_read_timeout(Some(HANG))?;
    conn.write_all(b"hello")?;
    let said: Said = child.call_unchecked(("accept", 0), vec![])?;
    let mut echo = [0; 5];
    let came = said.result.is_ok() && conn.read_exact(&mut echo).is_ok() && echo == *b"hello";
    let mistake = "a connection was made, and accept could not take it";
    said.ensure(came, mistake, "an accepted connection")
}

const NO_PEER: &str = "there is no peer yet";

fn free_port(child: &mut Child) -> Verdict {
    let (first, _) = listens(child, 0, NO_PEER)?;
    serves(child, first)?;
    let (second, _) = listens(child, 0, NO_PEER)?;
    if first == second {
        return Err(Refusal::new("port 0 gave the same port twice, while both listen"));
    }
    serves(child, second)
}

/// A free port that nobody is given meanwhile: the kernel chooses from 32768 on, and another grader,
/// with another process id, another one. The same holds for its bytes in the other order.
fn some_port() -> io::Result<u16> {
    let free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let high = 40 + (id() % 70) as u16;
    let mut ports = (0..36).map(|n| high << 8 | (4 + (id() / 70 + n) % 36) as u16);
    let found = ports.find(|port| free(*port) && free(port.swap_bytes()));
    found.ok_or(io::ErrorKind::AddrInUse.into())
}

fn given_port(child: &mut Child) -> Verdict {
    let (port, _) = listens(child, some_port()?, NO_PEER)?;
    serves(child, port)
}

fn backlog(child: &mut Child) -> Verdict {
    let found = listens(child, 0, NO_PEER)?.1.backlog.unwrap_or(0);
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn")?.trim().parse().unwrap_or(128);
    let expected = most.min(128);
    if found == expected {
        return Ok(());
    }
    let mistake = "the second argument of listen says how many may wait";
    refuse(mistake, say!("a backlog of {expected}"), found.to_string())
}

fn flags(child: &mut Child) -> Verdict {
    listens(child, 0, NO_PEER)?.1.made.check()
}

/// A connection that this end closed first, and its port: it stays in TIME_WAIT for a minute.
fn port_in_time_wait() -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?; // with SO_REUSEADDR
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    drop(server);
    client.read_exact(&mut [0]).expect_err("the server has closed");
    Ok(listener.local_addr()?.port())
}

fn time_wait(child: &mut Child) -> Verdict {
    let (_, elsewhere) = listens(child, 0, NO_PEER)?;
    let port = port_in_time_wait()?;
    let did = "a server at this port has just closed a connection and ended";
    let said = call(child, port, did)?;
    let mistake = if said.result.is_ok() {
        ""
    } else if elsewhere.reuse {
        "SO_REUSEADDR was set too late: bind looks at it, and it came behind bind"
    } else {
        "SO_REUSEADDR has to be set, and before bind: the port is in TIME_WAIT"
    };
    said.judged(mistake, "Ok")?;
    serves(child, port)
}

fn no_room(child: &mut Child) -> Verdict {
    let did = "there is none; the process may open no more descriptors";
    child.scene("", did, "");
    let said: Said = child.call_unchecked(("listen_full", 0), vec![])?;
    let mistake = match said.errno() {
        libc::EMFILE => "",
        libc::EBADF => "socket had failed, and its -1 was used on: look at what socket returned",
        libc::EADDRINUSE => "it says EADDRINUSE whatever happened: errno tells what did",
        _ if said.result.is_ok() => "socket failed, and it returned Ok",
        _ => "socket failed, and its errno did not reach the caller",
    };
    said.judged(mistake, "Err(EMFILE)")
}

fn rival(child: &mut Child) -> Verdict {
    let (rival, port) = bound(|fd| setsockopt(fd, sockopt::ReuseAddr, &true))?;
    let did = "had bound the same port, with SO_REUSEADDR, and listens a moment earlier";
    let said = called(child, ("listen_rival", port), vec![rival], did)?;
    let mistake = if said.result.is_ok() {
        "listen had failed, and nobody looked at what it returned"
    } else if said.errno() != libc::EADDRINUSE {
        "the errno of listen has to reach the caller as it is"
    } else if !said.after.opened.is_empty() {
        "listen failed, and the socket stays open: not only bind can fail"
    } else {
        ""
    };
    said.judged(mistake, "Err(AddrInUse), and no descriptor")
}

fn in_use(child: &mut Child) -> Verdict {
    let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    refused(child, live.local_addr()?.port(), "it took no notice that bind had failed")?;
    let (shared, port) = bound(|fd| setsockopt(fd, sockopt::ReusePort, &true))?;
    listen(&shared, Backlog::new(1).map_err(io::Error::from)?).map_err(io::Error::from)?;
    let mistake =
        "SO_REUSEPORT shares a port with somebody who listens there: SO_REUSEADDR does not";
    refused(child, port, mistake)
}

fn refused(child: &mut Child, port: u16, mistake: &str) -> Verdict {
    let said = call(child, port, "listens at that port already")?;
    let mistake = if said.result.is_ok() {
        mistake
    } else if said.errno() == AFTER_CLOSE as i32 {
        "errno was read behind close, which may change it: read it behind bind"
    } else if said.errno() != libc::EADDRINUSE {
        "the errno of bind has to reach the caller as it is"
    } else if !said.after.opened.is_empty() {
        "bind failed, and the socket stays open: close it on every path"
    } else {
        ""
    };
    said.judged(mistake, "Err(AddrInUse), and no descriptor")
}
