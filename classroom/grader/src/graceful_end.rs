//! Exercise `graceful_end`: stop accepting, finish what is open, return. Article 5 and 7.

use std::fs;
use std::io::PipeWriter;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::beside::{IN_RECV, LOST};
use crate::calls::Seldom;
use crate::child::SPIN;
use crate::inside::Given;
use crate::kernel;
use crate::peer::{acknowledged, holds_back, listener};
use crate::poll_two::{POLLIN, sleeps};
use crate::prelude::*;

/// Grades the answer: the given descriptors are the listener and stop.
pub fn grade(answer: fn(OwnedFd, RawFd) -> io::Result<usize>) -> ExitCode {
    grading::grade("graceful_end", CASES, |(): (), given| {
        let [listener, stop] = [given.fds[0], given.fds[1]];
        let text = |count| (format!("Ok({count})"), Vec::new());
        // SAFETY:
        // - the descriptor came for this call; who lent it closes it only if it is still there.
        let call = || answer(unsafe { OwnedFd::from_raw_fd(listener) }, stop);
        // The listener is the answer's own, and may be made non-blocking.
        let mut said = Given { fds: vec![stop], bytes: Vec::new() }.call(call, text);
        let closed = said.after.closed.contains(&listener);
        said.after.closed.retain(|&fd| fd != listener);
        said.with(closed)
    })
}

