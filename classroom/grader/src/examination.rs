//! What every function that receives, and every one that sends, has to stand: the peer's moves.
//!
//! An exercise says what its function is given and what it says where; the rest is the same for
//! all. What an answer says is compared as a text: `Ok(None)`, `Err(UnexpectedEof)`; an error of the
//! kernel by its number's name, `Err(ECONNRESET)`.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use say::say;
use serde::{Serialize, de::DeserializeOwned};

use crate::beside::{Stage, stage};
use crate::child::Child;
use crate::inside::{After, Failure};
use crate::peer::{Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::Refusal;

/// What a call said, and how it left the process.
pub struct Says<'a> {
    /// `Ok(…)` in few words, as code and in no language: it is compared. Or the error.
    pub result: Result<String, &'a Failure>,
    /// How it left the process.
    pub after: &'a After,
}

impl Says<'_> {
    /// To be compared.
    pub fn text(&self) -> String {
        match &self.result {
            Ok(text) => text.clone(),
            Err(Failure { errno: Some(errno), .. }) => {
                format!("Err({:?})", Errno::from_raw(*errno))
            }
            Err(Failure { kind, .. }) => format!("Err({kind})"),
        }
    }

    fn without_errno(&self) -> bool {
        self.result.as_ref().is_err_and(|e| e.without_errno())
    }
}

const RESET: &str = "Err(ECONNRESET)";
const AGAIN: &str = "Err(EAGAIN)";
const NO_ERRNO: &str =
    "the error was put together anew, and its errno is lost: return last_os_error";
const LOOP: &str = "it calls recv again after errors that do not go away: only EINTR does";
const SPINS: &str =
    "EAGAIN on a non-blocking socket goes to the caller: calling again at once only spins";
const WAITS: &str =
    "it waits by itself after EAGAIN: the caller wanted a socket that does not wait";

const INTERRUPTED: &str = "EINTR was returned as an error: call again";
const GIVES_UP: &str =
    "it gives up after some signals: EINTR is no failure, however often it comes";

/// So many signals interrupt a wait.
const SIGNALS: usize = 40;

/// Interrupts each of its waits; says how many there were.
fn many_signals(child: &mut Child) -> Result<usize, Refusal> {
    let mut came = 0;
    while came < SIGNALS && child.until_blocked()? {
        child.interrupt();
        came += 1;
    }
    child.until_blocked()?;
    Ok(came)
}

/// A function that receives one message, or reads a stream to its end.
pub struct Receiver<A, S> {
    /// A whole message.
    pub message: &'static [u8],
    /// The question for one call, on the last of the given descriptors or on this one.
    pub ask: fn(Option<RawFd>) -> A,
    /// What it said.
    pub says: fn(&S) -> Says<'_>,
    /// What it says of the whole message.
    pub whole: &'static str,
    /// What it says where the stream ends before the message.
    pub nothing: &'static str,
    /// What it says where the stream ends inside the message.
    pub cut: &'static str,
    /// What it says of a reset, inside the message and before it.
    pub reset: &'static str,
    /// It reads on behind the message, and meets the reset there.
    pub reads_on: bool,
}

impl<A: Serialize, S: DeserializeOwned> Receiver<A, S> {
    fn said(&self, child: &mut Child) -> Result<S, Refusal> {
        let (said, _) = child.said_as::<S>()?;
        child.left_as_it_was((self.says)(&said).after)?;
        if (self.says)(&said).after.ended.last() == Some(&true) {
            return Err(Refusal::new(
                "after an error it shut the connection down: that is not its to do",
            )
            .but("a connection that goes on", "an end of the stream of its own"));
        }
        Ok(said)
    }

