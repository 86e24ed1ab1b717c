//! Exercise `lines`: a reader of lines with a buffer and a cap. Article 3.2.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use say::say;
use serde::{Deserialize, Serialize};

use crate::beside::{Stage, stage};
use crate::child::Child;
use crate::examination::{Receiver, Says};
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::Refusal;

#[derive(Serialize, Deserialize)]
enum Ask {
    /// Makes a reader of the descriptor with this index, and calls it once.
    First { cap: usize, at: usize, fd: Option<RawFd> },
    /// Calls that reader, up to so many times, until it returns something else than a line.
    Next { calls: usize, at: usize },
    /// Drops the readers.
    Drop,
}

#[derive(Serialize, Deserialize)]
struct Said {
    /// The length of each line; `None` as it was returned. The bytes come behind.
    lines: Vec<Result<Option<usize>, Failure>>,
    after: After,
}

/// Grades the answer.
pub fn grade<Reader>(
    new: fn(RawFd, usize) -> Reader,
    next_line: fn(&mut Reader) -> io::Result<Option<Vec<u8>>>,
) -> ExitCode {
    let mut readers = BTreeMap::new();
    grading::grade_raw("lines", CASES, move |ask: Ask, given| {
        let fd = |at: usize| given.fds.get(at).copied().unwrap_or(-1);
        let mut bytes = Vec::new();
        let mut read = |reader: &mut Reader, calls| {
            let mut lines = Vec::new();
            for _ in 0..calls {
                let line = portable(next_line(reader));
                let line = line.map(|line| line.map(|l| (bytes.extend(&l), l.len()).1));
                let more = matches!(line, Ok(Some(_)));
                lines.push(line);
                if !more {
                    break;
                }
            }
            lines
        };
        let (lines, after) = match ask {
            Ask::First { cap, at, fd: other } => observe(&given.fds, || {
                readers.insert(at, new(other.unwrap_or(fd(at)), cap));
                read(readers.get_mut(&at).expect("just made"), 1)
            }),
            Ask::Next { calls, at } => observe(&given.fds, || match readers.get_mut(&at) {
                Some(reader) => read(reader, calls),
                None => Vec::new(),
            }),
            Ask::Drop => observe(&given.fds, || {
                readers.clear();
                Vec::new()
            }),
        };
        (Said { lines, after }, bytes)
    })
}

const EXAM: Receiver<Ask, Said> = Receiver {
    message: b"a line\r\n",
    ask: |fd| Ask::First { cap: CAP, at: 1, fd },
    says: |said| Says {
        result: match &said.lines[0] {
            Ok(Some(len)) => Ok(format!("Ok(Some({len} bytes))")),
            Ok(None) => Ok("Ok(None)".into()),
            Err(e) => Err(e),
        },
        after: &said.after,
    },
    whole: "Ok(Some(6 bytes))",
    nothing: "Ok(None)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
};

const CASES: &[Case] = &[
    Case { name: "three lines come at once: each is returned, in one recv", run: at_once },
    Case { name: "the end of a line is \\n or \\r\\n, and is not part of it", run: line_ends },
    Case { name: "the peer pauses, at every place, and a signal comes", run: every_cut },
    Case { name: "a line as long as the cap, and one byte more", run: cap },
    Case { name: "a line without an end costs no memory, and is not waited for", run: endless },
    Case { name: "the stream ends behind a line, and inside one", run: ends },
    Case { name: "two readers keep their bytes apart", run: two_readers },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
    Case { name: "forty signals come while it waits", run: |c| EXAM.signals(c) },
    Case { name: "the peer resets the connection, in all its ways", run: |c| EXAM.resets(c) },
    Case { name: "half a line, EAGAIN, the other half: nothing is lost", run: goes_on },
    Case { name: "20000 lines through a buffer of 4 KiB", run: many },
];

const CAP: usize = 200;

fn begin(child: &mut Child, before: &[u8], cap: usize) -> Result<Stage, Refusal> {
    begin_on(child, before, cap, pair()?)
}

