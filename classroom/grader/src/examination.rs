//! What every function that receives, and every one that sends, has to stand: the peer's moves.
//!
//! An exercise says what its function is given, what it says where, and what its mistakes are
//! called; the rest is the same for all.

use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{setsockopt, sockopt};
use nix::sys::time::TimeVal;
use say::say;
use serde_json::Value;

use crate::beside::{QUESTION, Stage, stage};
use crate::calls::{Calls, Seldom};
use crate::child::Child;
use crate::grading::Case;
use crate::huge::HUGE;
use crate::inside::After;
use crate::peer::{
    Buffers, TINY, arrived, fill, impatient, lonely, non_blocking, pair, pair_with, pattern,
    readable,
};
use crate::play::*;
use crate::refusal::{
    HELD, INTERRUPTED, NO_ERRNO, Refusal, SHUT, UNFOUNDED, Verdict, ZERO, ensure, first, judge,
    refuse, same,
};
use crate::said::Said;

const RESET: &str = "Err(ECONNRESET)";
const PIPE: &str = "Err(EPIPE)";
const AGAIN: &str = "Err(EAGAIN)";
const LOOP: &str = "it calls recv again after errors that do not go away: only EINTR does";
const SPINS: &str =
    "EAGAIN on a non-blocking socket goes to the caller: calling again at once only spins";
const WAITS: &str = "it waits by itself where the call says EAGAIN: the socket's owner has said \
                     how long to wait, not at all or until a timeout; leave out the poll";
const NO_WAIT: &str = "EAGAIN, though the socket waits: a call was told not to wait, as by \
                       MSG_DONTWAIT, or errno was read without a -1";
/// As long as a socket waits whose owner has said so.
const A_MOMENT: TimeVal = TimeVal::new(0, 1000);
const ELSEWHERE: &str =
    "it receives into memory of its own: recv can write into buf itself, and looks no further";
/// EINTR was counted.
pub const GIVES_UP: &str =
    "it gives up after some signals: EINTR is no failure, however often it comes";
const AT_THE_END: &str = "recv returned 0, which is the end of the stream; it called recv again";
const MORE: &str = "it waits for more than the message has, and that has come whole";
const BYTES: &str = "a recv for each byte: offer all the room, it fills what it can";
const TOO_MUCH: &str = "it took bytes out of the stream that are for the next call";
const NO_BUFFER: &str =
    "there is no buffer: one recv takes all that is there, not one line or one byte";
const CAST: &str = "a length or a count was cut to 32 bits: this buffer has 4 GiB and 5 bytes";
const LEFT_OUT: &str = "a message was left out: one that is the same as the last, or all 0x00 or 0xff, is a \
                        message as well";
const SENT: &str = "an empty buf was sent, or it was looked whether the peer is there: with nothing to send do neither";
const GOES_ON: &str = "a connection that goes on";
const ANEW: &str = "bytes of a call that failed came out of the next one, or something else was \
                    kept: it has to begin anew";
const KEPT: &str = "after an error the next call begins anew, with its own bytes: something of \
                    the failed one was kept, or it sends other bytes";
const LOOKS: &str = "a sender has no recv to call, not even to look: it may wait, and takes the \
                     socket's error away";
const BARE: &str = "MSG_NOSIGNAL was forgotten in one of the calls of send: each of them may meet \
                    a peer that has gone";
/// A cap that no message of an exercise reaches was taken for less.
pub const CAP_CUT: &str = "a large cap was cut to fewer bits, or became negative: it is a usize, and may \
                       be usize::MAX";
/// The largest caps: so many bytes, and where numbers of 32 and of 64 bits end.
pub const CAPS: [usize; 4] = [1 << 28, 1 << 31, 1 << 32, usize::MAX];

/// So many signals interrupt a wait.
const SIGNALS: usize = 40;

impl Said {
    /// What stands for a call that has not returned.
    fn nothing() -> Said {
        let (result, after) = (Ok(String::new()), After::default());
        Said { result, bytes: Vec::new(), more: Value::Null, after }
    }
}

/// What was expected, and what was seen instead.
pub struct Seen<'a> {
    /// What it said.
    pub said: &'a Said,
    /// The same, to be compared; nothing where it does not return.
    pub text: &'a str,
    /// What it had to say.
    pub expected: &'a str,
    /// The bytes that were on their way.
    pub right: &'a [u8],
    /// The bytes that came out.
    pub got: &'a [u8],
    /// So many had come of a message when the stream ended, or when the peer paused.
    pub cut: usize,
    /// It was called so often on this connection.
    pub calls: usize,
}

impl Seen<'_> {
    /// So many bytes at the front are right.
    pub fn same(&self) -> usize {
        same(self.right, self.got)
    }
}

/// A function that receives one message, or reads a stream to its end.
pub struct Receiver {
    /// What that is, for a message: a frame, a line.
    pub what: &'static str,
    /// What it receives in most cases.
    pub payload: &'static [u8],
    /// Messages that come at once: each call takes one of them.
    pub several: &'static [&'static [u8]],
    /// A message on the wire: a frame, a line.
    pub wire: fn(&[u8]) -> Vec<u8>,
    /// The question for so many bytes of payload, where it has been called so often before.
    pub ask: fn(usize, usize) -> Value,
    /// What it says of a whole message.
    pub whole: &'static str,
    /// What it says where the stream ends before the message.
    pub nothing: &'static str,
    /// What it says where the stream ends inside the message.
    pub cut: &'static str,
    /// What it says of a reset, inside the message and before it.
    pub reset: &'static str,
    /// It keeps what it has taken beyond the message for the next call.
    pub buffers: bool,
    /// A deadline is its subject: it waits also on a socket that does not.
    pub waits: bool,
    /// It reads to the end of the stream, which is whole at these places.
    pub marks: &'static [usize],
    /// The name of a mistake that is not one of all; or nothing.
    pub mistake: fn(&Seen) -> &'static str,
}

