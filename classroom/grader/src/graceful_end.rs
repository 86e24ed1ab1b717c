//! Exercise `graceful_end`: stop accepting, finish what is open, return. Article 5 and 7.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::FromRawFd;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use crate::about::HANG;
use crate::kernel;
use crate::peer::{acknowledged, holds_back, listener};
use crate::prelude::*;

/// Grades the answer: the given descriptors are the listener and stop.
pub fn grade(answer: fn(OwnedFd, RawFd) -> io::Result<usize>) -> ExitCode {
    grading::grade("graceful_end", CASES, |(): (), given| {
        let [listener, stop] = [given.fds[0], given.fds[1]];
        let text = |count| (format!("Ok({count})"), Vec::new());
        // SAFETY:
        // - the descriptor came for this call; who lent it closes it only if it is still there.
        let call = || answer(unsafe { OwnedFd::from_raw_fd(listener) }, stop);
        let mut said = given.call(call, text);
        let open = said.after.closed.len();
        said.after.closed.retain(|&fd| fd != listener);
        let closed = said.after.closed.len() < open;
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
    /// It sends these, and perhaps ends its stream; it reads all that has not come back.
    Hears(&'a [u8], bool),
    /// It ends its stream, and sees the other end.
    Leaves,
    /// It sends these, and resets the connection; or at the same time, with its stream ended.
    Resets(&'a [u8], bool),
    /// Another one waits in the queue.
    Queues,
    /// A signal comes.
    Signal,
    /// Stop is readable: a byte, or its end.
    Stops(bool),
    /// It sleeps.
    Rests,
    /// Nobody can connect any more.
    Refuses,
    /// It returns this count.
    Returns(usize),
}

use Act::{
    Deaf, Echoes, Hears, Joins, Leaves, Queues, Refuses, Resets, Rests, Returns, Signal, Stops,
};

const CASES: &[Case] = &[
    ("three clients, one after the other; then it is asked to stop", |c| {
        let large = pattern(300_000);
        let echo = |bytes| [Joins, Echoes(bytes), Leaves];
        let three =
            [[Rests].to_vec(), [echo(b"hello"), echo(&large), echo(b"\0")].concat()].concat();
        let many =
            [&[Joins, Hears(&large[..50_000], true)], &[Joins, Leaves].repeat(300)[..]].concat();
        plays(c, &[three, many, vec![Rests, Stops(false), Returns(304), Refuses]].concat())
    }),
    ("it is asked to stop while a client is connected", |c| {
        let large = pattern(200_000);
        [false, true].iter().try_for_each(|&by_end| {
            let stop = [Joins, Echoes(b"before"), Rests, Stops(by_end), Refuses];
            let end = [Echoes(b"after"), Echoes(&large), Leaves, Returns(1)];
            plays(c, &[&stop[..], &end].concat())
        })
    }),
    ("signals come while it waits", |c| {
        let first = [Rests, Signal, Rests, Joins, Echoes(b"hello"), Rests, Signal, Rests];
        plays(c, &[&first[..], &[Echoes(b"again"), Stops(false), Leaves, Returns(1)]].concat())
    }),
    ("clients reset their connections, also while the echo is on its way", |c| {
        let idle = [Joins, Resets(b"and gone", false), Rests, Joins, Resets(b"", false), Rests];
        let deaf = [Deaf(60_000), Resets(b"", true), Rests, Deaf(0), Resets(b"hello", true), Rests];
        let last = [Joins, Echoes(b"hello"), Leaves, Stops(false), Returns(5)];
        plays(c, &[&idle[..], &deaf, &last].concat())
    }),
    ("0 is a descriptor, too", |c| {
        c.zero = true;
        blames(c, ZERO, &[Joins, Echoes(b"hello"), Leaves, Stops(false), Returns(1)])
    }),
    ("a client comes, and it is asked to stop, at the same time", |c| {
        plays(c, &[Queues, Stops(false), Returns(0), Refuses])
    }),
    ("it is asked to stop while a client does not read", |c| {
        let hears = [Hears(b"", false), Leaves, Returns(1)];
        plays(c, &[&[Deaf(60_000), Stops(false), Refuses][..], &hears].concat())
    }),
    ("another client waits in the queue when it is asked to stop", |c| {
        let before = [Joins, Echoes(b"first"), Queues, Rests, Stops(false), Refuses];
        plays(c, &[&before[..], &[Echoes(b"more"), Leaves, Returns(1)]].concat())
    }),
];

const EARLY: &str = "it returned although nobody had asked it to stop";
const SERVES: &str = "a client is not served: what it sends has to come back, all of it";
const DEAF: &str = "it waits for a client and does not see the request to stop: poll for both";
const SPINS: &str = "stop stays readable: once it has been seen, poll must not ask for it again";
const CUT: &str = "the client that was connected is cut off: finish what is open, then return";
const RESET: &str = "a client that reset its connection has ended the server for all others";
const AWAKE: &str = "it does not sleep where there is nothing to do";
const LEFT: &str = "the clients have left";
const STAYS: &str = "the last client has left, and it still waits";
const FIRST: &str = "a client was accepted though stop was readable already: look at stop first";
const QUEUE: &str = "after the request to stop it still serves the queue";

/// In the middle of a script.
struct Server {
    at: SocketAddr,
    stop: Peer,
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
    setsockopt(&listener, sockopt::SndBuf, &4096).map_err(io::Error::from)?; // inherited
    let ((stop, theirs), at) = (pair()?, listener.local_addr()?);
    let (client, unread, did) = (None, Vec::new(), ("nobody has connected", blame));
    let mut server = Server { at, stop, client, queued: None, unread, did };
    let mut fds = Some(vec![listener.into(), theirs]);
    for act in acts {
        if !matches!(act, Queues | Stops(_))
            && let Some(fds) = fds.take()
        {
            child.ask((), &[], fds)?;
        }
        server.act(child, *act)?;
        if let (Stops(false), Some(fds)) = (act, &fds) {
            arrived(&fds[1], 4)?;
        }
    }
    Ok(())
}

impl Server {
    fn act(&mut self, child: &mut Child, act: Act) -> Verdict {
        let (said, blame) = self.did;
        self.did = match act {
            Joins => ("a client is connected, and silent", blame),
            Queues => ("a client is connected, another one waits in the queue", blame),
            Leaves => (LEFT, blame),
            Signal => ("a signal came while it waited", "a signal cost a client its connection"),
            Resets(_, false) => ("a client has reset its connection", RESET),
            Resets(_, true) => ("a client has ended its stream and reset the connection", RESET),
            Stops(_) => ("stop is readable", CUT),
            _ => (said, blame),
        };
        let (did, blame) = self.did;
        if blame == CUT && matches!(act, Echoes(_) | Leaves) {
            child.scene("with a client", "stop is readable, the client is silent", SPINS);
            child.until_blocked()?;
        }
        let client = self.client.as_ref();
        match (act, client) {
            (Joins, _) => self.client = Some(joins(child, self.at, None)?),
            (Echoes(bytes), Some(client)) => client.echoes(child, bytes, did, blame)?,
            (Deaf(count), _) => {
                let client = joins(child, self.at, Some(4096))?;
                client.echoes(child, b"first", did, blame)?;
                self.unread = pattern(count);
                client.send(&self.unread);
                child.scene("with a client", "it sends, and does not read", AWAKE);
                if count == 0 {
                    child.until_settled()?;
                } else {
                    child.until_so(|| holds_back(&client))?;
                }
                self.client = Some(client);
            }
            (Hears(bytes, ends), Some(client)) => {
                client.send(bytes);
                self.unread.extend(bytes);
                if ends {
                    client.end();
                }
                let got = client.hears(child, self.unread.len())?;
                if got != self.unread {
                    let look = child.at_rest()?;
                    let mistake = match blame {
                        CUT => CUT,
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
                client.leaves(child, stays, stays)?;
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
            (Signal, _) => child.interrupt(),
            (Stops(true), _) => self.stop.end(), // a stream that has ended is readable, too
            (Stops(false), _) => self.stop.send(b"stop"),
            (Rests, _) => waits(child, did)?,
            (Refuses, _) if self.unread.is_empty() => {
                let late =
                    "after the request to stop clients still get in: close the listener at once";
                refused(child, self.at, late)?;
            }
            (Refuses, _) => {
                let held = "with a client that does not read it waits in send, and does not see \
                            the request to stop: poll for room and for stop";
                refused(child, self.at, held)?;
            }
            (Returns(count), _) => {
                let mistake = match (&self.queued, &self.client) {
                    (Some(_), None) if count == 0 => FIRST,
                    (Some(_), _) => QUEUE,
                    _ if did == LEFT => STAYS,
                    _ => DEAF,
                };
                child.scene("after the request to stop", did, mistake);
                if let Some(queued) = &self.queued
                    && (child.until_blocked()? || !queued.read(1).is_empty())
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
    let read = said.unread() == 0 && said.after.ended.last() == Some(&false);
    let (text, expected) = (said.text(), format!("Ok({count})"));
    let mistake = match said.kind() {
        _ if said.more != true => "the listener is still open after the return: it was yours",
        _ if read => "it read from stop, which is lent: others wait for it, too",
        "" if text == expected => "",
        "" => "it returned another count than there were clients",
        "Interrupted" => INTERRUPTED,
        _ => "what happens to one client is no error of the server, nor is the request to stop",
    };
    said.judged(mistake, expected)
}

/// Sleeps in a call; where it has returned instead, that was too early.
fn waits(child: &mut Child, what: &str) -> Verdict {
    child.scene("with nothing to do", what, AWAKE);
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

/// Nobody can connect any more.
fn refused(child: &Child, at: SocketAddr, mistake: &str) -> Verdict {
    // It may not have seen the request yet: then the next attempt tells. Seen asleep so often, it
    // has.
    let mut asleep = 0;
    while asleep < 50 {
        match TcpStream::connect_timeout(&at, HANG) {
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            _ => thread::sleep(Duration::from_millis(5)),
        }
        asleep += u32::from(kernel::look(child.pid())?.state != 'R');
    }
    let refusal = Refusal::new(mistake).peer("connected after stop was readable");
    Err(refusal.but("ECONNREFUSED", "a connection"))
}