/// What happens to the server.
#[derive(Clone, Copy)]
enum Act<'a> {
    /// A client connects.
    Joins,
    /// It sends, and gets the same back.
    Echoes(&'a [u8]),
    /// One connects that takes little at a time, sends so many bytes, and does not read.
    Deaf(usize),
    /// It ends its stream.
    Ends,
    /// It reads all that has not come back.
    Hears,
    /// It ends its stream, and sees the other end.
    Leaves,
    /// It sends these, and resets the connection; or at the same time, with its stream ended.
    Resets(&'a [u8], bool),
    /// Another one waits in the queue.
    Queues,
    /// The same, and at the same time stop is readable.
    QueuesAtTheStop,
    /// A signal comes.
    Signal,
    /// Stop is readable: these bytes, or its end.
    Stops(&'a [u8]),
    /// Stop is a pipe, and nobody has its other end any more.
    HangsUp,
    /// It sleeps.
    Rests,
    /// The same, and it need not have woken before.
    Sleeps,
    /// A client comes, and `accept` has no descriptor left to give.
    Full,
    /// Nobody can connect any more.
    Refuses,
    /// It returns this count.
    Returns(usize),
}

use Act::{
    Deaf, Echoes, Ends, Full, HangsUp, Hears, Joins, Leaves, Queues, QueuesAtTheStop, Refuses,
    Resets, Rests, Returns, Signal, Sleeps, Stops,
};

const WORD: &[u8] = b"stop";
const STOP: Act = Stops(WORD);

const CASES: &[Case] = &[
    ("three clients, one after the other; then it is asked to stop", |c| {
        c.seldom = Seldom::TakesLess;
        let large = pattern(300_000);
        let echo = |bytes| [Joins, Echoes(bytes), Leaves];
        let three =
            [[Rests].to_vec(), [echo(b"hello"), echo(&large), echo(b"\0")].concat()].concat();
        let many = [Joins, Leaves].repeat(300);
        plays(c, &[three, many, vec![Rests, STOP, Returns(303), Refuses]].concat())?;
        plays(c, &[Joins, Echoes(&large.repeat(111)), Leaves, HangsUp, Returns(1)])?;
        plays(c, &[Rests, HangsUp, Returns(0), Refuses])
    }),
    ("accept fails: there is no descriptor left", |c| {
        (0..3).try_for_each(|left| {
            c.seldom = Seldom::Descriptors(left);
            plays(c, &[&[Joins, Echoes(b"hello"), Leaves].repeat(left)[..], &[Full]].concat())
        })
    }),
    ("it is asked to stop while a client is connected", |c| {
        // It has said nothing so far.
        let silent = [Rests, Joins, Rests, STOP, Refuses, Echoes(b"first"), Leaves, Returns(1)];
        plays(c, &silent)?;
        let large = pattern(200_000);
        (0..).zip([HangsUp, STOP, Stops(b"")]).try_for_each(|(others, stop)| {
            let before = [Joins, Leaves].repeat(others);
            let stop = [Joins, Echoes(b"before"), Rests, stop, Refuses];
            let end = [Echoes(b"after"), Echoes(&large), Leaves, Returns(others + 1)];
            plays(c, &[&before[..], &stop, &end].concat())
        })
    }),
    ("signals come while it waits", |c| {
        let first = [Rests, Signal, Rests, Joins, Echoes(b"hello"), Rests, Signal, Rests];
        plays(c, &[&first[..], &[Echoes(b"again"), STOP, Leaves, Returns(1)]].concat())?;
        let stop = [Joins, Echoes(b"before"), Rests, STOP, Refuses, Rests, Signal];
        plays(c, &[&stop[..], &[Echoes(b"after"), Leaves, Returns(1)]].concat())
    }),
    ("clients reset their connections, also while the echo is on its way", |c| {
        let idle = [Joins, Resets(b"and gone", false), Rests, Joins, Resets(b"", false), Rests];
        let deaf = [Deaf(60_000), Resets(b"", true), Rests, Deaf(0), Resets(b"hello", true), Rests];
        let last = [Joins, Echoes(b"hello"), Leaves, STOP, Returns(5)];
        plays(c, &[&idle[..], &deaf, &last].concat())
    }),
    ("a client resets its connection after the request to stop", |c| {
        [(&b""[..], false), (b"and gone", false), (b"hello", true)].iter().try_for_each(
            |&(last, ended)| {
                let stop = [Joins, Echoes(b"before"), Rests, STOP, Refuses];
                plays(c, &[&stop[..], &[Resets(last, ended), Returns(1)]].concat())
            },
        )
    }),
    ("a client comes, and it is asked to stop, at the same time", |c| {
        plays(c, &[Queues, STOP, Returns(0), Refuses])?;
        plays(c, &[Queues, HangsUp, Returns(0), Refuses])?;
        plays(c, &[Joins, Leaves, Rests, QueuesAtTheStop, Returns(1), Refuses])
    }),
    ("0 is a descriptor, too", |c| {
        c.zero = true;
        blames(c, ZERO, &[Joins, Echoes(b"hello"), Leaves, STOP, Returns(1)])?;
        c.lent_zero = true; // stop
        blames(c, ZERO, &[Joins, Echoes(b"hello"), Leaves, Rests, STOP, Refuses, Returns(1)])
    }),
    ("it is asked to stop while a client does not read", |c| {
        plays(c, &[Deaf(60_000), STOP, Refuses, Hears, Leaves, Returns(1)])?;
        plays(c, &[Deaf(60_000), STOP, Refuses, Signal, Hears, Leaves, Returns(1)])
    }),
    ("a client ends its stream, and reads only later", |c| {
        let late = [8000, 16_000, 24_000, 32_000, 60_000]
            .map(|count| [Deaf(count), Ends, Sleeps, Hears, Leaves]);
        plays(c, &[&late.concat()[..], &[STOP, Returns(5)]].concat())
    }),
    ("another client waits in the queue when it is asked to stop", |c| {
        let before = [Joins, Echoes(b"first"), Queues, Rests, STOP, Refuses];
        plays(c, &[&before[..], &[Echoes(b"more"), Leaves, Returns(1)]].concat())
    }),
];

const EARLY: &str = "it returned although nobody had asked it to stop";
const SERVES: &str = "a client is not served: what it sends has to come back, all of it";
const DEAF: &str = "it waits for a client and does not see the request to stop: poll for both";
const SPINS: &str = "stop stays readable: once it has been seen, poll must not ask for it again";
const CUT: &str = "the client that was connected is cut off: finish what is open, then return";
const SIGNAL: &str = "a signal cost a client its connection";
const RESET: &str = "a client that reset its connection has ended the server for all others";
const LEFT: &str = "the clients have left";
const STAYS: &str = "the last client has left, and it still waits";
const FIRST: &str = "a client was accepted though stop was readable already: look at stop first";
const AT_ONCE: &str = "a client comes, and stop is readable, at the same time";
const HUNG_UP: &str = "the other end of stop has gone: stop is readable";
const HUP: &str =
    "where the other end of stop has gone poll says POLLHUP without POLLIN: that is readable";
const AGAIN: &str =
    "accept failed, and it is called again and again: EMFILE does not go away by itself";
const STILL_OPEN: &str = "the listener is still open after the return: it was yours";
const FULL: &str = "no descriptor was left, and it returned Ok: that is an error of the server, also where \
                    it has served clients";
/// What a sleep may have been for.
const NAP_FULL: &str = "EMFILE is for the caller to see, and not to be waited for";
const NAP_ENDED: &str = "a close right after the last send loses nothing: nobody has to wait until a \
                         client has taken all";
const ERRNO: &str = "accept failed, and its errno did not reach the caller";
const QUEUE: &str = "after the request to stop it still serves the queue";

/// In the middle of a script.
struct Server {
    at: SocketAddr,
    /// What the kernel calls the listener.
    listener: PathBuf,
    stop: Peer,
    /// The answer's end of it: what is sent has come when it is there.
    theirs: OwnedFd,
    /// The same as a pipe.
    pipe: Option<PipeWriter>,
    client: Option<Peer>,
    queued: Option<Peer>,
    /// What has not come back to a client.
    unread: Vec<u8>,
    /// What was done last, and what it means if a client is not served then.
    did: (&'static str, &'static str),
}

/// Does all this to a server.
fn plays(child: &mut Child, acts: &[Act]) -> Verdict {
    blames(child, SERVES, acts)
}

/// The same; what it means if a client is not served.
fn blames(child: &mut Child, blame: &'static str, acts: &[Act]) -> Verdict {
    let (listener, _held) = listener(128)?; // nobody else is given the port
    if !acts.iter().any(|act| matches!(act, Echoes(all) if all.len() > 1 << 20)) {
        setsockopt(&listener, sockopt::SndBuf, &4096).map_err(io::Error::from)?; // inherited
    }
    let ((stop, conn), at) = (pair()?, listener.local_addr()?);
    let (reader, writer) = io::pipe()?;
    let hangs_up = acts.iter().any(|act| matches!(act, HangsUp));
    let (theirs, pipe) = if hangs_up { (reader.into(), Some(writer)) } else { (conn, None) };
    let open = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd()))?;
    let mut server = Server {
        at,
        listener: open,
        stop,
        theirs: theirs.try_clone()?,
        pipe,
        client: None,
        queued: None,
        unread: Vec::new(),
        did: ("nobody has connected", blame),
    };
    let mut fds = Some(vec![listener.into(), theirs]);
    for act in acts {
        if !matches!(act, Queues | Stops(_) | HangsUp)
            && let Some(fds) = fds.take()
        {
            (child.tickless, child.nap) = (true, "");
            child.ask((), &[], fds)?;
        }
        server.act(child, *act)?;
        if let (Stops(bytes), Some(_)) = (act, &fds) {
            arrived(&server.theirs, bytes.len())?;
        }
    }
    Ok(())
}