/// What most of them say.
pub const RECEIVER: Receiver = Receiver {
    what: "a message",
    payload: b"HELLO WO",
    several: &[],
    wire: <[u8]>::to_vec,
    ask: |_, _| Value::Null,
    whole: "Ok(Some)",
    nothing: "Ok(None)",
    cut: "Err(UnexpectedEof)",
    reset: RESET,
    buffers: false,
    waits: false,
    marks: &[],
    mistake: |_| "",
};

/// A payload with 0x00 or 0xff in the place of all its bytes, of a part, of the first or the last.
pub fn values(payload: &[u8]) -> Vec<Vec<u8>> {
    let n = payload.len();
    let filled = |byte: u8, part: Range<usize>| {
        let mut value = payload.to_vec();
        value[part].fill(byte);
        value
    };
    let parts = || [0..n, 0..n / 4, n / 4..n, 0..1, n - 1..n].into_iter();
    [0, 0xff].into_iter().flat_map(|byte| parts().map(move |part| filled(byte, part))).collect()
}

/// What is wrong only where bytes are 0x00 or 0xff, or a message comes twice.
pub fn of_values(seen: &Seen) -> &'static str {
    let Seen { text, expected, right, got, .. } = *seen;
    first! {
        text.is_empty() => LEFT_OUT,
        text != expected =>
            "0x00 or 0xff in a message was taken for an end or an error: they are bytes like all others",
        String::from_utf8_lossy(right).as_bytes() == got =>
            "bytes that are no UTF-8 were replaced: what comes are bytes, and no text",
        got.len() < right.len() =>
            "bytes of 0x00 or 0xff were cut off or left out: they are bytes like all others",
        true => LEFT_OUT,
    }
}

/// What is wrong only in a call after one that has failed.
pub fn anew(seen: &Seen) -> &'static str {
    if seen.text == seen.expected && seen.got == seen.right { "" } else { ANEW }
}

/// What is played in a case.
pub type Run = Box<dyn Fn(&mut Child) -> Verdict>;

impl Receiver {
    /// The cases of all that receive, between its own.
    pub fn cases(&'static self, first: &[Case], then: &[Case]) -> Vec<(&'static str, Run)> {
        type Part = fn(&Receiver, &mut Child) -> Verdict;
        let all: [(&str, Part); 8] = [
            ("several messages come at once: one a call, and not a byte more", Receiver::at_once),
            ("messages of any bytes, and each of them twice", Receiver::any_bytes),
            ("the peer pauses after each byte, and a signal comes", Receiver::pauses),
            ("the peer ends its stream after each byte", Receiver::ends),
            (
                "the socket is non-blocking, or has a timeout, or there is none",
                Receiver::would_block,
            ),
            ("forty signals come while it waits", Receiver::signals),
            ("the peer resets the connection, in all its ways", Receiver::resets),
            ("the socket has no peer, or one that the kernel has given up", |exam, child| {
                let ((_bystander, theirs), (_other, also)) = (pair()?, pair()?);
                exam.fails(child, "Err(ENOTCONN)", vec![theirs, lonely()?])?;
                child.seldom = Seldom::Says(libc::ENOMEM, 100, 0, exam.waits);
                exam.fails(child, "Err(ENOMEM)", vec![])?;
                let (_peer, conn) = pair_with(TINY)?;
                fill(&conn)?;
                exam.fails(child, "Err(ETIMEDOUT)", vec![also, impatient(conn)?])
            }),
        ];
        let all = all.into_iter().skip(2 * usize::from(self.several.is_empty()));
        let run = |part: Part| -> Run { Box::new(move |child| part(self, child)) };
        let own = |case: &Case| (case.0, Box::new(case.1) as Run);
        let all = all.map(|(name, part)| (name, run(part)));
        first.iter().map(own).chain(all).chain(then.iter().map(own)).collect()
    }

    /// Makes these moves on a connection of their own; what was said last.
    pub fn plays(&self, child: &mut Child, moves: &[Move]) -> Verdict {
        self.goes_on(child, &mut Play::new(moves)?, moves)
    }

    /// Makes them on this one.
    pub fn goes_on(&self, child: &mut Child, play: &mut Play, moves: &[Move]) -> Verdict {
        let mut said = Said::nothing();
        for (at, one) in moves.iter().enumerate() {
            match *one {
                Called => {
                    let asked = |one: &Move| match one {
                        Says(text, bytes) if *text == self.whole => Some(bytes.len()),
                        _ => None,
                    };
                    let len = moves[at..].iter().find_map(asked).unwrap_or(self.payload.len());
                    play.calls(child, (self.ask)(len, play.so.calls), &[])?;
                }
                Asked(question) => play.calls(child, question, &[])?,
                Says(text, bytes) => said = self.says(child, play, text, bytes)?,
                Leaves(count) => {
                    let seen = say!("{} bytes still unread", said.unread());
                    let mistake = if self.buffers { NO_BUFFER } else { TOO_MUCH };
                    let expected = say!("{count} bytes still unread");
                    ensure(said.unread() == count, mistake, expected, seen)?;
                    let own = "one into memory of its own";
                    ensure(said.after.calls.elsewhere == 0, ELSEWHERE, "a recv into buf", own)?;
                }
                AtMost(most, mistake) => {
                    let expected = say!("at most {most} bytes of memory");
                    let seen = say!("{} bytes at once", said.after.peak);
                    ensure(said.after.peak <= most, mistake, expected, seen)?;
                }
                Offered(all) => {
                    let mistake =
                        "not each recv was offered all the room there is: offer the rest of buf";
                    let Calls { room, pieces, .. } = said.after.calls;
                    let expected = say!("at first a recv that is offered {all} bytes");
                    let seen =
                        say!("at most {room} bytes; {pieces} calls offered less than was left");
                    ensure(room == 0 || room >= all && pieces == 0, mistake, expected, seen)?;
                }
                _ => play.does(child, one)?,
            }
        }
        Ok(())
    }