fn begin_on(
    child: &mut Child,
    before: &[u8],
    cap: usize,
    (peer, conn): (Peer, OwnedFd),
) -> Result<Stage, Refusal> {
    peer.send(before);
    arrived(&conn, before.len())?;
    let (stage, fds) = stage((peer, conn))?;
    child.ask(Ask::First { cap, at: 1, fd: None }, &[], fds)?;
    Ok(stage)
}

type Lines = Vec<Result<Option<Vec<u8>>, Failure>>;

/// What came, and how many bytes are unread.
fn taken(child: &mut Child, stage: &Stage) -> Result<(Lines, After), Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    stage.nothing_sent(&said.after)?;
    Ok((split(said.lines, bytes), said.after))
}

fn split(lengths: Vec<Result<Option<usize>, Failure>>, bytes: Vec<u8>) -> Lines {
    let mut rest = bytes.as_slice();
    let mut cut = |len| {
        let (line, behind) = rest.split_at(len);
        rest = behind;
        line.to_vec()
    };
    lengths.into_iter().map(|l| l.map(|len| len.map(&mut cut))).collect()
}

fn next(child: &mut Child, stage: &Stage) -> Result<Line, Refusal> {
    child.ask(Ask::Next { calls: 1, at: 1 }, &[], vec![])?;
    one(child, stage)
}

type Line = Result<Option<Vec<u8>>, Failure>;

fn one(child: &mut Child, stage: &Stage) -> Result<Line, Refusal> {
    let (mut lines, _) = taken(child, stage)?;
    lines.pop().ok_or_else(|| Refusal::new("the grader lost its place"))
}

fn shown(line: &Line) -> String {
    match line {
        Ok(Some(line)) if line.len() > 60 => say!("Ok(a line of {} bytes)", line.len()),
        Ok(Some(line)) => format!("Ok(\"{}\")", line.escape_ascii()),
        Ok(None) => "Ok(None)".into(),
        Err(_) => show(line),
    }
}

/// Exactly this line.
fn is(line: &Line, expected: &[u8], peer: &str) -> Result<(), Refusal> {
    let mistake = match line {
        Ok(Some(line)) if line == expected => return Ok(()),
        Ok(Some(line)) if line.ends_with(b"\n") => "the \\n is part of the line that was returned",
        Ok(Some(line))
            if line.trim_ascii() == expected.trim_ascii() && line.len() < expected.len() =>
        {
            "white space was trimmed: only the end of a line, \\n or \\r\\n, is not part of it"
        }
        Ok(Some(line)) if line.contains(&b'\n') => "two lines were returned as one",
        Ok(Some(line)) if line.strip_suffix(b"\r") == Some(expected) => {
            "the \\r of \\r\\n was left in the line"
        }
        Ok(Some(line))
            if line
                .iter()
                .filter(|b| **b != b'\r')
                .eq(expected.iter().filter(|b| **b != b'\r')) =>
        {
            "a \\r that is not right before the \\n belongs to the line"
        }
        Ok(Some(line)) if line.is_empty() => "an empty line was returned where bytes had come",
        Ok(Some(line)) if expected.starts_with(line) => {
            "a line was returned before its \\n had come: recv gives what is there"
        }
        Ok(Some(line)) if expected.ends_with(line) => {
            "the front of a line was lost: what came before a pause belongs to it"
        }
        Ok(Some(_)) => "the bytes of the line are not those that were sent",
        Ok(None) if expected.is_empty() => {
            "an empty line was taken for the end of the stream: it is a line"
        }
        Ok(None) => "a line was there, and None says that the stream has ended",
        Err(e) if e.kind == "Interrupted" => {
            "EINTR was returned as an error: nothing is broken, call recv again"
        }
        Err(e) if e.kind == "InvalidData" => {
            "a line within the cap was refused: its end does not count"
        }
        Err(_) => "an error where a line was there: one of its own, or errno read without a -1",
    };
    let wanted = shown(&Ok(Some(expected.to_vec())));
    let refusal = Refusal::new(mistake).peer(peer).but(wanted, shown(line));
    Err(match line {
        Ok(Some(line)) => refusal.bytes(expected, line),
        _ => refusal,
    })
}

