//! Exercise `lines`: a reader of lines with a buffer and a cap. Article 3.2.

use std::collections::BTreeMap;

use crate::prelude::*;

/// Grades the answer. It is asked to make reader `at` with a cap of `n`, and for a first line; for
/// up to `n` more lines; to drop the readers.
pub fn grade<Reader>(
    new: fn(RawFd, usize) -> Reader,
    next_line: fn(&mut Reader) -> io::Result<Option<Vec<u8>>>,
) -> ExitCode {
    let mut readers = BTreeMap::new();
    grading::grade("lines", CASES, move |(what, n, at): (String, usize, usize), given| {
        let call = || {
            let mut times = n;
            match &*what {
                "drop" => readers.clear(),
                "first" => {
                    times = 1;
                    readers.insert(at, new(given.fds.get(at).copied().unwrap_or(given.fd()), n));
                }
                _ => {}
            }
            let Some(reader) = readers.get_mut(&at) else { return Ok((0, false, Vec::new())) };
            let (mut count, mut bytes) = (0, Vec::new());
            while count < times {
                let Some(line) = next_line(reader)? else { return Ok((count, false, bytes)) };
                bytes.extend(line);
                if times > 1 {
                    bytes.push(b'\n');
                }
                count += 1;
            }
            Ok((count, true, bytes))
        };
        let mut count = 0;
        let said = given.call(call, |(lines, more, bytes)| {
            count = lines;
            (if more { "Ok(Some)" } else { "Ok(None)" }.into(), bytes)
        });
        said.with(count)
    })
}

const EXAM: Receiver = Receiver {
    payload: b"a line",
    wire: |line| [line, b"\r\n"].concat(),
    ask: |_| json!(("first", CAP, 1)),
    whole: "Ok(Some)",
    nothing: "Ok(None)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
    mistake,
};

const CASES: &[Case] = &[
    ("three lines come at once: each is returned, in one recv", at_once),
    ("the end of a line is \\n or \\r\\n, and is not part of it", line_ends),
    ("the peer pauses, at every place, and a signal comes", every_cut),
    ("a line as long as the cap, and one byte more", cap),
    ("a line without an end costs no memory, and is not waited for", endless),
    ("the stream ends behind a line, and inside one", ends),
    ("two readers keep their bytes apart", two_readers),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("forty signals come while it waits", |c| EXAM.signals(c)),
    ("the peer resets the connection, in all its ways", |c| EXAM.resets(c)),
    ("half a line, EAGAIN, the other half: nothing is lost", goes_on),
    ("20000 lines through a buffer of 4 KiB", many),
];

const CAP: usize = 200;

fn mistake(seen: &Seen) -> &'static str {
    let (line, right) = (seen.got, seen.right);
    let bare = |line: &[u8]| line.iter().copied().filter(|&b| b != b'\r').collect::<Vec<_>>();
    if seen.said.kind() == "InvalidData" {
        "a line within the cap was refused: its end does not count"
    } else if seen.text == "Ok(None)" && right.is_empty() {
        "an empty line was taken for the end of the stream: it is a line"
    } else if seen.text == "Ok(None)" {
        "a line was there, and None says that the stream has ended"
    } else if seen.text != "Ok(Some)" {
        ""
    } else if line.ends_with(b"\n") {
        "the \\n is part of the line that was returned"
    } else if line.trim_ascii() == right.trim_ascii() && line.len() < right.len() {
        "white space was trimmed: only the end of a line, \\n or \\r\\n, is not part of it"
    } else if line.contains(&b'\n') {
        "two lines were returned as one"
    } else if line.strip_suffix(b"\r") == Some(right) {
        "the \\r of \\r\\n was left in the line"
    } else if bare(line) == bare(right) {
        "a \\r that is not right before the \\n belongs to the line"
    } else if line.is_empty() {
        "an empty line was returned where bytes had come"
    } else if right.starts_with(line) {
        "a line was returned before its \\n had come: recv gives what is there"
    } else if right.ends_with(line) {
        "the front of a line was lost: what came before a pause belongs to it"
    } else {
        "the bytes of the line are not those that were sent"
    }
}

