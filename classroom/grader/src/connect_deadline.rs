//! Exercise `connect_deadline`: connect, but not for ever. Article 2.2 and 4.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, fd_flags, observe, portable, show};
use crate::kernel;
use crate::peer::pair;
use crate::refusal::{Refusal, UNFOUNDED};

/// Connect the last of the given descriptors to this port, within so many milliseconds.
#[derive(Serialize, Deserialize)]
struct Ask {
    port: u16,
    limit: u64,
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    non_blocking: bool,
    /// Milliseconds that went by, and those of them in which the processor worked.
    took: u64,
    worked: u64,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &libc::sockaddr_in, Instant) -> io::Result<()>) -> ExitCode {
    grading::grade_raw("connect_deadline", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: ask.port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
            // SAFETY:
            // - what is left of a sockaddr_in is plain numbers: all zeros is one.
            ..unsafe { mem::zeroed() }
        };
        let (begun, worked) = (Instant::now(), processor_ms());
        let deadline = begun + Duration::from_millis(ask.limit);
        let (result, after) = observe(&given.fds, || answer(fd, &to, deadline));
        let said = Said {
            result: portable(result),
            non_blocking: fd_flags(fd).1,
            took: begun.elapsed().as_millis() as u64,
            worked: processor_ms() - worked,
            after,
        };
        (said, Vec::new())
    })
}

fn processor_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0, |t| t.num_milliseconds() as u64)
}

const CASES: &[Case] = &[
    Case { name: "a server is there: connected, and blocking again", run: connects },
    Case { name: "nobody listens: ECONNREFUSED, and blocking again", run: refused },
    Case { name: "no answer comes: TimedOut at the deadline", run: times_out },
    Case { name: "the deadline has passed before the call", run: passed },
    Case { name: "signals come while it waits: the deadline stays where it is", run: signals },
    Case { name: "the server has room after a while: connected", run: late },
    Case { name: "other errors are returned as they come", run: other_errors },
];

/// A deadline, in milliseconds, that is met by far.
const LONG: u64 = 60_000;

fn new_socket() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

fn port_of(listener: &TcpListener) -> io::Result<u16> {
    Ok(listener.local_addr()?.port())
}

/// A listener that answers nobody: its queue is full. The connection that fills it.
fn full() -> io::Result<(TcpListener, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, Backlog::new(0)?)?;
    let filler = TcpStream::connect(listener.local_addr()?)?;
    Ok((listener, filler))
}

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child, did: &str) -> Result<Said, Refusal> {
    let (said, _) = child.said_as::<Said>()?;
    taken_from(said, child, did)
}

fn taken_from(said: Said, child: &Child, did: &str) -> Result<Said, Refusal> {
    if said.non_blocking {
        let mistake = if said.result.is_ok() {
            "the socket stays non-blocking: take O_NONBLOCK away again once it is connected"
        } else {
            "after an error the socket stays non-blocking: take O_NONBLOCK away however it ended"
        };
        return Err(Refusal::new(mistake).peer(did).but("the socket as it was", "O_NONBLOCK set"));
    }
    if said.after.calls.by_name.get("connect").is_some_and(|&n| n > 1) {
        return Err(Refusal::new("connect was called a second time: once, then poll and SO_ERROR")
            .peer(did)
            .but("one connect", format!("{:?}", said.after.calls.by_name)));
    }
    if let Some(what) = said.after.calls.touched.iter().find(|what| !what.contains("O_NONBLOCK")) {
        return Err(Refusal::new(say!(
            "it changes {what} while it runs: all who hold the socket get that, too"
        )));
    }
    if let Some(flags) = said.after.changed.iter().find(|c| c.contains("status flags")) {
        return Err(Refusal::new(
            "F_SETFL sets all status flags at once, and wiped out others: read them first",
        )
        .but("the flags as they were", flags));
    }
    child.left_as_it_was(&said.after)?;
    Ok(said)
}

fn failed_well(result: &Result<(), Failure>, did: &str) -> Refusal {
    let kind = result.as_ref().err().map_or((String::new(), None), |e| (e.kind.clone(), e.errno));
    let mistake = match (kind.0.as_str(), kind.1) {
        ("Interrupted", _) => "EINTR of poll was returned as an error: wait on, for what is left",
        (_, Some(libc::EINPROGRESS)) => {
            "EINPROGRESS was returned as an error: it says that the attempt has begun, so wait"
        }
        (_, Some(libc::EALREADY | libc::EISCONN)) => {
            "connect was called a second time: once, then poll and SO_ERROR"
        }
        ("WouldBlock", _) => {
            "EAGAIN was returned where a kind was asked for: a deadline is TimedOut"
        }
        ("TimedOut", _) => "it said TimedOut although the attempt ended before the deadline",
        _ => UNFOUNDED,
    };
    Refusal::new(mistake).peer(did).but("Ok", show(result))
}

