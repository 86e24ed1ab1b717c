//! Exercise `records`: every message has 128 bytes, 32 and 96. Article 3.3.

use crate::prelude::*;

type Record = ([u8; 32], [u8; 96]);

/// Grades the answer: asked for so many records, one after the other.
pub fn grade(answer: fn(RawFd) -> io::Result<Option<Record>>) -> ExitCode {
    grading::grade("records", CASES, |times: usize, given| {
        let mut bytes = Vec::with_capacity(SIZE * times);
        let call = || {
            for _ in 0..times {
                let Some((header, body)) = answer(given.fd())? else { return Ok(false) };
                bytes.extend(header);
                bytes.extend(body);
            }
            Ok(true)
        };
        let text = |came| if came { EXAM.whole } else { EXAM.nothing };
        let said = given.call(call, |came| (text(came).into(), Vec::new()));
        Said { bytes, ..said }
    })
}

const EXAM: Receiver = Receiver {
    payload: &[b'r'; SIZE],
    wire: <[u8]>::to_vec,
    ask: |_| json!(1),
    whole: "Ok(Some(a record))",
    nothing: "Ok(None)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
    mistake,
};

const CASES: &[Case] = &[
    ("three records at once: one a call, and not a byte more", at_once),
    ("the peer pauses, at every place, and a signal comes", |c| EXAM.pauses(c, &pattern(SIZE))),
    ("the peer ends its stream, at every place", |c| {
        EXAM.ends(c, [0, 32, 31, 33].into_iter().chain(1..SIZE))
    }),
    ("8000 records through a buffer of 4 KiB", many),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("forty signals come while it waits", |c| EXAM.signals(c)),
    ("the peer resets the connection, in all its ways", |c| EXAM.resets(c)),
];

const SIZE: usize = 128;

fn mistake(seen: &Seen) -> &'static str {
    let (same, got) = (seen.same() % SIZE, &seen.got[seen.same() / SIZE * SIZE..]);
    let zeroes = got.iter().skip(same).all(|&b| b == 0);
    let inside = seen.expected == EXAM.cut;
    if seen.expected == EXAM.nothing && seen.text == EXAM.whole {
        "the stream ended, and a record was returned"
    } else if seen.expected == EXAM.nothing {
        "an end between two records is no error: it is None"
    } else if inside && seen.text == EXAM.nothing && seen.cut == 32 {
        "an end right behind the header was taken for a clean end: the body is missing"
    } else if inside && seen.text == EXAM.nothing {
        "an end inside a record was taken for a clean end: a record had begun"
    } else if inside && seen.text == EXAM.whole {
        "the stream ended inside a record, and the record was taken for whole"
    } else if inside {
        "an end inside a record has a kind: UnexpectedEof"
    } else if seen.text == EXAM.nothing {
        "a record was there, and None says that the stream has ended"
    } else if seen.text != EXAM.whole {
        ""
    } else if got.len() < SIZE {
        "fewer records came than were sent"
    } else if same == 0 && got[32..SIZE] == seen.right[..96] {
        "header and body are swapped: the header comes first"
    } else if same == 32 && zeroes {
        "the header came and the body did not: it is the next 96 bytes"
    } else if same == 32 {
        "the body is not what came behind the header: it is the next 96 bytes"
    } else if zeroes {
        "a record was returned before its 128 bytes had come"
    } else {
        "the pieces are not one behind the other: the next recv writes behind the last one"
    }
}

fn at_once(child: &mut Child) -> Verdict {
    let all = pattern(3 * SIZE);
    EXAM.at_once(child, &all.chunks(SIZE).collect::<Vec<_>>())
}

fn many(child: &mut Child) -> Verdict {
    const COUNT: usize = 8000;
    let all = pattern(COUNT * SIZE);
    let (stage, fds) = stage(pair_with(TINY)?)?;
    child.ask(COUNT + 1, &[], fds)?;
    let did = "sent 8000 records as fast as they went, and ended its stream";
    child.scene("in the middle of 8000 records", did, "");
    let said = stage.said_while_sending(child, &all, true)?;
    if said.bytes == all && said.text() == EXAM.nothing {
        return Ok(());
    }
    EXAM.is(&said, EXAM.whole, &all, SIZE)?;
    Err(said.refused("behind the last record comes None", "Ok(None)"))
}