    fn expect(&self, said: &S, expected: &str, peer: &str) -> Result<(), Refusal> {
        let says = (self.says)(said);
        let text = says.text();
        if text == expected {
            return Ok(());
        }
        let end = text == self.nothing || text == self.cut;
        let mistake = match expected {
            _ if text == "Err(EINTR)" => INTERRUPTED,
            _ if says.without_errno() => NO_ERRNO,
            RESET if text.starts_with("Ok") => {
                "a reset was taken for a clean end: recv said -1, and says 0 only when called again"
            }
            RESET if end => "a reset was taken for the end of the stream: recv said -1, not 0",
            AGAIN if text == "Err(TimedOut)" => WAITS,
            AGAIN if end => {
                "EAGAIN was taken for the end of the stream: nothing has come yet, and more may come"
            }
            "Err(EBADF)" | "Err(ENOTCONN)" if end => {
                "recv returned -1 and that was taken for the end of the stream"
            }
            _ if expected == self.whole || expected == self.cut || expected == self.nothing => {
                "what had come was lost because of a reset behind it: recv gives the bytes first, \
                 and only then the error; poll says POLLERR at once"
            }
            _ => "recv failed, and its errno did not reach the caller",
        };
        Err(Refusal::new(mistake).peer(peer).but(expected, text))
    }

    fn places(&self) -> Vec<usize> {
        let len = self.message.len();
        let mut all = vec![0, 1, len / 2, len - 1];
        all.dedup();
        all
    }

    /// What it says where `cut` bytes of the message are all there is.
    fn at(&self, cut: usize) -> &'static str {
        match cut {
            0 => self.nothing,
            _ if cut < self.message.len() => self.cut,
            _ => self.whole,
        }
    }

    /// Forty signals while it waits, before the first byte and in the middle.
    pub fn signals(&self, child: &mut Child) -> Result<(), Refusal> {
        for cut in [0, self.message.len() / 2] {
            let (peer, conn) = pair()?;
            peer.send(&self.message[..cut]);
            arrived(&conn, cut)?;
            let (stage, fds) = stage((peer, conn))?;
            child.ask((self.ask)(None), &[], fds)?;
            let progress = say!("after {cut} of {} bytes", self.message.len());
            child.scene(&progress, "the peer waits, a signal has come", "");
            let came = many_signals(child)?;
            stage.peer.send(&self.message[cut..]);
            if self.reads_on {
                stage.peer.end();
            }
            child.scene("with the whole message", "the peer has sent it", "");
            let (said, _) = child.said_as::<S>()?;
            let did = say!("sent {cut} bytes; {came} signals came, then it sent the rest");
            child.left_as_it_was((self.says)(&said).after)?;
            if came < SIGNALS && came > 8 {
                let text = (self.says)(&said).text();
                return Err(Refusal::new(GIVES_UP).peer(did).but(self.whole, text));
            }
            self.expect(&said, self.whole, &did)?;
        }
        Ok(())
    }

    /// The peer resets the connection: before the call and while it waits; behind the bytes, and
    /// behind the end of the stream.
    pub fn resets(&self, child: &mut Child) -> Result<(), Refusal> {
        let of = self.message.len();
        for cut in self.places().into_iter().chain([of]) {
            let bytes = &self.message[..cut];
            let progress = say!("after {cut} of {of} bytes");
            for (ended, waits) in [(false, false), (true, false), (false, true), (true, true)] {
                let (peer, conn) = pair()?;
                let keep = conn.try_clone()?;
                if !waits {
                    peer.send(bytes);
                    arrived(&conn, cut)?;
                }
                let (bystander, theirs) = pair()?;
                let mut peer = Some(peer);
                let go = |peer: &mut Option<Peer>| -> Result<(), Refusal> {
                    let Some(peer) = peer.take() else { return Ok(()) };
                    if waits {
                        peer.send(bytes);
                        arrived(&keep, cut)?;
                    }
                    if ended {
                        peer.end();
                        peer.end_has_arrived(&keep)?;
                    }
                    Ok(peer.reset()?)
                };
                if !waits {
                    go(&mut peer)?;
                }
                child.ask((self.ask)(None), &[], vec![theirs, conn])?;
                child.scene(&progress, "the peer waits", "");
                if waits && child.until_blocked()? {
                    child.while_stopped(|| go(&mut peer))?;
                }
                child.scene(&progress, "the peer has reset the connection", LOOP);
                let said = self.said_of_the_gone(child)?;
                drop(bystander);
                let expected = match (ended, cut == of && !self.reads_on) {
                    (true, _) | (_, true) => self.at(cut),
                    (false, false) => self.reset,
                };
                let end = if ended { ", ended its stream" } else { "" };
                let when = if waits { " while the call waited" } else { " before the call" };
                let did = say!("sent {cut} of {of} bytes{end} and reset the connection{when}");
                self.expect(&said, expected, &did)?;
                let calls = (self.says)(&said).after.calls.transfers;
                if !waits && cut == of && calls > 2 + of / 2 {
                    return Err(Refusal::new(
                        "a recv for each byte: offer all the room, it fills what it can",
                    )
                    .peer(did)
                    .but("few recv", say!("{calls} calls for {of} bytes")));
                }
            }
        }
        Ok(())
    }

    /// The connection has ended of itself: that is not the answer's doing.
    fn said_of_the_gone(&self, child: &mut Child) -> Result<S, Refusal> {
        let (said, _) = child.said_as::<S>()?;
        child.left_as_it_was((self.says)(&said).after)?;
        Ok(said)
    }

    /// Errors that are the caller's to see: EBADF, ENOTCONN, and EAGAIN at every place.
    pub fn errors(&self, child: &mut Child) -> Result<(), Refusal> {
        child.scene("after 0 bytes", "there is no such descriptor: EBADF", LOOP);
        child.ask((self.ask)(Some(150)), &[], vec![])?;
        let said = self.said_of_the_gone(child)?;
        self.expect(&said, "Err(EBADF)", "is none: fd 150 is not open")?;

        let (_bystander, theirs) = pair()?;
        let lonely = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .map_err(io::Error::from)?;
        child.scene("after 0 bytes", "the socket has no peer: recv says ENOTCONN", LOOP);
        child.ask((self.ask)(None), &[], vec![theirs, lonely])?;
        let said = self.said_of_the_gone(child)?;
        self.expect(&said, "Err(ENOTCONN)", "is none: the socket is not connected")?;

        for cut in self.places() {
            let (peer, conn) = non_blocking(pair()?)?;
            peer.send(&self.message[..cut]);
            arrived(&conn, cut)?;
            let (stage, fds) = stage((peer, conn))?;
            child.ask((self.ask)(None), &[], fds)?;
            let progress = say!("after {cut} of {} bytes", self.message.len());
            child.scene(&progress, "the socket is non-blocking: recv says EAGAIN", SPINS);
            let did = say!("sent {cut} bytes, and the socket is non-blocking");
            if child.until_blocked()? {
                // It may ask poll before each recv. Then it has never seen EAGAIN.
                stage.peer.send(&self.message[cut..]);
                if self.reads_on {
                    stage.peer.end();
                }
                let (said, _) = child.said_as::<S>()?;
                let says = (self.says)(&said);
                if says.text() == self.whole && says.after.calls.would_block == 0 {
                    continue;
                }
                return Err(Refusal::new(WAITS).peer(did).but(AGAIN, "it waited by itself"));
            }
            let said = self.said(child)?;
            self.expect(&said, AGAIN, &did)?;
            stage.nothing_sent((self.says)(&said).after)?;
        }
        Ok(())
    }
}

