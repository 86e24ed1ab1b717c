//! Exercise `recv_exact`: fill a buffer to the last byte. Article 2.1.

use crate::calls;
use crate::huge;
use crate::prelude::*;

/// Grades the answer: asked for so many bytes; or for 4 GiB and 5.
pub fn grade(answer: fn(RawFd, &mut [u8]) -> io::Result<()>) -> ExitCode {
    grading::grade("recv_exact", &EXAM.cases(&[], CASES), |len: Option<usize>, given| {
        let mut room = Room::new(len.unwrap_or(0));
        let call = || {
            let buf = match len {
                Some(_) => room.buf(),
                None => huge::zeroes()?,
            };
            calls::lends(buf);
            answer(given.fd(), buf)
        };
        let mut said = given.call(call, ok);
        room.told(&mut said);
        said
    })
}

const EXAM: Receiver = Receiver {
    what: "the message",
    payload: b"GET\0/ \xffTP/1.1",
    several: &[b"hello world", b"AND MORE"],
    ask: |len, _| json!(len),
    whole: "Ok",
    nothing: "Err(UnexpectedEof)",
    mistake,
    ..RECEIVER
};

const CASES: &[Case] = &[
    ("an empty buffer needs no call", |c| {
        EXAM.plays(c, &[Called, Says("Ok", b"")])?;
        EXAM.plays(c, &[Ends, Called, Says("Ok", b"")])
    }),
    ("17 MB through a buffer of 4 KiB", |c| {
        let copy = "it builds a copy of the message: recv can write into buf itself";
        let all = pattern(17_000_001);
        let says = [Says("Ok", &all), Offered(all.len()), AtMost(1 << 20, copy)];
        EXAM.plays(c, &[&[Tiny, Called, Streams(&all)], &says[..]].concat())
    }),
    ("a buffer of more than 4 GiB", |c| EXAM.huge(c, Value::Null)),
];

fn mistake(seen: &Seen) -> &'static str {
    let empty = seen.expected == "Ok" && seen.right.is_empty();
    match seen.text {
        text if seen.expected == EXAM.cut && text.starts_with("Err") && seen.said.errno() == 0 => {
            "the end of the stream inside the message, or before it, is UnexpectedEof: this is \
             another kind"
        }
        "" if empty => "it called recv for an empty buffer, and that waits: check before the call",
        _ if empty => "an empty buffer is full before the first recv: that is no end of stream",
        "Ok" if seen.got.len() > 1 && seen.got.iter().all(|&b| b == 0xa5) && seen.cut > 0 => {
            "nothing was written to the buffer, and yet it returned Ok"
        }
        _ => "",
    }
}
