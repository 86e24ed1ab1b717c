//! What every function that receives, and every one that sends, has to stand: the peer's moves.
//!
//! An exercise says what its function is given, what it says where, and what its mistakes are
//! called; the rest is the same for all.

use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;

use say::say;
use serde_json::Value;

use crate::beside::{QUESTION, Stage, stage};
use crate::child::Child;
use crate::peer::{Peer, TINY, arrived, lonely, non_blocking, pair, pair_with, pattern};
use crate::refusal::{INTERRUPTED, Refusal, UNFOUNDED, Verdict, refuse};
use crate::said::Said;

const RESET: &str = "Err(ECONNRESET)";
const AGAIN: &str = "Err(EAGAIN)";
const NO_ERRNO: &str =
    "the error was put together anew, and its errno is lost: return last_os_error";
const LOOP: &str = "it calls recv again after errors that do not go away: only EINTR does";
const SPINS: &str =
    "EAGAIN on a non-blocking socket goes to the caller: calling again at once only spins";
const WAITS: &str =
    "it waits by itself after EAGAIN: the caller wanted a socket that does not wait";
const GIVES_UP: &str =
    "it gives up after some signals: EINTR is no failure, however often it comes";
const AT_THE_END: &str = "recv returned 0, which is the end of the stream; it called recv again";

/// So many signals interrupt a wait.
const SIGNALS: usize = 40;

impl Said {
    fn without_errno(&self) -> bool {
        self.result.as_ref().is_err_and(|e| e.without_errno())
    }
}

/// What was expected, and what was seen instead.
pub struct Seen<'a> {
    /// What it said.
    pub said: &'a Said,
    /// The same, to be compared.
    pub text: &'a str,
    /// What it had to say.
    pub expected: &'a str,
    /// The bytes that were on their way.
    pub right: &'a [u8],
    /// The bytes that came out.
    pub got: &'a [u8],
    /// So many had come of a message when the stream ended, or when the peer paused.
    pub cut: usize,
}

impl Seen<'_> {
    /// So many bytes at the front are right.
    pub fn same(&self) -> usize {
        self.right.iter().zip(self.got).take_while(|(a, b)| a == b).count()
    }
}

/// A function that receives one message, or reads a stream to its end.
pub struct Receiver {
    /// What it receives in most cases.
    pub payload: &'static [u8],
    /// That on the wire: a frame, a line.
    pub wire: fn(&[u8]) -> Vec<u8>,
    /// The question for one call, for so many bytes of payload.
    pub ask: fn(usize) -> Value,
    /// What it says of a whole message.
    pub whole: &'static str,
    /// What it says where the stream ends before the message.
    pub nothing: &'static str,
    /// What it says where the stream ends inside the message.
    pub cut: &'static str,
    /// What it says of a reset, inside the message and before it.
    pub reset: &'static str,
    /// It reads on behind the message, and meets the reset there.
    pub reads_on: bool,
    /// The name of a mistake that is not one of all; or nothing.
    pub mistake: fn(&Seen) -> &'static str,
}

impl Receiver {
    /// Has it called for so many bytes where these have come.
    pub fn begin(
        &self,
        child: &mut Child,
        len: usize,
        before: &[u8],
        (peer, conn): (Peer, OwnedFd),
    ) -> Result<Stage, Refusal> {
        peer.send(before);
        arrived(&conn, before.len())?;
        let (stage, fds) = stage((peer, conn))?;
        child.ask((self.ask)(len), &[], fds)?;
        Ok(stage)
    }

    /// It has to say this, with this payload.
    pub fn is(&self, said: &Said, expected: &str, right: &[u8], cut: usize) -> Verdict {
        let (text, got) = (&*said.text(), &*said.bytes);
        if text == expected && (got == right || text != self.whole) {
            return Ok(());
        }
        let mistake = (self.mistake)(&Seen { said, text, expected, right, got, cut });
        let mistake = if !mistake.is_empty() {
            mistake
        } else if said.kind() == "Interrupted" {
            INTERRUPTED
        } else if expected == self.whole && said.kind() == "UnexpectedEof" {
            "a recv that returns fewer bytes than asked is no end of stream"
        } else {
            UNFOUNDED
        };
        if text != self.whole {
            return Err(said.refused(mistake, expected));
        }
        let expected = say!("{expected}, and every byte in its place");
        Err(Refusal::new(mistake).but(expected, say!("{text}, and other bytes:")).bytes(right, got))
    }

