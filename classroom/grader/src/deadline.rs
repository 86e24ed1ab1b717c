//! Exercise `deadline`: fill a buffer, or give up at an instant. Article 2.2.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use say::say;
use serde::{Deserialize, Serialize};

use crate::beside::{Stage, stage};
use crate::child::Child;
use crate::examination::{Receiver, Says};
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::kernel;
use crate::peer::{Peer, arrived, pair, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

/// Receive `len` bytes from the last of the given descriptors, until `within` microseconds from
/// now have passed; `times` times.
#[derive(Serialize, Deserialize)]
struct Ask {
    len: usize,
    within: i64,
    times: usize,
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    /// Of the last call.
    result: Result<(), Failure>,
    /// The bytes before and after the buffer are untouched.
    in_bounds: bool,
    /// Microseconds from the last call's beginning to its end.
    took: i64,
    /// How often it went to sleep, in all calls.
    sleeps: i64,
    /// Calls that returned before their deadline.
    early: usize,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &mut [u8], Instant) -> io::Result<()>) -> ExitCode {
    grading::grade_raw("deadline", CASES, |ask: Ask, given| {
        const GUARD: usize = 64;
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let mut memory = vec![0xa5; GUARD + ask.len + GUARD];
        let buf = GUARD..GUARD + ask.len;
        let (mut took, mut sleeps, mut early) = (Duration::ZERO, 0, 0);
        let (result, after) = observe(&given.fds, || {
            let mut result = Ok(());
            for _ in 0..ask.times {
                let slept = sleeps_so_far();
                let begin = Instant::now();
                let within = Duration::from_micros(ask.within.unsigned_abs());
                let deadline = if ask.within < 0 { begin - within } else { begin + within };
                result = answer(fd, &mut memory[buf.clone()], deadline);
                let end = Instant::now();
                took = end - begin;
                early += usize::from(end < deadline);
                sleeps += sleeps_so_far() - slept;
            }
            result
        });
        let in_bounds =
            [&memory[..buf.start], &memory[buf.end..]].iter().all(|g| g.iter().all(|&b| b == 0xa5));
        let took = took.as_micros() as i64;
        let said = Said { result: portable(result), in_bounds, took, sleeps, early, after };
        (said, memory[buf].to_vec())
    })
}

/// How often this thread went to sleep by itself.
fn sleeps_so_far() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

const EXAM: Receiver<Ask, Said> = Receiver {
    message: b"HELLO WO",
    ask: |fd| Ask { len: 8, within: LONG, times: 1, fd },
    says: |said| Says { result: said.result.as_ref().map(|()| "Ok".into()), after: &said.after },
    whole: "Ok",
    nothing: "Err(UnexpectedEof)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
};

const CASES: &[Case] = &[
    Case { name: "the peer is silent: TimedOut at the deadline, asleep until then", run: silent },
    Case { name: "everything in time: byte by byte, with a signal between", run: in_time },
    Case { name: "the peer drips: that does not move the deadline", run: drips },
    Case { name: "signals come: they do not move the deadline", run: signals },
    Case { name: "the deadline has passed before the call", run: passed },
    Case { name: "less than a millisecond is left: sleep, do not spin", run: rounding },
    Case { name: "the deadline is 50 days away", run: far },
    Case { name: "the peer ends its stream: UnexpectedEof at once", run: ends },
    Case { name: "forty signals come while it waits", run: |c| EXAM.signals(c) },
    Case { name: "the peer resets the connection, in all its ways", run: |c| EXAM.resets(c) },
    Case { name: "other errors are returned as they come", run: other_errors },
    Case { name: "the socket is non-blocking: nothing changes", run: non_blocking },
];

/// A deadline in microseconds that is met by far.
const LONG: i64 = 60_000_000;
/// One that passes.
const SHORT: i64 = 300_000;

fn begin(child: &mut Child, len: usize, before: &[u8], within: i64) -> Result<Stage, Refusal> {
    begin_on(child, len, before, within, pair()?)
}

