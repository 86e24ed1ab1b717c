//! Exercise `records`: every message has 128 bytes, 32 and 96. Article 3.3.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;

use say::say;
use serde::{Deserialize, Serialize};

use crate::beside::{Stage, stage};
use crate::child::Child;
use crate::examination::{Receiver, Says};
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::Refusal;

/// Receive up to so many records from the last of the given descriptors, or from this one.
#[derive(Serialize, Deserialize)]
struct Ask {
    times: usize,
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    /// How many came. Their bytes come behind, header and body.
    count: usize,
    /// What the last call returned; `false` is `None`.
    last: Result<bool, Failure>,
    after: After,
}

type Record = ([u8; 32], [u8; 96]);

/// Grades the answer.
pub fn grade(answer: fn(RawFd) -> io::Result<Option<Record>>) -> ExitCode {
    grading::grade("records", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let (mut bytes, mut count) = (Vec::with_capacity(128 * ask.times), 0);
        let (last, after) = observe(&given.fds, || {
            let mut last = Ok(None);
            for _ in 0..ask.times {
                last = answer(fd);
                let Ok(Some((header, body))) = &last else { break };
                bytes.extend(header);
                bytes.extend(body);
                count += 1;
            }
            last
        });
        (Said { count, last: portable(last.map(|record| record.is_some())), after }, bytes)
    })
}

const EXAM: Receiver<Ask, Said> = Receiver {
    message: &[b'r'; SIZE],
    ask: |fd| Ask { times: 1, fd },
    says: |said| Says { result: said.last.as_ref().map(|_| shown(&said.last)), after: &said.after },
    whole: "Ok(Some(a record))",
    nothing: "Ok(None)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
};

const CASES: &[Case] = &[
    Case { name: "three records at once: one a call, and not a byte more", run: at_once },
    Case { name: "the peer pauses, at every place, and a signal comes", run: every_cut },
    Case { name: "the peer ends its stream, at every place", run: ends },
    Case { name: "8000 records through a buffer of 4 KiB", run: many },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
    Case { name: "forty signals come while it waits", run: |c| EXAM.signals(c) },
    Case { name: "the peer resets the connection, in all its ways", run: |c| EXAM.resets(c) },
];

const SIZE: usize = 128;

fn begin(child: &mut Child, before: &[u8]) -> Result<Stage, Refusal> {
    begin_on(child, before, pair()?)
}

fn begin_on(
    child: &mut Child,
    before: &[u8],
    (peer, conn): (Peer, OwnedFd),
) -> Result<Stage, Refusal> {
    peer.send(before);
    arrived(&conn, before.len())?;
    let (stage, fds) = stage((peer, conn))?;
    child.ask(Ask { times: 1, fd: None }, &[], fds)?;
    Ok(stage)
}

/// What came, and how many bytes are still unread.
fn taken(child: &mut Child, stage: &Stage) -> Result<(Said, Vec<u8>, usize), Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    stage.nothing_sent(&said.after)?;
    let unread = said.after.unread.last().copied().unwrap_or(0);
    Ok((said, bytes, unread))
}

fn shown(last: &Result<bool, Failure>) -> String {
    match last {
        Ok(true) => "Ok(Some(a record))".into(),
        Ok(false) => "Ok(None)".into(),
        Err(_) => show(last),
    }
}

/// Exactly these records.
fn are(said: &Said, bytes: &[u8], expected: &[u8], peer: &str) -> Result<(), Refusal> {
    if bytes == expected {
        return Ok(());
    }
    let mistake = match &said.last {
        Err(e) if e.kind == "Interrupted" => "EINTR was returned as an error: call recv again",
        Err(e) if e.kind == "UnexpectedEof" => {
            "a recv that returns fewer bytes than asked is no end of stream"
        }
        Err(_) => "an error where a record was there: one of its own, or errno read without a -1",
        Ok(false) => "a record was there, and None says that the stream has ended",
        Ok(true) => misplaced(bytes, expected),
    };
    Err(Refusal::new(mistake)
        .peer(peer)
        .but("a record as it was sent", shown(&said.last))
        .bytes(expected, bytes))
}

fn misplaced(bytes: &[u8], expected: &[u8]) -> &'static str {
    let Some((got, sent)) =
        bytes.chunks(SIZE).zip(expected.chunks(SIZE)).find(|(got, sent)| got != sent)
    else {
        return "fewer records came than were sent";
    };
    let same = got.iter().zip(sent).take_while(|(a, b)| a == b).count();
    let zeroes = got[same..].iter().all(|&b| b == 0);
    match same {
        _ if got.len() < SIZE || sent.len() < SIZE => "fewer records came than were sent",
        0 if got[32..] == sent[..96] => "header and body are swapped: the header comes first",
        32 if zeroes => "the header came and the body did not: it is the next 96 bytes",
        32 => "the body is not what came behind the header: it is the next 96 bytes",
        _ if zeroes => "a record was returned before its 128 bytes had come",
        _ => "the pieces are not one behind the other: the next recv writes behind the last one",
    }
}