fn connects(child: &mut Child) -> Result<(), Refusal> {
    for limit in [LONG, 3_000_000_000] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let conn = new_socket()?;
        // A flag that is none of the answer's business.
        fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_APPEND)).map_err(io::Error::from)?;
        child.ask(Ask { port: port_of(&listener)?, limit, fd: None }, &[], vec![conn])?;
        let did = &*say!("listens");
        child.scene("at its connect", did, "");
        let said = taken(child, did)?;
        if said.result.is_err() {
            return Err(failed_well(&said.result, did));
        }
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::MAX).map_err(io::Error::from)? == 0 {
            return Err(Refusal::new("it returned Ok and nobody has connected")
                .peer(did)
                .but("a connection at the listener", say!("none")));
        }
    }
    Ok(())
}

fn refused(child: &mut Child) -> Result<(), Refusal> {
    // Bound and not listening: the port is taken, and refuses.
    let nobody = new_socket()?;
    let port = (|| {
        bind(nobody.as_raw_fd(), &SockaddrIn::from(local_any()))?;
        getsockname::<SockaddrIn>(nobody.as_raw_fd()).map(|at| at.port())
    })()
    .map_err(io::Error::from)?;
    child.ask(Ask { port, limit: LONG, fd: None }, &[], vec![new_socket()?])?;
    let did = "is a port where nobody listens";
    child.scene("at its connect", did, "");
    let said = taken(child, did)?;
    let mistake = match &said.result {
        Err(e) if e.errno == Some(libc::ECONNREFUSED) => return Ok(()),
        Ok(()) => "writable does not mean connected: SO_ERROR has the reason, and nobody read it",
        Err(e) if e.kind == "TimedOut" => "a refused connection became TimedOut: poll said ready",
        Err(e) if e.errno == Some(libc::EINPROGRESS) => {
            return Err(failed_well(&said.result, did));
        }
        Err(_) => "the reason in SO_ERROR has to reach the caller as an errno",
    };
    Err(Refusal::new(mistake).peer(did).but("Err(ConnectionRefused)", show(&said.result)))
}

fn local_any() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)
}

const MUTE: &str = "does not answer: its queue is full";

/// How a call ended that could only time out after `limit` milliseconds.
fn timed_out(said: &Said, limit: u64, did: &str) -> Result<(), Refusal> {
    let refuse = |mistake: &str| {
        Err(Refusal::new(mistake).peer(did).but(
            say!("Err(TimedOut) after {limit} ms"),
            say!("{} after {} ms", show(&said.result), said.took),
        ))
    };
    match &said.result {
        Ok(()) if said.took + 5 < limit => {
            return refuse(
                "it returned Ok before the attempt had ended: poll until it is writable",
            );
        }
        Ok(()) => return refuse("poll returned 0, nothing is ready, and it returned Ok"),
        Err(e) if e.kind == "TimedOut" => {}
        Err(e) if e.kind == "WouldBlock" || e.errno.is_some() => {
            let refusal = failed_well(&said.result, did);
            return Err(refusal.but(say!("Err(TimedOut) after {limit} ms"), show(&said.result)));
        }
        Err(_) => return refuse("a deadline that has passed has a kind: TimedOut"),
    }
    if said.took < limit {
        return refuse("it gave up before the deadline: milliseconds are rounded up, not down");
    }
    // Counted where it can be: a busy machine lets nobody work much.
    if said.worked > 60 || said.after.calls.looks > 20 || said.after.calls.over > 20 {
        return refuse(
            "it asks over and over instead of sleeping: the timeout of poll is the wait",
        );
    }
    Ok(())
}