fn begin_on(
    child: &mut Child,
    len: usize,
    before: &[u8],
    within: i64,
    (peer, conn): (Peer, OwnedFd),
) -> Result<Stage, Refusal> {
    peer.send(before);
    arrived(&conn, before.len())?;
    let (stage, fds) = stage((peer, conn))?;
    child.ask(Ask { len, within, times: 1, fd: None }, &[], fds)?;
    Ok(stage)
}

fn taken(child: &mut Child, stage: &Stage) -> Result<(Said, Vec<u8>), Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    checked(said, bytes, child, stage)
}

fn checked(
    said: Said,
    bytes: Vec<u8>,
    child: &Child,
    stage: &Stage,
) -> Result<(Said, Vec<u8>), Refusal> {
    if !said.in_bounds {
        return Err(Refusal::new(
            "recv was told of more room than there is: after n bytes, len - n are left",
        ));
    }
    child.left_as_it_was(&said.after)?;
    stage.nothing_sent(&said.after)?;
    Ok((said, bytes))
}

/// Ok, and exactly these bytes.
fn full(child: &mut Child, stage: &Stage, expected: &[u8], peer: &str) -> Result<usize, Refusal> {
    let (said, bytes) = taken(child, stage)?;
    if let Err(e) = &said.result {
        let mistake = match e.kind.as_str() {
            "Interrupted" => {
                "EINTR was returned as an error: call again, with the time that is left"
            }
            "UnexpectedEof" => {
                "UnexpectedEof, and all bytes had come or were still to come: fewer than asked are \
                 no end, and POLLRDHUP is told before they are read"
            }
            "TimedOut" => "TimedOut, although the deadline was still far away",
            "WouldBlock" => "WouldBlock was returned: poll first, or poll again",
            _ => UNFOUNDED,
        };
        return Err(Refusal::new(mistake).peer(peer).but("Ok", show(&said.result)));
    }
    if bytes != expected {
        let right = expected.iter().zip(&bytes).take_while(|(a, b)| a == b).count();
        let mistake = if bytes[right..].iter().all(|&b| b == 0xa5) {
            "it returned Ok before the buffer was full"
        } else {
            "the pieces are not one behind the other: the next recv writes behind the last one"
        };
        return Err(Refusal::new(mistake)
            .peer(peer)
            .but("Ok, and every byte in its place", "Ok, and other bytes:")
            .bytes(expected, &bytes));
    }
    Ok(said.after.unread.last().copied().unwrap_or(0))
}

const MILLIS: fn(i64) -> String = |micros| say!("after {} ms", micros / 1000);

const EARLY: &str = "TimedOut was returned before the deadline: the clock decides, not what poll \
                     returns, and milliseconds are rounded up";

/// TimedOut, and not before `within`.
fn timed_out(said: &Said, within: i64, peer: &str) -> Result<(), Refusal> {
    let expected = format!("Err(TimedOut) {}", MILLIS(within));
    let seen = format!("{} {}", show(&said.result), MILLIS(said.took));
    let mistake = match &said.result {
        Err(e) if e.kind == "TimedOut" && said.early == 0 => return Ok(()),
        Err(e) if e.kind == "TimedOut" => EARLY,
        Err(e) if e.kind == "Interrupted" => {
            "EINTR was returned as an error: call again, with the time that is left"
        }
        Err(e) if e.kind == "WouldBlock" => {
            "a deadline that has passed is TimedOut, not WouldBlock"
        }
        Err(e) if e.kind == "UnexpectedEof" => {
            "a deadline that has passed is TimedOut: the stream has not ended"
        }
        Err(_) => "a deadline that has passed has a kind: TimedOut",
        Ok(()) => "the deadline passed, and it returned Ok although the buffer was not full",
    };
    Err(Refusal::new(mistake).peer(peer).but(expected, seen))
}