    /// It has to receive this, and to leave so many bytes where they are.
    pub fn takes(
        &self,
        child: &mut Child,
        stage: &Stage,
        right: &[u8],
        behind: usize,
    ) -> Result<Said, Refusal> {
        let said = stage.received(child)?;
        self.is(&said, self.whole, right, right.len())?;
        let unread = said.unread();
        if unread != behind {
            let mistake = "it took bytes out of the stream that belong to the next message";
            let seen = say!("{unread} bytes still unread");
            return refuse(mistake, say!("{behind} bytes still unread"), seen);
        }
        Ok(said)
    }

    /// Several messages are there before the first call: each call takes one.
    pub fn at_once(&self, child: &mut Child, payloads: &[&[u8]]) -> Verdict {
        const MORE: &str = "it waits for more than the message has, and that has come whole";
        let all: Vec<u8> = payloads.iter().flat_map(|payload| (self.wire)(payload)).collect();
        let stage = self.begin(child, payloads[0].len(), &all, pair()?)?;
        let did = say!("sent {} messages at once, {} bytes", payloads.len(), all.len());
        let mut left = all.len();
        for (n, payload) in payloads.iter().enumerate() {
            if n > 0 {
                child.ask((self.ask)(payload.len()), &[], vec![])?;
            }
            let progress =
                say!("in message {} of {}, of {} bytes", n + 1, payloads.len(), payload.len());
            child.scene(&progress, &did, MORE);
            left -= (self.wire)(payload).len();
            let said = self.takes(child, &stage, payload, left)?;
            let calls = said.calls("recv");
            if payload.len() > 8 && calls > 1 + payload.len() / 2 {
                return refuse(BYTES, "one recv", say!("{calls} calls"));
            }
        }
        Ok(())
    }

    /// The peer pauses between all bytes; then at every place, and a signal comes.
    pub fn pauses(&self, child: &mut Child, payload: &[u8]) -> Verdict {
        let (all, behind) = ((self.wire)(payload), b"\0\0\0");
        let of = all.len();
        let stage = self.begin(child, payload.len(), b"", pair()?)?;
        let mut came = 0;
        while came < of {
            let did = "sent each byte when recv was waiting for it";
            child.scene(&say!("after {came} of {of} bytes"), did, "");
            if !child.until_blocked()? {
                break;
            }
            stage.peer.send(&all[came..=came]);
            came += 1;
        }
        let said = stage.received(child)?;
        self.is(&said, self.whole, payload, came)?;
        for cut in 0..of {
            let stage = self.begin(child, payload.len(), &all[..cut], pair()?)?;
            let did = say!("sent {cut} of {of} bytes, a signal came, then it sent the rest");
            let progress = say!("after {cut} of {of} bytes");
            child.scene(&progress, "the peer waits, a signal has come", "");
            child.interrupts(1)?;
            child.feed(&stage.peer, &[&all[cut..], behind].concat())?;
            child.scene(&say!("after {of} of {of} bytes"), &did, "");
            let said = stage.received(child)?;
            self.is(&said, self.whole, payload, cut)?;
            if said.unread() != behind.len() {
                return Err(said
                    .refused("it took bytes that come behind the end of the message", self.whole));
            }
        }
        Ok(())
    }

    /// The peer ends its stream, at these places.
    pub fn ends(&self, child: &mut Child, places: impl IntoIterator<Item = usize>) -> Verdict {
        let all = (self.wire)(self.payload);
        for cut in places {
            let of = all.len();
            let (peer, conn) = pair()?;
            peer.send(&all[..cut]);
            peer.end();
            peer.end_has_arrived(&conn)?;
            let stage = self.begin(child, self.payload.len(), b"", (peer, conn))?;
            let did = say!("sent {cut} of {of} bytes and ended its stream");
            child.scene(&say!("after {cut} of {of} bytes"), &did, AT_THE_END);
            let said = stage.received(child)?;
            self.is(&said, self.at(cut), self.payload, cut)?;
        }
        Ok(())
    }