fn at_once(child: &mut Child) -> Result<(), Refusal> {
    const LOST: &str = "the bytes behind the first line were lost: keep them for the next call";
    let sent = b"first\nthe second\nthird\n";
    let peer = "sent three lines at once";
    let stage = begin(child, sent, CAP)?;
    child.scene("in line 1 of 3", "the peer has sent them all", "it waits although a \\n has come");
    let (lines, after) = taken(child, &stage)?;
    is(&lines[0], b"first", peer)?;
    let unread = after.unread.last().copied().unwrap_or(0);
    if unread > 0 {
        return Err(Refusal::new(
            "there is no buffer: one recv takes all that is there, not one line or one byte",
        )
        .peer(peer)
        .but("0 bytes unread after the first line", say!("{unread} bytes unread")));
    }
    for (n, line) in [(2, &b"the second"[..]), (3, b"third")] {
        child.scene(&say!("in line {n} of 3"), "the peer has sent them all", LOST);
        child.ask(Ask::Next { calls: 1, at: 1 }, &[], vec![])?;
        if child.until_blocked()? {
            return Err(Refusal::new(LOST)
                .peer(peer)
                .but(shown(&Ok(Some(line.into()))), "it waits"));
        }
        is(&one(child, &stage)?, line, peer)?;
    }
    child
        .call_as::<Said>(Ask::Drop, &[], vec![])
        .and_then(|(said, _)| child.left_as_it_was(&said.after))
}

fn line_ends(child: &mut Child) -> Result<(), Refusal> {
    let lines: [(&[u8], &[u8]); 9] = [
        (b"HELO\r\n", b"HELO"),
        (b"\n", b""),
        (b"\r\n", b""),
        (b"a\rb\n", b"a\rb"),
        (b" spaces \t\n", b" spaces \t"),
        (b"\r\r\n", b"\r"),
        (b"\xff\x00\xc3\n", b"\xff\x00\xc3"),
        (b"\rx\r\n", b"\rx"),
        (b"end\n", b"end"),
    ];
    let all: Vec<u8> = lines.iter().flat_map(|(sent, _)| sent.to_vec()).collect();
    let stage = begin(child, &all, CAP)?;
    for (n, (sent, line)) in lines.iter().enumerate() {
        child.scene(&say!("in line {} of 9", n + 1), "the peer has sent them all", "");
        if n > 0 {
            child.ask(Ask::Next { calls: 1, at: 1 }, &[], vec![])?;
        }
        is(&one(child, &stage)?, line, &say!("sent \"{}\"", sent.escape_ascii()))?;
    }
    Ok(())
}

fn every_cut(child: &mut Child) -> Result<(), Refusal> {
    let sent = b"ab\r\nc\n";
    for cut in 0..sent.len() {
        let stage = begin(child, &sent[..cut], CAP)?;
        child.scene(&say!("after {cut} of 6 bytes"), "the peer waits, a signal has come", "");
        let peer = say!("sent {cut} of 6 bytes, a signal came, then it sent the rest");
        let early = cut >= 4;
        if early {
            is(&one(child, &stage)?, b"ab", &peer)?;
            child.ask(Ask::Next { calls: 1, at: 1 }, &[], vec![])?;
        }
        if child.until_blocked()? {
            child.interrupt();
        }
        if child.until_blocked()? {
            stage.peer.send(&sent[cut..]);
        }
        child.scene("after 6 of 6 bytes", "the peer has sent them all", "");
        if !early {
            is(&one(child, &stage)?, b"ab", &peer)?;
            child.ask(Ask::Next { calls: 1, at: 1 }, &[], vec![])?;
        }
        is(&one(child, &stage)?, b"c", &peer)?;
    }
    // Byte by byte, each when the reader waits for it.
    let stage = begin(child, b"", CAP)?;
    for byte in b"slow\r\n" {
        child.scene("between two bytes", "the peer waits until it asks for more", "");
        if child.until_blocked()? {
            stage.peer.send(&[*byte]);
        }
    }
    is(&one(child, &stage)?, b"slow", "sent each byte when recv was waiting for it")
}