    /// Asked for 4 GiB and 5 bytes it gets 5, and the end.
    pub fn huge(&self, child: &mut Child, ask: Value) -> Verdict {
        let huge = Receiver { mistake: |_| CAST, ..*self };
        huge.plays(child, &[Sends(b"HELLO"), Ends, Asked(&ask), Says(self.cut, b"")])?;
        moves_huge(child, ask, self.whole)
    }

    /// It has to return this, with these bytes.
    fn says(
        &self,
        child: &mut Child,
        play: &mut Play,
        expected: &str,
        right: &[u8],
    ) -> Result<Said, Refusal> {
        let hang = self.mistake(&Said::nothing(), expected, right, &play.so);
        play.scene(child, &hang);
        if play.so.there && !hang.is_empty() && child.until_blocked()? {
            return refuse(hang, expected, "it waits");
        }
        let said: Said = play.said(child)?;
        if mem::take(&mut play.so.storm) && said.text() != expected {
            play.so.signals = [said.after.calls.failed, STORM];
        }
        self.judges(&said, &play.so, expected, right)?;
        Ok(said)
    }

    /// Whether it has returned this, with these bytes.
    pub fn judges(&self, said: &Said, so: &So, expected: &str, right: &[u8]) -> Verdict {
        let (text, got) = (said.text(), &*said.bytes);
        let compared = expected == self.whole || !right.is_empty() || !self.marks.is_empty();
        if text != expected {
            return Err(said.refused(self.mistake(said, expected, right, so), expected));
        } else if compared && got != right {
            let refusal = Refusal::new(self.mistake(said, expected, right, so));
            let expected = say!("{expected}, and every byte in its place");
            let seen = match self.marks {
                [] => say!("{text}, and other bytes:"),
                _ => say!("{text}, and other frames, each after its length here:"),
            };
            return Err(refusal.but(expected, seen).bytes(right, got));
        }
        let calls = said.calls("recv");
        let few = !so.there || right.len() <= 8 || calls <= 1 + right.len() / 2;
        ensure(few, BYTES, "few recv", say!("{calls} calls for {} bytes", right.len()))
    }

    /// The likely mistake.
    fn mistake(&self, said: &Said, expected: &str, right: &[u8], so: &So) -> String {
        let (text, got) = (&*said.text(), &*said.bytes);
        let So { cut, calls, signals: [came, signals], .. } = *so;
        let seen = Seen { said, text, expected, right, got, cut, calls };
        let failed = [RESET, AGAIN, "Err(EBADF)", "Err(ENOTCONN)", "Err(ETIMEDOUT)", "Err(ENOMEM)"];
        let failed = failed.contains(&expected);
        let own = match () {
            _ if text != expected && (so.reset || failed) => "",
            _ => (self.mistake)(&seen),
        };
        // It says that the stream has ended; it has to say so, before a message or inside.
        let end = [self.nothing, self.cut].contains(&text);
        let (whole, eof) = (expected == self.whole, said.kind() == "UnexpectedEof");
        let is_ok = text.starts_with("Ok");
        let at_the_end =
            so.ended && !so.reset && came == 0 && [self.nothing, self.cut].contains(&expected);
        let known: &str = first! {
            came > 8 && came < signals => GIVES_UP,
            text.is_empty() && calls > self.several.len().max(1) && !so.there && came == 0 =>
                LEFT_OUT,
            !own.is_empty() => own,
            text.is_empty() && so.non_blocking => SPINS,
            text.is_empty() && (so.reset || failed) => LOOP,
            text.is_empty() && so.ended => AT_THE_END,
            text.is_empty() && came > 0 =>
                "it waits for more than the message has: what had come before the signal was lost",
            text.is_empty() && so.there => MORE,
            text.is_empty() => "",
            at_the_end && said.errno() != 0 =>
                "after recv returned 0 errno was reported: errno means nothing unless recv said -1",
            said.kind() == "Interrupted" => INTERRUPTED,
            said.without_errno() => NO_ERRNO,
            expected == self.reset && text == RESET =>
                "a reset is an end like the others here: Ok(Reset), not an error",
            expected == self.reset && text == self.cut =>
                "a reset was taken for the end of the stream: recv says -1 then, and poll POLLERR",
            expected == self.reset && is_ok =>
                "a reset was taken for a clean end: recv said -1, and says 0 only when called \
                 again",
            expected == AGAIN && text == "Err(TimedOut)" => WAITS,
            expected == AGAIN && end =>
                "EAGAIN was taken for the end of the stream: nothing has come yet, and more may \
                 come",
            expected == AGAIN && !got.is_empty() && got != right =>
                "it returned a message of which only a part had come: are there bytes of another call \
                 in it, or was it not looked at that recv returned -1?",
            failed && text == self.reset && text != RESET =>
                "another error was taken for a reset: only ECONNRESET is one",
            failed && (end || is_ok) =>
                "recv returned -1 and that was taken for the end of the stream",
            failed || expected == self.reset =>
                "recv failed, and its errno did not reach the caller",
            so.reset =>
                "what had come was lost because of a reset after it: recv gives the bytes first, \
                 and only then the error; poll says POLLERR at once",
            whole && end && so.non_blocking =>
                "after EAGAIN it says that the stream has ended: the rest has come since",
            whole && eof && right.len() > 1000 =>
                "it gives up after some calls of recv: go on until all has come",
            whole && eof => "a recv that returns fewer bytes than asked is no end of stream",
        };
        let unknown = known.is_empty() && !text.is_empty();
        if unknown { self.misread(&seen) } else { known.into() }
    }

