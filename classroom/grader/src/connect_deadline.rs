//! Exercise `connect_deadline`: connect, but not for ever. Article 2.2 and 4.

use std::mem;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, listen};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use crate::inside::Made;
use crate::kernel;
use crate::peer::bound;
use crate::prelude::*;

#[derive(Serialize, Deserialize)]
struct Took {
    non_blocking: bool,
    /// Milliseconds that went by, and those of them in which the processor worked.
    ms: u64,
    worked: u64,
}

/// Grades the answer: asked to connect to this port, within so many milliseconds.
pub fn grade(answer: fn(RawFd, &libc::sockaddr_in, Instant) -> io::Result<()>) -> ExitCode {
    grading::grade("connect_deadline", CASES, |(port, limit): (u16, u64), given| {
        let to = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
            // SAFETY: what is left of a sockaddr_in is plain numbers: all zeros is one.
            ..unsafe { mem::zeroed() }
        };
        let (begun, before) = (Instant::now(), processor_ms());
        let deadline = begun + Duration::from_millis(limit);
        let said = given.call(|| answer(given.fd(), &to, deadline), ok);
        let (ms, worked) = (begun.elapsed().as_millis() as u64, processor_ms() - before);
        said.with(Took { non_blocking: Made::of(given.fd()).nonblocking, ms, worked })
    })
}

fn processor_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0, |t| t.num_milliseconds() as u64)
}

const CASES: &[Case] = &[
    ("a server is there: connected, and blocking again", connects),
    ("nobody listens: ECONNREFUSED, and blocking again", refused),
    ("no answer comes: TimedOut at the deadline", times_out),
    ("the deadline has passed before the call", passed),
    ("signals come while it waits: the deadline stays where it is", signals),
    ("the server has room after a while: connected", late),
    ("other errors are returned as they come", other_errors),
];

/// A deadline, in milliseconds, that is met by far.
const LONG: u64 = 60_000;
const MUTE: &str = "does not answer: its queue is full";
const AGAIN: &str = "connect was called a second time: once, then poll and SO_ERROR";

/// Has it called with a new socket.
fn begin(child: &mut Child, port: u16, limit: u64) -> Verdict {
    child.ask((port, limit), &[], vec![lonely()?])
}

/// A listener that answers nobody: its queue is full. Its port, and the connection that fills it.
fn full() -> io::Result<(TcpListener, u16, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, Backlog::new(0)?)?;
    let at = listener.local_addr()?;
    Ok((listener, at.port(), TcpStream::connect(at)?))
}

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child) -> Result<Said<Took>, Refusal> {
    let said: Said<Took> = child.unchecked()?;
    let touched = said.after.calls.touched.iter().find(|what| !what.contains("O_NONBLOCK"));
    let mistake = if said.more.non_blocking && said.result.is_ok() {
        "the socket stays non-blocking: take O_NONBLOCK away again once it is connected"
    } else if said.more.non_blocking {
        "after an error the socket stays non-blocking: take O_NONBLOCK away however it ended"
    } else if said.calls("connect") > 1 {
        AGAIN
    } else if said.after.changed.iter().any(|changed| changed.contains("status flags")) {
        "F_SETFL sets all status flags at once, and wiped out others: read them first"
    } else {
        ""
    };
    said.judged(mistake, "one connect, and the socket as it was")?;
    if let Some(what) = touched {
        return Err(Refusal::new(say!(
            "it changes {what} while it runs: all who hold the socket get that, too"
        )));
    }
    child.left_as_it_was(&said.after)?;
    Ok(said)
}

/// What is wrong with an error that came before the deadline.
fn unfounded(said: &Said<Took>) -> &'static str {
    match (said.kind(), said.errno()) {
        ("", _) => "",
        ("Interrupted", _) => "EINTR of poll was returned as an error: wait on, for what is left",
        (_, libc::EINPROGRESS) => {
            "EINPROGRESS was returned as an error: it says that the attempt has begun, so wait"
        }
        (_, libc::EALREADY | libc::EISCONN) => AGAIN,
        ("WouldBlock", _) => {
            "EAGAIN was returned where a kind was asked for: a deadline is TimedOut"
        }
        ("TimedOut", _) => "it said TimedOut although the attempt ended before the deadline",
        _ => UNFOUNDED,
    }
}

fn connects(child: &mut Child) -> Verdict {
    for limit in [LONG, 3_000_000_000] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let conn = lonely()?;
        // A flag that is none of the answer's business.
        fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_APPEND)).map_err(io::Error::from)?;
        child.ask((listener.local_addr()?.port(), limit), &[], vec![conn])?;
        child.scene("at its connect", &say!("listens"), "");
        let said = taken(child)?;
        said.judged(unfounded(&said), "Ok")?;
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::MAX).map_err(io::Error::from)? == 0 {
            let mistake = "it returned Ok and nobody has connected";
            return Err(said.refused(mistake, "a connection at the listener"));
        }
    }
    Ok(())
}

fn refused(child: &mut Child) -> Verdict {
    let (_held, port) = bound(|_| Ok(()))?;
    begin(child, port, LONG)?;
    child.scene("at its connect", "is a port where nobody listens", "");
    let said = taken(child)?;
    let mistake = match said.errno() {
        libc::ECONNREFUSED => "",
        libc::EINPROGRESS => unfounded(&said),
        _ if said.result.is_ok() => {
            "writable does not mean connected: SO_ERROR has the reason, and nobody read it"
        }
        _ if said.kind() == "TimedOut" => "a refused connection became TimedOut: poll said ready",
        _ => "the reason in SO_ERROR has to reach the caller as an errno",
    };
    said.judged(mistake, "Err(ConnectionRefused)")
}