/// A function that sends one message.
pub struct Sender<A, S> {
    /// The question for one call with so many bytes, on the last of the given descriptors or on
    /// this one.
    pub ask: fn(Option<RawFd>, usize) -> A,
    /// What it said.
    pub says: fn(&S) -> Says<'_>,
    /// The call by its name: `send`.
    pub call: &'static str,
    /// What the peer gets for these bytes.
    pub wire: fn(&[u8]) -> Vec<u8>,
    /// What it says where all has been sent.
    pub done: &'static str,
    /// What it says where the peer has gone, if that is no error.
    pub gone: Option<&'static str>,
}

impl<A: Serialize, S: DeserializeOwned> Sender<A, S> {
    fn begin(
        &self,
        child: &mut Child,
        bytes: &[u8],
        conn: (Peer, OwnedFd),
    ) -> Result<Stage, Refusal> {
        let (stage, fds) = stage(conn)?;
        child.ask((self.ask)(None, bytes.len()), bytes, fds)?;
        Ok(stage)
    }

    fn said(&self, child: &mut Child) -> Result<S, Refusal> {
        let (said, _) = child.said_as::<S>()?;
        child.left_as_it_was((self.says)(&said).after)?;
        Ok(said)
    }

    /// The peer has gone: EPIPE or ECONNRESET, or what stands for them.
    fn is_gone(&self, said: &S, peer: &str) -> Result<(), Refusal> {
        let says = (self.says)(said);
        let (text, call) = (says.text(), self.call);
        let right = match self.gone {
            Some(gone) => text == gone,
            None => ["Err(EPIPE)", RESET].contains(&text.as_str()),
        };
        let mistake = match self.gone {
            _ if right => return Ok(()),
            _ if says.without_errno() => NO_ERRNO.into(),
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
        let expected = self.gone.unwrap_or("Err(EPIPE) or Err(ECONNRESET)");
        Err(Refusal::new(mistake).peer(peer).but(expected, text))
    }

    /// Forty signals while it waits. The first ends a call that has taken a part; the next ones find
    /// the buffer full, and end one that has taken nothing.
    pub fn signals(&self, child: &mut Child) -> Result<(), Refusal> {
        let message = pattern(2_000_000);
        let Stage { peer, bystander: _bystander } =
            self.begin(child, &message, pair_with(TINY)?)?;
        let did = "read nothing until forty signals had come, then all";
        child.scene("with a full send buffer", "the peer does not read, a signal has come", "");
        let came = many_signals(child)?;
        let reader = peer.read_all();
        let said = self.said(child)?;
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        let (text, wire) = ((self.says)(&said).text(), (self.wire)(&message));
        if text == self.done && got == wire {
            return Ok(());
        }
        if text == self.done {
            return Err(Refusal::new(misplaced(&wire, &got)).peer(did).bytes(&wire, &got));
        }
        let mistake = if came > 8 { GIVES_UP } else { INTERRUPTED };
        Err(Refusal::new(mistake).peer(did).but(self.done, say!("{text} after {came} signals")))
    }

    /// The peer has ended its own direction, and reads on.
    pub fn half_closed(&self, child: &mut Child) -> Result<(), Refusal> {
        let message = pattern(100_000);
        let (peer, conn) = pair_with(TINY)?;
        peer.end();
        peer.end_has_arrived(&conn)?;
        let Stage { peer, bystander: _bystander } = self.begin(child, &message, (peer, conn))?;
        let did = "has ended its own stream, and reads on";
        child.scene("in the middle of 100000 bytes", did, "");
        let reader = peer.read_all();
        let said = self.said(child)?;
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        let (text, all) = ((self.says)(&said).text(), (self.wire)(&message));
        if text == self.done && got == all {
            let calls = &(self.says)(&said).after.calls.by_name;
            let calls: usize = ["send", "sendmsg"].iter().filter_map(|name| calls.get(*name)).sum();
            if calls > all.len() / 16 {
                return Err(Refusal::new(
                    "a send for every few bytes: offer all of the rest, it takes a part",
                )
                .but("at most one call for 16 bytes", say!("{calls} calls")));
            }
            return Ok(());
        }
        Err(Refusal::new(
            "a peer that has ended its own stream was taken for gone: it still reads, half closed",
        )
        .peer(did)
        .but(
            say!("{}, and {} bytes at the peer", self.done, all.len()),
            say!("{text}, and {} bytes", got.len()),
        ))
    }

    /// The peer goes: before the call, and in the middle of it; with its stream ended and without.
    pub fn gone(&self, child: &mut Child) -> Result<(), Refusal> {
        let again = say!("it calls {} again after an error that does not go away", self.call);
        let (peer, conn) = pair()?;
        let conn = TcpStream::from(conn);
        conn.shutdown(Shutdown::Write)?;
        let stage = self.begin(child, b"hello", (peer, conn.into()))?;
        child.scene("after 0 of 5 bytes", "this end has been shut down: EPIPE", &again);
        let said = self.said(child)?;
        self.is_gone(&said, "is there, but this end's direction has been shut down")?;
        drop(stage);

        for ended in [false, true] {
            let end = if ended { "ended its stream and " } else { "" };
            let (peer, conn) = pair()?;
            if ended {
                peer.end();
                peer.end_has_arrived(&conn)?;
            }
            peer.reset()?;
            let (_bystander, theirs) = pair()?;
            let mut fds = vec![theirs, conn];
            for time in ["", ", and that was told"] {
                child.ask((self.ask)(None, 5), b"hello", std::mem::take(&mut fds))?;
                child.scene("after 0 of 5 bytes", "the peer has reset the connection", &again);
                let said = self.said(child)?;
                self.is_gone(&said, &say!("has {end}reset the connection{time}"))?;
            }
            // In the middle; a signal has had a part returned before, or has not.
            for signals in [0, 2] {
                let (peer, conn) = pair_with(TINY)?;
                let keep = conn.try_clone()?;
                let stage = self.begin(child, &pattern(2_000_000), (peer, conn))?;
                child.scene("with a full send buffer", "the peer does not read", "");
                for _ in 0..signals {
                    if child.until_blocked()? {
                        child.interrupt();
                    }
                }
                child.until_blocked()?;
                let Stage { peer, bystander } = stage;
                child.while_stopped(|| {
                    if ended {
                        peer.end();
                        peer.end_has_arrived(&keep)?;
                    }
                    Ok(peer.reset()?)
                })?;
                child.scene("in the middle", "the peer has reset the connection", &again);
                let said = self.said(child)?;
                drop(bystander);
                self.is_gone(&said, &say!("{end}reset the connection while {} waited", self.call))?;
            }
        }
        Ok(())
    }

    /// Errors that are the caller's to see: EBADF, and EAGAIN where the send buffer is full.
    pub fn errors(&self, child: &mut Child) -> Result<(), Refusal> {
        let call = self.call;
        let again = say!("it calls {call} again after errors other than EINTR: those stay");
        let expect = |said: &S, expected: &str, peer: &str| {
            let says = (self.says)(said);
            let text = says.text();
            let mistake = match text.as_str() {
                text if text == expected => return Ok(()),
                _ if says.without_errno() => NO_ERRNO.into(),
                text if Some(text) == self.gone => {
                    "not every error means that the peer has gone".into()
                }
                text if text.starts_with("Ok") => say!("{call} returned -1, and it returned Ok"),
                _ => say!("the errno of {call} has to reach the caller as it is"),
            };
            Err(Refusal::new(mistake).peer(peer).but(expected, text))
        };
        child.scene("after 0 of 5 bytes", "there is no such descriptor: EBADF", &again);
        child.ask((self.ask)(Some(150), 5), b"hello", vec![])?;
        let said = self.said(child)?;
        expect(&said, "Err(EBADF)", "is none: fd 150 is not open")?;

        let message = pattern(2_000_000);
        let Stage { peer, bystander: _bystander } =
            self.begin(child, &message, non_blocking(pair_with(TINY)?)?)?;
        child.scene("with a full send buffer", "the socket is non-blocking: EAGAIN", &again);
        let waits = child.until_blocked()?;
        let reader = peer.read_all();
        let said = self.said(child)?;
        let says = (self.says)(&said);
        // It may ask poll before each call. Then it has never seen EAGAIN.
        let polls = says.text() == self.done && says.after.calls.would_block == 0;
        if waits && !polls {
            return Err(Refusal::new(WAITS).but("Err(EAGAIN) at once", "it waited by itself"));
        }
        if !waits {
            expect(&said, AGAIN, "does not read, and the socket is non-blocking")?;
            child.ask((self.ask)(None, 1), b"x", vec![])?;
            let more = child.said_as::<S>()?.0;
            if (self.says)(&more).text() == "Err(EPIPE)" {
                return Err(Refusal::new(
                    "after an error it shut the connection down: that is not its to do",
                )
                .but("a connection that goes on", "the next send says EPIPE"));
            }
        }
        child.close_fds()?;
        let mut got = reader.join().expect("the reader does not panic");
        got.truncate((self.wire)(&message).len());
        let sent = (self.wire)(&message);
        let same = sent.iter().zip(&got).take_while(|(a, b)| a == b).count();
        if polls && got != sent || same + (self.wire)(b"x").len() < got.len() {
            return Err(
                Refusal::new("the peer got other bytes than were to be sent").bytes(&sent, &got)
            );
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

fn non_blocking((peer, conn): (Peer, OwnedFd)) -> io::Result<(Peer, OwnedFd)> {
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((peer, conn))
}
