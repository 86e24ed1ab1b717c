//! Exercise `deadline`: fill a buffer, or give up at an instant. Article 2.2.

use std::time::{Duration, Instant};

use crate::calls::{self, Seldom};
use crate::examination::{GIVES_UP, anew};
use crate::huge::{self, HUGE};
use crate::prelude::*;

/// What a call took.
#[derive(Serialize, Deserialize)]
struct Took {
    /// Microseconds from the last call's beginning to its end.
    micros: i64,
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
            let mut took = Took { micros: 0, early: 0 };
            let call = || {
                let mut result = Ok(());
                for _ in 0..times {
                    let begin = Instant::now();
                    let time = Duration::from_micros(within.unsigned_abs());
                    let deadline = if within < 0 { begin - time } else { begin + time };
                    let buf = if len == HUGE { huge::zeroes()? } else { room.buf() };
                    calls::until(deadline);
                    calls::lends(buf);
                    result = answer(given.fd(), buf, deadline);
                    let end = Instant::now();
                    took.micros = (end - begin).as_micros() as i64;
                    took.early += usize::from(end < deadline);
                }
                result
            };
            let mut said = given.call(call, ok).with(took);
            room.told(&mut said);
            said
        },
    )
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
    ("the deadline has passed before the call, or between two of recv", passed),
    ("poll says that there is something, and another reader has taken it", false_alarm),
    ("less than a millisecond is left: sleep, do not spin", rounding),
    ("the deadline is 30 days away, or 50, or 585 years", far),
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
const LONG: i64 = 60_400_000;
/// One that passes.
const SHORT: i64 = 307_000;

/// A wait for more time than there is.
pub const LONGER: &str = "poll is told to wait for longer than to the deadline";
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

const TAKEN: &str = "bytes were taken after the deadline: it is one instant for all of buf, and no \
     time for each call; the clock is looked at before each recv";
const SLICES: &str = "it wakes again and again while nothing comes";

/// What rounding up may add to a timeout, in milliseconds: it may do so twice.
pub const ROUNDED: i64 = 3;

/// A poll that waits for so many milliseconds, of so many at most.
fn at_most(most: i64, ms: i32) -> Verdict {
    let (expected, seen) = (say!("a poll of at most {most} ms"), say!("one of {ms} ms"));
    ensure(i64::from(ms) <= most, LONGER, expected, seen)
}

fn silent(child: &mut Child) -> Verdict {
    for before in [&b""[..], b"HEL"] {
        let mut play = Play::new(&[])?;
        if !before.is_empty() {
            let earlier = [Sends(b"EARLIER"), Called, Says("Ok", b"EARLIER")];
            EXAM.goes_on(child, &mut play, &earlier)?;
        }
        play.does(child, &Sends(before))?;
        play.calls(child, (8, SHORT, 1), &[])?;
        play.tells(say!("is silent"));
        play.scene(child, "it still waits though the deadline has passed: nothing limits the wait");
        if child.until_blocked()? {
            at_most(SHORT / 1000 + ROUNDED, child.at_rest()?.timeout.unwrap_or(0))?;
        }
        let said: Said<Took> = play.said(child)?;
        let calls = &said.after.calls;
        // Counted, not timed: a busy machine lets nobody ask often, and this is often all the same.
        let mistake = "it asks again and again until the deadline, and never sleeps";
        let asked = say!("{} times EAGAIN", calls.would_block);
        ensure(calls.would_block <= 20, mistake, "a wait in poll", asked)?;
        let (few, waits) = (calls.over <= calls.looks + 4, say!("{} waits", calls.over));
        ensure(few, SLICES, "one wait to the deadline", waits)?;
        let seen = say!("{} ms in poll", calls.waited);
        ensure(calls.waited <= SHORT / 1000 + ROUNDED, LATE, say!("{} ms", SHORT / 1000), seen)?;
        timed_out(&said, SHORT)?;
        let seen = say!("{} ms less than were left", calls.short / 1000);
        ensure(calls.short <= 1000, SLICES, "one wait to the deadline", seen)?;
        let anew = Receiver { mistake: anew, ..EXAM };
        anew.goes_on(child, &mut play, &[Sends(b"new bytes"), Called, Says("Ok", b"new bytes")])?;
    }
    Ok(())
}

