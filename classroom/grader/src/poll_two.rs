//! Exercise `poll_two`: two clients, one thread, nobody waits for the other. Article 2.2 and 13.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use crate::beside::LOST;
use crate::child::looks_every;
use crate::peer::{Buffers, holds_back};
use crate::prelude::*;

/// Grades the answer.
pub fn grade(answer: fn([RawFd; 2]) -> io::Result<()>) -> ExitCode {
    grading::grade("poll_two", CASES, |(): (), given| {
        given.call(|| answer([given.fds[0], given.fds[1]]), ok)
    })
}

const CASES: &[Case] = &[
    ("each client is served while the other is silent", in_turn),
    ("signals come while it waits", signals),
    ("one client ends, the other goes on", one_ends),
    ("one client sends 2 MB and does not read", no_reader),
    ("a client ends its stream, and does not read what is left", |c| {
        (1..=9).try_for_each(|n| ended_and_deaf(c, n))
    }),
    ("0 is a descriptor, too", |c| {
        c.lent_zero = true;
        let peers = begin(c, SMALL)?;
        peers[1].echoes(c, b"hello", "is descriptor 0, and sends", ZERO)?;
        ends(c, &peers[1])?;
        last(c, &peers[0])
    }),
    ("both have sent before it begins, and one goes on", |c| {
        [0, 1].into_iter().try_for_each(|much| fair(c, much))
    }),
    ("one client resets its connection, the other goes on", |child| {
        const BOTH: &str =
            "a reset of one client ended the loop: that client is done, the other is not";
        let did = "has reset its connection, and the other one sends";
        [0, 60_000].into_iter().try_for_each(|unread| goes(child, unread, false, did, BOTH))
    }),
    ("one client ends and resets at once, the other goes on", |child| {
        const BOTH: &str = "one client ended and reset its connection at once, and that ended the \
                            loop: shutdown says ENOTCONN, send EPIPE, and both are that client's \
                            alone";
        let did = "has ended its stream and reset the connection, and the other one sends";
        [0, 5, 60_000].into_iter().try_for_each(|unread| goes(child, unread, true, did, BOTH))
    }),
];

const TURNS: &str = "a client is served only after the other one: poll says which one is ready";
const SIGNAL: &str = "a signal has stopped the loop";
const FIRST: &str = "it ended with the first client that ended: the other one is still there";
const SPINS: &str = "it asks poll over and over for something it does nothing about";
const BOTH_ENDED: &str = "both have ended";
/// It asks for more where no more can come.
pub const POLLIN: &str = "a stream that has ended is always ready to be read: once recv has said \
                          0, poll must not ask for POLLIN again";

/// What does not fit on the way back waits at the answer's end.
const SMALL: Buffers = Buffers { send: Some(4096), peer_recv: Some(4096), recv: None };

fn begin(child: &mut Child, buffers: Buffers) -> Result<[Peer; 2], Refusal> {
    let ((a, first), (b, second)) = (pair_with(buffers)?, pair_with(buffers)?);
    asks(child, vec![first, second])?;
    Ok([a, b])
}

fn asks(child: &mut Child, clients: Vec<OwnedFd>) -> Verdict {
    child.tickless = true;
    child.ask((), &[], clients)
}

/// With nothing to do it has to sleep, in poll.
pub fn sleeps(child: &mut Child, what: &str, mistake: &str) -> Verdict {
    child.scene("with nothing to do", what, mistake);
    let settled = child.settles()?;
    let now = child.at_rest()?;
    if !settled && now.polls_for_a_time() {
        return Err(looks_every(now.timeout.unwrap_or(0)));
    }
    child.no_tick(&now)?;
    if !settled && (now.answer_waits() || now.state == 'R') {
        return refuse(mistake, "a sleep in poll", "it is awake");
    }
    let place = now.place();
    if settled && !place.contains("poll") && !place.contains("select") {
        return Err(Refusal::new(say!(
            "it waits in {place}: only poll may wait, for all there is to wait for"
        )));
    }
    Ok(())
}

/// Nothing has happened yet, or a signal: it has to wait.
fn waits(child: &mut Child, did: &str) -> Verdict {
    child.scene("before the first byte", did, SPINS);
    if child.until_blocked()? {
        return Ok(());
    }
    done(child, did)?;
    refuse("it returned while both clients were still there", "a wait for the first byte", "Ok")
}

const SHUT: &str = "a client that has ended its stream waits for the end of ours: SHUT_WR";

fn ends(child: &mut Child, peer: &Peer) -> Verdict {
    peer.leaves(child, SHUT, FIRST)
}

fn last_ends(child: &mut Child, peer: &Peer) -> Verdict {
    let early = if child.at_rest()?.answer_waits() { SHUT } else { FIRST };
    peer.leaves(child, SHUT, early)
}