    /// Through small buffers, as fast as it goes; with at most so much memory at once.
    pub fn large(&self, child: &mut Child, payload: &[u8], most: usize, more: &str) -> Verdict {
        let stage = self.begin(child, payload.len(), b"", pair_with(TINY)?)?;
        let of = payload.len();
        child.scene(&say!("in the middle of {of} bytes"), "sent them as fast as they went", "");
        let said = stage.said_while_sending(child, &(self.wire)(payload), false)?;
        self.is(&said, self.whole, payload, of)?;
        let peak = said.after.peak;
        if peak > most {
            return Err(Refusal::new(more)
                .but("no more memory than that takes", say!("{peak} bytes at once")));
        }
        Ok(())
    }

    /// It has to say this where the connection, or the descriptor, is not as usual.
    fn expect(&self, said: &Said, expected: &str) -> Verdict {
        let text = said.text();
        let (end, is_ok) = (text == self.nothing || text == self.cut, text.starts_with("Ok"));
        let mistake = if text == expected {
            ""
        } else if said.kind() == "Interrupted" {
            INTERRUPTED
        } else if said.without_errno() {
            NO_ERRNO
        } else if expected == RESET && is_ok {
            "a reset was taken for a clean end: recv said -1, and says 0 only when called again"
        } else if expected == RESET && end {
            "a reset was taken for the end of the stream: recv said -1, not 0"
        } else if expected == AGAIN && text == "Err(TimedOut)" {
            WAITS
        } else if expected == AGAIN && end {
            "EAGAIN was taken for the end of the stream: nothing has come yet, and more may come"
        } else if ["Err(EBADF)", "Err(ENOTCONN)"].contains(&expected) && (end || is_ok) {
            "recv returned -1 and that was taken for the end of the stream"
        } else if [self.whole, self.cut, self.nothing].contains(&expected) {
            "what had come was lost because of a reset behind it: recv gives the bytes first, \
             and only then the error; poll says POLLERR at once"
        } else {
            "recv failed, and its errno did not reach the caller"
        };
        if mistake.is_empty() {
            return Ok(());
        }
        refuse(mistake, expected, text)
    }

    fn places(&self) -> Vec<usize> {
        let len = (self.wire)(self.payload).len();
        let mut all = vec![0, 1, len / 2, len - 1];
        all.dedup();
        all
    }