/// `InvalidData`, twice: there is no way on behind a line that was too long.
fn too_long(child: &mut Child, stage: &Stage, first: &Line, peer: &str) -> Result<(), Refusal> {
    let mistake = match first {
        Err(e) if e.kind == "InvalidData" => None,
        Err(e) if e.kind == "Interrupted" => {
            Some("EINTR was returned as an error: call recv again")
        }
        Err(_) => Some("a line longer than the cap has a kind: InvalidData"),
        Ok(Some(line)) if line.len() <= CAP => {
            Some("the front of an over-long line was returned as if it were a whole line")
        }
        Ok(Some(_)) => Some("a line longer than the cap was returned: the cap is not kept"),
        Ok(None) => Some("an over-long line was taken for the end of the stream"),
    };
    if let Some(mistake) = mistake {
        return Err(Refusal::new(mistake).peer(peer).but("Err(InvalidData)", shown(first)));
    }
    child.ask(Ask::Next { calls: 1, at: 1 }, &[], vec![])?;
    const AFTER: &str =
        "after an over-long line the next call has to fail again: what comes is its tail, no line";
    child.scene("in the call after the error", "the peer waits", AFTER);
    if child.until_blocked()? {
        return Err(Refusal::new(AFTER).peer(peer).but("Err(InvalidData) again", "it waits"));
    }
    let again = one(child, stage)?;
    match &again {
        Err(e) if e.kind == "InvalidData" => Ok(()),
        _ => Err(Refusal::new(AFTER).peer(peer).but("Err(InvalidData) again", shown(&again))),
    }
}

fn cap(child: &mut Child) -> Result<(), Refusal> {
    let long = |len: usize, end: &str| [&vec![b'x'; len][..], end.as_bytes()].concat();
    for end in ["\n", "\r\n"] {
        let peer = say!("sent a line of {CAP} bytes and {end:?}; the cap is {CAP}");
        let stage = begin(child, &[long(CAP, end), b"next\n".to_vec()].concat(), CAP)?;
        child.scene("with the whole line there", "the peer has sent it", "");
        is(&one(child, &stage)?, &long(CAP, ""), &peer)?;
        is(&next(child, &stage)?, b"next", &peer)?;
    }
    let stage = begin(child, &long(CAP, "\r"), CAP)?;
    let peer = say!("sent a line of {CAP} bytes and \\r, paused, and sent \\n; the cap is {CAP}");
    child.scene("between \\r and \\n", "the peer has paused", "");
    if child.until_blocked()? {
        stage.peer.send(b"\n");
    }
    is(&one(child, &stage)?, &long(CAP, ""), &peer)?;
    // Much longer than any buffer, and within a cap as large.
    let line = pattern(300_000).into_iter().filter(|b| !b"\r\n".contains(b)).collect::<Vec<_>>();
    let stage = begin_on(child, b"", line.len(), pair()?)?;
    child.scene("in a line of 300000 bytes", "the peer has sent it, and its end", "");
    let outcome = thread::scope(|scope| {
        scope.spawn(|| stage.peer.send(&[&line[..], b"\n"].concat()));
        let outcome = one(child, &stage);
        stage.peer.abandon(); // where it stopped early, the sender still waits
        outcome
    })?;
    let did = "sent a line of 300000 bytes; the cap is as large";
    if matches!(&outcome, Err(e) if e.kind == "InvalidData") {
        return Err(Refusal::new(
            "a line within the cap was refused: the cap is what the caller says, and no buffer's size",
        )
        .peer(did)
        .but("Ok(the line)", shown(&outcome)));
    }
    is(&outcome, &line, did)?;
    for (more, end) in [(1, "\n"), (1, "\r\n"), (2000, "\n")] {
        let len = CAP + more;
        let stage = begin(child, &[long(len, end), b"next\n".to_vec()].concat(), CAP)?;
        let peer = say!("sent a line of {len} bytes and {end:?}; the cap is {CAP}");
        child.scene("with the whole line there", "the peer has sent it", "");
        let line = one(child, &stage)?;
        too_long(child, &stage, &line, &peer)?;
    }
    Ok(())
}