fn at_once(child: &mut Child) -> Result<(), Refusal> {
    let all = pattern(3 * SIZE);
    let stage = begin(child, &all)?;
    let peer = "sent three records at once, 384 bytes";
    for n in 0..3 {
        if n > 0 {
            child.ask(Ask { times: 1, fd: None }, &[], vec![])?;
        }
        let waits = "it waits for more than a record has: 128 bytes, and each came whole";
        child.scene(&say!("in record {} of 3", n + 1), "the peer has sent them all", waits);
        let (said, bytes, unread) = taken(child, &stage)?;
        are(&said, &bytes, &all[n * SIZE..(n + 1) * SIZE], peer)?;
        let left = (2 - n) * SIZE;
        if unread != left {
            return Err(Refusal::new("bytes of the next record were taken out of the stream")
                .peer(peer)
                .but(say!("{left} bytes still unread"), say!("{unread} bytes")));
        }
    }
    Ok(())
}

fn every_cut(child: &mut Child) -> Result<(), Refusal> {
    let record = pattern(SIZE);
    for cut in 0..SIZE {
        let stage = begin(child, &record[..cut])?;
        let progress = say!("after {cut} of 128 bytes");
        child.scene(&progress, "the peer waits, a signal has come", "");
        if cut % 16 == 0 && child.until_blocked()? {
            child.interrupt();
        }
        if child.until_blocked()? {
            stage.peer.send(&record[cut..]);
        }
        child.scene("after 128 of 128 bytes", "the peer has sent them all", "");
        let (said, bytes, _) = taken(child, &stage)?;
        are(&said, &bytes, &record, &say!("sent {cut} bytes, waited, then sent the rest"))?;
    }
    Ok(())
}

fn ends(child: &mut Child) -> Result<(), Refusal> {
    let record = pattern(SIZE);
    for cut in [0, 32, 31, 33].into_iter().chain(1..SIZE) {
        let (peer, conn) = pair()?;
        peer.send(&record[..cut]);
        peer.end();
        let stage = begin_on(child, b"", (peer, conn))?;
        let again = "recv returned 0, which is the end of the stream; it called recv again";
        child.scene(&say!("after {cut} of 128 bytes"), "the peer has already closed", again);
        let (said, ..) = taken(child, &stage)?;
        let (expected, mistake) = match (&said.last, cut) {
            (Ok(false), 0) => continue,
            (Err(e), 1..) if e.kind == "UnexpectedEof" => continue,
            (Err(_), 0) => ("Ok(None)", "an end between two records is no error: it is None"),
            (Ok(true), 0) => ("Ok(None)", "the stream ended, and a record was returned"),
            (Ok(false), 32) => (
                "Err(UnexpectedEof)",
                "an end right behind the header was taken for a clean end: the body is missing",
            ),
            (Ok(false), _) => (
                "Err(UnexpectedEof)",
                "an end inside a record was taken for a clean end: a record had begun",
            ),
            (Ok(true), _) => (
                "Err(UnexpectedEof)",
                "the stream ended inside a record, and the record was taken for whole",
            ),
            (Err(_), _) => {
                ("Err(UnexpectedEof)", "an end inside a record has a kind: UnexpectedEof")
            }
        };
        return Err(Refusal::new(mistake)
            .peer(say!("sent {cut} of 128 bytes and ended its stream"))
            .but(expected, shown(&said.last)));
    }
    Ok(())
}

fn many(child: &mut Child) -> Result<(), Refusal> {
    const COUNT: usize = 8000;
    let all = pattern(COUNT * SIZE);
    let (stage, fds) = stage(pair_with(TINY)?)?;
    child.scene("in the middle of 8000 records", "the peer has sent them all", "");
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            stage.peer.send(&all);
            stage.peer.end();
        });
        let outcome = child.call_as::<Said>(Ask { times: COUNT + 1, fd: None }, &[], fds);
        stage.peer.abandon(); // where it stopped early, the sender still waits
        outcome
    });
    let (said, bytes) = outcome?;
    child.left_as_it_was(&said.after)?;
    are(&said, &bytes, &all, "sent 8000 records as fast as they went, and ended its stream")?;
    match &said.last {
        Ok(false) => Ok(()),
        last => Err(Refusal::new("behind the last record comes None").but("Ok(None)", shown(last))),
    }
}