    /// What it says where `cut` bytes of the message are all there is.
    fn at(&self, cut: usize) -> &'static str {
        match cut {
            0 => self.nothing,
            _ if cut < (self.wire)(self.payload).len() => self.cut,
            _ => self.whole,
        }
    }

    /// Forty signals while it waits, before the first byte and in the middle.
    pub fn signals(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        for cut in [0, all.len() / 2] {
            let stage = self.begin(child, self.payload.len(), &all[..cut], pair()?)?;
            let progress = say!("after {cut} of {} bytes", all.len());
            child.scene(&progress, "the peer waits, a signal has come", "");
            let came = child.interrupts(SIGNALS)?;
            child.until_blocked()?;
            stage.peer.send(&all[cut..]);
            if self.reads_on {
                stage.peer.end();
            }
            let did = say!("sent {cut} bytes; {came} signals came, then it sent the rest");
            child.scene("with the whole message", &did, "");
            let said = child.said()?;
            if came < SIGNALS && came > 8 {
                return Err(said.refused(GIVES_UP, self.whole));
            }
            self.expect(&said, self.whole)?;
        }
        Ok(())
    }

    /// The peer resets the connection: before the call and while it waits; behind the bytes, and
    /// behind the end of the stream.
    pub fn resets(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        let of = all.len();
        for cut in self.places().into_iter().chain([of]) {
            let progress = say!("after {cut} of {of} bytes");
            for (ended, waits) in [(false, false), (true, false), (false, true), (true, true)] {
                let (peer, conn) = pair()?;
                let keep = conn.try_clone()?;
                let (_bystander, theirs) = pair()?;
                let go = || -> Verdict {
                    peer.send(&all[..cut]);
                    arrived(&keep, cut)?;
                    Ok(peer.goes(&keep, ended)?)
                };
                let mut go = Some(go);
                if !waits && let Some(go) = go.take() {
                    go()?;
                }
                child.ask((self.ask)(self.payload.len()), &[], vec![theirs, conn])?;
                child.scene(&progress, "the peer waits", "");
                if waits
                    && child.until_blocked()?
                    && let Some(go) = go.take()
                {
                    child.while_stopped(go)?;
                }
                let end = if ended { ", ended its stream" } else { "" };
                let when = if waits { " while the call waited" } else { " before the call" };
                let did = say!("sent {cut} of {of} bytes{end} and reset the connection{when}");
                child.scene(&progress, &did, LOOP);
                let said = child.said()?;
                let whole = ended || cut == of && !self.reads_on;
                self.expect(&said, if whole { self.at(cut) } else { self.reset })?;
                let calls = said.calls("recv");
                if !waits && cut == of && calls > 2 + of / 2 {
                    return refuse(BYTES, "few recv", say!("{calls} calls for {of} bytes"));
                }
            }
        }
        Ok(())
    }

    /// Errors that are the caller's to see: EBADF, ENOTCONN, and EAGAIN at every place.
    pub fn errors(&self, child: &mut Child) -> Verdict {
        self.not_connected(child)?;
        self.would_block(child)
    }

    /// There is no descriptor, or it has no peer.
    pub fn not_connected(&self, child: &mut Child) -> Verdict {
        child.scene("after 0 bytes", "there is no such descriptor: EBADF", LOOP);
        let said = child.call((self.ask)(self.payload.len()), &[], vec![])?;
        self.expect(&said, "Err(EBADF)")?;
        let (_bystander, theirs) = pair()?;
        child.scene("after 0 bytes", "the socket has no peer: recv says ENOTCONN", LOOP);
        let said = child.call((self.ask)(self.payload.len()), &[], vec![theirs, lonely()?])?;
        self.expect(&said, "Err(ENOTCONN)")
    }

    /// EAGAIN, at every place of a message.
    fn would_block(&self, child: &mut Child) -> Verdict {
        let all = (self.wire)(self.payload);
        for cut in self.places() {
            let conn = non_blocking(pair()?)?;
            let stage = self.begin(child, self.payload.len(), &all[..cut], conn)?;
            let did = say!("sent {cut} bytes, and the socket is non-blocking");
            child.scene(&say!("after {cut} of {} bytes", all.len()), &did, SPINS);
            if child.until_blocked()? {
                // It may ask poll before each recv. Then it has never seen EAGAIN.
                stage.peer.send(&all[cut..]);
                if self.reads_on {
                    stage.peer.end();
                }
                let said = child.said()?;
                if said.text() == self.whole && said.after.calls.would_block == 0 {
                    continue;
                }
                return refuse(WAITS, AGAIN, "it waited by itself");
            }
            let said = child.said()?;
            if said.after.ended.last() == Some(&true) {
                return refuse(SHUT, GOES_ON, "an end of the stream of its own");
            }
            self.expect(&said, AGAIN)?;
            stage.nothing_sent(&said.after)?;
        }
        Ok(())
    }
}

