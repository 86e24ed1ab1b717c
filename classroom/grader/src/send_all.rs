//! Exercise `send_all`: send a buffer to the last byte. Article 2.1.

use crate::calls::{self, Seldom};
use crate::examination::moves_huge;
use crate::huge;
use crate::prelude::*;

/// Grades the answer: asked to send the bytes; or 4 GiB and 5 zeroes.
pub fn grade(answer: fn(RawFd, &[u8]) -> io::Result<()>) -> ExitCode {
    // All messages stand at one place: what was kept of the last one is taken for this one's.
    let mut space = None;
    grading::grade("send_all", CASES, |huge: bool, given| {
        let space = space.get_or_insert_with(|| huge::map(1 << 26).expect("room"));
        // Not where a page begins.
        let buf = &mut space[1..=given.bytes.len()];
        buf.copy_from_slice(&given.bytes);
        calls::lends(buf);
        given.call(|| answer(given.fd(), if huge { huge::zeroes()? } else { buf }), ok)
    })
}

const EXAM: Sender = Sender {
    ask: |_| json!(false),
    call: "send",
    wire: <[u8]>::to_vec,
    done: "Ok",
    gone: None,
    copy: "it builds a copy of the message: send can read from buf itself",
    mistake: |_| "",
};

const CASES: &[Case] = &[
    ("messages of 1 byte to 3 MB arrive, byte for byte", |c| {
        EXAM.sizes(c, &[1, 2, 17, 4096, 65_536, 300_000])?;
        c.seldom = Seldom::TakesLess;
        EXAM.plays(c, &pattern(3_000_000), &[Called])
    }),
    ("two messages on one connection", |c| {
        EXAM.plays(c, b"one", &[Called, Says("Ok", b""), Called])
    }),
    ("an empty buffer is Ok", |c| EXAM.empty(c)),
    ("4 MB to a peer that reads only when send waits", |c| {
        EXAM.slowly(c, json!(false), &pattern(4_000_003), [5, 0, 50_000])
    }),
    ("forty signals come while send waits", |c| EXAM.signals(c)),
    ("signals come while the peer reads a little at a time", |c| {
        EXAM.slowly(c, json!(false), &pattern(700_001), [60, 1, 3001])
    }),
    ("30 MB, with a signal after 17", |c| EXAM.large(c)),
    ("the peer has ended its own stream, and reads on", |c| EXAM.half_closed(c)),
    ("the peer goes: an error, and no SIGPIPE", |c| EXAM.gone(c)),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("more than 4 GiB, of which only the first bytes can go", |c| {
        sends_huge(c, json!(true))?;
        moves_huge(c, json!(true), EXAM.done)
    }),
];