impl Server {
    fn act(&mut self, child: &mut Child, act: Act) -> Verdict {
        let (said, blame) = self.did;
        self.did = match act {
            Joins => ("a client is connected, and silent", blame),
            Deaf(_) => ("a client sends, and does not read", blame),
            Queues => ("a client is connected, another one waits in the queue", blame),
            Leaves => (LEFT, blame),
            Signal => ("a signal came while it waited", SIGNAL),
            Resets(_, false) => ("a client has reset its connection", RESET),
            Resets(_, true) => ("a client has ended its stream and reset the connection", RESET),
            Stops(_) => ("stop is readable", if blame == ZERO { ZERO } else { CUT }),
            HangsUp => (HUNG_UP, CUT),
            QueuesAtTheStop => (AT_ONCE, blame),
            Full => ("connected, and accept has no descriptor left to give: EMFILE", blame),
            Ends => ("a client has ended its stream, and does not read", blame),
            _ => (said, blame),
        };
        let (did, blame) = self.did;
        child.nap = match act {
            Full => NAP_FULL,
            Ends | Leaves => NAP_ENDED,
            _ => child.nap,
        };
        if blame == CUT && matches!(act, Echoes(_) | Leaves) {
            child.scene("with a client", "stop is readable, the client is silent", SPINS);
            child.until_blocked()?;
        }
        let client = self.client.as_ref();
        match (act, client) {
            (Joins, _) => self.client = Some(joins(child, self.at, None)?),
            (Ends, Some(client)) => client.end(),
            (Echoes(bytes), Some(client)) => client.echoes(child, bytes, did, blame)?,
            (Deaf(count), _) => {
                let client = joins(child, self.at, Some(4096))?;
                client.echoes(child, b"first", did, blame)?;
                self.unread = pattern(count);
                client.send(&self.unread);
                child.scene("with a client", "it sends, and does not read", "");
                child.until_so(|| count < 50_000 || holds_back(&client))?;
                self.client = Some(client);
            }
            (Hears, Some(client)) => {
                let got = client.hears(child, self.unread.len())?;
                if got != self.unread {
                    let look = child.at_rest()?;
                    let mistake = match blame {
                        _ if !self.unread.starts_with(&got) => LOST,
                        _ if look.receives() && !got.is_empty() => IN_RECV,
                        CUT if look.state == 'R' => SPINS,
                        CUT | SIGNAL => blame,
                        _ if look.state != 'R' && !look.answer_waits() => EARLY,
                        _ => {
                            "a client that has ended its own stream still reads: it gets all of \
                             the echo first"
                        }
                    };
                    let seen = say!("{} bytes; {}", got.len(), child.stands()?);
                    return refuse(mistake, say!("{} bytes", self.unread.len()), seen);
                }
            }
            (Leaves, Some(client)) => {
                let stays =
                    "a client that has ended its stream is not let go: close its connection";
                if let Err(mut refusal) = client.leaves(child, stays, stays) {
                    // It may have waited in the queue of one that has returned.
                    let look = child.at_rest()?;
                    if blame == SERVES && look.state != 'R' && !look.answer_waits() {
                        refusal.mistake = Refusal::new(EARLY).mistake;
                    }
                    return Err(refusal);
                }
                self.client = None;
            }
            (Resets(bytes, false), Some(client)) => {
                client.send(bytes);
                waits(child, "a client is connected")?;
                self.client.take().map_or(Ok(()), Peer::reset)?;
            }
            (Resets(bytes, true), Some(_)) => child.while_stopped(|| {
                let client = self.client.take().expect("it is there");
                client.send(bytes);
                client.end();
                acknowledged(&client)?;
                Ok(client.reset()?)
            })?,
            (Queues, _) => {
                let queued = joins(child, self.at, None)?;
                queued.send(b"hello");
                self.queued = Some(queued);
            }
            (QueuesAtTheStop, _) => child.while_stopped(|| {
                let queued = Peer::connect(self.at, None)?;
                queued.send(b"hello");
                self.queued = Some(queued);
                self.stop.send(WORD);
                Ok(arrived(&self.theirs, WORD.len())?)
            })?,
            (Signal, _) => {
                child.interrupt();
                child.settles()?;
            }
            (Stops(b""), _) => self.stop.end(), // a stream that has ended is readable, too
            (Stops(bytes), _) => self.stop.send(bytes),
            (HangsUp, _) => {
                self.pipe = None;
                child.scene("with a client", HUNG_UP, HUP);
            }
            (Rests, _) => waits(child, did)?,
            (Sleeps, _) => sleeps(child, did, POLLIN)?,
            (Full, _) => {
                // A server that has returned by then resets it: `connect` may have to say so.
                self.client = Peer::connect(self.at, None).ok();
                child.scene("at its accept", did, AGAIN);
                let settled = child.settles()?;
                let look = child.at_rest()?;
                if look.state == 'R' || !settled && look.answer_waits() {
                    return refuse(AGAIN, "Err(EMFILE)", "it runs on");
                } else if !look.answer_waits() {
                    let said = child.said()?;
                    let mistake = if said.result.is_ok() { FULL } else { ERRNO };
                    said.ensure(said.text() == "Err(EMFILE)", mistake, "Err(EMFILE)")?;
                    said.ensure(said.more == true, STILL_OPEN, "a listener that is closed")?;
                } else if self.client.is_none() {
                    self.client = Some(joins(child, self.at, None)?);
                }
            }
            (Refuses, _) => {
                let refuses = refused(child, self.at);
                let look = child.at_rest()?;
                let place = if look.answer_waits() { look.name() } else { "" };
                let mistake = first! {
                    refuses.is_ok() && is_open(child.pid(), &self.listener) =>
                        "the listener is shut down, and still open: close it at once",
                    refuses.is_ok() => "",
                    blame == ZERO => ZERO,
                    did == HUNG_UP => HUP,
                    look.receives() && !self.unread.is_empty() => IN_RECV,
                    place == "send" || place == "write" =>
                        "with a client that does not read it waits in send, and does not see the \
                         request to stop: poll for room and for stop",
                    true =>
                        "after the request to stop clients still get in: close the listener at once",
                };
                if !mistake.is_empty() {
                    let expected = "ECONNREFUSED, and a listener that is closed";
                    return refuse(mistake, expected, child.stands()?);
                }
            }
            (Returns(count), _) => {
                let mistake = match (&self.queued, &self.client) {
                    (Some(_), None) if count == 0 || did == AT_ONCE => FIRST,
                    (Some(_), _) => QUEUE,
                    _ if did == HUNG_UP => HUP,
                    _ if did == LEFT || blame == RESET => STAYS,
                    _ => DEAF,
                };
                child.scene("after the request to stop", did, mistake);
                if let Some(queued) = &self.queued
                    && (child.until_blocked()? || !queued.hears(child, 1)?.is_empty())
                {
                    return refuse(mistake, format!("Ok({count})"), child.stands()?);
                }
                returned(&child.said()?, count)?;
            }
            _ => return Err(Refusal::new("the grader lost its place")),
        }
        Ok(())
    }
}

