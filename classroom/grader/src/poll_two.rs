//! Exercise `poll_two`: two clients, one thread, nobody waits for the other. Article 2.2 and 13.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Buffers, Heard, Peer, TINY, holds_back, pair, pair_with, pattern};
use crate::refusal::Refusal;

/// Serve the two given descriptors.
#[derive(Serialize, Deserialize)]
struct Ask;

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn([RawFd; 2]) -> io::Result<()>) -> ExitCode {
    grading::grade_raw("poll_two", CASES, |_: Ask, given| {
        let clients = [given.fds[0], given.fds[1]];
        let (result, after) = observe(&given.fds, || answer(clients));
        (Said { result: portable(result), after }, Vec::new())
    })
}

const CASES: &[Case] = &[
    Case { name: "each client is served while the other is silent", run: in_turn },
    Case { name: "signals come while it waits", run: signals },
    Case { name: "one client ends, the other goes on", run: one_ends },
    Case { name: "a client gets all that is left, then the end", run: rest },
    Case { name: "one client sends 2 MB and does not read", run: no_reader },
    Case { name: "one client resets its connection, the other goes on", run: resets },
    Case { name: "one client ends and resets at once, the other goes on", run: ends_and_resets },
];

struct Clients([Peer; 2]);

fn begin(child: &mut Child, tiny: bool) -> Result<Clients, Refusal> {
    let make = || if tiny { pair_with(TINY) } else { pair() };
    let ((a, first), (b, second)) = (make()?, make()?);
    child.ask(Ask, &[], vec![first, second])?;
    Ok(Clients([a, b]))
}

/// Where the answer stands, for a message: a call that it waits in, or an end that came too early.
fn stands(child: &mut Child) -> Result<String, Refusal> {
    let look = child.at_rest()?;
    if look.answer_waits() {
        return Ok(say!("it is blocked in {}", look.place()));
    }
    if look.state == 'R' {
        return Ok("it runs".into());
    }
    let (said, _) = child.said_as::<Said>()?;
    Ok(say!("it has returned {}", show(&said.result)))
}

/// The client sends, and has to get the same back, whatever the other one does.
fn echoes(
    child: &mut Child,
    peer: &Peer,
    bytes: &[u8],
    other: &str,
    mistake: &str,
) -> Result<(), Refusal> {
    peer.send(bytes);
    let mut got = Vec::new();
    while got.len() < bytes.len() && child.brings(peer)? {
        match peer.read_waiting()? {
            Heard::Bytes(more) => got.extend(more),
            Heard::Nothing => {}
            Heard::End => break,
        }
    }
    if got == bytes {
        return Ok(());
    }
    let seen = say!("{} of {} bytes; {}", got.len(), bytes.len(), stands(child)?);
    Err(Refusal::new(mistake)
        .peer(other)
        .but(say!("{} bytes back at the other client", bytes.len()), seen)
        .bytes(bytes, &got))
}

/// With nothing to do it has to sleep.
fn sleeps(child: &mut Child, what: &str, mistake: &str) -> Result<(), Refusal> {
    child.scene("with nothing to do", what, mistake);
    let settled = child.until_settled()?;
    let now = child.at_rest()?;
    if !settled && (now.answer_waits() || now.state == 'R') {
        return Err(Refusal::new(mistake).peer(what).but("a sleep in poll", "it is awake"));
    }
    if settled && !now.place().contains("poll") && !now.place().contains("select") {
        return Err(Refusal::new(say!(
            "it waits in {}: only poll may wait, for all clients at once",
            now.place()
        ))
        .peer(what));
    }
    Ok(())
}

/// Nothing has happened yet: it has to wait.
fn waits(child: &mut Child, what: &str) -> Result<(), Refusal> {
    child.scene("before the first byte", what, SPINS);
    if child.until_blocked()? {
        return Ok(());
    }
    let (said, _) = child.said_as::<Said>()?;
    Err(Refusal::new("it returned while both clients were still there")
        .peer(what)
        .but("a wait for the first byte", show(&said.result)))
}

const TURNS: &str = "a client is served only after the other one: poll says which one is ready";
const FIRST: &str = "it ended with the first client that ended: the other one is still there";
const SPINS: &str = "it asks poll over and over for something it does nothing about";

