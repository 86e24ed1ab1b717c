//! Exercise `deadline`: fill a buffer, or give up at an instant. Article 2.2.

use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use crate::huge::{self, HUGE};
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
    grading::grade(
        "deadline",
        &EXAM.cases(CASES, &[HUGE_BUFFER]),
        |(len, within, times): (usize, i64, usize), given| {
            let mut room = Room::new(if len == HUGE { 0 } else { len });
            let mut took = Took { micros: 0, sleeps: 0, early: 0 };
            let call = || {
                let mut result = Ok(());
                for _ in 0..times {
                    let (slept, begin) = (sleeps_so_far(), Instant::now());
                    let time = Duration::from_micros(within.unsigned_abs());
                    let deadline = if within < 0 { begin - time } else { begin + time };
                    let buf = if len == HUGE { huge::zeroes()? } else { room.buf() };
                    result = answer(given.fd(), buf, deadline);
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
        },
    )
}

/// How often this thread went to sleep by itself.
fn sleeps_so_far() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

const EXAM: Receiver = Receiver {
    what: "the message",
    payload: b"HELLO WORLD",
    several: &[b"HELLO WORLD", b"NEXT"],
    ask: |len, _| json!((len, LONG, 1)),
    whole: "Ok",
    nothing: "Err(UnexpectedEof)",
    waits: true,
    mistake,
    ..RECEIVER
};

const CASES: &[Case] = &[
    ("the peer is silent: TimedOut at the deadline, asleep until then", silent),
    ("an empty buffer needs no call", |c| EXAM.plays(c, &[Called, Says("Ok", b"")])),
    ("the peer drips, or signals come: that does not move the deadline", moves),
    ("the deadline has passed before the call", passed),
    ("less than a millisecond is left: sleep, do not spin", rounding),
    ("the deadline is 30 days away, or 50", far),
    ("the socket is non-blocking: nothing changes", |c| {
        let all = pattern(100_000);
        let [first, rest, large] = [&all[..3], &all[3..8], &all[3..]];
        let pauses = [NonBlocking, Sends(first), Called, Sends(rest), Says("Ok", &all[..8])];
        EXAM.plays(c, &pauses)?;
        let begin = [NonBlocking, Sends(first), Called, Sends(large), Says("Ok", &all)];
        EXAM.plays(c, &begin)
    }),
];

const HUGE_BUFFER: Case = ("a buffer of more than 4 GiB", |c| EXAM.huge(c, json!((HUGE, LONG, 1))));

/// A deadline in microseconds that is met by far.
const LONG: i64 = 60_000_000;
/// One that passes.
const SHORT: i64 = 307_000;

/// A wait after the deadline.
pub const LATE: &str =
    "it waits on after the deadline: then there is no time left, not for a poll either";
const INTERRUPTED: &str = "EINTR was returned as an error: call again, with the time that is left";
const EARLY: &str = "TimedOut was returned before the deadline: the clock decides, not what poll \
                     returns, and milliseconds are rounded up";

fn mistake(seen: &Seen) -> &'static str {
    let (text, end) = (seen.text, seen.expected == EXAM.cut);
    match seen.said.kind() {
        "" if text.is_empty() && seen.right.is_empty() && !end => "it waits although buf is empty",
        "Interrupted" => INTERRUPTED,
        "TimedOut" if end => {
            "the end of the stream was not noticed: it was waited for until the deadline"
        }
        "TimedOut" => "TimedOut, although the deadline was still far away",
        "WouldBlock" => "WouldBlock was returned: poll first, or poll again",
        "UnexpectedEof" => {
            "UnexpectedEof, and all bytes had come or were still to come: fewer than asked are no \
             end, and POLLRDHUP is told before they are read"
        }
        _ => "",
    }
}

/// Has it called for 8 bytes, of which these have come, or for more.
fn begin(
    child: &mut Child,
    before: &[u8],
    (len, within, times): (usize, i64, usize),
) -> Result<Play, Refusal> {
    let mut play = Play::new(&[])?;
    play.does(child, &Sends(before))?;
    play.calls(child, (len, within, times), &[])?;
    Ok(play)
}

/// TimedOut, and not before `within`.
fn timed_out(said: &Said<Took>, within: i64) -> Verdict {
    let mistake = match said.kind() {
        "TimedOut" if said.more.early == 0 => return Ok(()),
        "TimedOut" => EARLY,
        "Interrupted" => INTERRUPTED,
        "WouldBlock" => "a deadline that has passed is TimedOut, not WouldBlock",
        "UnexpectedEof" => "a deadline that has passed is TimedOut: the stream has not ended",
        "" => "the deadline passed, and it returned Ok although the buffer was not full",
        _ => "a deadline that has passed has a kind: TimedOut",
    };
    let millis = |micros: i64| say!("after {} ms", micros / 1000);
    let seen = format!("{} {}", said.shown(), millis(said.more.micros));
    refuse(mistake, format!("Err(TimedOut) {}", millis(within)), seen)
}

/// What rounding up may add to a timeout, in milliseconds: it may do so twice.
const ROUNDED: i64 = 3;

/// The poll that it waits in has no longer timeout than this.
fn at_most(child: &Child, most: i64, mistake: &str) -> Verdict {
    match kernel::look(child.pid())?.timeout {
        Some(ms) if i64::from(ms) > most + ROUNDED => {
            refuse(mistake, say!("a poll of at most {most} ms"), say!("one of {ms} ms"))
        }
        _ => Ok(()),
    }
}