/// It has to have returned this count, with the listener closed and stop as it was.
fn returned(said: &Said, count: usize) -> Verdict {
    let read = said.unread() < WORD.len() && said.after.ended.last() == Some(&false);
    let (text, expected) = (said.text(), format!("Ok({count})"));
    let mistake = match said.kind() {
        _ if said.more != true => STILL_OPEN,
        _ if read => "it read from stop, which is lent: others wait for it, too",
        "" if text == expected => "",
        "" => {
            "it returned another count than there were clients: each that was accepted is one, however \
             it ended"
        }
        "Interrupted" => INTERRUPTED,
        _ => "what happens to one client is no error of the server, nor is the request to stop",
    };
    said.judged(mistake, expected)
}

/// Sleeps in a call; where it has returned instead, that was too early.
fn waits(child: &mut Child, what: &str) -> Verdict {
    child.scene("with nothing to do", what, "");
    if child.until_blocked()? {
        return Ok(());
    }
    let said = child.unchecked::<Value>()?;
    let mistake = match said.kind() {
        "Interrupted" => INTERRUPTED,
        "ConnectionReset" => RESET,
        "BrokenPipe" => {
            "the reset of a client that had ended its stream has ended the server: send says EPIPE"
        }
        _ => EARLY,
    };
    Err(said.refused(mistake, "a server that waits"))
}