    /// What it said where nothing had failed.
    fn misread(&self, seen: &Seen) -> String {
        let Seen { text, expected, right, got, cut, calls, .. } = *seen;
        let (what, is_whole) = (self.what, text == self.whole);
        let end = [self.nothing, self.cut].contains(&text);
        let before = expected == self.nothing && (cut == 0 || self.nothing != self.cut);
        let inside = expected == self.cut;
        let unwritten = got[seen.same()..].iter().all(|byte| [0, 0xa5].contains(byte));
        first! {
            before && is_whole =>
                say!("the stream ended before {what}, and that was taken for success: nothing had \
                      come"),
            before => say!("the end of the stream before {what} is no error: it is {expected}"),
            inside && is_whole =>
                say!("the stream ended inside {what}, and that was taken for whole"),
            inside && end =>
                say!("the stream ended inside {what}, after {cut} bytes, and that was taken for a \
                      clean end"),
            end && right.is_empty() =>
                say!("{what} of 0 bytes was taken for the end of the stream"),
            end && !is_whole => say!("{what} came, and {text} says that the stream has ended"),
            is_whole && expected == text && right.is_empty() =>
                say!("{what} of 0 bytes was left out, or something put into it"),
            is_whole && calls == 1 && got.len() > right.len() && got.ends_with(right) =>
                say!("before {what} stands what another connection has sent: nothing that a call \
                      leaves may be kept for all, as in a static"),
            is_whole && (unwritten || right.starts_with(got)) =>
                say!("{what} was returned before all of it had come: call recv in a loop"),
            text == AGAIN => NO_WAIT.into(),
            is_whole =>
                say!("{what} is not what was sent: each recv has to write after what the last \
                      one wrote"),
            expected.starts_with("Err") =>
                say!("it is an error, and of another kind than the task asks for"),
            true => UNFOUNDED.into(),
        }
    }