/// A line comes, and it is this one.
fn takes(child: &mut Child, stage: &Stage, line: &[u8]) -> Verdict {
    EXAM.is(&stage.received(child)?, "Ok(Some)", line, line.len())
}

/// Another call of the reader.
fn ask(child: &mut Child) -> Verdict {
    child.ask(("next", 1, 1), &[], vec![])
}

fn at_once(child: &mut Child) -> Verdict {
    const LOST: &str = "the bytes behind the first line were lost: keep them for the next call";
    let did = "sent three lines at once";
    let stage = EXAM.begin(child, 0, b"first\nthe second\nthird\n", pair()?)?;
    child.scene("in line 1 of 3", did, "it waits although a \\n has come");
    let said = stage.received(child)?;
    EXAM.is(&said, "Ok(Some)", b"first", 5)?;
    let unread = said.unread();
    if unread > 0 {
        let mistake =
            "there is no buffer: one recv takes all that is there, not one line or one byte";
        let seen = say!("{unread} bytes unread");
        return refuse(mistake, "0 bytes unread after the first line", seen);
    }
    for line in [&b"the second"[..], b"third"] {
        child.scene("in the next line", did, LOST);
        ask(child)?;
        if child.until_blocked()? {
            return refuse(LOST, "Ok(Some)", "it waits");
        }
        takes(child, &stage, line)?;
    }
    child.call(("drop", 0, 1), &[], vec![]).map(drop)
}

fn line_ends(child: &mut Child) -> Verdict {
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
    let stage = EXAM.begin(child, 0, &all, pair()?)?;
    for (n, (sent, line)) in lines.iter().enumerate() {
        let did = say!("sent \"{}\"", sent.escape_ascii());
        child.scene(&say!("in line {} of 9", n + 1), &did, "");
        if n > 0 {
            ask(child)?;
        }
        takes(child, &stage, line)?;
    }
    Ok(())
}

fn every_cut(child: &mut Child) -> Verdict {
    // Byte by byte, each when the reader waits for it.
    let stage = EXAM.begin(child, 0, b"", pair()?)?;
    for byte in b"slow\r\n" {
        let did = "sent each byte when recv was waiting for it";
        child.scene("between two bytes", did, "");
        child.feed(&stage.peer, &[*byte])?;
    }
    takes(child, &stage, b"slow")?;
    let sent = b"ab\r\nc\n";
    for cut in 0..sent.len() {
        let stage = EXAM.begin(child, 0, &sent[..cut], pair()?)?;
        let did = say!("sent {cut} of 6 bytes, a signal came, then it sent the rest");
        child.scene(&say!("after {cut} of 6 bytes"), &did, "");
        if cut >= 4 {
            takes(child, &stage, b"ab")?;
            ask(child)?;
        }
        child.interrupts(1)?;
        child.feed(&stage.peer, &sent[cut..])?;
        if cut < 4 {
            takes(child, &stage, b"ab")?;
            ask(child)?;
        }
        takes(child, &stage, b"c")?;
    }
    Ok(())
}

/// `InvalidData`, twice: there is no way on behind a line that was too long.
fn too_long(child: &mut Child, stage: &Stage) -> Verdict {
    const AFTER: &str =
        "after an over-long line the next call has to fail again: what comes is its tail, no line";
    let said = stage.received(child)?;
    let mistake = match said.kind() {
        "InvalidData" => "",
        "Interrupted" => INTERRUPTED,
        "" if said.text() == "Ok(None)" => "an over-long line was taken for the end of the stream",
        "" if said.bytes.len() <= CAP => {
            "the front of an over-long line was returned as if it were a whole line"
        }
        "" => "a line longer than the cap was returned: the cap is not kept",
        _ => "a line longer than the cap has a kind: InvalidData",
    };
    said.judged(mistake, "Err(InvalidData)")?;
    ask(child)?;
    if child.until_blocked()? {
        return refuse(AFTER, "Err(InvalidData) again", "it waits");
    }
    let said = stage.received(child)?;
    let again = said.kind() == "InvalidData";
    said.ensure(again, AFTER, "Err(InvalidData) again")
}