fn in_time(child: &mut Child) -> Result<(), Refusal> {
    let message = b"HELLO WORLD";
    // All there, and more behind it.
    let stage = begin(child, 11, b"HELLO WORLDNEXT", LONG)?;
    child.scene("with all 11 bytes there", "the peer has sent them all", "");
    let peer = "sent 15 bytes; 11 of them were asked for";
    if full(child, &stage, message, peer)? != 4 {
        return Err(Refusal::new("it took bytes that belong to the next message").peer(peer));
    }
    // Byte by byte.
    let stage = begin(child, 11, b"", LONG)?;
    for (n, byte) in message.iter().enumerate() {
        child.scene(&say!("after {n} of 11 bytes"), "the peer waits, a signal has come", "");
        if n % 4 == 0 && child.until_blocked()? {
            child.interrupt();
        }
        if child.until_blocked()? {
            stage.peer.send(&[*byte]);
        }
    }
    child.scene("after 11 of 11 bytes", "the peer has sent them all", "");
    full(child, &stage, message, "sent each byte when it was waited for; signals came")?;
    // Nothing to receive, and the deadline has passed long ago.
    let stage = begin(child, 0, b"", LONG)?;
    child.scene("after 0 of 0 bytes", "the peer is silent", "it waits although buf is empty");
    full(child, &stage, b"", "is silent; buf is empty").map(drop)
}

fn silent(child: &mut Child) -> Result<(), Refusal> {
    const STILL: &str = "it still waits though the deadline has passed: nothing limits the wait";
    for before in [&b""[..], b"HEL"] {
        let stage = begin(child, 8, before, SHORT)?;
        let progress = say!("after {} of 8 bytes", before.len());
        child.scene(&progress, "the peer is silent, the deadline was 300 ms", STILL);
        let peer = say!("sent {} of 8 bytes and was silent", before.len());
        if child.until_blocked()? {
            let look = kernel::look(child.pid())?;
            let place = look.place();
            if look.timeout.is_some_and(|ms| i64::from(ms) > SHORT / 1000) {
                return Err(Refusal::new("poll is told to wait for longer than to the deadline")
                    .peer(peer)
                    .but("at most 300 ms", say!("{} ms", look.timeout.unwrap_or(0))));
            }
            if place == "a sleep" {
                return Err(Refusal::new(
                    "it sleeps, and looks again later: poll sleeps until a byte comes",
                )
                .peer(peer)
                .but("a wait in poll", place));
            }
        }
        let (said, _) = taken(child, &stage)?;
        // Counted, not timed: a busy machine lets nobody ask often, and this is often all the same.
        if said.after.calls.would_block > 20 {
            return Err(Refusal::new(
                "it asks again and again until the deadline, and never sleeps",
            )
            .peer(peer)
            .but("a wait in poll", say!("{} times EAGAIN", said.after.calls.would_block)));
        }
        if said.after.calls.over.saturating_sub(said.after.calls.looks) > 4 {
            return Err(Refusal::new("it wakes again and again while nothing comes")
                .peer(peer)
                .but("one wait to the deadline", say!("{} waits", said.after.calls.over)));
        }
        timed_out(&said, SHORT, &peer)?;
    }
    Ok(())
}

/// Does something 20 times while the answer sleeps, 60 ms apart or more: that is four times its
/// deadline. One whose deadline has moved is still there, and is refused.
fn meanwhile(
    child: &mut Child,
    stage: &Stage,
    peer: &str,
    moved: &str,
    act: impl Fn(&Peer, i32),
) -> Result<(Said, Vec<u8>), Refusal> {
    for turn in 0..20 {
        if !child.until_blocked()? {
            break; // it has returned
        }
        // It may have begun this wait before the last pause. So much of the time was over then, and
        // one millisecond is what rounding up may add.
        let left = (SHORT / 1000 - 60 * (turn - 1).max(0)).max(0) + 1;
        if let Some(ms) = kernel::look(child.pid())?.timeout.filter(|&ms| i64::from(ms) > left) {
            return Err(Refusal::new(moved)
                .peer(peer)
                .but(say!("a poll of at most {left} ms"), say!("one of {ms} ms")));
        }
        act(&stage.peer, child.pid());
        thread::sleep(Duration::from_millis(60)); // the time between two is the subject
    }
    if child.until_blocked()? {
        return Err(Refusal::new(moved).peer(peer).but("Err(TimedOut) after 300 ms", "it waits"));
    }
    let (said, bytes) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    stage.nothing_sent(&said.after)?;
    timed_out(&said, SHORT, peer)?;
    Ok((said, bytes))
}

