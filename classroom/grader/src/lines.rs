//! Exercise `lines`: a reader of lines with a buffer and a cap. Article 3.2.

use std::collections::BTreeMap;

use crate::alloc;
use crate::prelude::*;

/// Grades the answer. It is asked to make reader `at` with a cap of `n`, and for a first line; for
/// up to `n` more lines; to drop the readers, and says how much memory that frees.
pub fn grade<Reader>(
    new: fn(RawFd, usize) -> Reader,
    next_line: fn(&mut Reader) -> io::Result<Option<Vec<u8>>>,
) -> ExitCode {
    let mut readers = BTreeMap::new();
    grading::grade(
        "lines",
        &EXAM.cases(&[], CASES),
        move |(what, n, at): (String, usize, usize), given| {
            let before = alloc::now();
            let call = || {
                let mut times = n;
                match &*what {
                    "drop" => readers.clear(),
                    "first" => {
                        times = 1;
                        readers
                            .insert(at, new(given.fds.get(at).copied().unwrap_or(given.fd()), n));
                    }
                    _ => {}
                }
                let Some(reader) = readers.get_mut(&at) else {
                    return Ok((before.saturating_sub(alloc::now()), false, Vec::new()));
                };
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
        },
    )
}

const EXAM: Receiver = Receiver {
    what: "a line",
    payload: b"a line",
    several: &[b"first", b"the second", b"third"],
    wire: |line| [line, b"\r\n"].concat(),
    ask: |_, calls| if calls == 0 { json!(("first", CAP, 1)) } else { json!(("next", 1, 1)) },
    buffers: true,
    mistake,
    ..RECEIVER
};

const LINE: &str = EXAM.whole;
const NONE: &str = EXAM.nothing;
const CUT: &str = EXAM.cut;
const TOO_LONG: &str = "Err(InvalidData)";
const CAP: usize = 200;
const X: [u8; CAP] = [b'x'; CAP];

const CASES: &[Case] = &[
    ("the end of a line is \\n or \\r\\n, and is not part of it", line_ends),
    ("a line as long as the cap, and one byte more", cap),
    ("a cap is a limit, however large", |c| EXAM.capped(c, |cap| json!(("first", cap, 1)))),
    ("a line without an end costs no memory, and is not waited for", endless),
    ("the stream ends after a line, and inside one", ends),
    ("two readers keep their bytes apart", two_readers),
    ("half a line, EAGAIN, the other half: nothing is lost", halves),
    ("20000 lines through a buffer of 4 KiB", many),
];

fn mistake(seen: &Seen) -> &'static str {
    let Seen { text, expected, right, got, calls, .. } = *seen;
    let bare = |line: &[u8]| line.iter().copied().filter(|&b| b != b'\r').collect::<Vec<_>>();
    let is = |right, said| (expected, text) == (right, said);
    first! {
        is(LINE, "") && calls > 1 =>
            "the bytes after the first line were lost: keep them for the next call",
        is(LINE, "") => "it waits although a \\n has come",
        is(TOO_LONG, "") && calls == 1 =>
            "it waits for the end of a line that is over the cap already",
        expected == TOO_LONG && calls > 1 =>
            "after an over-long line the next call has to fail again: what comes is its tail, no \
             line",
        is(TOO_LONG, LINE) && got == b"next" =>
            "a line over the cap was left out, and the next one returned: it is InvalidData",
        is(TOO_LONG, LINE) && got.len() <= CAP =>
            "the front of an over-long line was returned as if it were a whole line",
        is(TOO_LONG, LINE) => "a line longer than the cap was returned: the cap is not kept",
        is(LINE, TOO_LONG) && right.len() > CAP =>
            "a line within the cap was refused: the cap is what the caller says, and no buffer's \
             size",
        is(LINE, TOO_LONG) && right.len() + 2 < CAP =>
            "a short line was refused: only its own bytes count, and not what has come after it",
        is(LINE, TOO_LONG) => "a line within the cap was refused: its end does not count",
        is(CUT, NONE) && calls > 2 =>
            "after UnexpectedEof the next call says clean end: it has to fail again",
        is(LINE, LINE) && got.ends_with(b"\n") => "the \\n is part of the line that was returned",
        is(LINE, LINE) && right.strip_prefix(got).is_some_and(|cut| bare(cut).is_empty()) =>
            "more than one \\r was cut off: only the one right before the \\n is no part of the line",
        is(LINE, LINE) && got.trim_ascii() == right.trim_ascii() && got.len() < right.len() =>
            "white space was trimmed: only the end of a line, \\n or \\r\\n, is not part of it",
        is(LINE, LINE) && got.contains(&b'\n') => "two lines were returned as one",
        is(LINE, LINE) && got.strip_suffix(b"\r") == Some(right) =>
            "the \\r of \\r\\n was left in the line",
        is(LINE, LINE)
            && (bare(got) == bare(right)
                || right.strip_prefix(got).is_some_and(|cut| cut.starts_with(b"\r"))) =>
            "a \\r that is not right before the \\n belongs to the line",
        is(LINE, LINE) && right.len() > got.len() && !got.is_empty() && right.ends_with(got) =>
            "the front of a line was lost: what came before a pause belongs to it",
    }
}