fn cap(child: &mut Child) -> Verdict {
    let long = |len: usize, end: &str| [&vec![b'x'; len][..], end.as_bytes()].concat();
    for (more, end) in [(0, "\n"), (0, "\r\n"), (1, "\n"), (1, "\r\n"), (2000, "\n")] {
        let len = CAP + more;
        let stage =
            EXAM.begin(child, 0, &[long(len, end), b"next\n".to_vec()].concat(), pair()?)?;
        let did = say!("sent a line of {len} bytes and {end:?}; the cap is {CAP}");
        child.scene("with the whole line there", &did, "");
        if more > 0 {
            too_long(child, &stage)?;
            continue;
        }
        takes(child, &stage, &long(CAP, ""))?;
        ask(child)?;
        takes(child, &stage, b"next")?;
    }
    let half = EXAM.begin(child, 0, &long(CAP, "\r"), pair()?)?;
    let did = say!("sent a line of {CAP} bytes and \\r, paused, and sent \\n; the cap is {CAP}");
    child.scene("between \\r and \\n", &did, "");
    child.feed(&half.peer, b"\n")?;
    takes(child, &half, &long(CAP, ""))?;
    // Much longer than any buffer, and within a cap as large.
    let line = pattern(300_000).into_iter().filter(|b| !b"\r\n".contains(b)).collect::<Vec<_>>();
    let (large, fds) = stage(pair()?)?;
    child.ask(("first", line.len(), 1), &[], fds)?;
    let did = "sent a line of 300000 bytes; the cap is as large";
    child.scene("in a line of 300000 bytes", did, "");
    let said = large.said_while_sending(child, &[&line[..], b"\n"].concat(), false)?;
    if said.kind() == "InvalidData" {
        let mistake = "a line within the cap was refused: the cap is what the caller says, and no \
                       buffer's size";
        return Err(said.refused(mistake, "Ok(the line)"));
    }
    EXAM.is(&said, "Ok(Some)", &line, line.len())
}

fn endless(child: &mut Child) -> Verdict {
    const WAITS: &str = "it waits for the end of a line that is over the cap already";
    let stage = EXAM.begin(child, 0, &[b'x'; CAP + 2], pair()?)?;
    let did = say!("sent {} bytes without \\n and waits; the cap is {CAP}", CAP + 2);
    child.scene(&say!("after {} bytes", CAP + 2), &did, WAITS);
    if child.until_blocked()? {
        return refuse(WAITS, "Err(InvalidData)", "it waits");
    }
    too_long(child, &stage)?;
    let stage = EXAM.begin(child, 0, b"", pair()?)?;
    child.scene("in a line without an end", "sent 8 MB without \\n", WAITS);
    let said = stage.said_while_sending(child, &vec![b'x'; 8_000_000], false)?;
    let peak = said.after.peak;
    if peak > 1 << 20 {
        let mistake = "the reader gathers what the peer sends without a limit";
        return refuse(mistake, "a few kB of memory", say!("{peak} bytes"));
    }
    Ok(())
}

fn ends(child: &mut Child) -> Verdict {
    let again = "recv returned 0, which is the end of the stream; it called recv again";
    for (tail, is_clean) in [
        ("", true),
        ("one\n", true),
        ("one\r\n", true),
        ("tail", false),
        ("tail\r", false),
        ("\r", false),
    ] {
        let (peer, conn) = pair()?;
        let first: &[u8] = if is_clean { b"" } else { b"whole\n" };
        peer.send(&[first, tail.as_bytes()].concat());
        peer.end();
        let stage = EXAM.begin(child, 0, b"", (peer, conn))?;
        let did = say!("sent {tail:?}, behind whole lines, and ended its stream");
        child.scene("at the end", &did, again);
        let before = if is_clean { tail.lines().next() } else { Some("whole") };
        if let Some(line) = before {
            takes(child, &stage, line.as_bytes())?;
            ask(child)?;
        }
        for call in ["the first call", "the call after that"] {
            let said = stage.received(child)?;
            let text = said.text();
            let mistake = if is_clean && text == "Ok(Some)" {
                "behind the last line an empty one was returned: the stream has ended"
            } else if is_clean && text != "Ok(None)" {
                "an end behind a whole line is no error: it is None"
            } else if is_clean || text == EXAM.cut {
                ""
            } else if text == "Ok(Some)" {
                "an unterminated tail was returned as if it were a line: half a command is none"
            } else if text == "Ok(None)" && call == "the first call" {
                "an unterminated tail was dropped in silence: that is no clean end"
            } else if text == "Ok(None)" {
                "after UnexpectedEof the next call says clean end: it has to fail again"
            } else {
                "an end inside a line has a kind: UnexpectedEof"
            };
            let expected = if is_clean { EXAM.nothing } else { EXAM.cut };
            said.judged(mistake, say!("{expected} at {call}"))?;
            ask(child)?;
        }
        child.said()?;
    }
    Ok(())
}

