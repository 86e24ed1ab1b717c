//! Exercise `deadline`: fill a buffer, or give up at an instant. Article 2.2.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::kernel;
use crate::prelude::*;

/// What a call took.
#[derive(Serialize, Deserialize)]
struct Took {
    /// Microseconds from the last call's beginning to its end.
    micros: i64,
    /// How often it went to sleep, in all calls.
    sleeps: i64,
    /// Calls that returned before their deadline.
    early: usize,
}

/// Grades the answer: asked for so many bytes, until so many microseconds from now have passed; so
/// many times.
pub fn grade(answer: fn(RawFd, &mut [u8], Instant) -> io::Result<()>) -> ExitCode {
    grading::grade("deadline", CASES, |(len, within, times): (usize, i64, usize), given| {
        let mut room = Room::new(len);
        let mut took = Took { micros: 0, sleeps: 0, early: 0 };
        let call = || {
            let mut result = Ok(());
            for _ in 0..times {
                let (slept, begin) = (sleeps_so_far(), Instant::now());
                let time = Duration::from_micros(within.unsigned_abs());
                let deadline = if within < 0 { begin - time } else { begin + time };
                result = answer(given.fd(), room.buf(), deadline);
                let end = Instant::now();
                took.micros = (end - begin).as_micros() as i64;
                took.early += usize::from(end < deadline);
                took.sleeps += sleeps_so_far() - slept;
            }
            result
        };
        let mut said = given.call(call, ok).with(took);
        room.told(&mut said);
        said
    })
}

/// How often this thread went to sleep by itself.
fn sleeps_so_far() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

const EXAM: Receiver = Receiver {
    payload: b"HELLO WO",
    wire: <[u8]>::to_vec,
    ask: |len| json!((len, LONG, 1)),
    whole: "Ok",
    nothing: "Err(UnexpectedEof)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
    mistake,
};

const CASES: &[Case] = &[
    ("the peer is silent: TimedOut at the deadline, asleep until then", silent),
    ("everything in time: byte by byte, with a signal between", in_time),
    ("the peer drips: that does not move the deadline", drips),
    ("signals come: they do not move the deadline", signals),
    ("the deadline has passed before the call", passed),
    ("less than a millisecond is left: sleep, do not spin", rounding),
    ("the deadline is 50 days away", far),
    ("the peer ends its stream: UnexpectedEof at once", |c| EXAM.ends(c, 0..=8)),
    ("forty signals come while it waits", |c| EXAM.signals(c)),
    ("the peer resets the connection, in all its ways", |c| EXAM.resets(c)),
    ("other errors are returned as they come", |c| EXAM.not_connected(c)),
    ("the socket is non-blocking: nothing changes", non_blocking_as_well),
];

/// A deadline in microseconds that is met by far.
const LONG: i64 = 60_000_000;
/// One that passes.
const SHORT: i64 = 300_000;

fn mistake(seen: &Seen) -> &'static str {
    let text = seen.text;
    if seen.said.kind() == "Interrupted" {
        "EINTR was returned as an error: call again, with the time that is left"
    } else if text == "Err(TimedOut)" && seen.expected == EXAM.cut {
        "the end of the stream was not noticed: it was waited for until the deadline"
    } else if text == "Err(TimedOut)" {
        "TimedOut, although the deadline was still far away"
    } else if seen.said.kind() == "WouldBlock" {
        "WouldBlock was returned: poll first, or poll again"
    } else if seen.expected == EXAM.cut && text == "Ok" {
        "recv returned 0 and that was taken for success: the buffer is not full"
    } else if seen.expected == EXAM.cut {
        "the end of the stream inside a message has a kind: UnexpectedEof"
    } else if text == EXAM.cut {
        "UnexpectedEof, and all bytes had come or were still to come: fewer than asked are no end, \
         and POLLRDHUP is told before they are read"
    } else if text != "Ok" {
        ""
    } else if seen.got[seen.same()..].iter().all(|&b| b == 0xa5) {
        "it returned Ok before the buffer was full"
    } else {
        "the pieces are not one behind the other: the next recv writes behind the last one"
    }
}

fn begin(child: &mut Child, len: usize, before: &[u8], within: i64) -> Result<Stage, Refusal> {
    let (peer, conn) = pair()?;
    peer.send(before);
    arrived(&conn, before.len())?;
    let (stage, fds) = stage((peer, conn))?;
    child.ask((len, within, 1), &[], fds)?;
    Ok(stage)
}

const EARLY: &str = "TimedOut was returned before the deadline: the clock decides, not what poll \
                     returns, and milliseconds are rounded up";

