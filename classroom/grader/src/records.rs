//! Exercise `records`: every message has 128 bytes, 32 and 96. Article 3.3.

use crate::prelude::*;

type Record = ([u8; 32], [u8; 96]);

/// Grades the answer: asked for so many records, one after the other.
pub fn grade(answer: fn(RawFd) -> io::Result<Option<Record>>) -> ExitCode {
    grading::grade("records", &EXAM.cases(&[], CASES), |times: usize, given| {
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
    what: "a record",
    payload: &record(1),
    several: &[&record(2), &record(3), &record(4)],
    ask: |_, _| json!(1),
    whole: "Ok(Some(a record))",
    mistake,
    ..RECEIVER
};

const CASES: &[Case] = &[("8000 records through a buffer of 4 KiB", many)];

const SIZE: usize = 128;

/// No two bytes of it are alike.
const fn record(first: u8) -> [u8; SIZE] {
    let (mut record, mut n) = ([first; SIZE], 1);
    while n < SIZE {
        record[n] = record[n - 1].wrapping_add(37);
        n += 1;
    }
    record
}

fn mistake(seen: &Seen) -> &'static str {
    // What is wrong begins in this record, after so many right bytes.
    let (same, got) = (seen.same() % SIZE, &seen.got[seen.same() / SIZE * SIZE..]);
    if got.len() < SIZE || seen.expected == EXAM.cut {
        ""
    } else if same == 0 && got[32..SIZE] == seen.right[..96] {
        "header and body are swapped: the header comes first"
    } else if same == 32 {
        "the body is not what came after the header: it is the next 96 bytes"
    } else {
        ""
    }
}

fn many(child: &mut Child) -> Verdict {
    const COUNT: usize = 8000;
    let all = pattern(COUNT * SIZE);
    let moves = [Asked(&json!(COUNT + 1)), Streams(&all), Ends, Says(EXAM.nothing, &all)];
    EXAM.plays(child, &moves)
}