fn two_readers(child: &mut Child) -> Verdict {
    const SHARED: &str = "two readers share something: each needs a buffer of its own";
    let ((one_peer, one_conn), (two_peer, two_conn)) = (pair()?, pair()?);
    one_peer.send(b"a1\na2\n");
    two_peer.send(b"b1\nb2\n");
    arrived(&one_conn, 6)?;
    arrived(&two_conn, 6)?;
    let mut fds = vec![one_conn, two_conn];
    let turns = [("first", 0, "a1"), ("first", 1, "b1"), ("next", 0, "a2"), ("next", 1, "b2")];
    for (what, at, line) in turns {
        child.scene("on one of two connections", "each peer has sent two lines", SHARED);
        let n = if what == "first" { CAP } else { 1 };
        let said = child.call((what, n, at), &[], std::mem::take(&mut fds))?;
        let same = said.text() == "Ok(Some)" && said.bytes == line.as_bytes();
        said.ensure(same, SHARED, format!("Ok(Some(\"{line}\"))"))?;
    }
    Ok(())
}

fn goes_on(child: &mut Child) -> Verdict {
    // A socket that does not wait: half a line, EAGAIN, the other half.
    let (peer, conn) = non_blocking(pair()?)?;
    let keep = conn.try_clone()?;
    let stage = EXAM.begin(child, 0, b"whole\nhal", (peer, conn))?;
    let did = "sent \"whole\\nhal\"; the socket is non-blocking, and recv says EAGAIN";
    child.scene("after half a line", did, "");
    takes(child, &stage, b"whole")?;
    ask(child)?;
    let said = stage.received(child)?;
    let again = said.errno() == libc::EAGAIN;
    let mistake =
        "recv said EAGAIN, and the caller got something else: an end, or a time-out of its own";
    said.ensure(again, mistake, "Err(WouldBlock)")?;
    stage.peer.send(b"f\n");
    arrived(&keep, 2)?;
    let did = "sent \"hal\", EAGAIN came between, and sent \"f\\n\"";
    child.scene("after the other half", did, "");
    ask(child)?;
    let said = stage.received(child)?;
    // A reader that has failed may stay so: nothing is lost in silence.
    if said.errno() == libc::EAGAIN { Ok(()) } else { EXAM.is(&said, "Ok(Some)", b"half", 4) }
}

fn many(child: &mut Child) -> Verdict {
    const LINES: usize = 20_000;
    let noise = pattern(LINES);
    let mut all = Vec::new();
    for (n, noise) in noise.into_iter().enumerate() {
        all.extend(format!("{n} ").into_bytes());
        all.extend(vec![b'a' + noise % 26; usize::from(noise) % 100]);
        all.push(b'\n');
    }
    let (stage, fds) = stage(pair_with(TINY)?)?;
    stage.peer.send(b"\n");
    child.call(("first", CAP, 1), &[], fds)?;
    child.ask(("next", LINES + 1, 1), &[], vec![])?;
    let did = "sent 20000 lines as fast as they went, and ended its stream";
    child.scene("in the middle of 20000 lines", did, "");
    let said = stage.said_while_sending(child, &all, true)?;
    if said.bytes == all && said.text() == "Ok(None)" {
        return Ok(());
    }
    let mistake = if said.more == LINES {
        "the bytes of the line are not those that were sent"
    } else {
        "behind the last of 20000 lines comes None"
    };
    let seen = say!("{} after {} lines", said.shown(), said.more);
    Err(Refusal::new(mistake).but("Ok(None) after 20000 lines", seen).bytes(&all, &said.bytes))
}