fn of_no_cap(_: &Seen) -> &'static str {
    "a cap of 0 was taken for none, or for another one: only an empty line may pass then"
}

fn line_ends(child: &mut Child) -> Verdict {
    let sent = b"HELO\r\n\n\r\na\rb\n spaces \t\n\r\r\n\xff\x00\xc3\n\rx\r\nend\n";
    let lines: [&[u8]; 9] =
        [b"HELO", b"", b"", b"a\rb", b" spaces \t", b"\r", b"\xff\x00\xc3", b"\rx", b"end"];
    let reads = lines.map(|line| [Called, Says(LINE, line)]).concat();
    EXAM.plays(child, &[&[Sends(sent)], &reads[..]].concat())
}

fn cap(child: &mut Child) -> Verdict {
    for end in [&b"\n"[..], b"\r\n"] {
        let fits = [&X, end, b"next\n"].concat();
        let reads = [Called, Says(LINE, &X), Called, Says(LINE, b"next")];
        EXAM.plays(child, &[&[Sends(&fits)], &reads[..]].concat())?;
        for more in [1, 2000] {
            let long = [&X, &vec![b'x'; more][..], end, b"next\n"].concat();
            let fails = [Called, Says(TOO_LONG, b""), Called, Says(TOO_LONG, b"")];
            EXAM.plays(child, &[&[Sends(&long)], &fails[..]].concat())?;
        }
    }
    for (sent, says) in [(&b"\n\r\n"[..], Says(LINE, b"")), (b"x\n", Says(TOO_LONG, b""))] {
        let exam = Receiver { mistake: of_no_cap, ..EXAM };
        exam.plays(child, &[Sends(sent), Asked(&json!(("first", 0, 1))), says, Called, says])?;
    }
    // A short line before one that is too long comes first.
    let two = [b"short\n", &X[..], b"x\nnext\n"].concat();
    let reads = [Called, Says(LINE, b"short"), Called, Says(TOO_LONG, b"")];
    EXAM.plays(child, &[&[Sends(&two)], &reads[..]].concat())?;
    let half = [&X[..], b"\r"].concat();
    EXAM.plays(child, &[Sends(&half), Called, Sends(b"\n"), Says(LINE, &X)])?;
    // Much longer than any buffer, and within a cap as large.
    let line = pattern(300_000).into_iter().filter(|b| !b"\r\n".contains(b)).collect::<Vec<_>>();
    let (ask, sent) = (json!(("first", line.len(), 1)), [&line[..], b"\n"].concat());
    EXAM.plays(child, &[Asked(&ask), Streams(&sent), Says(LINE, &line)])
}

