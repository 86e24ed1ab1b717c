//! Exercise `connect_deadline`: connect, but not for ever. Article 2.2 and 4.

use std::mem;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};

use crate::calls::{self, Seldom};
use crate::deadline::{LATE, LONGER, ROUNDED};
use crate::peer::{bound, full, impatient, readable};
use crate::play::STORM;
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
        calls::until(deadline);
        let said = given.call(|| answer(given.fd(), &to, deadline), ok);
        let (ms, worked) = (begun.elapsed().as_millis() as u64, processor_ms() - before);
        // SAFETY: whatever is open under the number stays so during this call.
        let flags = fcntl(unsafe { BorrowedFd::borrow_raw(given.fd()) }, FcntlArg::F_GETFL);
        let non_blocking = flags.is_ok_and(|flags| flags & libc::O_NONBLOCK != 0);
        said.with(Took { non_blocking, ms, worked })
    })
}

fn processor_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(0, |t| t.num_milliseconds() as u64)
}

const CASES: &[Case] = &[
    ("a server is there: connected, and blocking again", connects),
    ("nobody listens: ECONNREFUSED, and blocking again", |child| {
        let (_held, port) = bound(|_| Ok(()))?;
        begin(child, port, LONG, "is a port where nobody listens", "")?;
        says(child, LONG, "Err(ECONNREFUSED)").map(drop)
    }),
    ("no answer comes: TimedOut at the deadline", times_out),
    ("the deadline has passed before the call", |child| {
        let (_listener, port, _filler, _held) = full()?;
        let mistake =
            "a deadline that has passed became a wait without end: poll takes -1 for that";
        begin(child, port, 0, MUTE, mistake)?;
        says(child, 0, TIMED_OUT).map(drop)
    }),
    // TCP_USER_TIMEOUT, set by the owner: at the next SYN, after a second, the kernel gives up.
    ("the kernel gives up before the deadline: ETIMEDOUT", |child| {
        let ((_listener, port, _filler, _held), conn) = (full()?, impatient(lonely()?)?);
        child.scene("at its connect", MUTE, "the attempt has failed, and it waits on");
        child.ask((port, LONG), &[], vec![conn])?;
        says(child, LONG, "Err(ETIMEDOUT)").map(drop)
    }),
    ("signals come while it waits: the deadline stays where it is", signals),
    ("the server has room after a while: connected", late),
    ("other errors are returned as they come", |child| {
        const LOOP: &str = "it calls again after errors that do not go away";
        child.scene("at its connect", "there is no such descriptor: EBADF", LOOP);
        child.ask((9, LONG), &[], vec![])?;
        says(child, LONG, "Err(EBADF)")?;
        let (_peer, conn) = pair()?;
        child.scene("at its connect", "the socket is connected already: EISCONN", LOOP);
        child.ask((9, LONG), &[], vec![conn])?;
        says(child, LONG, "Err(EISCONN)").map(drop)
    }),
];

/// A deadline, in milliseconds, that is met by far.
const LONG: u64 = 60_000;
/// More milliseconds than an i32 has.
const FAR: u64 = 3_000_000_000;
const MUTE: &str = "does not answer: its queue is full";
const TIMED_OUT: &str = "Err(TimedOut)";

/// Has it called with a new socket.
fn begin(child: &mut Child, port: u16, limit: u64, did: &str, hangs: &str) -> Verdict {
    child.scene("at its connect", did, hangs);
    child.ask((port, limit), &[], vec![lonely()?])
}

/// It has to say this, and to leave the socket as it was; `limit` milliseconds were given.
fn says(child: &mut Child, limit: u64, expected: &str) -> Result<Said<Took>, Refusal> {
    let said: Said<Took> = child.unchecked()?;
    let (text, kind, errno, calls) = (&*said.text(), said.kind(), said.errno(), &said.after.calls);
    let Took { non_blocking, ms, worked } = said.more;
    let (is_ok, ends) = (said.result.is_ok(), expected == TIMED_OUT);
    let right = text == expected || ends && kind == "TimedOut";
    // Counted where it can be: a busy machine lets nobody work much.
    let awake = worked > 60 || calls.looks > 20 || calls.over > 20;
    let stood = [libc::EALREADY, libc::EISCONN].contains(&errno) && !right;
    let mistake = first! {
        non_blocking && is_ok =>
            "the socket stays non-blocking: take O_NONBLOCK away again once it is connected",
        non_blocking =>
            "after an error the socket stays non-blocking: take O_NONBLOCK away however it ended",
        said.calls("connect") > 1 || stood =>
            "connect was called a second time: once, then poll and SO_ERROR",
        said.after.changed.iter().any(|changed| changed.contains("status flags")) =>
            "F_SETFL sets all status flags at once, and wiped out others: read them first",
        right && ends && said.after.ended.last() == Some(&true) && limit > 0 =>
            "it ended the attempt at the deadline: that is for its owner, who may wait on",
        right && ends && ms >= limit && awake =>
            "it asks over and over instead of sleeping: the timeout of poll is the wait",
        right && ends && calls.waited > limit as i64 + ROUNDED => LATE,
        right && ends && ms < limit =>
            "it gave up before the deadline: the clock decides, not the 0 of poll, and milliseconds \
             are rounded up",
        right && calls.short > 0 =>
            "poll wakes before the deadline, and once more: milliseconds rounded down, or to the \
             nearest, or a wait in small parts",
        right => "",
        is_ok && expected == "Err(EISCONN)" =>
            "EISCONN was taken for success: no connection to this address was made, the errno goes \
             to the caller",
        // A refusal may be on its way.
        is_ok && (ends && ms + 5 < limit || said.calls("poll") == 0) =>
            "it returned Ok before the attempt had ended: poll until it is writable",
        is_ok && ends => "poll returned 0, nothing is ready, and it returned Ok",
        is_ok && expected == "Err(ECONNREFUSED)" =>
            "writable does not mean connected: SO_ERROR has the reason, and nobody read it",
        is_ok => "a call returned -1, and it returned Ok",
        (expected, text) == ("Ok", "Err(EBADF)") => ZERO,
        kind == "Interrupted" =>
            "EINTR of poll was returned as an error: wait on, for what is left",
        expected == "Err(ETIMEDOUT)" && errno == libc::ECONNREFUSED =>
            "POLLERR and POLLHUP do not say why the attempt failed: SO_ERROR does",
        errno == libc::EINPROGRESS =>
            "EINPROGRESS was returned as an error: it says that the attempt has begun, so wait",
        kind == "WouldBlock" =>
            "EAGAIN was returned where a kind was asked for: a deadline is TimedOut",
        kind == "TimedOut" && expected == "Err(ECONNREFUSED)" =>
            "a refused connection became TimedOut: poll said ready",
        kind == "TimedOut" =>
            "it said TimedOut although the attempt ended before the deadline",
        ends && errno == 0 => "a deadline that has passed has a kind: TimedOut",
        expected == "Err(ECONNREFUSED)" =>
            "the reason in SO_ERROR has to reach the caller as an errno",
        expected.starts_with("Err(E") =>
            "the errno of the failed call has to reach the caller as it is",
        true => UNFOUNDED,
    };
    judge(mistake, say!("{expected}, of {limit} ms"), say!("{} after {} ms", said.shown(), ms))?;
    child.left_as_it_was(&said.after)?;
    Ok(said)
}

