//! Exercise `clean_end`: a clean end, a broken frame, or a reset. Article 6.

use crate::examination::{of_values, values};
use crate::prelude::*;

/// How a stream of frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Between two frames, or before the first.
    Clean,
    /// Inside a frame.
    Broken,
    /// The peer reset the connection.
    Reset,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &mut Vec<Vec<u8>>) -> io::Result<End>) -> ExitCode {
    grading::grade("clean_end", &EXAM.cases(&[], CASES), |before: Option<String>, given| {
        // What stands in it before the call; or nothing.
        let before = before.map(String::into_bytes);
        let mut frames = Vec::from_iter(before.clone());
        let text = |end| (format!("Ok({end:?})"), Vec::new());
        let said = given.call(|| answer(given.fd(), &mut frames), text);
        match frames.strip_prefix(before.as_slice()) {
            Some(new) => Said { bytes: encode(new), ..said },
            None => Said { result: Ok(GONE.into()), ..said },
        }
    })
}

const EXAM: Receiver = Receiver {
    payload: b"\0\0\0\x05first\0\0\0\0\0\0\0\x05HELLO",
    ask: |_, _| json!("before"),
    marks: &[0, 9, 13, 22],
    whole: CLEAN,
    nothing: CLEAN,
    cut: BROKEN,
    reset: "Ok(Reset)",
    mistake,
    ..RECEIVER
};

const CLEAN: &str = "Ok(Clean)";
const GONE: &str = "Ok, and the first of frames is another";
const BROKEN: &str = "Ok(Broken)";
const TOO_LONG: &str = "Err(InvalidData)";

const CASES: &[Case] = &[
    ("payloads of any bytes", |c| {
        let exam = Receiver { mistake: of_values, ..EXAM };
        values(b"payload").into_iter().try_for_each(|one| {
            let all = encode(&[&one, &one]);
            exam.plays(c, &[Sends(&all), Ends, Called, Says(CLEAN, &all)])
        })
    }),
    ("frames of 65536 bytes through a buffer of 4 KiB", |c| {
        let bytes = pattern(65_536);
        let all = encode(&[&bytes[..], &bytes[..40_000]]);
        EXAM.plays(c, &[Called, Streams(&all), Ends, Says(CLEAN, &all)])?;
        let (cut, first) = (&all[..all.len() - 1], &all[..65_540]);
        EXAM.plays(c, &[Called, Streams(cut), Ends, Says(BROKEN, first)])
    }),
    ("70000 frames", |c| {
        let bytes = pattern(70_008);
        let all = encode(&(0..70_000).map(|n| &bytes[n..n + n % 4]).collect::<Vec<_>>());
        EXAM.plays(c, &[Called, Streams(&all), Ends, Says(CLEAN, &all)])
    }),
    ("a header that claims more than a frame may have", claims),
    ("nothing stands in frames before the call", |c| {
        Receiver { ask: |_, _| Value::Null, ..EXAM }.ends(c)
    }),
];

fn encode(payloads: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let one = |p: &[u8]| [&(p.len() as u32).to_be_bytes()[..], p].concat();
    payloads.iter().flat_map(|p| one(p.as_ref())).collect()
}

fn mistake(seen: &Seen) -> &'static str {
    let Seen { text, expected, right, got, .. } = *seen;
    let (few, many) = (got.len() < right.len(), got.len() > right.len());
    let empty = few
        && right.len() < 100
        && (right[got.len()..].starts_with(&[0; 4])
            || got == [&EXAM.payload[..9], &EXAM.payload[13..]].concat());
    first! {
        text == GONE =>
            "a frame that was there before the call is gone: push the new ones after it",
        text.is_empty() && expected == TOO_LONG =>
            "it waits for a payload that no frame may have: 65536 bytes at most",
        text.is_empty() => "",
        text == "Err(EAGAIN)" && empty =>
            "a frame that came whole before the error is missing: hand each over at once, and a \
             payload of 0 bytes needs no recv",
        empty => "a frame of 0 bytes is missing: it is a frame, and neither an end nor an error",
        expected == TOO_LONG && (text != expected || many) =>
            "a header that claims more than a frame may have is InvalidData",
        text == expected && few =>
            "frames that came whole before the end are missing: it stopped early, or lost them",
        text == expected && many => "it handed over a frame that is not whole, or was never sent",
        text == expected => "a payload is not what was sent",
        few && text != expected && right.len() > 200_000 =>
            "it gave up after some frames: a stream may have any number of them",
        text == TOO_LONG =>
            "a length up to 65536 was refused, or it was read wrong: it is big-endian",
        text == BROKEN && few => "it took a frame that was still on its way for a broken one",
        text == BROKEN => "0 where the next header would begin is no broken frame: nothing is cut",
        text == CLEAN && seen.cut < right.len() + 4 =>
            "a stream that ends inside the header was taken for a clean end: 1 to 3 bytes are not \
             0",
        text == CLEAN =>
            "a stream that ends inside a payload was taken for a clean end: the header promised \
             more",
        text == "Err(UnexpectedEof)" =>
            "a cut frame is Ok(Broken) here: the caller is to tell the ends apart",
        text == "Ok(Reset)" => "nobody reset anything: that was recv saying 0",
    }
}

/// What a header claims is no reason to take memory.
fn claims(child: &mut Child) -> Verdict {
    for claim in [1 << 24, 65_537, 0x7fff_ffff, 1 << 31, u32::MAX] {
        let first = encode(&[b"first"]);
        let sent = [&first[..], &claim.to_be_bytes(), b"12345678"].concat();
        let early = "memory was taken before the length was looked at: first the limit, then the \
                     buffer";
        let says = [Says(TOO_LONG, &first), AtMost(1 << 17, early)];
        EXAM.plays(child, &[&[Sends(&sent), Called], &says[..]].concat())?;
    }
    Ok(())
}
