//! Exercise `listen_on`: socket, bind, listen, and the port that came out. Article 7.1.

use std::fs;
use std::io::Read;
use std::mem::offset_of;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::id;
use std::sync::Mutex;

use nix::errno::Errno;
use nix::sys::socket::{Backlog, SockaddrIn, getsockname, listen, setsockopt, sockopt};

use crate::calls::{self, AFTER_CLOSE, Seldom};
use crate::denied::Denied;
use crate::inside::option;
use crate::peer::bound;
use crate::prelude::*;

#[derive(Serialize, Deserialize)]
struct Listener {
    fd: RawFd,
    /// The port that was returned.
    told: u16,
    /// What the kernel says of the descriptor.
    address: Option<SocketAddrV4>,
    /// How many connections may wait; `None` if it does not listen.
    backlog: Option<u32>,
    /// SO_REUSEADDR is set.
    reuse: bool,
}

/// Grades the answer: asked to listen on a port; where a call of the kernel's fails;
/// or where a rival, which is given, begins to listen just before it does.
pub fn grade(answer: fn(u16) -> io::Result<(RawFd, u16)>) -> ExitCode {
    grading::grade("listen_on", CASES, |(port, denied): (u16, Option<Denied>), given| {
        let (mut fd, mut told) = (-1, 0);
        let keep = |(made, port)| {
            (fd, told) = (made, port);
            (format!("Ok({made}, {port})"), Vec::new())
        };
        let call = || {
            given.fds.iter().for_each(|&rival| calls::start_with(Seldom::Rival(rival)));
            denied.into_iter().for_each(Denied::from_here_on);
            answer(port)
        };
        let said = given.call(call, keep);
        let address = getsockname::<SockaddrIn>(fd).ok().map(SocketAddrV4::from);
        let reuse = option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR).first() == Some(&1);
        said.with(Listener { fd, told, address, backlog: backlog_of(fd), reuse })
    })
}

/// Linux tells it in TCP_INFO.
fn backlog_of(fd: RawFd) -> Option<u32> {
    const LISTEN: u8 = 10;
    let info = option(fd, libc::SOL_TCP, libc::TCP_INFO);
    let backlog = info.get(offset_of!(libc::tcp_info, tcpi_sacked)..)?.first_chunk()?;
    (info[offset_of!(libc::tcp_info, tcpi_state)] == LISTEN).then(|| u32::from_ne_bytes(*backlog))
}

const ANOTHER_PORT: &str =
    "it listens at another port: was bind called, its result read, and the port not changed?";

const CASES: &[Case] = &[
    ("port 0: a free port, its number, a backlog of 128; close-on-exec, and blocking", |child| {
        listens(child, 0).map(drop)
    }),
    ("a given port, on the loopback only", |child| {
        listens(child, some_port()?)?;
        listens(child, high_port()?).map(drop)
    }),
    ("again at once where a server has just ended", time_wait),
    ("a port where somebody listens: EADDRINUSE, and no descriptor is left", in_use),
    ("0 is a descriptor, too", |child| {
        child.zero = true;
        let said = call(child, (0, None), vec![], "there is none; descriptor 0 is free")?;
        said.ensure(said.result.is_ok(), ZERO, "Ok")
    }),
    ("socket fails: its errno", |c| denied(c, "socket", libc::SYS_socket, Errno::EMFILE)),
    ("setsockopt fails: its errno", |c| {
        denied(c, "setsockopt", libc::SYS_setsockopt, Errno::ENOMEM)
    }),
    ("bind fails: its errno", |c| {
        c.seldom = Seldom::CloseSaysEintr;
        denied(c, "bind", libc::SYS_bind, Errno::EACCES)
    }),
    ("listen fails: its errno", |c| denied(c, "listen", libc::SYS_listen, Errno::EOPNOTSUPP)),
    ("getsockname fails: its errno", |c| {
        denied(c, "getsockname", libc::SYS_getsockname, Errno::ENOBUFS)
    }),
    ("somebody else listens first, after bind: EADDRINUSE", |child| {
        let (rival, port) = bound(|fd| setsockopt(fd, sockopt::ReuseAddr, &true))?;
        let did = "had bound the same port, with SO_REUSEADDR, and listens a moment earlier";
        let said = call(child, (port, None), vec![rival], did)?;
        let mistake = "listen had failed, and nobody looked at what it returned";
        fails(&said, "listen", libc::EADDRINUSE, mistake)
    }),
];

type Listens = Said<Listener>;

fn denied(child: &mut Child, name: &str, call: libc::c_long, says: Errno) -> Verdict {
    child.scene("", &say!("{name} says {says:?}"), "");
    let denied = Denied { call, only: None, errno: says as i32 };
    let said = child.call_unchecked((0, Some(denied)), vec![])?;
    let unread = say!("{name} had failed, and nobody looked at what it returned");
    fails(&said, name, denied.errno, &unread)
}

fn call(
    child: &mut Child,
    ask: (u16, Option<Denied>),
    fds: Vec<OwnedFd>,
    did: &str,
) -> Result<Listens, Refusal> {
    child.scene("", did, "it waits, though none of socket, bind, listen does");
    child.makes(ask, fds)
}