/// Refuses a wait anywhere but in poll and its like.
fn waits_well(child: &Child, limit: u64, did: &str) -> Result<(), Refusal> {
    let Ok(look) = kernel::look(child.pid()) else { return Ok(()) };
    let place = look.place();
    if look.timeout.is_some_and(|ms| ms > limit as i32) {
        return Err(Refusal::new("poll is told to wait for longer than to the deadline")
            .peer(did)
            .but(say!("at most {limit} ms"), say!("{} ms", look.timeout.unwrap_or(0))));
    }
    let mistake = if place.starts_with("connect") {
        "it waits in connect: for minutes, or as long as SO_SNDTIMEO says, which is a setting for \
         all who hold the socket; O_NONBLOCK before connect, then poll"
    } else if place == "a sleep" {
        "it sleeps for a while and looks again: poll wakes at the moment there is something"
    } else {
        return Ok(());
    };
    Err(Refusal::new(mistake).peer(did).but("a wait in poll", say!("it waits in {place}")))
}

fn times_out(child: &mut Child) -> Result<(), Refusal> {
    for limit in [400, 30] {
        let (listener, _filler) = full()?;
        let port = port_of(&listener)?;
        child.scene("at its connect", MUTE, "the deadline has passed, and it still waits");
        child.ask(Ask { port, limit, fd: None }, &[], vec![new_socket()?])?;
        if child.until_blocked()? {
            waits_well(child, limit, MUTE)?;
        }
        timed_out(&taken(child, MUTE)?, limit, MUTE)?;
    }
    Ok(())
}

fn passed(child: &mut Child) -> Result<(), Refusal> {
    let (listener, _filler) = full()?;
    let ask = Ask { port: port_of(&listener)?, limit: 0, fd: None };
    child.ask(ask, &[], vec![new_socket()?])?;
    let mistake = "a deadline that has passed became a wait without end: poll takes -1 for that";
    child.scene("with a deadline that has passed", MUTE, mistake);
    let said = taken(child, MUTE)?;
    timed_out(&said, 0, MUTE)
}

fn signals(child: &mut Child) -> Result<(), Refusal> {
    let (listener, _filler) = full()?;
    let limit = 400;
    let ask = Ask { port: port_of(&listener)?, limit, fd: None };
    child.ask(ask, &[], vec![new_socket()?])?;
    let did = "does not answer, and a signal comes 16 times while it sleeps, 50 ms apart";
    child.scene("at its connect", did, "");
    let mut signals = 0;
    while signals < 16 && child.until_blocked()? {
        child.interrupt();
        signals += 1;
        thread::sleep(Duration::from_millis(50)); // the time between two signals is the subject
    }
    if signals == 16 && child.until_blocked()? {
        // 800 ms have passed, at least.
        return Err(Refusal::new(
            "the deadline moved: after a signal only what is left of the time is left",
        )
        .peer(did)
        .but(say!("Err(TimedOut) after {limit} ms"), "it still waits"));
    }
    timed_out(&taken(child, did)?, limit, did)
}

fn late(child: &mut Child) -> Result<(), Refusal> {
    let (listener, _filler) = full()?;
    let ask = Ask { port: port_of(&listener)?, limit: LONG, fd: None };
    child.ask(ask, &[], vec![new_socket()?])?;
    let did = "has room for the connection after a while";
    child.scene("at its connect", did, "");
    if child.until_blocked()? {
        child.interrupt();
    }
    // The next SYN, after a second, finds room: and then there is nothing to wait for.
    let _accepted = [listener.accept()?, listener.accept()?];
    child.scene("", did, "it goes on waiting after the connection is there");
    let said = taken_from(child.said_without_sleep_as::<Said>()?.0, child, did)?;
    if said.result.is_err() {
        return Err(failed_well(&said.result, did));
    }
    Ok(())
}

fn other_errors(child: &mut Child) -> Result<(), Refusal> {
    const LOOP: &str = "it calls again after errors that do not go away";
    let expect = |said: &Said, errno: i32, what: &str| match &said.result {
        Err(e) if e.errno == Some(errno) => Ok(()),
        Ok(()) => Err(Refusal::new("a call returned -1, and it returned Ok").but(what, "Ok")),
        Err(_) => {
            Err(Refusal::new("the errno of the failed call has to reach the caller as it is")
                .but(what, show(&said.result)))
        }
    };
    child.scene("at its first call", "there is no such descriptor: EBADF", LOOP);
    child.ask(Ask { port: 9, limit: LONG, fd: Some(150) }, &[], vec![])?;
    expect(&taken(child, "is not there")?, libc::EBADF, "Err(EBADF), as fd 150 is not open")?;

    let (_peer, conn) = pair()?;
    child.scene("at its connect", "the socket is connected already: EISCONN", LOOP);
    child.ask(Ask { port: 9, limit: LONG, fd: None }, &[], vec![conn])?;
    expect(&taken(child, "is connected already")?, libc::EISCONN, "Err(EISCONN)")
}