fn ends(child: &mut Child, peer: &Peer) -> Result<(), Refusal> {
    peer.end();
    if !child.brings(peer)? || peer.read_waiting()? != Heard::End {
        let seen = stands(child)?;
        return Err(Refusal::new(if seen.starts_with("it has returned") {
            FIRST
        } else {
            "a client that has ended its stream waits for the end of ours: SHUT_WR"
        })
        .peer("ended its stream")
        .but("the end of the stream", seen));
    }
    Ok(())
}

/// Both have ended: it has to return Ok.
fn done(child: &mut Child, did: &str) -> Result<Said, Refusal> {
    child.scene("after both clients", did, "both clients are done, and it does not return");
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    if let Err(e) = &said.result {
        let mistake = if e.kind == "Interrupted" {
            "EINTR of poll was returned as an error: nothing is broken, poll again"
        } else {
            "what happens to one client is no error of the loop: Ok once both are done"
        };
        return Err(Refusal::new(mistake).peer(did).but("Ok", show(&said.result)));
    }
    if said.after.peak > 1 << 19 {
        return Err(Refusal::new(
            "it reads on from a client that does not read: what is kept for it has no limit",
        )
        .peer(did)
        .but("at most 64 KiB for each", say!("{} bytes at once", said.after.peak)));
    }
    Ok(said)
}

fn in_turn(child: &mut Child) -> Result<(), Refusal> {
    let Clients(peers) = begin(child, false)?;
    let silent = "is silent, and the other one sends";
    waits(child, "both clients are silent")?;
    for (round, order) in [[1, 0], [1, 1], [0, 0], [0, 1]].into_iter().enumerate() {
        for n in order {
            echoes(child, &peers[n], format!("hello-{round}").as_bytes(), silent, TURNS)?;
        }
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap_or_default();
    if !status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"])) {
        return Err(Refusal::new("it serves with more than one thread: the task is one, and poll"));
    }
    sleeps(child, "both clients are silent", SPINS)?;
    ends(child, &peers[1])?;
    ends(child, &peers[0])?;
    done(child, "both have ended").map(drop)
}

fn signals(child: &mut Child) -> Result<(), Refusal> {
    let Clients(peers) = begin(child, false)?;
    let did = "a signal came while it waited";
    child.scene("before the first byte", did, "");
    for _ in 0..3 {
        if child.until_blocked()? {
            child.interrupt();
        }
    }
    if !child.until_blocked()? {
        done(child, did)?;
        return Err(Refusal::new("a signal ended the loop, and both clients are still there"));
    }
    echoes(child, &peers[0], b"after the signal", did, "a signal has stopped the loop")?;
    ends(child, &peers[0])?;
    ends(child, &peers[1])?;
    done(child, "both have ended").map(drop)
}

fn one_ends(child: &mut Child) -> Result<(), Refusal> {
    const ENDED: &str =
        "a client that has ended is asked for again and again: recv says 0 for ever";
    for (gone, stays) in [(0, 1), (1, 0)] {
        let Clients(peers) = begin(child, false)?;
        waits(child, "both clients are silent")?;
        ends(child, &peers[gone])?;
        let did = "has ended, and the other one sends";
        echoes(child, &peers[stays], b"still here", did, FIRST)?;
        sleeps(child, "one client has ended, the other one is silent", ENDED)?;
        echoes(child, &peers[stays], b"and still", did, FIRST)?;
        ends(child, &peers[stays])?;
        done(child, "both have ended")?;
    }
    Ok(())
}

fn rest(child: &mut Child) -> Result<(), Refusal> {
    let Clients([one, other]) = begin(child, true)?;
    let message = pattern(100_000);
    child.scene("with a client that has ended", "it reads now", "");
    let got = thread::scope(|scope| {
        scope.spawn(|| {
            one.send(&message);
            one.end();
        });
        // It reads only once the echo waits for it.
        let waits = child.until_blocked();
        let got = one.read(usize::MAX);
        waits.map(|_| got)
    })?;
    if got != message {
        let mistake = if message.starts_with(&got) {
            "the end came before the rest: send back all that is left, and then shut down"
        } else {
            "bytes are lost or doubled: after a send that took n bytes, n are done, the rest is not"
        };
        return Err(Refusal::new(mistake)
            .peer("sent 100000 bytes, ended its stream, and read")
            .but("100000 bytes", say!("{} bytes", got.len()))
            .bytes(&message, &got));
    }
    ends(child, &other)?;
    done(child, "both have ended").map(drop)
}