fn endless(child: &mut Child) -> Result<(), Refusal> {
    const WAITS: &str = "it waits for the end of a line that is over the cap already";
    let stage = begin(child, &[b'x'; CAP + 2], CAP)?;
    let peer = say!("sent {} bytes without \\n and waits; the cap is {CAP}", CAP + 2);
    child.scene(&say!("after {} bytes", CAP + 2), "the peer waits", WAITS);
    if child.until_blocked()? {
        return Err(Refusal::new(WAITS).peer(peer).but("Err(InvalidData)", "it waits"));
    }
    let line = one(child, &stage)?;
    too_long(child, &stage, &line, &peer)?;

    let stage = begin_on(child, b"", CAP, pair()?)?;
    child.scene("in a line without an end", "the peer has sent 8 MB", WAITS);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| stage.peer.send(&vec![b'x'; 8_000_000]));
        let outcome = child.said_as::<Said>();
        stage.peer.abandon();
        outcome
    });
    let (said, _) = outcome?;
    child.left_as_it_was(&said.after)?;
    if said.after.peak > 1 << 20 {
        return Err(Refusal::new("the reader gathers what the peer sends without a limit")
            .peer("sent 8 MB without \\n")
            .but("a few kB of memory", say!("{} bytes", said.after.peak)));
    }
    Ok(())
}

fn ends(child: &mut Child) -> Result<(), Refusal> {
    let again = "recv returned 0, which is the end of the stream; it called recv again";
    for sent in [&b""[..], b"one\n", b"one\r\n"] {
        let (peer, conn) = pair()?;
        peer.send(sent);
        peer.end();
        let stage = begin_on(child, b"", CAP, (peer, conn))?;
        let peer = say!("sent \"{}\" and ended its stream", sent.escape_ascii());
        child.scene("at the end", "the peer has already closed", again);
        let mut line = one(child, &stage)?;
        if !sent.is_empty() {
            is(&line, b"one", &peer)?;
            line = next(child, &stage)?;
        }
        for _ in 0..2 {
            let mistake = match &line {
                Ok(None) => "",
                Ok(Some(_)) => {
                    "behind the last line an empty one was returned: the stream has ended"
                }
                Err(_) => "an end behind a whole line is no error: it is None",
            };
            if !mistake.is_empty() {
                return Err(Refusal::new(mistake).peer(peer).but("Ok(None)", shown(&line)));
            }
            line = next(child, &stage)?;
        }
    }
    for tail in [&b"tail"[..], b"tail\r", b"\r"] {
        let (peer, conn) = pair()?;
        peer.send(b"whole\n");
        peer.send(tail);
        peer.end();
        let stage = begin_on(child, b"", CAP, (peer, conn))?;
        let peer = say!("sent \"whole\\n{}\" and ended its stream", tail.escape_ascii());
        child.scene("in the tail", "the peer has already closed", again);
        is(&one(child, &stage)?, b"whole", &peer)?;
        for call in ["the first call", "the call after that"] {
            let line = next(child, &stage)?;
            let mistake = match &line {
                Err(e) if e.kind == "UnexpectedEof" => continue,
                Ok(Some(_)) => {
                    "an unterminated tail was returned as if it were a line: half a command is none"
                }
                Ok(None) if call == "the first call" => {
                    "an unterminated tail was dropped in silence: that is no clean end"
                }
                Ok(None) => {
                    "after UnexpectedEof the next call says clean end: it has to fail again"
                }
                Err(_) => "an end inside a line has a kind: UnexpectedEof",
            };
            return Err(Refusal::new(mistake)
                .peer(peer)
                .but(say!("Err(UnexpectedEof) at {call}"), shown(&line)));
        }
    }
    Ok(())
}