/// Both have ended: it has to return Ok.
fn done(child: &mut Child, did: &str) -> Result<Said, Refusal> {
    child.scene("after both clients", did, "both clients are done, and it does not return");
    let said = child.said()?;
    let peak = said.after.peak;
    let mistake = first! {
        said.kind() == "Interrupted" =>
            "EINTR of poll was returned as an error: nothing is broken, poll again",
        said.result.is_err() =>
            "what happens to a client is no error of the loop, be it the last one: Ok once both are done",
        peak > 1 << 19 =>
            "it reads on from a client that does not read: what is kept for it has no limit",
    };
    judge(mistake, "Ok, with 64 KiB for each", say!("{}, {peak} bytes at once", said.shown()))?;
    Ok(said)
}

/// The last client ends, too.
fn last(child: &mut Child, peer: &Peer) -> Verdict {
    last_ends(child, peer)?;
    done(child, BOTH_ENDED).map(drop)
}

fn in_turn(child: &mut Child) -> Verdict {
    let peers = begin(child, Buffers::default())?;
    let silent = "is silent, and the other one sends";
    waits(child, "both clients are silent")?;
    for (round, n) in [1, 0, 1, 1, 0, 0, 0, 1].into_iter().enumerate() {
        peers[n].echoes(child, format!("hello-{round}").as_bytes(), silent, TURNS)?;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap_or_default();
    if !status.lines().any(|line| line.split_whitespace().eq(["Threads:", "1"])) {
        return Err(Refusal::new("it serves with more than one thread: the task is one, and poll"));
    }
    sleeps(child, "both clients are silent", SPINS)?;
    ends(child, &peers[1])?;
    last(child, &peers[0])
}

fn signals(child: &mut Child) -> Verdict {
    let peers = begin(child, Buffers::default())?;
    let did = "a signal came while it waited";
    child.scene("before the first byte", did, "");
    child.interrupts(3)?;
    waits(child, did)?;
    peers[0].echoes(child, b"after the signal", did, SIGNAL)?;
    ends(child, &peers[0])?;
    last(child, &peers[1])
}

/// One client has gone: the other one is served, the loop sleeps, and ends with the other.
fn one_is_gone(child: &mut Child, other: &Peer, did: &str, mistakes: [&str; 2]) -> Verdict {
    let [stopped, awake] = mistakes;
    other.echoes(child, b"still here", did, stopped)?;
    sleeps(child, "one client has gone, the other one is silent", awake)?;
    child.interrupt();
    child.settles()?;
    other.echoes(child, b"and still", "a signal came after one client had gone", SIGNAL)?;
    // It reads only later.
    let message = pattern(60_000);
    other.send(&message);
    child.settles()?;
    gets(child, other, &message, message.len(), did)
}

fn one_ends(child: &mut Child) -> Verdict {
    const ENDED: &str = "a client that has ended is asked for again and again: recv says 0 for ever, \
                         and poll says POLLHUP even where it is asked for nothing";
    for (gone, stays) in [(0, 1), (1, 0)] {
        let peers = begin(child, SMALL)?;
        waits(child, "both clients are silent")?;
        ends(child, &peers[gone])?;
        one_is_gone(child, &peers[stays], "has ended, and the other one sends", [FIRST, ENDED])?;
        last(child, &peers[stays])?;
    }
    Ok(())
}

/// One client goes, and then the other one; or both at once. What is unread, and what shutdown and
/// send then say, is each client's own affair.
fn goes(child: &mut Child, unread: usize, ended: bool, did: &str, stopped: &str) -> Verdict {
    const AWAKE: &str =
        "a client whose connection was reset is asked for again and again: it is done";
    const BOTH_GONE: &str = "both have reset their connections";
    let ((one, first), (other, second)) = (pair_with(SMALL)?, pair_with(SMALL)?);
    let (keep, also) = (first.try_clone()?, second.try_clone()?);
    asks(child, vec![first, second])?;
    waits(child, "both clients are silent")?;
    resets(child, one, &keep, unread, ended)?;
    one_is_gone(child, &other, did, [stopped, AWAKE])?;
    if unread == 5 {
        return last(child, &other);
    }
    resets(child, other, &also, unread, ended)?;
    done(child, BOTH_GONE)?;

    let [one, other] = begin(child, SMALL)?;
    waits(child, "both clients are silent")?;
    child.while_stopped(|| [one, other].into_iter().try_for_each(|peer| Ok(peer.reset()?)))?;
    done(child, BOTH_GONE).map(drop)
}

/// A client resets its connection, or ends its stream and resets at once, before anybody has looked:
/// with so many bytes that have not come back.
fn resets(child: &mut Child, peer: Peer, conn: &OwnedFd, unread: usize, ended: bool) -> Verdict {
    if unread > 5 {
        // More than fits into the buffers on the way back: it has something to send.
        peer.send(&pattern(unread));
        if child.until_blocked()? {
            child.settles()?;
        }
    }
    child.while_stopped(|| {
        if unread == 5 {
            peer.send(b"hello");
        }
        Ok(peer.goes(conn, ended)?)
    })
}

/// The client reads so many bytes, or all to the end: it has to get this.
fn gets(child: &mut Child, peer: &Peer, message: &[u8], count: usize, did: &str) -> Verdict {
    let got = peer.hears(child, count)?;
    let heard = if got.len() < count { peer.read_waiting()? } else { Heard::Nothing };
    let (whole, ended, look) = (got == message, heard == Heard::End, child.at_rest()?);
    if whole && (ended || got.len() == count) {
        return Ok(());
    }
    let mistake = first! {
        !message.starts_with(&got) => LOST,
        ended && message.len() > 2_000_000 =>
            "a client was left that has not ended its stream: after any number of bytes more may \
             come",
        ended =>
            "the end came before the rest: send back all that is left, and then shut down; POLLRDHUP \
             comes before what is unread has been read",
        look.state == 'R' =>
            "it goes round and round with one client: where no more can be read or sent, go back to \
             poll",
        !look.answer_waits() =>
            "it returned while something was left for a client: it is done only once it has got all, \
             and SHUT_WR; one that reads slowly is not gone",
        whole => SHUT,
        true =>
            "neither more comes nor the end: a client that reads slowly was given up, or POLLOUT is \
             not asked for while bytes are left",
    };
    let (right, seen) = (say!("{} bytes", message.len()), say!("{} bytes", got.len()));
    let seen = format!("{seen}; {}", child.stands()?);
    Err(Refusal::new(mistake).peer(did).but(right, seen).bytes(message, &got))
}

/// Clients that send so much, end their streams, and read only later: sooner or later all of it has
/// been read, and the rest of the echo waits for them. The other one does so at the same time, or
/// once the first one is done.
fn ended_and_deaf(child: &mut Child, n: usize) -> Verdict {
    let (len, first, both) = (8000 * n, n / 2 % 2, !n.is_multiple_of(3));
    let messages = [pattern(len), pattern(len + 1).split_off(1)];
    let ((a, one), (b, other)) = (pair_with(SMALL)?, pair_with(SMALL)?);
    let (peers, conns) = ([a, b], [one.try_clone()?, other.try_clone()?]);
    let sends = |at: usize| {
        peers[at].send(&messages[at]);
        peers[at].end();
        peers[at].end_has_arrived(&conns[at])
    };
    sends(first)?;
    if both {
        sends(1 - first)?;
    }
    asks(child, vec![one, other])?;
    let did = say!("sent {len} bytes, ended its stream, and does not read");
    sleeps(child, &did, POLLIN)?;
    gets(child, &peers[first], &messages[first], usize::MAX, &did)?;
    if !both {
        sends(1 - first)?;
        sleeps(child, &did, POLLIN)?;
    }
    gets(child, &peers[1 - first], &messages[1 - first], usize::MAX, &did)?;
    done(child, BOTH_ENDED).map(drop)
}

/// The client of this number has sent much and goes on, the other one little.
fn fair(child: &mut Child, much: usize) -> Verdict {
    let buffers = Buffers { recv: Some(200_000), ..Buffers::default() };
    let ((one, first), (other, second)) = (pair_with(buffers)?, pair()?);
    let message = pattern(1_000_000).repeat(1 + 32 * much);
    thread::scope(|scope| {
        scope.spawn(|| one.send(&message));
        other.send(b"hello");
        arrived(&second, 5)?;
        arrived(&first, 150_000)?;
        let mut fds = vec![first, second];
        fds.rotate_right(much);
        child.scene(
            "with both clients",
            "one has sent much and goes on, the other one little",
            TURNS,
        );
        let did = say!("sent {} bytes, and read", message.len());
        let asked = asks(child, fds);
        let got = asked.and_then(|()| gets(child, &one, &message, message.len(), &did));
        if got.is_err() {
            one.abandon();
        }
        got
    })?;
    ends(child, &one)?;
    let back = other.hears(child, 5)?;
    last_ends(child, &other)?;
    let before = done(child, BOTH_ENDED)?.after.calls.first.last().map_or(0, |last| last.1);
    let mistake = first! {
        back != b"hello" => TURNS,
        before > 100_000 =>
            "one client that sends on keeps the other one waiting: in each round all that are ready \
             have a turn",
    };
    let seen = say!("{before} bytes of the one before the first of the other");
    judge(mistake, "a turn for both", seen)
}

fn no_reader(child: &mut Child) -> Verdict {
    const HELD: &str = "a client that does not read holds up the other one: send must not wait, nor be \
                        tried again and again";
    let [deaf, other] = begin(child, TINY)?;
    let message = pattern(2_000_000);
    let did = "sends 2 MB and does not read";
    let sent = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            deaf.send(&message);
            deaf.end();
            sent.store(true, Relaxed);
        });
        let mut serves = || {
            child.scene("with a client that does not read", did, HELD);
            // Until it takes no more: it has filled what the client does not read.
            child.until_so(|| holds_back(&deaf) || sent.load(Relaxed))?;
            for round in 0..20 {
                other.echoes(child, format!("round-{round}").as_bytes(), did, HELD)?;
            }
            sleeps(child, "one client does not read, the other one is silent", SPINS)
        };
        let later = "sent 2 MB, and read only later";
        let got = serves().and_then(|()| gets(child, &deaf, &message, usize::MAX, later));
        deaf.abandon();
        got
    })?;
    last(child, &other)
}
