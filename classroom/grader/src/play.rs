//! What the peer does, as a list of moves, and the player that makes and tells them.

use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use say::say;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::beside::{QUESTION, Stage, stage};
use crate::calls::Seldom;
use crate::child::Child;
use crate::peer::{Buffers, Heard, Peer, TINY, arrived, fill, pair_with};
use crate::refusal::{Refusal, SHUT, Verdict, ensure, refuse};
use crate::said::Said;

pub use Move::*;

/// A move of the peer's, or what is expected of the answer. Those after [`Called`] are made once
/// the call waits.
#[derive(Clone, Copy, PartialEq)]
pub enum Move<'a> {
    /// The peer sends these bytes.
    Sends(&'a [u8]),
    /// It sends them one by one, each once the call waits.
    Drips(&'a [u8]),
    /// It sends them as fast as they go, through small buffers if they are less than `LARGE`.
    Streams(&'a [u8]),
    /// It ends its stream.
    Ends,
    /// It resets the connection.
    Resets,
    /// It makes all of these while the process is stopped: the call sees them together.
    AtOnce(&'a [Move<'a>]),
    /// The socket does not wait.
    NonBlocking,
    /// So many signals come, each once the call waits.
    Signals(usize),
    /// Very many calls are interrupted, from the beginning of the next one; with `true` `poll` also.
    Storm(bool),
    /// The answer is called, for the first time or again.
    Called,
    /// The same with a question of its own.
    Asked(&'a Value),
    /// It has to return this, with these bytes.
    Says(&'static str, &'a [u8]),
    /// So many bytes have to be left unread.
    Leaves(usize),
    /// It has to have offered recv so much room, once.
    Offered(usize),
    /// It may have taken so much memory at once; what more is called.
    AtMost(usize, &'static str),
    /// It has to say that the peer has gone.
    Gone,
    /// The connection has small buffers: a call soon has to wait.
    Tiny,
    /// Its send buffer is full.
    Full,
    /// The peer reads so many bytes.
    Reads(usize),
    /// It reads a request to its end.
    Hears,
    /// The same, and answers.
    Serves(&'a [u8]),
}

/// So many calls are interrupted at once.
pub const STORM: usize = 2500;

/// What takes too long through small buffers.
const LARGE: usize = 4 << 20;

/// A connection, and what has been done on it.
pub struct Play {
    /// The answer's end: what is sent has come when it is there.
    conn: OwnedFd,
    /// Gone after a reset.
    pub peer: Option<Peer>,
    bystander: Peer,
    fds: Vec<OwnedFd>,
    streams: Option<Vec<u8>>,
    /// What has been done so far.
    pub so: So,
}

/// What has been done on a connection.
#[derive(Default)]
pub struct So {
    did: Vec<String>,
    /// How far the transfer is, where that is not what the peer has sent.
    pub progress: String,
    /// What the peer has read.
    got: Vec<u8>,
    /// So many bytes of that were there before.
    pub filled: usize,
    /// Bytes that were sent before it was called, or before it last waited.
    pub cut: usize,
    /// Bytes that were sent; since then; and that are to be sent in all.
    sent: usize,
    fresh: usize,
    of: usize,
    /// How often the answer has been called.
    pub calls: usize,
    runs: bool,
    /// It is not to be waited for before the next move.
    pub met: bool,
    /// Nothing has been done since it was called: it need not wait.
    pub there: bool,
    /// The peer has ended its stream.
    pub ended: bool,
    /// It has reset the connection.
    pub reset: bool,
    /// The socket does not wait.
    pub non_blocking: bool,
    /// Very many calls are interrupted.
    pub storm: bool,
    /// So many signals came, of so many.
    pub signals: [usize; 2],
}

impl Play {
    /// A connection for these moves.
    pub fn new(moves: &[Move]) -> Result<Play, Refusal> {
        let tiny =
            |one: &Move| matches!(one, Tiny) || matches!(one, Streams(all) if all.len() < LARGE);
        let tiny = moves.iter().any(tiny);
        // So that the kernel never has the rest of it.
        let large = moves.iter().any(|one| matches!(one, Reads(1_000_000..)));
        let fixed = Buffers { peer_recv: large.then_some(1 << 18), ..Buffers::default() };
        let (peer, conn) = pair_with(if tiny { TINY } else { fixed })?;
        let keep = conn.try_clone()?;
        let (Stage { peer, bystander }, fds) = stage((peer, conn))?;
        let so = So { of: moves.iter().map(Move::len).sum(), there: true, ..So::default() };
        Ok(Play { conn: keep, peer: Some(peer), bystander, fds, streams: None, so })
    }

    /// Has the answer called.
    pub fn calls(&mut self, child: &mut Child, ask: impl Serialize, bytes: &[u8]) -> Verdict {
        if self.so.calls > 0 {
            self.tells(say!("the next call"));
        }
        (self.so.runs, self.so.there, self.so.fresh, self.so.cut) = (true, true, 0, self.so.sent);
        self.so.calls += 1;
        child.ask(ask, bytes, mem::take(&mut self.fds))
    }

    /// Makes a move: before the call at once, while it runs once it waits.
    pub fn does(&mut self, child: &mut Child, one: &Move) -> Verdict {
        match *one {
            Drips(bytes) => {
                let told = self.so.did.len() + usize::from(self.so.there);
                for (n, byte) in (1..).zip(bytes.chunks(1)) {
                    self.does(child, &Sends(byte))?;
                    self.so.did.truncate(told);
                    self.tells(say!("sent {n} bytes one by one, each when the call waited"));
                }
                Ok(())
            }
            Signals(0) => Ok(()),
            Storm(polls) => {
                child.seldom = Seldom::Says(libc::EINTR, STORM, 0, polls);
                self.so.storm = true;
                self.tells(say!("very many signals came"));
                Ok(())
            }
            Signals(times) => {
                self.scene(child, "");
                let met = mem::take(&mut self.so.met);
                if met {
                    child.interrupt();
                }
                let came = usize::from(met) + child.interrupts(times - usize::from(met))?;
                self.so.signals = [came, times];
                self.waited();
                let one = say!("a signal came");
                match came {
                    0 => {}
                    1 => self.tells(one),
                    _ => self.tells(say!("{came} signals came")),
                }
                Ok(())
            }
            _ if !self.so.runs || self.streams.is_some() || matches!(one, Streams(_)) => {
                self.act(one, true)
            }
            _ => {
                self.scene(child, "");
                if !mem::take(&mut self.so.met) && !child.until_blocked()? {
                    return Ok(()); // it has returned
                }
                self.waited();
                match (one, &self.peer) {
                    (AtOnce(_), _) => child.while_stopped(|| self.act(one, true)),
                    (Reads(count), Some(peer)) => {
                        self.so.got.extend(peer.hears(child, *count)?);
                        self.so.met = self.so.signals[1] > 0; // it may make room for too little
                        self.tells(say!("read {count} bytes"));
                        Ok(())
                    }
                    _ => self.act(one, false),
                }
            }
        }
    }

    fn waited(&mut self) {
        if self.so.there {
            self.tells(say!("the call waited"));
        }
        (self.so.there, self.so.fresh, self.so.cut) = (false, 0, self.so.sent);
    }

    /// Makes it. Where the call does not see it yet, until it has come to the other end.
    pub fn act(&mut self, one: &Move, unseen: bool) -> Verdict {
        let (Some(peer), so) = (&self.peer, &mut self.so) else { return Ok(()) };
        let did = match *one {
            AtOnce(moves) => return moves.iter().try_for_each(|one| self.act(one, unseen)),
            Sends(bytes) if !bytes.is_empty() => {
                peer.send(bytes);
                (so.sent, so.fresh) = (so.sent + bytes.len(), so.fresh + bytes.len());
                if unseen {
                    arrived(&self.conn, so.fresh)?;
                }
                let shown = format!("\"{}\"", bytes.escape_ascii());
                match bytes {
                    QUESTION => say!("sent 6 bytes, which need not be read"),
                    _ if shown.len() > 40 => say!("sent {} bytes", bytes.len()),
                    _ => say!("sent {shown}"),
                }
            }
            Streams(bytes) => {
                so.progress = say!("in the middle of {} bytes", bytes.len());
                so.there = false;
                self.streams = Some(bytes.into());
                say!("sent {} bytes as fast as they went", bytes.len())
            }
            Ends => {
                so.ended = true;
                if self.streams.is_none() {
                    peer.end();
                    if unseen {
                        peer.end_has_arrived(&self.conn)?;
                    }
                }
                say!("ended its stream")
            }
            Resets => {
                so.reset = true;
                self.peer.take().map_or(Ok(()), Peer::reset)?;
                say!("reset the connection")
            }
            NonBlocking => {
                let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
                fcntl(&self.conn, flags).map_err(io::Error::from)?;
                so.non_blocking = true;
                say!("the socket is non-blocking")
            }
            Full => {
                so.filled = fill(&self.conn)?;
                say!("the send buffer is full")
            }
            _ => return Ok(()),
        };
        self.tells(did);
        Ok(())
    }

    /// What else is to be said of the peer.
    pub fn tells(&mut self, did: String) {
        self.so.did.push(did);
    }

    /// Tells how far it is, for a refusal; and what a hang means.
    pub fn scene(&self, child: &mut Child, hang: &str) {
        let So { sent, of, .. } = &self.so;
        let so_far = say!("after {sent} of {of} bytes");
        let progress = if self.so.progress.is_empty() { &so_far } else { &self.so.progress };
        let mut did = self.so.did.clone();
        if did.len() > 8 {
            did.splice(4..did.len() - 3, ["…".into()]);
        }
        child.scene(progress, &did.join("; "), hang);
    }

    /// The peer, for others to go on with; and what it has read.
    pub fn take(self) -> Result<(Stage, Vec<u8>), Refusal> {
        let Play { peer, bystander, so: So { mut got, filled, .. }, .. } = self;
        let peer = peer.ok_or_else(|| Refusal::new("the grader lost its place"))?;
        got.extend(peer.read(filled.saturating_sub(got.len())));
        Ok((Stage { peer, bystander }, got.split_off(filled)))
    }

    /// What the call says that only receives.
    pub fn said<X: DeserializeOwned>(&mut self, child: &mut Child) -> Result<Said<X>, Refusal> {
        self.so.runs = false;
        let (Some(bytes), Some(peer)) = (self.streams.take(), &self.peer) else {
            let said = child.said_more()?;
            self.bystander.untouched(&said.after)?;
            let shut = said.calls("shutdown") > 0;
            ensure(!shut, SHUT, "a connection that goes on", "shutdown")?;
            let heard = self.peer.as_ref().map_or(Ok(Heard::Nothing), Peer::read_waiting)?;
            let mistake = "receiving must not send anything, nor end a direction";
            return match heard {
                Heard::Nothing => Ok(said),
                heard => refuse(mistake, "silence at the peer", format!("{heard:?}")),
            };
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                peer.send(&bytes);
                if self.so.ended {
                    peer.end();
                }
            });
            let said = child.said_more();
            peer.abandon(); // where it stopped early, the sender still waits
            said
        })
    }
}

impl Move<'_> {
    fn len(&self) -> usize {
        match self {
            Sends(bytes) | Drips(bytes) | Streams(bytes) => bytes.len(),
            AtOnce(moves) => moves.iter().map(Move::len).sum(),
            _ => 0,
        }
    }
}