const BYTES: &str = "a recv for each byte: offer all the room, it fills what it can";
const SHUT: &str = "after an error it shut the connection down: that is not its to do";
const GOES_ON: &str = "a connection that goes on";

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
    /// Has it called with these bytes.
    pub fn begin(
        &self,
        child: &mut Child,
        bytes: &[u8],
        conn: (Peer, OwnedFd),
    ) -> Result<Stage, Refusal> {
        self.begin_as(child, (self.ask)(bytes.len()), bytes, conn)
    }

    /// The same with another question.
    pub fn begin_as(
        &self,
        child: &mut Child,
        ask: Value,
        bytes: &[u8],
        (peer, conn): (Peer, OwnedFd),
    ) -> Result<Stage, Refusal> {
        peer.send(QUESTION);
        arrived(&conn, QUESTION.len())?;
        let (stage, fds) = stage((peer, conn))?;
        child.ask(ask, bytes, fds)?;
        Ok(stage)
    }

    /// The peer reads the rest. The call has to return, and all bytes to have come: these, which
    /// have been read already, and those.
    pub fn delivers(
        &self,
        child: &mut Child,
        Stage { peer, bystander }: Stage,
        bytes: &[u8],
        mut got: Vec<u8>,
    ) -> Result<Said, Refusal> {
        let reader = peer.read_all();
        let said = child.said()?;
        bystander.untouched(&said.after)?;
        if said.unread() != QUESTION.len() {
            return Err(Refusal::new("sending must not read what the peer has sent"));
        }
        child.close_fds()?;
        got.extend(reader.join().expect("the reader does not panic"));
        self.is(&said, &(self.wire)(bytes), &got)?;
        let calls = said.calls("send") + said.calls("sendmsg");
        if calls > 2 + bytes.len() / 16 {
            let mistake = "a send for every few bytes: offer all of the rest, it takes a part";
            return refuse(mistake, "at most one call for 16 bytes", say!("{calls} calls"));
        }
        let peak = said.after.peak;
        if peak > 1 << 20 && !self.copy.is_empty() {
            return refuse(self.copy, "no memory of its own", say!("{peak} bytes at once"));
        }
        Ok(said)
    }

    /// It has returned, and these bytes have come: compares.
    pub fn is(&self, said: &Said, right: &[u8], got: &[u8]) -> Verdict {
        let (text, expected) = (&*said.text(), self.done);
        if text == expected && got == right {
            return Ok(());
        }
        let cut = right.len();
        let mistake = (self.mistake)(&Seen { said, text, expected, right, got, cut });
        let mistake = if !mistake.is_empty() {
            mistake
        } else if text == expected {
            misplaced(right, got)
        } else if said.kind() == "Interrupted" {
            INTERRUPTED
        } else if said.kind() == "WriteZero" {
            "a send that took fewer bytes than asked is no failure: send the rest"
        } else {
            UNFOUNDED
        };
        if text != expected {
            return Err(said.refused(mistake, expected));
        }
        let seen = say!("{} bytes", got.len());
        Err(Refusal::new(mistake)
            .but(say!("{} bytes at the peer", right.len()), seen)
            .bytes(right, got))
    }

    /// Messages of these lengths, to a peer that reads all it gets.
    pub fn sizes(&self, child: &mut Child, lengths: &[usize]) -> Verdict {
        for &len in lengths {
            let bytes = pattern(len);
            let stage = self.begin(child, &bytes, pair()?)?;
            child.scene(&say!("with a message of {len} bytes"), "the peer reads all it gets", "");
            let said = self.delivers(child, stage, &bytes, Vec::new())?;
            let unsent = said.after.unsent.last().copied().unwrap_or(0);
            if len <= 4096 && unsent > 0 && said.calls(self.call) <= 1 {
                let mistake = "the kernel was told that more would follow, and waits: MSG_MORE";
                return refuse(mistake, "nothing held back", say!("{unsent} bytes held back"));
            }
        }
        Ok(())
    }

    /// The peer reads only when the call waits, so much each time; signals come before it does.
    pub fn slowly(
        &self,
        child: &mut Child,
        ask: Value,
        bytes: &[u8],
        [times, signals, count]: [usize; 3],
    ) -> Verdict {
        let len = bytes.len();
        let stage = self.begin_as(child, ask, bytes, pair_with(TINY)?)?;
        let did = "the peer reads a little whenever the call waits; signals come";
        child.scene(&say!("in the middle of {len} bytes"), did, "");
        let (mut got, mut waits) = (Vec::new(), child.until_blocked()?);
        for _ in 0..times {
            for _ in 0..signals {
                child.interrupt();
                waits = waits && child.until_blocked()?;
            }
            if waits {
                got.extend(stage.peer.read(count));
                waits = signals > 0 || child.until_blocked()?;
            }
        }
        self.delivers(child, stage, bytes, got).map(drop)
    }

    /// There is nothing to send.
    pub fn empty(&self, child: &mut Child) -> Verdict {
        let stage = self.begin(child, b"", pair()?)?;
        let mistake = "it never ends where there is nothing to send";
        child.scene("after 0 of 0 bytes", "there is nothing to send", mistake);
        let said = child.said()?;
        if said.text() != self.done {
            let call = self.call;
            return Err(said.refused(
                say!(
                    "{call} of 0 bytes returns 0, and that was taken for a failure: check before \
                     the call"
                ),
                self.done,
            ));
        }
        match stage.heard()? {
            None => Ok(()),
            Some(heard) => {
                let mistake = "it sent something where there was nothing to send";
                refuse(mistake, "silence at the peer", heard)
            }
        }
    }

    /// The peer has gone: EPIPE or ECONNRESET, or what stands for them.
    fn is_gone(&self, said: &Said) -> Verdict {
        let (text, call) = (said.text(), self.call);
        let right = match self.gone {
            Some(gone) => text == gone,
            None => ["Err(EPIPE)", RESET].contains(&text.as_str()),
        };
        let mistake = match self.gone {
            _ if right => return Ok(()),
            _ if said.without_errno() => NO_ERRNO.into(),
            Some(gone) if text == "Err(EPIPE)" => {
                say!("EPIPE was returned as an error: it says that the peer has gone, {gone}")
            }
            Some(_) if text == RESET => {
                "EPIPE is not the only way to hear it: the first send after a reset says ECONNRESET"
                    .into()
            }
            Some(_) if text == self.done => say!(
                "true for a peer that has gone: {call} returned -1, and that was not looked at"
            ),
            _ if text == self.done => {
                say!("{call} failed because the peer was gone, and it returned Ok")
            }
            _ => say!("{call} failed because the peer was gone, and its errno was lost"),
        };
        let either = say!("{} or {}", "Err(EPIPE)", "Err(ECONNRESET)");
        refuse(mistake, self.gone.unwrap_or(&either), text)
    }

    /// Forty signals while it waits. The first ends a call that has taken a part; the next ones find
    /// the buffer full, and end one that has taken nothing.
    pub fn signals(&self, child: &mut Child) -> Verdict {
        let message = pattern(2_000_000);
        let stage = self.begin(child, &message, pair_with(TINY)?)?;
        let did = "read nothing until forty signals had come, then all";
        child.scene("with a full send buffer", "the peer does not read, a signal has come", "");
        let came = child.interrupts(SIGNALS)?;
        child.until_blocked()?;
        child.scene("with a full send buffer", did, "");
        if came > 8 && came < SIGNALS {
            let said = child.said()?;
            return Err(
                Refusal::new(GIVES_UP).but(self.done, say!("{} after {came} signals", said.text()))
            );
        }
        self.delivers(child, stage, &message, Vec::new()).map(drop)
    }

    /// The peer has ended its own direction, and reads on.
    pub fn half_closed(&self, child: &mut Child) -> Verdict {
        let message = pattern(100_000);
        let (peer, conn) = pair_with(TINY)?;
        peer.end();
        peer.end_has_arrived(&conn)?;
        let (Stage { peer, bystander: _bystander }, fds) = stage((peer, conn))?;
        child.ask((self.ask)(message.len()), &message, fds)?;
        let did = "has ended its own stream, and reads on";
        child.scene("in the middle of 100000 bytes", did, "");
        let reader = peer.read_all();
        let said = child.said()?;
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        let (text, all) = (said.text(), (self.wire)(&message));
        if text != self.done || got != all {
            let mistake = "a peer that has ended its own stream was taken for gone: it still \
                           reads, half closed";
            let expected = say!("{}, and {} bytes at the peer", self.done, all.len());
            return refuse(mistake, expected, say!("{text}, and {} bytes", got.len()));
        }
        Ok(())
    }

    /// The peer goes: before the call, and in the middle of it; with its stream ended and without.
    pub fn gone(&self, child: &mut Child) -> Verdict {
        let again = say!("it calls {} again after an error that does not go away", self.call);
        let (peer, conn) = pair()?;
        let conn = TcpStream::from(conn);
        conn.shutdown(Shutdown::Write)?;
        let stage = self.begin(child, b"hello", (peer, conn.into()))?;
        child.scene("after 0 of 5 bytes", "this end has been shut down: EPIPE", &again);
        let said = child.said()?;
        self.is_gone(&said)?;
        drop(stage);

        for ended in [false, true] {
            let end = if ended { "ended its stream and " } else { "" };
            let (peer, conn) = pair()?;
            peer.goes(&conn, ended)?;
            let (_bystander, theirs) = pair()?;
            let mut fds = vec![theirs, conn];
            for time in ["", ", and that was told"] {
                child.ask((self.ask)(5), b"hello", std::mem::take(&mut fds))?;
                let did = say!("has {end}reset the connection{time}");
                child.scene("after 0 of 5 bytes", &did, &again);
                let said = child.said()?;
                self.is_gone(&said)?;
            }
            // In the middle; a signal has had a part returned before, or has not.
            for signals in [0, 2] {
                let (peer, conn) = pair_with(TINY)?;
                let keep = conn.try_clone()?;
                let Stage { peer, bystander: _bystander } =
                    self.begin(child, &pattern(2_000_000), (peer, conn))?;
                child.scene("with a full send buffer", "the peer does not read", "");
                child.interrupts(signals)?;
                child.until_blocked()?;
                child.while_stopped(|| Ok(peer.goes(&keep, ended)?))?;
                let did = say!("{end}reset the connection while {} waited", self.call);
                child.scene("in the middle", &did, &again);
                let said = child.said()?;
                self.is_gone(&said)?;
            }
        }
        Ok(())
    }

    /// Errors that are the caller's to see: EBADF, and EAGAIN where the send buffer is full.
    pub fn errors(&self, child: &mut Child) -> Verdict {
        let call = self.call;
        let again = say!("it calls {call} again after errors other than EINTR: those stay");
        let expect = |said: &Said, expected: &str| {
            let text = said.text();
            let mistake = match text.as_str() {
                text if text == expected => return Ok(()),
                _ if said.without_errno() => NO_ERRNO.into(),
                text if Some(text) == self.gone => {
                    "not every error means that the peer has gone".into()
                }
                text if text.starts_with("Ok") => say!("{call} returned -1, and it returned Ok"),
                _ => say!("the errno of {call} has to reach the caller as it is"),
            };
            refuse(mistake, expected, text)
        };
        child.scene("after 0 of 5 bytes", "there is no such descriptor: EBADF", &again);
        let said = child.call((self.ask)(5), b"hello", vec![])?;
        expect(&said, "Err(EBADF)")?;

        let message = pattern(2_000_000);
        let Stage { peer, bystander: _bystander } =
            self.begin(child, &message, non_blocking(pair_with(TINY)?)?)?;
        child.scene("with a full send buffer", "the socket is non-blocking: EAGAIN", &again);
        let waits = child.until_blocked()?;
        let reader = peer.read_all();
        let said = child.said()?;
        // It may ask poll before each call. Then it has never seen EAGAIN.
        let polls = said.text() == self.done && said.after.calls.would_block == 0;
        if waits && !polls {
            return refuse(WAITS, "Err(EAGAIN) at once", "it waited by itself");
        }
        if !waits {
            expect(&said, AGAIN)?;
            let more = child.call((self.ask)(1), b"x", vec![])?;
            if more.text() == "Err(EPIPE)" {
                return refuse(SHUT, GOES_ON, "the next send says EPIPE");
            }
        }
        child.close_fds()?;
        let mut got = reader.join().expect("the reader does not panic");
        got.truncate((self.wire)(&message).len());
        let sent = (self.wire)(&message);
        let same = sent.iter().zip(&got).take_while(|(a, b)| a == b).count();
        if polls && got != sent || same + (self.wire)(b"x").len() < got.len() {
            let mistake = "the peer got other bytes than were to be sent";
            return Err(Refusal::new(mistake).bytes(&sent, &got));
        }
        Ok(())
    }
}

/// What became of the bytes on their way to the peer.
pub fn misplaced(sent: &[u8], got: &[u8]) -> &'static str {
    if sent.starts_with(got) {
        "it returned Ok before all was sent: send may take only a part, call it for the rest"
    } else if got.starts_with(sent) {
        "it sent bytes behind the end of buf: after n bytes, len - n are left"
    } else if got.len() < sent.len() {
        "bytes are missing in the middle: a send that took a part was taken for a whole one"
    } else {
        "after a partial send it goes on at the wrong place: n bytes are done, go on behind them"
    }
}