    /// The end of the stream, where it reads to that.
    fn end(&self) -> &'static [Move<'static>] {
        if self.marks.is_empty() { &[] } else { &[Ends] }
    }

    /// What it has to say where `cut` bytes of the message are all there is.
    fn at(&self, cut: usize) -> Move<'static> {
        match self.marks.iter().rfind(|&&mark| mark <= cut) {
            Some(&mark) => {
                Says(if mark == cut { self.whole } else { self.cut }, &self.payload[..mark])
            }
            None if cut == 0 => Says(self.nothing, b""),
            None if cut < (self.wire)(self.payload).len() => Says(self.cut, b""),
            None => Says(self.whole, self.payload),
        }
    }

    /// All places of a short message; of a long one those that matter.
    fn places(&self) -> Vec<usize> {
        match (self.wire)(self.payload).len() {
            len @ ..30 => (0..=len).collect(),
            len => vec![0, 1, len / 2, len - 1, len],
        }
    }

    fn at_once(&self, child: &mut Child) -> Verdict {
        let wires: Vec<_> = self.several.iter().map(|payload| (self.wire)(payload)).collect();
        let all = wires.concat();
        let (mut moves, mut left) = (vec![Sends(&all)], all.len());
        for (payload, wire) in self.several.iter().zip(&wires) {
            left -= wire.len();
            let left = if self.buffers { 0 } else { left };
            moves.extend([Called, Says(self.whole, payload), Leaves(left)]);
        }
        // And the last one once more, once it waits.
        let last = wires.len() - 1;
        moves.extend([Called, Sends(&wires[last]), Says(self.whole, self.several[last])]);
        self.plays(child, &moves)
    }

    fn any_bytes(&self, child: &mut Child) -> Verdict {
        let values: Vec<_> =
            values(self.payload).into_iter().flat_map(|one| [one.clone(), one]).collect();
        let all = values.iter().flat_map(|value| (self.wire)(value)).collect::<Vec<_>>();
        let says = values.iter().flat_map(|value| [Called, Says(self.whole, value)]);
        let moves: Vec<_> = [Sends(&all)].into_iter().chain(says).collect();
        Receiver { mistake: of_values, ..*self }.plays(child, &moves)
    }

    fn pauses(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        let more: &[u8] = if self.buffers || !self.marks.is_empty() { b"" } else { b"\0\0\0" };
        let says = [self.end(), &[self.at(all.len())]].concat();
        self.plays(child, &[&[Called, Drips(&all)], &says[..]].concat())?;
        (0..all.len()).try_for_each(|cut| {
            let rest = [&all[cut..], more].concat();
            let moves = [Sends(&all[..cut]), Called, Signals(1), Sends(&rest)];
            let left = Leaves(more.len());
            self.plays(child, &[&moves, &says[..], &[left]].concat())
        })
    }

    /// The peer ends its stream, at every place.
    pub fn ends(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        (0..=all.len()).try_for_each(|cut| {
            self.plays(child, &[Sends(&all[..cut]), Ends, Called, self.at(cut)])
        })
    }

    fn signals(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        [0, all.len() / 2].into_iter().try_for_each(|cut| {
            let storm = [Sends(&all[..cut]), Storm(self.waits), Called, Sends(&all[cut..])];
            self.plays(child, &[&storm, self.end(), &[self.at(all.len())]].concat())?;
            let moves = [Sends(&all[..cut]), Called, Signals(SIGNALS), Sends(&all[cut..])];
            self.plays(child, &[&moves, self.end(), &[self.at(all.len())]].concat())
        })
    }

    /// Before the call and while it waits; after bytes, and after the end of the stream.
    fn resets(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        for cut in self.places() {
            for end in [&[][..], &[Ends]] {
                let Says(at, right) = self.at(cut) else { continue };
                let whole = !end.is_empty() || at == self.whole && self.marks.is_empty();
                let says = Says(if whole { at } else { self.reset }, right);
                let goes = [&[Sends(&all[..cut])], end, &[Resets]].concat();
                self.plays(child, &[&goes[..], &[Called, says]].concat())?;
                self.plays(child, &[Called, AtOnce(&goes), says])?;
            }
        }
        Ok(())
    }

    /// Asked like this, with caps as large as they come.
    pub fn capped(&self, child: &mut Child, ask: fn(usize) -> Value) -> Verdict {
        const SIZE: &str = "memory was taken for the whole cap: it is a limit, and no size";
        let mistake = |seen: &Seen| if seen.said.kind() == "InvalidData" { CAP_CUT } else { "" };
        let (exam, sent) = (Receiver { mistake, ..*self }, (self.wire)(self.payload));
        CAPS.into_iter().try_for_each(|cap| {
            let (ask, says) = (ask(cap), Says(self.whole, self.payload));
            let mut play = Play::new(&[Sends(&sent)])?;
            play.tells(say!("the cap is {cap}"));
            let moves = [Sends(&sent), Asked(&ask), says, AtMost(1 << 20, SIZE)];
            exam.goes_on(child, &mut play, &moves)
        })
    }

    /// With these descriptors recv fails.
    fn fails(&self, child: &mut Child, expected: &str, fds: Vec<OwnedFd>) -> Verdict {
        child.scene(
            "after 0 bytes",
            &say!("there is no open socket, or no connection, or none any more: {expected}"),
            LOOP,
        );
        let said = child.call((self.ask)(self.payload.len(), 0), &[], fds)?;
        let failed = said.after.calls.failed;
        ensure(failed <= 1, LOOP, "one call that fails", say!("{failed} of them"))?;
        self.judges(&said, &So::default(), expected, b"")
    }

    /// EBADF; and EAGAIN, at every place of a message.
    fn would_block(&self, child: &mut Child) -> Verdict {
        self.fails(child, "Err(EBADF)", vec![])?;
        let all = (self.wire)(self.payload);
        let zero = |seen: &Seen| if seen.text == seen.expected { "" } else { ZERO };
        let moves = [&[Sends(&all)], self.end(), &[Called, self.at(all.len())]].concat();
        child.lent_zero = true;
        Receiver { mistake: zero, ..*self }.plays(child, &moves)?;
        if self.waits {
            return Ok(());
        }
        for cut in
            self.places().into_iter().filter(|&cut| cut < all.len() || !self.marks.is_empty())
        {
            let mut play = Play::new(&[Sends(&all)])?;
            play.does(child, &AtOnce(&[NonBlocking, Sends(&all[..cut])]))?;
            play.calls(child, (self.ask)(self.payload.len(), 0), &[])?;
            play.scene(child, SPINS);
            ensure(!child.until_blocked()?, WAITS, AGAIN, "it waited by itself")?;
            let Says(_, right) = self.at(cut) else { continue };
            let said = self.says(child, &mut play, AGAIN, right)?;
            // It may have asked without a wait before.
            let times = said.after.calls.would_block;
            ensure(times <= 2, SPINS, AGAIN, say!("{} times EAGAIN", times))?;
            if !self.buffers && self.marks.is_empty() {
                let again = [Sends(&all), Called, Says(self.whole, self.payload)];
                Receiver { mistake: anew, ..*self }.goes_on(child, &mut play, &again)?;
            }
        }
        let ((_peer, conn), (_bystander, theirs)) = (pair()?, pair()?);
        setsockopt(&conn, sockopt::ReceiveTimeout, &A_MOMENT).map_err(io::Error::from)?;
        child.scene("after 0 bytes", "sends nothing; SO_RCVTIMEO is a millisecond", WAITS);
        let said = child.call((self.ask)(self.payload.len(), 0), &[], vec![theirs, conn])?;
        self.judges(&said, &So::default(), AGAIN, b"")
    }
}

/// A function that sends one message.
pub struct Sender {
    /// The question for one call with so many bytes.
    pub ask: fn(usize) -> Value,
    /// The call by its name: `send`.
    pub call: &'static str,
    /// What the peer gets for these bytes.
    pub wire: fn(&[u8]) -> Vec<u8>,
    /// What it says where all has been sent.
    pub done: &'static str,
    /// What it says where the peer has gone, if that is no error.
    pub gone: Option<&'static str>,
    /// What is said of a copy of the message; nothing where it may make one.
    pub copy: &'static str,
    /// The name of a mistake that is not one of all; or nothing.
    pub mistake: fn(&Seen) -> &'static str,
}

impl Sender {
    /// Has it send these bytes while these moves are made.
    pub fn plays(&self, child: &mut Child, bytes: &[u8], moves: &[Move]) -> Verdict {
        let play = self.begins(child, bytes, moves)?;
        if play.so.reset { Ok(()) } else { self.delivers(child, play, bytes).map(drop) }
    }