fn drips(child: &mut Child) -> Result<(), Refusal> {
    const MOVED: &str =
        "each byte moved the deadline: it is one instant for all of buf, not a time for each call";
    let stage = begin(child, 100, b"", SHORT)?;
    child.scene("in the middle of 100 bytes", "the peer has sent 20, and then no more", MOVED);
    let did = "sent a byte every 60 ms, 20 in all; 100 were asked for";
    let (said, bytes) = meanwhile(child, &stage, did, MOVED, |peer, _| peer.send(b"."))?;
    let unread = said.after.unread.last().copied().unwrap_or(0);
    let got = bytes.iter().take_while(|&&b| b == b'.').count();
    if got == 0 && unread > 0 {
        return Err(Refusal::new("the bytes that came in time are not in the buffer")
            .but("the bytes that came, at its front", say!("{unread} bytes unread")));
    }
    Ok(())
}

fn signals(child: &mut Child) -> Result<(), Refusal> {
    const MOVED: &str =
        "each signal moved the deadline: after EINTR only the time that is left may be waited";
    let stage = begin(child, 8, b"", SHORT)?;
    child.scene("after 0 of 8 bytes", "the peer is silent, and 20 signals have come", MOVED);
    let did = "was silent; a signal came every 60 ms, 20 in all";
    meanwhile(child, &stage, did, MOVED, |_, pid| {
        let _ = kill(Pid::from_raw(pid), Signal::SIGUSR1);
    })
    .map(drop)
}

fn passed(child: &mut Child) -> Result<(), Refusal> {
    const PASSED: &str =
        "a deadline in the past was waited for: what is left is less than nothing, so 0";
    for within in [0, -5_000_000] {
        let stage = begin(child, 8, b"", within)?;
        let did = "is silent; the deadline had passed before the call";
        child.scene("after 0 of 8 bytes", did, PASSED);
        let (said, _) = child.said_without_sleep_as::<Said>()?;
        let (said, _) = checked(said, Vec::new(), child, &stage)?;
        timed_out(&said, within.max(0), did)?;
    }
    // With bytes there, too: a peer that always has one more could hold us for ever.
    let stage = begin(child, 8, b"HELLO WO", -1000)?;
    let (said, _) = taken(child, &stage)?;
    match &said.result {
        Err(e) if e.kind == "TimedOut" => Ok(()),
        result => Err(Refusal::new(
            "bytes were taken after the deadline: look at the clock before each recv",
        )
        .peer("had sent all 8 bytes, but the deadline had passed before the call")
        .but("Err(TimedOut)", show(result))),
    }
}

fn rounding(child: &mut Child) -> Result<(), Refusal> {
    const TIMES: usize = 200;
    let (stage, fds) = stage(pair()?)?;
    child.scene("with 0.9 ms left", "the peer is silent", "");
    child.ask(Ask { len: 8, within: 900, times: TIMES, fd: None }, &[], fds)?;
    let (said, _) = taken(child, &stage)?;
    let peer = "is silent; 200 calls with a deadline 0.9 ms away";
    if said.early > 0 {
        return Err(Refusal::new(EARLY)
            .peer(peer)
            .but("no return before the deadline", say!("{} of 200 too early", said.early)));
    }
    // The last look at each deadline may be one without a wait.
    if said.after.calls.looks > 2 * TIMES {
        return Err(Refusal::new(
            "milliseconds rounded down: with less than one left poll gets 0, and spins",
        )
        .peer(peer)
        .but("a sleep in each of 200 calls", say!("{} polls of 0 ms", said.after.calls.looks)));
    }
    timed_out(&said, 900, peer)
}