fn two_readers(child: &mut Child) -> Result<(), Refusal> {
    let ((one_peer, one_conn), (two_peer, two_conn)) = (pair()?, pair()?);
    one_peer.send(b"a1\na2\n");
    two_peer.send(b"b1\nb2\n");
    arrived(&one_conn, 6)?;
    arrived(&two_conn, 6)?;
    child.ask(Ask::First { cap: CAP, at: 0, fd: None }, &[], vec![one_conn, two_conn])?;
    let turns = [
        (None, &b"a1"[..]),
        (Some(Ask::First { cap: CAP, at: 1, fd: None }), b"b1"),
        (Some(Ask::Next { calls: 1, at: 0 }), b"a2"),
        (Some(Ask::Next { calls: 1, at: 1 }), b"b2"),
    ];
    for (ask, line) in turns {
        if let Some(ask) = ask {
            child.ask(ask, &[], vec![])?;
        }
        child.scene(
            "on one of two connections",
            "each peer has sent two lines",
            "two readers share something: each needs a buffer of its own",
        );
        let (said, bytes) = child.said_as::<Said>()?;
        child.left_as_it_was(&said.after)?;
        let lines = split(said.lines, bytes);
        if !matches!(&lines[..], [Ok(Some(got))] if got == line) {
            return Err(Refusal::new(
                "two readers share something: each needs a buffer of its own",
            )
            .but(shown(&Ok(Some(line.into()))), lines.first().map_or(say!("nothing"), shown)));
        }
    }
    Ok(())
}

fn goes_on(child: &mut Child) -> Result<(), Refusal> {
    // A socket that does not wait: half a line, EAGAIN, the other half.
    let (peer, conn) = pair()?;
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    let keep = conn.try_clone()?;
    let stage = begin_on(child, b"whole\nhal", CAP, (peer, conn))?;
    child.scene("after half a line", "the socket is non-blocking: recv says EAGAIN", "");
    let peer = "sent \"whole\\nhal\"; the socket is non-blocking, and recv says EAGAIN";
    is(&one(child, &stage)?, b"whole", peer)?;
    let line = next(child, &stage)?;
    if !matches!(&line, Err(e) if e.errno == Some(libc::EAGAIN)) {
        return Err(Refusal::new(
            "recv said EAGAIN, and the caller got something else: an end, or a time-out of its own",
        )
        .peer(peer)
        .but("Err(WouldBlock)", shown(&line)));
    }
    stage.peer.send(b"f\n");
    arrived(&keep, 2)?;
    match next(child, &stage)? {
        // A reader that has failed may stay so: nothing is lost in silence.
        Err(e) if e.errno == Some(libc::EAGAIN) => Ok(()),
        line => is(&line, b"half", "sent \"hal\", EAGAIN came between, and sent \"f\\n\""),
    }
}

fn many(child: &mut Child) -> Result<(), Refusal> {
    const LINES: usize = 20_000;
    let noise = pattern(LINES);
    let lines: Vec<Vec<u8>> = (0..LINES)
        .map(|n| {
            let mut line = format!("{n} ").into_bytes();
            line.resize(line.len() + usize::from(noise[n]) % 100, b'a' + noise[n] % 26);
            line
        })
        .collect();
    let all = lines.join(&b'\n');
    let (peer, conn) = pair_with(TINY)?;
    let (stage, fds) = stage((peer, conn))?;
    child.scene("in the middle of 20000 lines", "the peer has sent them all", "");
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            stage.peer.send(&all);
            stage.peer.send(b"\n");
            stage.peer.end();
        });
        let outcome = child
            .call_as::<Said>(Ask::First { cap: CAP, at: 1, fd: None }, &[], fds)
            .and_then(|first| {
                let rest =
                    child.call_as::<Said>(Ask::Next { calls: LINES + 1, at: 1 }, &[], vec![])?;
                Ok((first, rest))
            });
        stage.peer.abandon(); // where it stopped early, the sender still waits
        outcome
    });
    let ((first, first_bytes), (rest, rest_bytes)) = outcome?;
    child.left_as_it_was(&rest.after)?;
    let mut got = split(first.lines, first_bytes);
    got.extend(split(rest.lines, rest_bytes));
    let peer = "sent 20000 lines as fast as they went, and ended its stream";
    for (n, line) in lines.iter().enumerate() {
        match got.get(n) {
            Some(result) => is(result, line, peer)?,
            None => return Err(Refusal::new(say!("line {n} of 20000 was never returned"))),
        }
    }
    match got.last() {
        Some(Ok(None)) => Ok(()),
        _ => Err(Refusal::new("behind the last of 20000 lines comes None")),
    }
}
