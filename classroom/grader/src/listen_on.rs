//! Exercise `listen_on`: socket, bind, listen, and the port that came out. Article 7.1.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{ExitCode, id};
use std::{fs, mem};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, getsockopt, listen,
    setsockopt, socket, sockopt,
};
use say::say;
use serde::{Deserialize, Serialize};

use crate::about::HANG;
use crate::calls::{self, AFTER_CLOSE, Calls, Seldom};
use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, fd_flags, observe, portable, show, unasked_settings};
use crate::refusal::Refusal;

#[derive(Serialize, Deserialize)]
enum Ask {
    Listen(u16),
    /// The same, where the process may open no more descriptors.
    ListenWithoutRoom,
    /// The same, where somebody else begins to listen just before it does. The rival has been
    /// given, bound and not listening.
    ListenWithRival(u16),
    /// Accept one connection on the listener, and echo five bytes.
    Accept,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(RawFd, u16), Failure>,
    /// What the kernel says of the descriptor.
    address: Option<SocketAddrV4>,
    backlog: Option<u32>,
    close_on_exec: bool,
    nonblocking: bool,
    /// SO_REUSEADDR is set.
    reuse: bool,
    /// Settings that a new socket does not have.
    unasked: Vec<String>,
    calls: Calls,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(u16) -> io::Result<(RawFd, u16)>) -> ExitCode {
    let mut listener = -1;
    grading::grade_raw("listen_on", CASES, move |ask: Ask, given| {
        let (result, after) = match ask {
            Ask::Listen(port) => observe(&given.fds, || {
                calls::start();
                answer(port)
            }),
            Ask::ListenWithRival(port) => observe(&given.fds, || {
                calls::start_with(Seldom::Rival(given.fds[0]));
                answer(port)
            }),
            Ask::ListenWithoutRoom => observe(&given.fds, || {
                calls::start();
                without_room(|| answer(0))
            }),
            Ask::Accept => (echo(listener).map(|()| (listener, 0)), After::default()),
        };
        listener = result.as_ref().map_or(-1, |(fd, _)| *fd);
        let address = getsockname::<SockaddrIn>(listener).ok().map(SocketAddrV4::from);
        let (close_on_exec, nonblocking) = fd_flags(listener);
        let backlog = backlog_of(listener);
        let unasked = unasked_settings(listener);
        let reuse = listener >= 0 && {
            // SAFETY:
            // - the listener is open during this call.
            let listener = unsafe { BorrowedFd::borrow_raw(listener) };
            getsockopt(&listener, sockopt::ReuseAddr).unwrap_or(false)
        };
        let (result, calls) = (portable(result), calls::counted());
        let said = Said {
            result,
            address,
            backlog,
            close_on_exec,
            nonblocking,
            reuse,
            unasked,
            calls,
            after,
        };
        (said, Vec::new())
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
    // SAFETY:
    // - no address is asked for; the new descriptor is ours alone.
    let mut conn = unsafe {
        let fd = libc::accept4(listener, std::ptr::null_mut(), std::ptr::null_mut(), 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        <TcpStream as std::os::fd::FromRawFd>::from_raw_fd(fd)
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
    Case { name: "port 0: a free port, and its number", run: free_port },
    Case { name: "a given port, on the loopback only", run: given_port },
    Case { name: "a backlog of 128", run: backlog },
    Case { name: "close-on-exec, and blocking", run: flags },
    Case { name: "again at once where a server has just ended", run: time_wait },
    Case {
        name: "a port where somebody listens: EADDRINUSE, and no descriptor is left",
        run: in_use,
    },
    Case { name: "no descriptor is to be had: EMFILE", run: no_room },
    Case { name: "somebody else listens first, behind bind: EADDRINUSE", run: rival },
];

fn call(child: &mut Child, port: u16) -> Result<Said, Refusal> {
    child.scene("", "there is no peer yet", "it waits, though none of socket, bind, listen does");
    called(child, Ask::Listen(port), vec![])
}

fn called(child: &mut Child, ask: Ask, fds: Vec<OwnedFd>) -> Result<Said, Refusal> {
    let (said, _) = child.call_as::<Said>(ask, &[], fds)?;
    if said.calls.closed_nothing > 0 {
        return Err(Refusal::new("close was called for a number under which nothing was open")
            .but("one close of a socket that cannot be used", "EBADF"));
    }
    if said.after.opened.len() > 1 {
        return Err(Refusal::new("one listener needs one descriptor: another one was left open")
            .but("one new descriptor", said.after.opened.join(", ")));
    }
    Ok(said)
}

/// It listens at this port, and says so. `0`: at any.
fn listens(said: &Said, port: u16) -> Result<u16, Refusal> {
    let refuse = |mistake: &str, expected: String, seen: String| {
        Err(Refusal::new(mistake).but(expected, seen))
    };
    let (fd, told) = match &said.result {
        Ok(ok) => *ok,
        Err(e) if e.errno == Some(libc::EADDRNOTAVAIL) => {
            let mistake = "s_addr is in network byte order, too: 127.0.0.1, not 1.0.0.127";
            return refuse(mistake, "Ok".into(), show(&said.result));
        }
        result => {
            return refuse("it failed where nothing is in the way", "Ok".into(), show(result));
        }
    };
    let Some(address) = said.address else {
        if said.backlog.is_some() {
            let seen = say!("fd {fd} listens, and not at an IPv4 address");
            return refuse("127.0.0.1 is an IPv4 address: AF_INET", "AF_INET".into(), seen);
        }
        let seen = say!("fd {fd} is no open IPv4 socket");
        return refuse("the listener is closed by the time it returns", "a socket".into(), seen);
    };
    if said.backlog.is_none() {
        let seen = say!("fd {fd} at {address} does not listen");
        return refuse(
            "the socket does not listen: listen comes after bind",
            "LISTEN".into(),
            seen,
        );
    }
    if port != 0 && address.port() == port.swap_bytes() && port != port.swap_bytes() {
        let (expected, seen) = (say!("port {port}"), say!("port {}", address.port()));
        return refuse("sin_port is in network byte order: to_be", expected, seen);
    }
    if port != 0 && address.port() != port {
        let (expected, seen) = (say!("port {port}"), say!("port {}", address.port()));
        return refuse(
            "it listens at another port: was bind called, and its result read?",
            expected,
            seen,
        );
    }
    if *address.ip() != Ipv4Addr::LOCALHOST {
        let mistake = "it listens for other machines, too: the address has to be 127.0.0.1";
        return refuse(mistake, "127.0.0.1".into(), address.ip().to_string());
    }
    if told != address.port() {
        let mistake = match told {
            0 => "port 0 means any free port: getsockname tells which one it became",
            _ if told == address.port().swap_bytes() => {
                "the port it returns is in network byte order"
            }
            _ => "the port it returns is not the one it listens at",
        };
        return refuse(mistake, address.port().to_string(), told.to_string());
    }
    Ok(told)
}

/// A connection comes through.
fn serves(child: &mut Child, port: u16) -> Result<(), Refusal> {
    let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    conn.set_read_timeout(Some(HANG))?;
    conn.write_all(b"hello")?;
    let (said, _) = child.call_as::<Said>(Ask::Accept, &[], vec![])?;
    let mut echo = [0; 5];
    if said.result.is_err() || conn.read_exact(&mut echo).is_err() || echo != *b"hello" {
        return Err(Refusal::new("a connection was made, and accept could not take it")
            .but("an accepted connection", show(&said.result)));
    }
    Ok(())
}

fn free_port(child: &mut Child) -> Result<(), Refusal> {
    let said = call(child, 0)?;
    let first = listens(&said, 0)?;
    serves(child, first)?;
    let said = call(child, 0)?;
    let second = listens(&said, 0)?;
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

fn given_port(child: &mut Child) -> Result<(), Refusal> {
    let port = some_port()?;
    let said = call(child, port)?;
    listens(&said, port)?;
    serves(child, port)
}

fn backlog(child: &mut Child) -> Result<(), Refusal> {
    let said = call(child, 0)?;
    listens(&said, 0)?;
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn")?.trim().parse().unwrap_or(128);
    let expected = most.min(128);
    match said.backlog {
        Some(found) if found == expected => Ok(()),
        found => Err(Refusal::new("the second argument of listen says how many may wait")
            .but(say!("a backlog of {expected}"), format!("{}", found.unwrap_or(0)))),
    }
}

fn flags(child: &mut Child) -> Result<(), Refusal> {
    let said = call(child, 0)?;
    listens(&said, 0)?;
    if !said.close_on_exec {
        return Err(Refusal::new("a program that this one starts would inherit the listener")
            .but("SOCK_CLOEXEC", "not set"));
    }
    if let Some(setting) = said.unasked.iter().find(|s| !s.contains("O_NONBLOCK")) {
        return Err(Refusal::new("the listener has a setting that nobody asked for")
            .but("the settings of a new socket, and SO_REUSEADDR", setting.clone()));
    }
    if said.nonblocking {
        return Err(Refusal::new("the listener is non-blocking, and accept would not wait")
            .but("a blocking socket", "O_NONBLOCK"));
    }
    Ok(())
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

fn time_wait(child: &mut Child) -> Result<(), Refusal> {
    let elsewhere = call(child, 0)?;
    let port = port_in_time_wait()?;
    let said = call(child, port)?;
    if said.result.is_err() {
        return Err(Refusal::new(if elsewhere.reuse {
            "SO_REUSEADDR was set too late: bind looks at it, and it came behind bind"
        } else {
            "SO_REUSEADDR has to be set, and before bind: the port is in TIME_WAIT"
        })
        .peer("a server at this port has just closed a connection and ended")
        .but("Ok", show(&said.result)));
    }
    listens(&said, port)?;
    serves(child, port)
}

fn no_room(child: &mut Child) -> Result<(), Refusal> {
    let (said, _) = child.call_as::<Said>(Ask::ListenWithoutRoom, &[], vec![])?;
    let mistake = match &said.result {
        Err(e) if e.errno == Some(libc::EMFILE) => return Ok(()),
        Err(e) if e.errno == Some(libc::EBADF) => {
            "socket had failed, and its -1 was used on: look at what socket returned"
        }
        Err(e) if e.errno == Some(libc::EADDRINUSE) => {
            "it says EADDRINUSE whatever happened: errno tells what did"
        }
        Err(_) => "socket failed, and its errno did not reach the caller",
        Ok(_) => "socket failed, and it returned Ok",
    };
    Err(Refusal::new(mistake)
        .peer("there is none; the process may open no more descriptors")
        .but("Err(EMFILE)", show(&said.result)))
}

fn rival(child: &mut Child) -> Result<(), Refusal> {
    let kind = SockType::Stream;
    let rival =
        socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).map_err(io::Error::from)?;
    let port = (|| {
        setsockopt(&rival, sockopt::ReuseAddr, &true)?;
        bind(rival.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
        Ok(getsockname::<SockaddrIn>(rival.as_raw_fd())?.port())
    })()
    .map_err(|e: nix::Error| io::Error::from(e))?;
    let said = called(child, Ask::ListenWithRival(port), vec![rival])?;
    let mistake = match &said.result {
        Ok(_) => "listen had failed, and nobody looked at what it returned",
        Err(e) if e.errno != Some(libc::EADDRINUSE) => {
            "the errno of listen has to reach the caller as it is"
        }
        Err(_) if !said.after.opened.is_empty() => {
            "listen failed, and the socket stays open: not only bind can fail"
        }
        Err(_) => return Ok(()),
    };
    Err(Refusal::new(mistake)
        .peer("had bound the same port, with SO_REUSEADDR, and listens a moment earlier")
        .but("Err(AddrInUse), and no descriptor", show(&said.result)))
}

fn in_use(child: &mut Child) -> Result<(), Refusal> {
    let live = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    refused(child, live.local_addr()?.port(), "it took no notice that bind had failed")?;

    let kind = SockType::Stream;
    let shared =
        socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None).map_err(io::Error::from)?;
    let port = (|| {
        setsockopt(&shared, sockopt::ReusePort, &true)?;
        bind(shared.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0))?;
        listen(&shared, Backlog::new(1)?)?;
        Ok(getsockname::<SockaddrIn>(shared.as_raw_fd())?.port())
    })()
    .map_err(|e: nix::Error| io::Error::from(e))?;
    let mistake =
        "SO_REUSEPORT shares a port with somebody who listens there: SO_REUSEADDR does not";
    refused(child, port, mistake)
}

fn refused(child: &mut Child, port: u16, mistake: &str) -> Result<(), Refusal> {
    let said = call(child, port)?;
    match &said.result {
        Err(e) if e.errno == Some(libc::EADDRINUSE) => {}
        Err(e) if e.errno == Some(AFTER_CLOSE as i32) => {
            return Err(Refusal::new(
                "errno was read behind close, which may change it: read it behind bind",
            )
            .but("Err(AddrInUse)", show(&said.result)));
        }
        Err(_) => {
            return Err(Refusal::new("the errno of bind has to reach the caller as it is")
                .but("Err(AddrInUse)", show(&said.result)));
        }
        Ok(_) => {
            return Err(Refusal::new(mistake)
                .peer("listens at that port already")
                .but("Err(AddrInUse)", show(&said.result)));
        }
    }
    if !said.after.opened.is_empty() {
        return Err(Refusal::new("bind failed, and the socket stays open: close it on every path")
            .but("no new descriptor", said.after.opened.join(", ")));
    }
    Ok(())
}
