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

const CASES: &[Case] = &[
    ("three clients, one after the other; then it is asked to stop", idle),
    ("it is asked to stop while a client is connected", busy),
    ("it is asked to stop before it begins", at_once),
    ("signals come while it waits", signals),
    ("clients reset their connections", resets),
    ("a client ends and resets while the echo is on its way", ends_and_resets),
    ("a client comes, and it is asked to stop, at the same time", together),
    ("it is asked to stop while a client does not read", deaf),
    ("another client waits in the queue when it is asked to stop", queue),
];

const EARLY: &str = "it returned although nobody had asked it to stop";
const SERVES: &str = "a client is not served: what it sends has to come back, all of it";
const DEAF: &str = "it waits for a client and does not see the request to stop: poll for both";
const SPINS: &str = "stop stays readable: once it has been seen, poll must not ask for it again";
const CUT: &str = "the client that was connected is cut off: finish what is open, then return";
const RESET: &str = "a client that reset its connection has ended the server for all others";
const AWAKE: &str = "it does not sleep where there is nothing to do";
const SENT: &str = "connected and sent";
const LAST: &str = "the last client has left";
const STAYS: &str = "the last client has left, and it still waits";

struct Stage {
    at: SocketAddr,
    stop: Peer,
    /// Nobody else is given the port.
    _held: OwnedFd,
}

