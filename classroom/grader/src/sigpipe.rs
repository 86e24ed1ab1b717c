//! Exercise `sigpipe`: send to a peer that may be gone, and live to tell. Article 10, 12.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};

use crate::beside::{Stage, stage};
use crate::child;
use crate::grading::{self, About};
use crate::inside::{After, Failure, observe, portable};
use crate::peer::{Heard, Peer, TINY, pair, pair_with, pattern};
use crate::refusal::Refusal;

/// Where it stands.
pub const ABOUT: About = About {
    name: "sigpipe",
    dir: "09_sigpipe",
    section: "12",
    man: "send(2), signal(7)",
    example: "s12_sigpipe",
};

/// Send the bytes to the last of the given descriptors, or to this one.
#[derive(Serialize, Deserialize)]
struct Ask {
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<bool, Failure>,
    after: After,
}

type Child = child::Child<Ask, Said>;
type Case = grading::Case<Ask, Said>;

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &[u8]) -> io::Result<bool>) -> ExitCode {
    grading::grade(&ABOUT, CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let (result, after) = observe(&given.fds, || answer(fd, &given.bytes));
        (Said { result: portable(result), after }, Vec::new())
    })
}

const CASES: &[Case] = &[
    Case { name: "the peer is there, and reads: true", run: there },
    Case { name: "the peer has reset the connection: false, and no SIGPIPE", run: gone },
    Case { name: "the peer goes in the middle: false", run: goes },
    Case { name: "this end has been shut down: false", run: shut },
    Case { name: "other errors are errors: the peer is not gone", run: other_errors },
    Case { name: "SIGPIPE is left alone while send waits", run: left_alone },
];

fn begin(child: &mut Child, bytes: &[u8], conn: (Peer, OwnedFd)) -> Result<Stage, Refusal> {
    let (stage, fds) = stage(conn)?;
    child.ask(Ask { fd: None }, bytes, fds)?;
    Ok(stage)
}

fn shown(result: &Result<bool, Failure>) -> String {
    match result {
        Ok(there) => format!("Ok({there})"),
        Err(e) => format!("Err({}: {})", e.kind, e.text),
    }
}

fn taken(child: &mut Child) -> Result<Said, Refusal> {
    let (said, _) = child.said()?;
    child.left_as_it_was(&said.after)?;
    Ok(said)
}

fn there(child: &mut Child) -> Result<(), Refusal> {
    for len in [5, 0, 300_000] {
        let message = pattern(len);
        let stage = begin(child, &message, pair_with(TINY)?)?;
        child.scene(&format!("with {len} bytes"), "the peer reads", "");
        // The first signal ends a send that has taken a part, the next one a send that has not.
        for _ in 0..3 {
            if child.until_blocked()? {
                child.interrupt();
            }
        }
        child.until_blocked()?;
        let Stage { peer, bystander } = stage;
        let reader = peer.read_all();
        let said = taken(child)?;
        if bystander.read_waiting()? != Heard::Nothing {
            return Err(Refusal::new("it wrote to another descriptor than the one it was given"));
        }
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        let peer = format!("read all {len} bytes; signals came while send waited");
        let mistake = match &said.result {
            Ok(true) if got == message => continue,
            Ok(true) => "it returned true before all was sent",
            Ok(false) if len == 0 => "an empty message says nothing about the peer: it is true",
            Ok(false) => "the peer is there and reads, and false says that it has gone",
            Err(e) if e.kind == "Interrupted" => {
                "EINTR was returned as an error: nothing is broken, call send again"
            }
            Err(_) => "an error where all went well: errno is for a send that returned -1",
        };
        let refusal = Refusal::new(mistake).peer(peer).but("Ok(true)", shown(&said.result));
        return Err(if got == message { refusal } else { refusal.bytes(&message, &got) });
    }
    Ok(())
}

/// `false`: it has gone.
fn is_gone(said: &Said, peer: &str) -> Result<(), Refusal> {
    let mistake = match &said.result {
        Ok(false) => return Ok(()),
        Ok(true) => "true for a peer that has gone: send returned -1, and that was not looked at",
        Err(e) if e.kind == "BrokenPipe" => {
            "EPIPE was returned as an error: it says that the peer has gone, which is false"
        }
        Err(e) if e.kind == "ConnectionReset" => {
            "EPIPE is not the only way to hear it: the first send after a reset says ECONNRESET"
        }
        Err(_) => "the peer has gone, and some other error was returned",
    };
    Err(Refusal::new(mistake).peer(peer).but("Ok(false)", shown(&said.result)))
}