    /// The same, up to the last move.
    pub fn begins(&self, child: &mut Child, bytes: &[u8], moves: &[Move]) -> Result<Play, Refusal> {
        let (mut play, len) = (Play::new(moves)?, bytes.len());
        play.so.progress = say!("with a message of {len} bytes");
        // An end of the stream is seen by who looks for it only where nothing is unread.
        play.does(child, &Sends(if moves.contains(&Ends) { b"" } else { QUESTION }))?;
        for one in moves {
            match one {
                Called => play.calls(child, (self.ask)(len), bytes)?,
                Asked(question) => play.calls(child, question, bytes)?,
                Gone if !play.so.reset => {
                    let said = self.delivers(child, play, bytes)?; // it returned before that
                    return Err(said.refused(UNFOUNDED, self.done));
                }
                Gone | Says(..) => {
                    let call = self.call;
                    let again = say!("it calls {call} again after an error that does not go away");
                    play.scene(child, &again);
                    let said = child.said()?;
                    match one {
                        Gone if play.so.ended || play.so.calls > 1 => self.fails(&said, PIPE)?,
                        Gone => self.fails(&said, RESET)?,
                        _ if len == 0 => said.ensure(said.text() == self.done, SENT, self.done)?,
                        _ => said.ensure(said.text() == self.done, UNFOUNDED, self.done)?,
                    }
                }
                _ => play.does(child, one)?,
            }
        }
        let hang = if len == 0 { "it never ends where there is nothing to send" } else { "" };
        play.scene(child, hang);
        Ok(play)
    }

    /// The peer reads all. The call has to return, and all bytes to have come, of each call.
    pub fn delivers(&self, child: &mut Child, play: Play, bytes: &[u8]) -> Result<Said, Refusal> {
        let So { calls, ended, filled, storm, signals: [mut came, mut signals], .. } = play.so;
        let (Stage { peer, bystander }, mut got) = play.take()?;
        let reader = peer.read_all();
        let said = child.said()?;
        if storm && said.text() != self.done {
            [came, signals] = [said.after.calls.failed, STORM];
        }
        let seen = say!("{} after {came} signals", said.text());
        ensure(came <= 8 || came >= signals, GIVES_UP, self.done, seen)?;
        ensure(said.calls("shutdown") == 0, SHUT, GOES_ON, "shutdown")?;
        bystander.untouched(&said.after)?;
        if said.unread() != if ended { 0 } else { QUESTION.len() } {
            return Err(Refusal::new("sending must not read what the peer has sent"));
        }
        child.close_fds()?;
        got.extend(reader.join().expect("the reader does not panic"));
        let (text, expected, right) = (&*said.text(), self.done, (self.wire)(bytes).repeat(calls));
        let (cut, zero) = (right.len(), right.is_empty());
        let seen = Seen { said: &said, text, expected, right: &right, got: &got, cut, calls };
        let (own, call, is_done) = ((self.mistake)(&seen), self.call, text == expected);
        let failed: String = first! {
            is_done && got == right => String::new(),
            ended => say!("a peer that has ended its own stream was taken for gone: it still \
                           reads, half closed"),
            zero && is_done => say!("it sent something where there was nothing to send"),
            zero =>
                say!("{call} of 0 bytes returns 0, and that was taken for a failure: check before \
                      the call"),
            is_done && said.after.calls.flags & libc::MSG_OOB != 0 =>
                say!("MSG_OOB sends a byte out of band: it is not in the stream"),
            !own.is_empty() => own.into(),
            is_done && got.len() > right.len() && got.ends_with(&right) =>
                say!("what had been sent was sent again: after EINTR, or a part, go on after it"),
            is_done && right.starts_with(&got) =>
                say!("it returned Ok before all was sent: send may take only a part, call it for \
                      the rest"),
            is_done && got.starts_with(&right) =>
                say!("it sent bytes after the end of buf: after n bytes, len - n are left"),
            is_done && got.len() < right.len() =>
                say!("bytes are missing in the middle: a send that took a part was taken for a \
                      whole one"),
            is_done =>
                say!("after a partial send it goes on at the wrong place: n bytes are done, go on \
                      after them"),
            said.kind() == "Interrupted" => INTERRUPTED.into(),
            said.kind() == "WriteZero" =>
                say!("a send that took fewer bytes than asked is no failure: send the rest"),
            text == AGAIN => NO_WAIT.into(),
            true => UNFOUNDED.into(),
        };
        if !failed.is_empty() && is_done {
            let expected = say!("{} bytes at the peer", right.len());
            let refusal = Refusal::new(failed).but(expected, say!("{} bytes", got.len()));
            return Err(refusal.bytes(&right, &got));
        }
        said.judged(failed, expected)?;
        ensure(said.calls("recv") + said.calls("recvmsg") == 0, LOOKS, "no recv", "recv")?;
        let (count, peak) = (said.calls("send") + said.calls("sendmsg"), said.after.peak);
        let Calls { offered, pieces, elsewhere, flags, bare, .. } = said.after.calls;
        let few = !self.copy.is_empty() && bytes.len() > 4096 && (1..4096).contains(&offered);
        let few = few || pieces > 0 || count > 2 + bytes.len() / 16;
        let mistake = "a send for every few bytes: offer all of the rest, it takes a part";
        let seen = say!("{count} calls for {} bytes, at most {offered} in one", bytes.len());
        ensure(!few, mistake, "calls that offer 4096 bytes, or all of the rest", seen)?;
        let unsent = said.after.unsent.last().copied().unwrap_or(0);
        let held = bytes.len() <= 4096 && unsent > 0 && calls == 1 && count <= 1 && filled == 0;
        ensure(!held, HELD, "nothing held back", say!("{unsent} bytes held back"))?;
        let mistake = "after a part the next call had less than all that was left: it is a \
                       sendmsg again, with the rest of the header and the payload in one list";
        let less = said.after.calls.less_than_left && self.call == "sendmsg";
        ensure(!less, mistake, "all that is left", "less")?;
        let copies = (peak > 1 << 20 || elsewhere > 0) && !self.copy.is_empty();
        let seen = say!("{peak} bytes at once, and {elsewhere} calls that did not send from buf");
        ensure(!copies, self.copy, "no memory of its own", seen)?;
        let all = bare == 0 || flags & libc::MSG_NOSIGNAL == 0;
        ensure(all, BARE, "MSG_NOSIGNAL in each call", say!("{bare} without it"))?;
        Ok(said)
    }