/// Perhaps with a client in the queue, and with stop readable.
fn begin(child: &mut Child, queued: bool, stopped: bool) -> Result<(Stage, Option<Peer>), Refusal> {
    let (listener, held) = listener(128)?;
    setsockopt(&listener, sockopt::SndBuf, &4096).map_err(io::Error::from)?; // inherited
    let at = listener.local_addr()?;
    let client = if queued { Some(Peer::connect(at, None)?) } else { None };
    let (stop, theirs) = pair()?;
    if stopped {
        stop.send(b"stop");
        arrived(&theirs, 4)?;
    }
    child.ask((), &[], vec![listener.into(), theirs])?;
    Ok((Stage { at, stop, _held: held }, client))
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

fn leaves(child: &mut Child, client: &Peer) -> Verdict {
    const LET_GO: &str = "a client that has ended its stream is not let go: close its connection";
    client.leaves(child, LET_GO, LET_GO)
}

/// It has to return this count.
fn done(child: &mut Child, count: usize, did: &str, mistake: &str) -> Verdict {
    child.scene("after the request to stop", did, mistake);
    let said = child.said()?;
    if said.more != true {
        let mistake = "the listener is still open after the return: it was yours";
        return refuse(mistake, say!("closed"), "still open");
    }
    if said.unread() == 0 && said.after.ended.last() == Some(&false) {
        let mistake = "it read from stop, which is lent: others wait for it, too";
        return refuse(mistake, "stop as readable as it was", "nothing left to read");
    }
    let expected = format!("Ok({count})");
    let mistake = match said.kind() {
        "" if said.text() == expected => "",
        "" => "it returned another count than there were clients",
        "Interrupted" => INTERRUPTED,
        _ => "what happens to one client is no error of the server, nor is the request to stop",
    };
    said.judged(mistake, expected)
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

const GET_IN: &str = "after the request to stop clients still get in: close the listener at once";

/// A client that takes little at a time, and does not read: the echo waits for it.
fn does_not_read(child: &mut Child, at: SocketAddr, bytes: &[u8]) -> Result<Peer, Refusal> {
    let client = joins(child, at, Some(4096))?;
    client.echoes(child, b"first", SENT, SERVES)?;
    client.send(bytes);
    child.scene("with a client", "it sends, and does not read", AWAKE);
    if bytes.is_empty() {
        child.until_settled()?;
    } else {
        child.until_so(|| holds_back(&client))?;
    }
    Ok(client)
}

fn idle(child: &mut Child) -> Verdict {
    let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
    waits(child, "nobody has connected")?;
    let large = pattern(300_000);
    for message in [&b"hello"[..], &large, b"\0"] {
        let client = joins(child, at, None)?;
        client.echoes(child, message, SENT, SERVES)?;
        leaves(child, &client)?;
    }
    // One that ends its stream before the echo has come: it still gets all of it.
    let client = joins(child, at, None)?;
    client.send(&large[..50_000]);
    client.end();
    let got = client.hears(child, 50_001)?;
    if got != large[..50_000] {
        let look = child.at_rest()?;
        let mistake = if look.state != 'R' && !look.answer_waits() {
            EARLY
        } else {
            "a client that has ended its own stream still reads: it gets all of the echo first"
        };
        let seen = format!("{}; {}", got.len(), child.stands()?);
        let refusal = Refusal::new(mistake).peer("sent 50000 bytes, ended its stream, and read");
        return Err(refusal.but("50000 bytes", seen));
    }
    for _ in 0..300 {
        let client = joins(child, at, None)?;
        leaves(child, &client)?;
    }
    waits(child, "all clients have left")?;
    stop.send(b"stop");
    done(child, 304, "nobody is connected, and stop is readable", DEAF)?;
    refused(child, at, GET_IN)
}

fn ends_and_resets(child: &mut Child) -> Verdict {
    let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
    for bytes in [pattern(60_000), Vec::new()] {
        let client = does_not_read(child, at, &bytes)?;
        child.while_stopped(|| {
            if bytes.is_empty() {
                client.send(b"hello");
            }
            client.end();
            acknowledged(&client)?;
            Ok(client.reset()?)
        })?;
        waits(child, "a client has ended its stream and reset the connection")?;
    }
    let client = joins(child, at, None)?;
    client.echoes(child, b"hello", "connected after two that have gone", RESET)?;
    leaves(child, &client)?;
    stop.send(b"stop");
    done(child, 3, "stop is readable", DEAF)
}

fn deaf(child: &mut Child) -> Verdict {
    const HELD: &str = "with a client that does not read it waits in send, and does not see the \
                        request to stop: poll for room and for stop";
    let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
    let message = pattern(60_000);
    let client = does_not_read(child, at, &message)?;
    stop.send(b"stop");
    refused(child, at, HELD)?;
    let got = client.hears(child, message.len())?;
    if got != message {
        let seen = format!("{}; {}", got.len(), child.stands()?);
        let refusal = Refusal::new(CUT).peer("read only after stop was readable");
        return Err(refusal.but("60000 bytes back", seen));
    }
    leaves(child, &client)?;
    done(child, 1, LAST, STAYS)
}

fn together(child: &mut Child) -> Verdict {
    const FIRST: &str =
        "a client was accepted though stop was readable already: look at stop first";
    let (_stage, queued) = begin(child, true, true)?;
    let queued = queued.expect("a client was asked for");
    queued.send(b"hello");
    let did = "a client waits in the queue, and stop is readable, before it begins";
    child.scene("at its first look", did, FIRST);
    if child.until_blocked()? || !queued.read(1).is_empty() {
        return refuse(FIRST, "Ok(0)", child.stands()?);
    }
    done(child, 0, did, FIRST)
}

fn busy(child: &mut Child) -> Verdict {
    for by_end in [false, true] {
        let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
        let client = joins(child, at, None)?;
        client.echoes(child, b"before", SENT, SERVES)?;
        waits(child, "a client is connected, and silent")?;
        if by_end {
            stop.end(); // a stream that has ended is readable, too
        } else {
            stop.send(b"stop");
        }
        refused(child, at, GET_IN)?;
        let did = "is connected, and stop is readable";
        for message in [b"after".to_vec(), pattern(200_000)] {
            child.scene("with a client", "stop is readable, the client is silent", SPINS);
            child.until_blocked()?;
            client.echoes(child, &message, did, CUT)?;
        }
        child.until_blocked()?;
        leaves(child, &client)?;
        done(child, 1, LAST, STAYS)?;
    }
    Ok(())
}

fn at_once(child: &mut Child) -> Verdict {
    let (Stage { at, stop, _held }, _) = begin(child, false, true)?;
    done(child, 0, "stop is readable from the start", DEAF)?;
    drop(stop);
    refused(child, at, GET_IN)
}

fn signals(child: &mut Child) -> Verdict {
    let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
    waits(child, "nobody has connected")?;
    child.interrupt();
    waits(child, "a signal came while it waited for a client")?;
    let client = joins(child, at, None)?;
    client.echoes(child, b"hello", SENT, SERVES)?;
    waits(child, "a client is connected, and silent")?;
    child.interrupt();
    let did = "a signal came while it waited for the client to send";
    waits(child, did)?;
    client.echoes(child, b"again", did, "a signal cost a client its connection")?;
    stop.send(b"stop");
    leaves(child, &client)?;
    done(child, 1, LAST, STAYS)
}

fn resets(child: &mut Child) -> Verdict {
    let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
    waits(child, "nobody has connected")?;
    for bytes in [&b"and gone"[..], b""] {
        let client = joins(child, at, None)?;
        client.send(bytes);
        waits(child, "a client is connected")?;
        client.reset()?;
        waits(child, "a client has reset its connection")?;
    }
    let client = joins(child, at, None)?;
    let did = "connected after two that reset their connections";
    client.echoes(child, b"hello", did, RESET)?;
    leaves(child, &client)?;
    stop.send(b"stop");
    done(child, 3, "stop is readable", DEAF)
}

fn queue(child: &mut Child) -> Verdict {
    const QUEUE: &str = "after the request to stop it still serves the queue";
    let (Stage { at, stop, _held }, _) = begin(child, false, false)?;
    let client = joins(child, at, None)?;
    client.echoes(child, b"first", SENT, SERVES)?;
    let queued = joins(child, at, None)?;
    queued.send(b"second");
    waits(child, "a client is connected, another one waits in the queue")?;
    stop.send(b"stop");
    refused(child, at, GET_IN)?;
    client.echoes(child, b"more", "is connected, and stop is readable", CUT)?;
    leaves(child, &client)?;
    done(child, 1, "stop was readable before the client in the queue was accepted", QUEUE)?;
    if queued.read(1).is_empty() { Ok(()) } else { Err(Refusal::new(QUEUE)) }
}