/// A hundred bytes, or signals, with nearly 2 ms by the clock between two, and then silence: of the
/// time to the deadline a third is left. Who waits for more has moved it.
fn moves(child: &mut Child) -> Verdict {
    const SIGNALS: &str =
        "each signal moved the deadline: after EINTR only the time that is left may be waited";
    const BETWEEN: u32 = 1900;
    let left = SHORT / 1000 - 190;
    let (drips, signals) =
        (Seldom::Gives(1, BETWEEN), Seldom::Says(libc::EINTR, 100, BETWEEN, true));
    let (sent, came) = ("sends 100 bytes in 190 ms", "is silent; 100 signals come in 190 ms");
    for (seldom, bytes, did, moved) in
        [(drips, &[b'.'; 100][..], sent, TAKEN), (signals, b"", came, SIGNALS)]
    {
        child.seldom = seldom;
        let mut play = begin(child, bytes, (101, SHORT, 1))?;
        child.scene("", did, moved);
        let said: Said<Took> = play.said(child)?;
        let calls = &said.after.calls;
        let gives_up = calls.failed > 8 && said.kind() != "TimedOut";
        said.ensure(!gives_up, GIVES_UP, "Err(TimedOut)")?;
        let seen = say!("{} ms in poll", calls.waited);
        ensure(calls.waited <= left + ROUNDED, moved, say!("{left} ms"), seen)?;
        timed_out(&said, SHORT)?;
        let there = said.unread() == 0 && said.bytes.starts_with(bytes);
        let mistake = "the bytes that came in time are not in the buffer";
        let seen = say!("{} bytes unread", said.unread());
        ensure(there, mistake, "the bytes that came, at its front", seen)?;
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
    // With bytes there, too, or the end: a peer that always has one more could hold us for ever.
    // And where it passes while a part is received.
    let (late, nothing) = (Seldom::Gives(20, 400_000), Seldom::Nothing);
    for (bytes, ends, seldom, within, taken) in [
        (&b"HELLO WO"[..], false, nothing, -1000, 0),
        (b"HEL", false, nothing, -1000, 0),
        (b"HEL", true, nothing, -1000, 0),
        (&[b'.'; 60], false, late, SHORT, 20),
    ] {
        let mut play = Play::new(&[])?;
        play.does(child, &Sends(bytes))?;
        play.does(child, if ends { &Ends } else { &Sends(b"") })?;
        child.seldom = seldom;
        play.calls(child, (bytes.len().max(8), within, 1), &[])?;
        play.tells(say!("the deadline passed after {taken} bytes"));
        play.scene(child, "");
        let said: Said<Took> = play.said(child)?;
        let is_so = said.kind() == "TimedOut" && said.unread() == bytes.len() - taken;
        said.ensure(is_so, TAKEN, "Err(TimedOut), and nothing more taken")?;
    }
    child.seldom = Seldom::Gives(8, 400_000);
    let mut play = begin(child, b"HELLO WO", (8, SHORT, 1))?;
    child.scene("", "had sent 8 bytes, which were received in time; then the deadline passed", "");
    let said: Said<Took> = play.said(child)?;
    let mistake = "TimedOut, and the buffer is full: what was received in time is not lost later";
    said.ensure(said.text() == "Ok", mistake, "Ok")
}

fn false_alarm(child: &mut Child) -> Verdict {
    const WAITS: &str = "it waits in recv, with no deadline: poll had said that there was \
                         something, and by then it is gone: MSG_DONTWAIT";
    const SPINS: &str = "after EAGAIN it asks recv again, not poll: nothing has come, and it spins";
    const MIXED: &str =
        "poll is told to wait for less than is left: are seconds or their parts lost?";
    child.seldom = Seldom::FalseAlarm;
    let mut play = begin(child, b"", (8, LONG, 1))?;
    play.tells(say!("sent something, and another reader took it"));
    play.scene(child, WAITS);
    if child.until_blocked()? {
        ensure(!child.at_rest()?.receives(), WAITS, "a wait in poll", "recv")?;
        play.act(&Sends(b"HELLO WO"), false)?;
    }
    let said: Said = play.said(child)?;
    EXAM.judges(&said, &play.so, "Ok", b"HELLO WO")?;
    let calls = &said.after.calls;
    let asked = say!("{} times EAGAIN", calls.would_block);
    ensure(calls.would_block <= 2, SPINS, "a wait in poll", asked)?;
    ensure(calls.short == 0, MIXED, "a poll of 60 s", say!("{} µs less", calls.short))
}

fn rounding(child: &mut Child) -> Verdict {
    const TIMES: usize = 40;
    for within in [100, 900, 1400] {
        let mut play = begin(child, b"", (8, within, TIMES))?;
        let did = say!("is silent; {TIMES} calls with a deadline {within} µs away");
        child.scene("", &did, "");
        let said: Said<Took> = play.said(child)?;
        let early = said.more.early;
        let seen = say!("{early} of {TIMES} too early");
        ensure(early == 0, EARLY, "no return before the deadline", seen)?;
        // The last look at each deadline may be one without a wait.
        let (looks, short) = (said.after.calls.looks, said.after.calls.short);
        let mistake = "milliseconds rounded down, or to the nearest: poll wakes before the \
                       deadline, and it spins, or waits once more";
        let seen = say!("{looks} polls of 0 ms, or one that was {short} µs too short");
        let sleeps = looks <= 2 * TIMES && short == 0;
        ensure(sleeps, mistake, "a poll to the deadline in each call", seen)?;
        at_most(within / 1000 + 2, said.after.calls.longest)?;
        timed_out(&said, within)?;
    }
    Ok(())
}

fn far(child: &mut Child) -> Verdict {
    const WRAPS: &str = "a far deadline does not fit into poll's int, and was cut: to less, or to \
                         less than 0, which is no deadline";
    // In milliseconds: more than an i32 holds, and 50 more than a u32 does.
    for (days, ms) in [(30, 30 * 86_400_000), (50, (1_i64 << 32) + 50)] {
        child.seldom = Seldom::Over;
        let mut play = begin(child, b"HEL", (8, ms * 1000, 1))?;
        let did = say!("is silent; the deadline is {days} days away");
        child.scene("after 3 of 8 bytes", &did, WRAPS);
        ensure(!child.until_blocked()?, WRAPS, "a poll with a timeout", "one without")?;
        let said: Said<Took> = play.said(child)?;
        let short = said.after.calls.short;
        let seen = say!("{} µs less", short);
        ensure(short == 0, WRAPS, "a poll to the deadline, or a long one", seen)?;
        timed_out(&said, ms * 1000)?;
    }
    // In nanoseconds: more than an i64 holds, and 50 ms more than a u64 does.
    for (years, micros) in [(300, 300 * 31_557_600_000_000), (585, (1 << 61) / 125 + 50_000)] {
        let mut play = begin(child, b"HEL", (8, micros, 1))?;
        let did = say!("paused; the deadline is {years} years away");
        child.scene("after 3 of 8 bytes", &did, WRAPS);
        if child.until_blocked()? {
            let forever = child.at_rest()?.polls_for_ever();
            ensure(!forever, WRAPS, "a poll with a timeout", "one without")?;
            play.act(&Sends(b"LO WO"), false)?;
        }
        let said: Said<Took> = play.said(child)?;
        let is_so = said.text() == "Ok" && said.bytes == b"HELLO WO" && said.after.calls.short == 0;
        said.ensure(is_so, WRAPS, "Ok, after one long poll")?;
    }
    Ok(())
}