/// Another client; where it is refused, the answer has closed the listener, or has returned.
fn joins(child: &mut Child, at: SocketAddr, buffer: Option<usize>) -> Result<Peer, Refusal> {
    Peer::connect(at, buffer).or_else(|_| {
        let refusal = Refusal::new(EARLY).peer(say!("connects"));
        Err(refusal.but("a server that takes clients", child.stands()?))
    })
}

/// Whether it has this open.
fn is_open(pid: i32, what: &Path) -> bool {
    let mut fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    fds.any(|fd| fs::read_link(fd.path()).is_ok_and(|open| open == what))
}

/// Waits until nobody can connect any more.
fn refused(child: &Child, at: SocketAddr) -> Verdict {
    // It may not have seen the request yet: then the next attempt tells. Seen asleep so often, it
    // has.
    const SECOND: Duration = Duration::from_secs(1); // the queue may be full by now
    let (mut asleep, begin) = (0, kernel::look(child.pid())?.ticks);
    while asleep < 50 {
        match TcpStream::connect_timeout(&at, SECOND) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            _ => thread::sleep(Duration::from_millis(5)),
        }
        let look = kernel::look(child.pid())?;
        let spins = look.ticks >= begin + SPIN;
        asleep += if spins { 50 } else { u32::from(look.state != 'R') };
    }
    refuse("", "", "")
}