fn far(child: &mut Child) -> Result<(), Refusal> {
    const WRAPS: &str = "a deadline 50 days away does not fit into poll's int, and was cut to less";
    let days = (1_i64 << 32) * 1000 + 50_000; // 2^32 ms, and 50
    let stage = begin(child, 8, b"HEL", days)?;
    child.scene("after 3 of 8 bytes", "the peer waits, the deadline is 50 days away", WRAPS);
    if child.until_blocked()? {
        thread::sleep(Duration::from_millis(150)); // a slow peer
        stage.peer.send(b"LO WO");
    }
    child.scene("after 8 of 8 bytes", "the peer has sent them all", "");
    let (said, bytes) = taken(child, &stage)?;
    if said.result.is_err() || bytes != b"HELLO WO" {
        return Err(Refusal::new(WRAPS)
            .peer("paused 150 ms in the middle; the deadline is 50 days away")
            .but("Ok", format!("{} {}", show(&said.result), MILLIS(said.took))));
    }
    if said.sleeps > 20 {
        return Err(Refusal::new("with a far deadline it never sleeps for long")
            .but("a few sleeps", say!("{} in 150 ms", said.sleeps)));
    }
    Ok(())
}

fn ends(child: &mut Child) -> Result<(), Refusal> {
    for cut in [0, 5, 8] {
        let (peer, conn) = pair()?;
        peer.send(&b"HELLO WO"[..cut]);
        peer.end();
        let stage = begin_on(child, 8, b"", LONG, (peer, conn))?;
        let mistake = "the end of the stream was not noticed: it was waited for until the deadline";
        child.scene(&say!("after {cut} of 8 bytes"), "the peer has already closed", mistake);
        let peer = say!("sent {cut} of 8 bytes and ended its stream");
        if cut == 8 {
            full(child, &stage, b"HELLO WO", &peer)?;
            continue;
        }
        let (said, _) = taken(child, &stage)?;
        let mistake = match &said.result {
            Err(e) if e.kind == "UnexpectedEof" => continue,
            Err(e) if e.kind == "TimedOut" => mistake,
            Ok(()) => "recv returned 0 and that was taken for success: the buffer is not full",
            Err(_) => "the end of the stream inside a message has a kind: UnexpectedEof",
        };
        return Err(Refusal::new(mistake).peer(peer).but("Err(UnexpectedEof)", show(&said.result)));
    }
    Ok(())
}

fn other_errors(child: &mut Child) -> Result<(), Refusal> {
    const LOOP: &str = "it calls again after an error that does not go away: return it";
    let stage = begin(child, 8, b"HEL", LONG)?;
    let Stage { peer, bystander } = stage;
    child.scene("after 3 of 8 bytes", "the peer waits", LOOP);
    if child.until_blocked()? {
        peer.reset()?;
    }
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    drop(bystander);
    let expect = |result: &Result<(), Failure>, errno: i32, what: &str| match result {
        Err(e) if e.errno == Some(errno) => Ok(()),
        Err(e) if e.kind == "TimedOut" => {
            Err(Refusal::new("an error was waited out until the deadline").but(what, show(result)))
        }
        _ => Err(Refusal::new("a call failed, and its errno did not reach the caller")
            .but(what, show(result))),
    };
    expect(&said.result, libc::ECONNRESET, "Err(ConnectionReset)")?;
    child.scene("after 0 of 8 bytes", "there is no such descriptor", LOOP);
    let ask = Ask { len: 8, within: LONG, times: 1, fd: Some(150) };
    let (said, _) = child.call_as::<Said>(ask, &[], vec![])?;
    expect(&said.result, libc::EBADF, "Err(EBADF), as fd 150 is not open")
}

fn non_blocking(child: &mut Child) -> Result<(), Refusal> {
    let on = || -> Result<(Peer, OwnedFd), Refusal> {
        let (peer, conn) = pair()?;
        fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        Ok((peer, conn))
    };
    let stage = begin_on(child, 8, b"HEL", LONG, on()?)?;
    child.scene("after 3 of 8 bytes", "the peer waits", "");
    if child.until_blocked()? {
        stage.peer.send(b"LO WO");
    }
    full(child, &stage, b"HELLO WO", "sent 3 bytes, paused, sent 5; the socket is non-blocking")?;
    let stage = begin_on(child, 100_000, b"HEL", LONG, on()?)?;
    let message = pattern(99_997);
    if child.until_blocked()? {
        stage.peer.send(&message);
    }
    let all = [b"HEL", &message[..]].concat();
    full(child, &stage, &all, "sent 100 kB in pieces; the socket is non-blocking").map(drop)
}