/// TimedOut, and not before `within`.
fn timed_out(said: &Said<Took>, within: i64) -> Verdict {
    let mistake = match said.kind() {
        "TimedOut" if said.more.early == 0 => return Ok(()),
        "TimedOut" => EARLY,
        "Interrupted" => "EINTR was returned as an error: call again, with the time that is left",
        "WouldBlock" => "a deadline that has passed is TimedOut, not WouldBlock",
        "UnexpectedEof" => "a deadline that has passed is TimedOut: the stream has not ended",
        "" => "the deadline passed, and it returned Ok although the buffer was not full",
        _ => "a deadline that has passed has a kind: TimedOut",
    };
    let millis = |micros: i64| say!("after {} ms", micros / 1000);
    let seen = format!("{} {}", said.shown(), millis(said.more.micros));
    refuse(mistake, format!("Err(TimedOut) {}", millis(within)), seen)
}

/// What it said that sent nothing.
fn taken(child: &mut Child, stage: &Stage) -> Result<Said<Took>, Refusal> {
    let said = child.said_more::<Took>()?;
    stage.nothing_sent(&said.after)?;
    Ok(said)
}

fn in_time(child: &mut Child) -> Verdict {
    EXAM.at_once(child, &[b"HELLO WORLD", b"NEXT"])?;
    EXAM.pauses(child, b"HELLO WORLD")?;
    let stage = EXAM.begin(child, 0, b"", pair()?)?;
    child.scene("after 0 of 0 bytes", "the peer is silent", "it waits although buf is empty");
    EXAM.takes(child, &stage, b"", 0).map(drop)
}

fn silent(child: &mut Child) -> Verdict {
    const STILL: &str = "it still waits though the deadline has passed: nothing limits the wait";
    for before in [&b""[..], b"HEL"] {
        let stage = begin(child, 8, before, SHORT)?;
        let did = say!("sent {} of 8 bytes and was silent", before.len());
        child.scene(&say!("after {} of 8 bytes", before.len()), &did, STILL);
        if child.until_blocked()? {
            let look = kernel::look(child.pid())?;
            if let Some(ms) = look.timeout.filter(|&ms| i64::from(ms) > SHORT / 1000) {
                let mistake = "poll is told to wait for longer than to the deadline";
                return refuse(mistake, "at most 300 ms", say!("{ms} ms"));
            }
            if look.place() == "a sleep" {
                let mistake = "it sleeps, and looks again later: poll sleeps until a byte comes";
                return refuse(mistake, "a wait in poll", look.place());
            }
        }
        let said = taken(child, &stage)?;
        let calls = &said.after.calls;
        // Counted, not timed: a busy machine lets nobody ask often, and this is often all the same.
        if calls.would_block > 20 {
            let mistake = "it asks again and again until the deadline, and never sleeps";
            return refuse(mistake, "a wait in poll", say!("{} times EAGAIN", calls.would_block));
        }
        if calls.over.saturating_sub(calls.looks) > 4 {
            let mistake = "it wakes again and again while nothing comes";
            return refuse(mistake, "one wait to the deadline", say!("{} waits", calls.over));
        }
        timed_out(&said, SHORT)?;
    }
    Ok(())
}

/// Does something 20 times while the answer sleeps, 60 ms apart or more: that is four times its
/// deadline. One whose deadline has moved is still there, and is refused.
fn meanwhile(
    child: &mut Child,
    stage: &Stage,
    moved: &str,
    act: impl Fn(&Child),
) -> Result<Said<Took>, Refusal> {
    for turn in 0..20 {
        if !child.until_blocked()? {
            break; // it has returned
        }
        // It may have begun this wait before the last pause. So much of the time was over then, and
        // one millisecond is what rounding up may add.
        let left = (SHORT / 1000 - 60 * (turn - 1).max(0)).max(0) + 1;
        if let Some(ms) = kernel::look(child.pid())?.timeout.filter(|&ms| i64::from(ms) > left) {
            let expected = say!("a poll of at most {left} ms");
            return refuse(moved, expected, say!("one of {ms} ms"));
        }
        act(child);
        thread::sleep(Duration::from_millis(60)); // the time between two is the subject
    }
    if child.until_blocked()? {
        return refuse(moved, "Err(TimedOut) after 300 ms", "it waits");
    }
    let said = taken(child, stage)?;
    timed_out(&said, SHORT)?;
    Ok(said)
}