    /// Messages of these lengths, to a peer that reads all it gets.
    pub fn sizes(&self, child: &mut Child, lengths: &[usize]) -> Verdict {
        lengths.iter().try_for_each(|&len| self.plays(child, &pattern(len), &[Called]))?;
        self.taken(child)
    }

    /// The peer reads only when the call waits, so much each time; signals come before it does.
    pub fn slowly(
        &self,
        child: &mut Child,
        ask: Value,
        bytes: &[u8],
        [times, signals, count]: [usize; 3],
    ) -> Verdict {
        let turns = [Signals(signals), Reads(count)].repeat(times);
        self.plays(child, bytes, &[vec![Tiny, Asked(&ask)], turns].concat())
    }

    /// Many bytes, and a signal that has a call return what it had taken of the first 16 MiB, or more.
    pub fn large(&self, child: &mut Child) -> Verdict {
        let moves = [Called, Signals(1), Reads(16_900_000), Signals(1)];
        self.plays(child, &pattern(30_000_001), &moves)
    }

    /// There is nothing to send; nor where a call would say that the peer has gone.
    pub fn empty(&self, child: &mut Child) -> Verdict {
        self.plays(child, b"", &[Called])?;
        self.plays(child, b"", &[Resets, Called, Says(self.done, b"")])
    }

    /// The send buffer has room for all, and the peer does not read.
    fn taken(&self, child: &mut Child) -> Verdict {
        let (bytes, room) = (pattern(50_000), Buffers { send: Some(1 << 20), ..TINY });
        let (Stage { peer, bystander: _bystander }, fds) = stage(pair_with(room)?)?;
        child.ask((self.ask)(bytes.len()), &bytes, fds)?;
        let waits = "it waits though all bytes have been taken: when they arrive is not asked";
        child.scene("with all bytes in the send buffer", "the peer does not read", waits);
        let (said, all) = (child.said()?, (self.wire)(&bytes));
        let is_done = said.text() == self.done && peer.read(all.len()) == all;
        said.ensure(is_done, UNFOUNDED, self.done)
    }

    /// It has failed, and has to say how. Where the peer has gone, by this error or by what stands
    /// for it: the first call after a reset says ECONNRESET; the others, and those after the end of
    /// the peer's stream, EPIPE.
    fn fails(&self, said: &Said, errno: &str) -> Verdict {
        ensure(said.calls("shutdown") == 0, SHUT, GOES_ON, "shutdown")?;
        let says_gone = |text| [PIPE, RESET].contains(&text);
        let (text, call, has_gone) = (&*said.text(), self.call, says_gone(errno));
        let gone = self.gone.unwrap_or(errno);
        let expected = if has_gone { gone } else { errno };
        let mistake: String = first! {
            text == expected => String::new(),
            said.without_errno() => NO_ERRNO.into(),
            !has_gone && Some(text) == self.gone =>
                "not every error means that the peer has gone".into(),
            !has_gone && text.starts_with("Ok") => say!("{call} returned -1, and it returned Ok"),
            !has_gone => say!("the errno of {call} has to reach the caller as it is"),
            self.gone.is_none() && says_gone(text) =>
                say!("one errno was told as another: {call} said {expected}"),
            self.gone.is_none() && text == self.done =>
                say!("{call} failed because the peer was gone, and it returned Ok"),
            text == PIPE =>
                say!("EPIPE was returned as an error: it says that the peer has gone, {gone}"),
            text == RESET =>
                "EPIPE is not the only way to hear it: the first send after a reset says ECONNRESET"
                    .into(),
            text == self.done =>
                say!("true for a peer that has gone: {call} returned -1, and that was not looked \
                      at"),
            true => say!("{call} failed because the peer was gone, and its errno was lost"),
        };
        judge(mistake, expected, text)
    }

    /// Forty signals while it waits. The first ends a call that has taken a part; the next ones
    /// find the buffer full, and end one that has taken nothing.
    pub fn signals(&self, child: &mut Child) -> Verdict {
        self.plays(child, &pattern(100), &[Storm(false), Called])?;
        self.plays(child, &pattern(2_000_000), &[Tiny, Called, Signals(SIGNALS)])
    }

    /// The peer has ended its own direction, and reads on.
    pub fn half_closed(&self, child: &mut Child) -> Verdict {
        self.plays(child, &pattern(100_000), &[Tiny, Ends, Called])
    }

    /// The peer goes: before the call, and in the middle of it; with its stream ended and without.
    pub fn gone(&self, child: &mut Child) -> Verdict {
        for goes in [&[Resets][..], &[Ends, Resets]] {
            let twice = [goes, &[Called, Gone, Called, Gone]].concat();
            self.plays(child, b"hello", &twice)?;
            // In the middle; a signal has had a part returned before, or has not.
            for signals in [0, 2] {
                let moves = [Tiny, Called, Signals(signals), AtOnce(goes), Gone];
                self.plays(child, &pattern(2_000_000), &moves)?;
            }
        }
        // And a new one, under the number of one that has gone.
        child.close_fds()?;
        self.plays(child, b"hello", &[Resets, Called, Gone])?;
        child.close_fds()?;
        Sender { mistake: |_| KEPT, ..*self }.plays(child, b"hello", &[Called])
    }