/// Called for this port, it listens there, and says so. `0`: at any.
fn listens(child: &mut Child, port: u16) -> Result<Listens, Refusal> {
    let said = call(child, (port, None), vec![], "there is no peer yet")?;
    let Listener { fd, told, address, backlog, .. } = said.more;
    let at = address.map_or(0, |at| at.port());
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn")?.trim().parse().unwrap_or(128);
    let most = most.min(128);
    let mistake = first! {
        port == 0 && said.after.calls.port != 0 =>
            "bind was given a port where 0 was asked for: bind picks a free one, others may have yours",
        said.errno() == libc::EADDRNOTAVAIL =>
            "s_addr is in network byte order, too: 127.0.0.1, not 1.0.0.127",
        said.errno() == libc::EADDRINUSE && port != 0 && said.after.calls.port != port =>
            ANOTHER_PORT,
        said.result.is_err() => "it failed where nothing is in the way",
        address.is_none() && backlog.is_some() => "127.0.0.1 is an IPv4 address: AF_INET",
        address.is_none() => "the listener is closed by the time it returns",
        backlog.is_none() => "the socket does not listen: listen comes after bind",
        port != 0 && at == port.swap_bytes() && port != port.swap_bytes() =>
            "sin_port is in network byte order: to_be",
        port != 0 && at != port => ANOTHER_PORT,
        address.is_some_and(|at| *at.ip() != Ipv4Addr::LOCALHOST) =>
            "it listens for other machines, too: the address has to be 127.0.0.1",
        told == 0 => "port 0 means any free port: getsockname tells which one it became",
        told != at && told == at.swap_bytes() => "the port it returns is in network byte order",
        told != at => "the port it returns is not the one it listens at",
        said.after.opened.len() > 1 =>
            "one listener needs one descriptor: another one was left open",
        backlog != Some(most) => "the second argument of listen says how many may wait",
        TcpStream::connect((Ipv4Addr::LOCALHOST, at)).is_err() => "nobody can connect to it",
    };
    let what = address.map_or(say!("no IPv4 address"), |at| at.to_string());
    let expected = say!("a listener at 127.0.0.1, port {port}, with a backlog of {most}");
    let seen = say!("fd {fd} at {what}, backlog {backlog:?}, and {}", said.shown());
    judge(mistake, expected, seen)?;
    said.after.made()?;
    Ok(said)
}

/// This call has to fail with this; `unread`: its result was not looked at.
fn fails(said: &Listens, failed: &str, errno: i32, unread: &str) -> Verdict {
    let mistake = first! {
        said.result.is_ok() && failed == "setsockopt" && said.after.calls.options_failed == 0 =>
            "SO_REUSEADDR was not set: it is asked for with every port, 0 as well".into(),
        said.calls("bind") > 1 =>
            "bind was called again: where it fails, its errno goes to the caller at once".into(),
        said.result.is_ok() => String::from(unread),
        [AFTER_CLOSE as i32, libc::EINTR].contains(&said.errno()) =>
            say!("errno was read after close, which may change it: read it after {failed}"),
        errno == libc::EMFILE && said.errno() == libc::EBADF =>
            "socket had failed, and its -1 was used on: look at what socket returned".into(),
        errno != libc::EADDRINUSE && said.errno() == libc::EADDRINUSE =>
            "it says EADDRINUSE whatever happened: errno tells what did".into(),
        said.errno() != errno => say!("{failed} failed, and its errno did not reach the caller"),
        !said.after.opened.is_empty() =>
            say!("{failed} failed, and the socket stays open: close it on every path"),
    };
    let expected = format!("Err({})", io::Error::from_raw_os_error(errno));
    said.judged(mistake, expected)
}

/// A free port that nobody is given meanwhile: the kernel chooses from 32768 on. The same holds for
/// its bytes in the other order.
fn some_port() -> io::Result<u16> {
    let high = 40 + (id() % 70) as u16;
    let mut ports = (0..36).map(|n| high << 8 | (4 + (id() / 70 + n) % 36) as u16);
    let found = ports.find(|port| is_ours(*port) && is_ours(port.swap_bytes()));
    found.ok_or(io::ErrorKind::AddrInUse.into())
}

/// A free port above those that the kernel chooses, which it usually does up to 60999.
fn high_port() -> io::Result<u16> {
    let mut ports = (0..64).map(|n| 61_000 + (id() % 64 * 64 + n) as u16);
    ports.find(|port| is_ours(*port)).ok_or(io::ErrorKind::AddrInUse.into())
}

/// It is free, and no other grader takes it as long as this one runs: a name of unix(7), which one
/// process has at a time, says so.
fn is_ours(port: u16) -> bool {
    static OURS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let name = SocketAddr::from_abstract_name(format!("tcp-stream-io/grader/{port}"));
    let held = name.and_then(|name| UnixListener::bind_addr(&name));
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    held.is_ok_and(|held| {
        OURS.lock().unwrap().push(held);
        free()
    })
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
    let elsewhere = listens(child, 0)?;
    let did = "a server at this port has just closed a connection and ended";
    let said = call(child, (port_in_time_wait()?, None), vec![], did)?;
    let mistake = first! {
        said.result.is_ok() => "",
        said.after.calls.options_failed > 0 =>
            "setsockopt had failed, and nobody looked at what it returned: SO_REUSEADDR is a c_int",
        elsewhere.more.reuse =>
            "SO_REUSEADDR was set too late: bind looks at it, and it came after bind",
        true => "SO_REUSEADDR has to be set, and before bind: the port is in TIME_WAIT",
    };
    said.judged(mistake, "Ok")
}

fn in_use(child: &mut Child) -> Verdict {
    const SHARES: &str =
        "SO_REUSEPORT shares a port with somebody who listens there: SO_REUSEADDR does not";
    let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let (shared, port) = bound(|fd| setsockopt(fd, sockopt::ReusePort, &true))?;
    listen(&shared, Backlog::new(1).map_err(io::Error::from)?).map_err(io::Error::from)?;
    for (port, unread) in
        [(live.local_addr()?.port(), "it took no notice that bind had failed"), (port, SHARES)]
    {
        let said = call(child, (port, None), vec![], "listens at that port already")?;
        fails(&said, "bind", libc::EADDRINUSE, unread)?;
    }
    Ok(())
}