fn no_reader(child: &mut Child) -> Result<(), Refusal> {
    const HELD: &str = "a client that does not read holds up the other one: send must not wait";
    let Clients([deaf, other]) = begin(child, true)?;
    let message = pattern(2_000_000);
    let did = "sends 2 MB and does not read";
    let sent = AtomicBool::new(false);
    let got = thread::scope(|scope| -> Result<Vec<u8>, Refusal> {
        scope.spawn(|| {
            deaf.send(&message);
            deaf.end();
            sent.store(true, Relaxed);
        });
        let outcome = (|| {
            child.scene("with a client that does not read", did, HELD);
            // Until it takes no more: it has filled what the client does not read.
            child.until_so(|| holds_back(&deaf) || sent.load(Relaxed))?;
            for round in 0..20 {
                echoes(child, &other, format!("round-{round}").as_bytes(), did, HELD)?;
            }
            sleeps(child, "one client does not read, the other one is silent", SPINS)?;
            Ok(deaf.read(message.len()))
        })();
        deaf.abandon();
        outcome
    })?;
    if got != message {
        return Err(Refusal::new(
            "bytes are lost or doubled: after a send that took n bytes, n are done, the rest is not",
        )
        .peer("sent 2 MB, and read only later")
        .but("2000000 bytes", say!("{} bytes", got.len()))
        .bytes(&message, &got));
    }
    ends(child, &other)?;
    done(child, "both have ended; one had not read for a while").map(drop)
}

fn resets(child: &mut Child) -> Result<(), Refusal> {
    const BOTH: &str =
        "a reset of one client ended the loop: that client is done, the other is not";
    for unread in [false, true] {
        let Clients([one, other]) = begin(child, unread)?;
        waits(child, "both clients are silent")?;
        if unread {
            // It has something to send to that client when the reset comes.
            one.send(&pattern(6000));
            child.until_blocked()?;
        }
        one.reset()?;
        let did = "has reset its connection, and the other one sends";
        echoes(child, &other, b"still here", did, BOTH)?;
        sleeps(
            child,
            "one client has reset its connection, the other one is silent",
            "a client whose connection was reset is asked for again and again: it is done",
        )?;
        echoes(child, &other, b"and still", did, BOTH)?;
        ends(child, &other)?;
        done(child, "one has reset its connection, the other one has ended")?;
    }
    Ok(())
}

/// An end and a reset that come before anybody has looked: what is unread, shutdown and send then
/// say is that client's own affair.
fn ends_and_resets(child: &mut Child) -> Result<(), Refusal> {
    const BOTH: &str = "one client ended and reset its connection at once, and that ended the loop: \
                        shutdown says ENOTCONN, send EPIPE, and both are that client's alone";
    for unread in [0, 5, 60_000] {
        let buffers = Buffers { send: Some(4096), peer_recv: Some(4096), recv: None };
        let ((one, first), (other, second)) = (pair_with(buffers)?, pair()?);
        let keep = first.try_clone()?;
        child.ask(Ask, &[], vec![first, second])?;
        waits(child, "both clients are silent")?;
        if unread > 5 {
            // More than fits into the buffers on the way back: it has something to send.
            one.send(&pattern(unread));
            child.until_settled()?;
        }
        child.while_stopped(|| {
            if unread == 5 {
                one.send(b"hello");
            }
            one.end();
            one.end_has_arrived(&keep)?;
            Ok(one.reset()?)
        })?;
        drop(keep);
        let did = "has ended its stream and reset the connection, and the other one sends";
        echoes(child, &other, b"still here", did, BOTH)?;
        sleeps(child, "one client has gone, the other one is silent", SPINS)?;
        ends(child, &other)?;
        done(child, did)?;
    }
    Ok(())
}
