//! Exercise `sigpipe`: send to a peer that may be gone, and live to tell. Article 10, 12.

use crate::prelude::*;

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &[u8]) -> io::Result<bool>) -> ExitCode {
    grading::grade("sigpipe", CASES, |(): (), given| {
        let text = |there| (format!("Ok({there})"), Vec::new());
        given.call(|| answer(given.fd(), &given.bytes), text)
    })
}

const EXAM: Sender = Sender {
    ask: |_| Value::Null,
    call: "send",
    wire: <[u8]>::to_vec,
    done: "Ok(true)",
    gone: Some("Ok(false)"),
    copy: "",
    mistake: |seen| match seen.text {
        "Ok(true)" if seen.right.starts_with(seen.got) => "it returned true before all was sent",
        "Ok(false)" if seen.right.is_empty() => {
            "an empty message says nothing about the peer: it is true"
        }
        "Ok(false)" => "the peer is there and reads, and false says that it has gone",
        _ => "",
    },
};

const CASES: &[Case] = &[
    Case { name: "the peer is there, and reads: true", run: |c| EXAM.sizes(c, &[5, 0, 300_000]) },
    Case {
        name: "signals come while the peer reads a little at a time",
        run: |c| EXAM.slowly(c, Value::Null, &pattern(300_000), [1, 3, 3001]),
    },
    Case { name: "the peer has ended its own stream, and reads on", run: |c| EXAM.half_closed(c) },
    Case { name: "the peer goes: false, and no SIGPIPE", run: |c| EXAM.gone(c) },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
    Case { name: "forty signals come while send waits", run: |c| EXAM.signals(c) },
];