    /// The kernel says this, and so it has to.
    pub fn says(&self, child: &mut Child, errno: Errno) -> Verdict {
        let (call, again) = (self.call, &self.again());
        child.scene("after 0 of 5 bytes", &say!("{call} says {errno:?}"), again);
        child.seldom = Seldom::Says(errno as i32, 100, 0, false);
        let said = child.call((self.ask)(5), b"hello", vec![])?;
        let failed = said.after.calls.failed;
        ensure(failed <= 1, again, "one call that fails", say!("{failed} of them"))?;
        self.fails(&said, &format!("Err({errno:?})"))
    }

    fn again(&self) -> String {
        let call = self.call;
        say!("it calls {call} again after errors other than EINTR: those stay")
    }

    /// Errors that are the caller's to see: EBADF; where the send buffer is full, ETIMEDOUT once the
    /// kernel has given up, and EAGAIN.
    pub fn errors(&self, child: &mut Child) -> Verdict {
        let again = &self.again();
        child.scene("after 0 of 5 bytes", "there is no such descriptor: EBADF", again);
        let said = child.call((self.ask)(5), b"hello", vec![])?;
        self.fails(&said, "Err(EBADF)")?;
        [Errno::ENOMEM, Errno::ENOBUFS]
            .into_iter()
            .try_for_each(|errno| self.says(child, errno))?;
        child.lent_zero = true;
        Sender { mistake: |_| ZERO, ..*self }.plays(child, b"hello", &[Called])?;

        let ((_peer, conn), (_bystander, theirs)) = (pair_with(TINY)?, pair()?);
        fill(&conn)?;
        let conn = impatient(conn)?;
        readable(&conn, 5000)?;
        child.scene("after 0 of 5 bytes", "has been given up before the call: ETIMEDOUT", again);
        let said = child.call((self.ask)(5), b"hello", vec![theirs, conn])?;
        self.fails(&said, "Err(ETIMEDOUT)")?;

        let (message, (peer, conn)) = (pattern(2_000_000), pair_with(TINY)?);
        let (_stage, fds) = stage((peer, impatient(conn)?))?;
        child.ask((self.ask)(message.len()), &message, fds)?;
        child.scene("with a full send buffer", "the peer takes nothing more: ETIMEDOUT", again);
        self.fails(&child.said()?, "Err(ETIMEDOUT)")?;

        let (peer, conn) = non_blocking(pair_with(TINY)?)?;
        let keep = conn.try_clone()?;
        let (Stage { peer, bystander: _bystander }, fds) = stage((peer, conn))?;
        child.ask((self.ask)(message.len()), &message, fds)?;
        child.scene("with a full send buffer", "the peer does not read", again);
        let waits = child.until_blocked()?;
        let reader = peer.read_all();
        let said = child.said()?;
        ensure(!waits, WAITS, "Err(EAGAIN) at once", "it waited by itself")?;
        said.ensure(said.after.calls.would_block <= 2, again, AGAIN)?;
        self.fails(&said, AGAIN)?;
        // The next call begins anew, whatever this one has sent.
        fcntl(&keep, FcntlArg::F_SETFL(OFlag::empty())).map_err(io::Error::from)?;
        let next = child.call((self.ask)(message.len()), &message, vec![])?;
        next.ensure(next.text() != "Err(EPIPE)", SHUT, GOES_ON)?;
        child.close_fds()?;
        drop(keep);
        let got = reader.join().expect("the reader does not panic");
        let sent = (self.wire)(&message);
        let (part, whole) = got.split_at(got.len().saturating_sub(sent.len()));
        if whole != sent || !sent.starts_with(part) || part.is_empty() {
            return Err(Refusal::new(KEPT).bytes(&sent, whole));
        }

        let ((_peer, conn), (_bystander, theirs)) = (pair_with(TINY)?, pair()?);
        setsockopt(&conn, sockopt::SendTimeout, &A_MOMENT).map_err(io::Error::from)?;
        let did = "does not read; SO_SNDTIMEO is a millisecond";
        child.scene("with a full send buffer", did, WAITS);
        let said = child.call((self.ask)(message.len()), &message, vec![theirs, conn])?;
        self.fails(&said, AGAIN)
    }
}

/// Asked to move 4 GiB and 5 bytes it does so, in a few calls that move as many as one can.
pub fn moves_huge(child: &mut Child, ask: Value, done: &str) -> Verdict {
    let ((peer, conn), (_bystander, theirs)) = (pair()?, pair()?);
    peer.send(b".");
    arrived(&conn, 1)?;
    child.seldom = Seldom::Moves(HUGE);
    child.scene("with 4 GiB and 5 bytes", "takes or sends all that it can", CAST);
    let said = child.call(ask, &[], vec![theirs, conn])?;
    let missing = said.after.calls.missing;
    let seen = say!("{}, with {missing} bytes still to come", said.shown());
    ensure(said.text() == done && missing == 0, CAST, done, seen)
}

/// Asked to send 4 GiB and 5 bytes it waits for room. A signal has the call return what it had taken
/// by then; the rest remains.
pub fn sends_huge(child: &mut Child, ask: Value) -> Result<Said, Refusal> {
    let ((peer, conn), (_bystander, theirs)) = (pair_with(TINY)?, pair()?);
    child.ask(ask, &[], vec![theirs, conn])?;
    child.scene("with 4 GiB and 5 bytes", "the peer does not read", CAST);
    child.interrupts(1)?;
    if child.until_blocked()? && !child.at_rest()?.receives() {
        peer.reset()?;
        return child.said();
    }
    refuse(CAST, "it waits with a full send buffer", child.stands()?)
}
