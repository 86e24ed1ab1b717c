//! Exercise `sigpipe`: send to a peer that may be gone, and live to tell. Article 10, 12.

use nix::errno::Errno::*;

use crate::huge;
use crate::prelude::*;

/// Grades the answer: asked to send the bytes; or 4 GiB and 5 zeroes.
pub fn grade(answer: fn(RawFd, &[u8]) -> io::Result<bool>) -> ExitCode {
    grading::grade("sigpipe", CASES, |huge: bool, given| {
        let text = |there| (format!("Ok({there})"), Vec::new());
        let call = || answer(given.fd(), if huge { huge::zeroes()? } else { &given.bytes });
        given.call(call, text)
    })
}

const EXAM: Sender = Sender {
    ask: |_| json!(false),
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
        "Ok(false)" if seen.said.calls("send") + seen.said.calls("sendmsg") == 0 => {
            "false without a call: another connection had this descriptor's number, and has gone"
        }
        "Ok(false)" => "the peer is there and reads, and false says that it has gone",
        _ => "",
    },
};

const CASES: &[Case] = &[
    ("the peer is there, and reads: true", |c| EXAM.sizes(c, &[5, 300_000])),
    ("signals come while the peer reads a little at a time", |c| {
        EXAM.slowly(c, json!(false), &pattern(300_000), [1, 3, 3001])
    }),
    ("30 MB, with a signal after 17", |c| EXAM.large(c)),
    ("the peer has ended its own stream, and reads on", |c| EXAM.half_closed(c)),
    ("an empty buffer is true", |c| EXAM.empty(c)),
    ("the peer goes: false, and no SIGPIPE", |c| EXAM.gone(c)),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("other errors, as send seldom says them", |c| {
        let errnos = [ECONNABORTED, ENOTCONN, ECONNREFUSED, ENETRESET, EHOSTUNREACH, ENETDOWN];
        errnos.into_iter().try_for_each(|errno| EXAM.says(c, errno))
    }),
    ("forty signals come while send waits", |c| EXAM.signals(c)),
    ("more than 4 GiB, of which only the first bytes can go", |c| {
        sends_huge(c, json!(true)).map(drop)
    }),
];