/// How a call ended that could only time out after `limit` milliseconds.
fn timed_out(said: &Said<Took>, limit: u64) -> Verdict {
    let (ms, calls) = (said.more.ms, &said.after.calls);
    let mistake = if said.result.is_ok() && ms + 5 < limit {
        "it returned Ok before the attempt had ended: poll until it is writable"
    } else if said.result.is_ok() {
        "poll returned 0, nothing is ready, and it returned Ok"
    } else if said.kind() == "WouldBlock" || said.errno() != 0 && said.kind() != "TimedOut" {
        unfounded(said)
    } else if said.kind() != "TimedOut" {
        "a deadline that has passed has a kind: TimedOut"
    } else if ms < limit {
        "it gave up before the deadline: milliseconds are rounded up, not down"
    } else if said.more.worked > 60 || calls.looks > 20 || calls.over > 20 {
        // Counted where it can be: a busy machine lets nobody work much.
        "it asks over and over instead of sleeping: the timeout of poll is the wait"
    } else {
        return Ok(());
    };
    let seen = say!("{} after {} ms", said.shown(), ms);
    refuse(mistake, say!("Err(TimedOut) after {limit} ms"), seen)
}

/// Refuses a wait anywhere but in poll and its like.
fn waits_well(child: &Child, limit: u64) -> Verdict {
    let look = kernel::look(child.pid())?;
    let place = look.place();
    if let Some(ms) = look.timeout.filter(|&ms| ms > limit as i32) {
        let mistake = "poll is told to wait for longer than to the deadline";
        return refuse(mistake, say!("at most {limit} ms"), say!("{ms} ms"));
    }
    let mistake = if place.starts_with("connect") {
        "it waits in connect: for minutes, or as long as SO_SNDTIMEO says, which is a setting for \
         all who hold the socket; O_NONBLOCK before connect, then poll"
    } else if place == "a sleep" {
        "it sleeps for a while and looks again: poll wakes at the moment there is something"
    } else {
        return Ok(());
    };
    refuse(mistake, "a wait in poll", say!("it waits in {place}"))
}

fn times_out(child: &mut Child) -> Verdict {
    for limit in [400, 30] {
        let (_listener, port, _filler) = full()?;
        child.scene("at its connect", MUTE, "the deadline has passed, and it still waits");
        begin(child, port, limit)?;
        if child.until_blocked()? {
            waits_well(child, limit)?;
        }
        timed_out(&taken(child)?, limit)?;
    }
    Ok(())
}

fn passed(child: &mut Child) -> Verdict {
    let (_listener, port, _filler) = full()?;
    begin(child, port, 0)?;
    let mistake = "a deadline that has passed became a wait without end: poll takes -1 for that";
    child.scene("with a deadline that has passed", MUTE, mistake);
    timed_out(&taken(child)?, 0)
}

fn signals(child: &mut Child) -> Verdict {
    const MOVED: &str = "the deadline moved: after a signal only what is left of the time is left";
    let (_listener, port, _filler) = full()?;
    let limit = 400;
    begin(child, port, limit)?;
    let did = "does not answer, and a signal comes 16 times while it sleeps, 50 ms apart";
    child.scene("at its connect", did, "");
    let mut signals = 0;
    while signals < 16 && child.until_blocked()? {
        child.interrupt();
        signals += 1;
        thread::sleep(Duration::from_millis(50)); // the time between two signals is the subject
    }
    // 800 ms have passed, at least.
    if signals == 16 && child.until_blocked()? {
        let expected = say!("Err(TimedOut) after {limit} ms");
        return refuse(MOVED, expected, "it still waits");
    }
    timed_out(&taken(child)?, limit)
}

fn late(child: &mut Child) -> Verdict {
    let (listener, port, _filler) = full()?;
    begin(child, port, LONG)?;
    let did = "has room for the connection after a while";
    child.scene("at its connect", did, "it goes on waiting after the connection is there");
    child.interrupts(1)?;
    // The next SYN, after a second, finds room: and then there is nothing to wait for.
    let _accepted = [listener.accept()?, listener.accept()?];
    child.never_sleeps()?;
    let said = taken(child)?;
    said.judged(unfounded(&said), "Ok")
}

fn other_errors(child: &mut Child) -> Verdict {
    const LOOP: &str = "it calls again after errors that do not go away";
    let (_peer, conn) = pair()?;
    for (fds, did, errno) in [
        (vec![], "there is no such descriptor: EBADF", libc::EBADF),
        (vec![conn], "the socket is connected already: EISCONN", libc::EISCONN),
    ] {
        child.scene("at its connect", did, LOOP);
        child.ask((9, LONG), &[], fds)?;
        let said = taken(child)?;
        let mistake = if said.result.is_ok() {
            "a call returned -1, and it returned Ok"
        } else if said.errno() != errno {
            "the errno of the failed call has to reach the caller as it is"
        } else {
            ""
        };
        said.judged(mistake, "the error of that call")?;
    }
    Ok(())
}