fn connects(child: &mut Child) -> Verdict {
    for (limit, zero) in [(LONG, false), (FAR, false), (LONG, true)] {
        child.lent_zero = zero;
        child.seldom = Seldom::Says(libc::EINTR, STORM, 0, true);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let conn = lonely()?;
        child.scene("at its connect", &say!("listens"), "");
        child.ask((listener.local_addr()?.port(), limit), &[], vec![conn])?;
        let said = says(child, limit, "Ok")?;
        if !readable(&listener, u16::MAX)? {
            let mistake = "it returned Ok and nobody has connected";
            return Err(said.refused(mistake, "a connection at the listener"));
        }
    }
    Ok(())
}

/// Refuses a wait anywhere but in poll and its like.
fn waits_well(child: &mut Child, limit: u64) -> Verdict {
    if !child.until_blocked()? {
        return Ok(());
    }
    let look = child.at_rest()?;
    let (place, ms) = (look.place(), look.timeout.unwrap_or(0));
    let mistake = first! {
        ms < 0 && limit == FAR =>
            "a deadline that is far away became a wait without end: its milliseconds do not fit into \
             an i32",
        ms < 0 || i64::from(ms) > limit as i64 + ROUNDED => LONGER,
        place.starts_with("connect") =>
            "it waits in connect: for minutes, or as long as SO_SNDTIMEO says, which is a setting for \
             all who hold the socket; O_NONBLOCK before connect, then poll",
    };
    judge(mistake, say!("a wait in poll, of at most {limit} ms"), say!("it waits in {place}"))
}

fn times_out(child: &mut Child) -> Verdict {
    for limit in [400, 30] {
        let (_listener, port, _filler, _held) = full()?;
        begin(child, port, limit, MUTE, "the deadline has passed, and it still waits")?;
        waits_well(child, limit)?;
        says(child, limit, TIMED_OUT)?;
    }
    Ok(())
}

fn signals(child: &mut Child) -> Verdict {
    const MOVED: &str = "the deadline moved: after a signal only what is left of the time is left";
    let (_listener, port, _filler, _held) = full()?;
    let (limit, left) = (400, 227);
    child.seldom = Seldom::Says(libc::EINTR, 100, 1730, true);
    begin(child, port, limit, "does not answer, and 100 signals come in 173 ms", "")?;
    let said = says(child, limit, TIMED_OUT)?;
    let ms = said.after.calls.waited;
    let expected = say!("a wait in poll, of at most {left} ms");
    ensure(ms <= left + ROUNDED, MOVED, expected, say!("sleeps of {ms} ms"))
}

fn late(child: &mut Child) -> Verdict {
    let (listener, port, _filler, _held) = full()?;
    let hangs = "it goes on waiting after the connection is there";
    begin(child, port, FAR, "has room for the connection after a while", hangs)?;
    child.interrupts(1)?;
    waits_well(child, FAR)?;
    // The next SYN, after a second, finds room: and then there is nothing to wait for.
    let _accepted = [listener.accept()?, listener.accept()?];
    child.never_sleeps()?;
    says(child, FAR, "Ok")?;
    // Or the deadline comes, after all these days.
    let (_listener, port, _filler, _held) = full()?;
    child.seldom = Seldom::Over;
    begin(child, port, FAR, "does not answer; the deadline is 34 days away", "")?;
    waits_well(child, FAR)?;
    if child.at_rest()?.answer_waits() {
        return Ok(()); // in select, may be: the time of poll alone is over at once
    }
    says(child, FAR, TIMED_OUT).map(drop)
}