fn drips(child: &mut Child) -> Verdict {
    const MOVED: &str =
        "each byte moved the deadline: it is one instant for all of buf, not a time for each call";
    let stage = begin(child, 100, b"", SHORT)?;
    let did = "sent a byte every 60 ms, 20 in all; 100 were asked for";
    child.scene("in the middle of 100 bytes", did, MOVED);
    let said = meanwhile(child, &stage, MOVED, |_| stage.peer.send(b"."))?;
    if said.bytes[0] != b'.' && said.unread() > 0 {
        let mistake = "the bytes that came in time are not in the buffer";
        let seen = say!("{} bytes unread", said.unread());
        return refuse(mistake, "the bytes that came, at its front", seen);
    }
    Ok(())
}

fn signals(child: &mut Child) -> Verdict {
    const MOVED: &str =
        "each signal moved the deadline: after EINTR only the time that is left may be waited";
    let stage = begin(child, 8, b"", SHORT)?;
    let did = "was silent; a signal came every 60 ms, 20 in all";
    child.scene("after 0 of 8 bytes", did, MOVED);
    meanwhile(child, &stage, MOVED, Child::interrupt).map(drop)
}

fn passed(child: &mut Child) -> Verdict {
    const PASSED: &str =
        "a deadline in the past was waited for: what is left is less than nothing, so 0";
    for within in [0, -5_000_000] {
        let stage = begin(child, 8, b"", within)?;
        let did = "is silent; the deadline had passed before the call";
        child.scene("after 0 of 8 bytes", did, PASSED);
        child.never_sleeps()?;
        timed_out(&taken(child, &stage)?, within.max(0))?;
    }
    // With bytes there, too: a peer that always has one more could hold us for ever.
    let stage = begin(child, 8, b"HELLO WO", -1000)?;
    let did = "had sent all 8 bytes, but the deadline had passed before the call";
    child.scene("after 8 of 8 bytes", did, "");
    let said = taken(child, &stage)?;
    let mistake = "bytes were taken after the deadline: look at the clock before each recv";
    said.ensure(said.kind() == "TimedOut", mistake, "Err(TimedOut)")
}

fn rounding(child: &mut Child) -> Verdict {
    const TIMES: usize = 200;
    let (stage, fds) = stage(pair()?)?;
    let did = "is silent; 200 calls with a deadline 0.9 ms away";
    child.scene("with 0.9 ms left", did, "");
    child.ask((8, 900, TIMES), &[], fds)?;
    let said = taken(child, &stage)?;
    if said.more.early > 0 {
        let seen = say!("{} of 200 too early", said.more.early);
        return refuse(EARLY, "no return before the deadline", seen);
    }
    // The last look at each deadline may be one without a wait.
    let looks = said.after.calls.looks;
    if looks > 2 * TIMES {
        let mistake = "milliseconds rounded down: with less than one left poll gets 0, and spins";
        return refuse(mistake, "a sleep in each of 200 calls", say!("{looks} polls of 0 ms"));
    }
    timed_out(&said, 900)
}

fn far(child: &mut Child) -> Verdict {
    const WRAPS: &str = "a deadline 50 days away does not fit into poll's int, and was cut to less";
    let days = (1_i64 << 32) * 1000 + 50_000; // 2^32 ms, and 50
    let stage = begin(child, 8, b"HEL", days)?;
    let did = "paused 150 ms in the middle; the deadline is 50 days away";
    child.scene("after 3 of 8 bytes", did, WRAPS);
    if child.until_blocked()? {
        thread::sleep(Duration::from_millis(150)); // a slow peer
        stage.peer.send(b"LO WO");
    }
    let said = taken(child, &stage)?;
    if said.text() != "Ok" || said.bytes != b"HELLO WO" {
        return Err(said.refused(WRAPS, "Ok"));
    }
    let sleeps = said.more.sleeps;
    if sleeps > 20 {
        let mistake = "with a far deadline it never sleeps for long";
        return refuse(mistake, "a few sleeps", say!("{sleeps} in 150 ms"));
    }
    Ok(())
}

fn non_blocking_as_well(child: &mut Child) -> Verdict {
    let all = pattern(100_000);
    for (len, did) in [
        (8, "sent 3 bytes, paused, sent 5; the socket is non-blocking"),
        (100_000, "sent 100 kB in pieces; the socket is non-blocking"),
    ] {
        let stage = EXAM.begin(child, len, &all[..3], non_blocking(pair()?)?)?;
        child.scene("after 3 bytes", did, "");
        child.feed(&stage.peer, &all[3..len])?;
        EXAM.takes(child, &stage, &all[..len], 0)?;
    }
    Ok(())
}