const LOOP: &str = "it calls send again after an error that does not go away";

fn gone(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    peer.reset()?;
    let (_bystander, theirs) = pair()?;
    child.ask(Ask { fd: None }, b"hello", vec![theirs, conn])?;
    child.scene("after 0 of 5 bytes", "the peer has reset the connection", LOOP);
    is_gone(&taken(child)?, "has reset the connection: this send says ECONNRESET")?;
    for _ in 0..2 {
        child.ask(Ask { fd: None }, b"hello", vec![])?;
        is_gone(&taken(child)?, "has reset the connection, and that was told: now it is EPIPE")?;
    }
    Ok(())
}

fn goes(child: &mut Child) -> Result<(), Refusal> {
    // With bytes on their way, the second send of a loop is the one that meets the reset.
    for reading in [0, 100_000] {
        let stage = begin(child, &pattern(2_000_000), pair_with(TINY)?)?;
        child.scene("with a full send buffer", "the peer does not read", "");
        child.until_blocked()?;
        let Stage { peer, bystander } = stage;
        if reading > 0 {
            peer.read(reading);
            child.until_blocked()?;
        }
        // A signal makes this send return what it has taken, so that another one comes.
        child.interrupt();
        child.until_blocked()?;
        peer.reset()?;
        child.scene("in the middle", "the peer has reset the connection", LOOP);
        let said = taken(child)?;
        drop(bystander);
        is_gone(&said, &format!("read {reading} of 2000000 bytes, then reset the connection"))?;
    }
    Ok(())
}

fn shut(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    let conn = TcpStream::from(conn);
    conn.shutdown(Shutdown::Write)?;
    let stage = begin(child, b"hello", (peer, conn.into()))?;
    child.scene("after 0 of 5 bytes", "this end has been shut down: send says EPIPE", LOOP);
    let said = taken(child)?;
    stage.bystander_untouched(&said.after)?;
    is_gone(&said, "is there, but this end has ended its stream: EPIPE")
}

fn other_errors(child: &mut Child) -> Result<(), Refusal> {
    let expect = |said: &Said, errno: i32, what: &str| match &said.result {
        Err(e) if e.errno == Some(errno) => Ok(()),
        Ok(false) => Err(Refusal::new("not every error means that the peer has gone")
            .but(what, shown(&said.result))),
        _ => Err(Refusal::new("the errno of send has to reach the caller as it is")
            .but(what, shown(&said.result))),
    };
    child.scene("after 0 of 5 bytes", "there is no such descriptor: send says EBADF", LOOP);
    let (said, _) = child.call(Ask { fd: Some(150) }, b"hello", vec![])?;
    expect(&said, libc::EBADF, "Err(EBADF), as fd 150 is not open")?;
    let (peer, conn) = pair_with(TINY)?;
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    let stage = begin(child, &pattern(2_000_000), (peer, conn))?;
    child.scene("with a full send buffer", "the socket is non-blocking: send says EAGAIN", LOOP);
    let said = taken(child)?;
    stage.bystander_untouched(&said.after)?;
    expect(&said, libc::EAGAIN, "Err(WouldBlock), as the socket is non-blocking")
}

/// Looks at what the process does about SIGPIPE while the call is under way.
fn left_alone(child: &mut Child) -> Result<(), Refusal> {
    let before = ignored(child.pid());
    let stage = begin(child, &pattern(300_000), pair_with(TINY)?)?;
    child.scene("with a full send buffer", "the peer does not read", "");
    let during = if child.until_blocked()? { ignored(child.pid()) } else { before };
    if during && !before {
        return Err(Refusal::new(
            "SIGPIPE is ignored for the whole process while send runs: other threads need it",
        )
        .but("the action of SIGPIPE as it was, all the time", "ignored, or with a handler"));
    }
    let Stage { peer, bystander: _bystander } = stage;
    let reader = peer.read_all();
    let said = taken(child)?;
    child.close_fds()?;
    reader.join().expect("the reader does not panic");
    match &said.result {
        Ok(true) => Ok(()),
        other => Err(Refusal::new("the peer was slow, and that was taken for an error")
            .but("Ok(true)", shown(other))),
    }
}

/// Whether the process ignores or catches SIGPIPE.
fn ignored(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let has = |label: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(label));
        let set = set.and_then(|s| u64::from_str_radix(s.trim(), 16).ok()).unwrap_or(0);
        set & (1 << (libc::SIGPIPE - 1)) != 0
    };
    has("SigIgn:") || has("SigCgt:")
}
