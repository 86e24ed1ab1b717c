//! Exercise `sigpipe`: send to a peer that may be gone, and live to tell. Article 10, 12.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;

use say::say;
use serde::{Deserialize, Serialize};

use crate::beside::{Stage, stage};
use crate::child::Child;
use crate::examination::{Says, Sender};
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable};
use crate::peer::{Heard, Peer, TINY, pair_with, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

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

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &[u8]) -> io::Result<bool>) -> ExitCode {
    grading::grade("sigpipe", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let (result, after) = observe(&given.fds, || answer(fd, &given.bytes));
        (Said { result: portable(result), after }, Vec::new())
    })
}

const EXAM: Sender<Ask, Said> = Sender {
    ask: |fd, _| Ask { fd },
    says: |said| Says {
        result: said.result.as_ref().map(|there| format!("Ok({there})")),
        after: &said.after,
    },
    call: "send",
    wire: <[u8]>::to_vec,
    done: "Ok(true)",
    gone: Some("Ok(false)"),
};

const CASES: &[Case] = &[
    Case { name: "the peer is there, and reads: true", run: there },
    Case { name: "the peer has ended its own stream, and reads on", run: |c| EXAM.half_closed(c) },
    Case { name: "the peer goes: false, and no SIGPIPE", run: |c| EXAM.gone(c) },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
    Case { name: "forty signals come while send waits", run: |c| EXAM.signals(c) },
];

fn begin(child: &mut Child, bytes: &[u8], conn: (Peer, OwnedFd)) -> Result<Stage, Refusal> {
    let (stage, fds) = stage(conn)?;
    child.ask(Ask { fd: None }, bytes, fds)?;
    Ok(stage)
}

fn shown(result: &Result<bool, Failure>) -> String {
    match result {
        Ok(there) => format!("Ok({there})"),
        Err(e) => e.shown(),
    }
}

fn taken(child: &mut Child) -> Result<Said, Refusal> {
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    Ok(said)
}

fn there(child: &mut Child) -> Result<(), Refusal> {
    for len in [5, 0, 300_000] {
        let message = pattern(len);
        let stage = begin(child, &message, pair_with(TINY)?)?;
        child.scene(&say!("with {len} bytes"), "the peer reads", "");
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
        let peer = say!("read all {len} bytes; signals came while send waited");
        let mistake = match &said.result {
            Ok(true) if got == message => continue,
            Ok(true) => "it returned true before all was sent",
            Ok(false) if len == 0 => "an empty message says nothing about the peer: it is true",
            Ok(false) => "the peer is there and reads, and false says that it has gone",
            Err(e) if e.kind == "Interrupted" => {
                "EINTR was returned as an error: nothing is broken, call send again"
            }
            Err(_) => UNFOUNDED,
        };
        let refusal = Refusal::new(mistake).peer(peer).but("Ok(true)", shown(&said.result));
        return Err(if got == message { refusal } else { refusal.bytes(&message, &got) });
    }
    Ok(())
}