fn silent(child: &mut Child) -> Verdict {
    for before in [&b""[..], b"HEL"] {
        let mut play = begin(child, before, (8, SHORT, 1))?;
        play.tells(say!("is silent"));
        play.scene(child, "it still waits though the deadline has passed: nothing limits the wait");
        if child.until_blocked()? {
            at_most(child, SHORT / 1000, "poll is told to wait for longer than to the deadline")?;
        }
        let said: Said<Took> = play.said(child)?;
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
        if calls.waited > SHORT / 1000 + ROUNDED {
            let seen = say!("{} ms in poll", calls.waited);
            return refuse(LATE, say!("{} ms", SHORT / 1000), seen);
        }
        timed_out(&said, SHORT)?;
    }
    Ok(())
}

/// A byte, or a signal, 20 times while the answer sleeps, 60 ms apart or more: that is four times
/// its deadline. One whose deadline has moved is still there, and is refused.
fn moves(child: &mut Child) -> Verdict {
    const BYTES: &str =
        "each byte moved the deadline: it is one instant for all of buf, not a time for each call";
    const SIGNALS: &str =
        "each signal moved the deadline: after EINTR only the time that is left may be waited";
    let bytes = "sends a byte every 60 ms, 20 in all; 100 were asked for";
    let signals = "is silent; a signal comes every 60 ms, 20 in all";
    for (drips, did, moved) in [(true, bytes, BYTES), (false, signals, SIGNALS)] {
        let mut play = begin(child, b"", (100, SHORT, 1))?;
        child.scene("in the middle of 100 bytes", did, moved);
        let mut waits = child.until_blocked()?;
        for turn in 0..20 {
            if !waits {
                break; // it has returned
            }
            // It may have begun this wait before the last pause. So much of the time was over then.
            at_most(child, (SHORT / 1000 - 60 * (turn - 1).max(0)).max(0), moved)?;
            if drips {
                play.act(&Sends(b"."), false)?;
            } else {
                child.interrupt();
            }
            thread::sleep(Duration::from_millis(60)); // the time between two is the subject
            waits = child.until_blocked()?;
        }
        if waits {
            return refuse(moved, "Err(TimedOut) after 307 ms", "it waits");
        }
        let said: Said<Took> = play.said(child)?;
        timed_out(&said, SHORT)?;
        if drips && said.bytes[0] != b'.' && said.unread() > 0 {
            let mistake = "the bytes that came in time are not in the buffer";
            let seen = say!("{} bytes unread", said.unread());
            return refuse(mistake, "the bytes that came, at its front", seen);
        }
    }
    Ok(())
}

fn passed(child: &mut Child) -> Verdict {
    const PASSED: &str =
        "a deadline in the past was waited for: what is left is less than nothing, so 0";
    for within in [0, -5_000_000] {
        let mut play = begin(child, b"", (8, within, 1))?;
        child.scene("after 0 of 8 bytes", "is silent; the deadline has passed", PASSED);
        child.never_sleeps()?;
        timed_out(&play.said(child)?, within.max(0))?;
    }
    // With bytes there, too: a peer that always has one more could hold us for ever.
    let mut play = begin(child, b"HELLO WO", (8, -1000, 1))?;
    child.scene("after 8 of 8 bytes", "had sent all 8 bytes; the deadline has passed", "");
    let said: Said<Took> = play.said(child)?;
    let mistake = "bytes were taken after the deadline: look at the clock before each recv";
    said.ensure(said.kind() == "TimedOut", mistake, "Err(TimedOut)")
}

fn rounding(child: &mut Child) -> Verdict {
    const TIMES: usize = 200;
    let mut play = begin(child, b"", (8, 900, TIMES))?;
    let did = "is silent; 200 calls with a deadline 0.9 ms away";
    child.scene("with 0.9 ms left", did, "");
    let said: Said<Took> = play.said(child)?;
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
    const WRAPS: &str = "a far deadline does not fit into poll's int, and was cut: to less, or to \
                         less than 0, which is no deadline";
    // In milliseconds: more than an i32 holds, and 50 more than a u32 does.
    for (days, ms) in [(30, 30 * 86_400_000), (50, (1_i64 << 32) + 50)] {
        let mut play = begin(child, b"HEL", (8, ms * 1000, 1))?;
        let did = say!("paused 150 ms in the middle; the deadline is {days} days away");
        child.scene("after 3 of 8 bytes", &did, WRAPS);
        if child.until_blocked()? {
            if kernel::look(child.pid())?.polls_for_ever() {
                return refuse(WRAPS, "a poll with a timeout", "one without");
            }
            thread::sleep(Duration::from_millis(150)); // a slow peer
            play.act(&Sends(b"LO WO"), false)?;
        }
        let said: Said<Took> = play.said(child)?;
        if said.text() != "Ok" || said.bytes != b"HELLO WO" {
            return Err(said.refused(WRAPS, "Ok"));
        }
        let sleeps = said.more.sleeps;
        if sleeps > 20 {
            let mistake = "with a far deadline it never sleeps for long";
            return refuse(mistake, "a few sleeps", say!("{sleeps} in 150 ms"));
        }
    }
    Ok(())
}