fn endless(child: &mut Child) -> Verdict {
    let fails = [Called, Says(TOO_LONG, b"")];
    // Of so many bytes the last is no \r.
    for long in [&[b'x'; CAP + 1][..], &[&X[..], b"\rx"].concat()] {
        EXAM.plays(child, &[&[Sends(long)], &fails[..], &fails].concat())?;
    }
    let more = "the reader gathers what the peer sends without a limit";
    let says = [Says(TOO_LONG, b""), AtMost(1 << 20, more)];
    EXAM.plays(child, &[&[Called, Streams(&[b'x'; 8_000_000])], &says[..]].concat())
}

fn ends(child: &mut Child) -> Verdict {
    let end = |says| [Called, Says(says, b""), Called, Says(says, b"")];
    for sent in [&b"one\n"[..], b"one\r\n"] {
        let moves = [Sends(sent), Ends, Called, Says(LINE, b"one")];
        EXAM.plays(child, &[&moves, &end(NONE)[..]].concat())?;
    }
    for tail in [&b"whole\ntail"[..], b"whole\ntail\r", b"whole\n\r"] {
        let moves = [Sends(tail), Ends, Called, Says(LINE, b"whole")];
        EXAM.plays(child, &[&moves, &end(CUT)[..]].concat())?;
    }
    Ok(())
}

fn two_readers(child: &mut Child) -> Verdict {
    let ((one, one_conn), (two, two_conn)) = (pair()?, pair()?);
    for (peer, conn, sent) in [(&one, &one_conn, b"a1\na2\n"), (&two, &two_conn, b"b1\nb2\n")] {
        peer.send(sent);
        arrived(conn, sent.len())?;
    }
    let mut fds = vec![one_conn, two_conn];
    for (what, at, line) in
        [("first", 0, "a1"), ("first", 1, "b1"), ("next", 0, "a2"), ("next", 1, "b2")]
    {
        let shared = "two readers share something: each needs a buffer of its own";
        child.scene("on one of two connections", "each peer has sent two lines", shared);
        let n = if what == "first" { CAP } else { 1 };
        let said = child.call((what, n, at), &[], std::mem::take(&mut fds))?;
        let same = said.text() == LINE && said.bytes == line.as_bytes();
        said.ensure(same, shared, format!("Ok(Some(\"{line}\"))"))?;
    }
    Ok(())
}

fn halves(child: &mut Child) -> Verdict {
    let whole = [Sends(b"whole\nhal"), Called, Says(LINE, b"whole"), Called];
    EXAM.plays(child, &[&whole, &[Signals(1), Sends(b"f\n"), Says(LINE, b"half")][..]].concat())?;
    let mut play = Play::new(&[])?;
    let again = [Says("Err(EAGAIN)", b""), Sends(b"f\n"), Called];
    EXAM.goes_on(child, &mut play, &[&[NonBlocking], &whole[..], &again].concat())?;
    // A reader that has failed may stay so: nothing is lost in silence.
    let said = play.said(child)?;
    if said.errno() == libc::EAGAIN { Ok(()) } else { EXAM.judges(&said, &play.so, LINE, b"half") }
}

fn many(child: &mut Child) -> Verdict {
    const LINES: usize = 20_000;
    let line = |(n, noise): (usize, u8)| {
        let tail = "x".repeat(usize::from(noise) % 100);
        format!("{n} {}{tail}\n", char::from(b'a' + noise % 26)).into_bytes()
    };
    let all: Vec<u8> = pattern(LINES).into_iter().enumerate().flat_map(line).collect();
    let ask = json!(("next", LINES + 1, 1));
    let first = [Sends(b"\n"), Called, Says(LINE, b"")];
    let rest = [Asked(&ask), Streams(&all), Ends, Says(NONE, &all)];
    EXAM.plays(child, &[&first, &rest[..]].concat())?;
    let held = child.call(("drop", 0, 1), &[], vec![])?.more.as_u64().unwrap_or(0);
    let grows = "the buffer grows with the stream, without an end: what was returned stays in it, \
                 or more is received while it holds a whole line";
    ensure(held <= 1 << 18, grows, "a buffer of a few KiB", say!("{held} bytes"))
}
