//! Exercise `gathered`: header and payload in one `sendmsg`. Article 3.1 and 11.

use crate::calls::Seldom;
use crate::huge;
use crate::prelude::*;

/// Grades the answer: asked to send so many of the bytes as the header, and the others as the
/// payload; or, with more than there are, 4 and 4 GiB and 5 zeroes.
pub fn grade(answer: fn(RawFd, &[u8], &[u8]) -> io::Result<()>) -> ExitCode {
    grading::grade("gathered", CASES, |header: usize, given| {
        let (head, body) = given.bytes.split_at(header.min(given.bytes.len()));
        let head = if header > given.bytes.len() { &[0; 4] } else { head };
        // Apart from each other.
        let (first, second) = (behind(head), behind(body));
        let body = if header > given.bytes.len() { None } else { Some(&second[..body.len()]) };
        let call = || {
            let body = body.map_or_else(|| huge::zeroes().map(|all| &*all), Ok)?;
            answer(given.fd(), &first[..head.len()], body)
        };
        given.call(call, ok).with(header)
    })
}

const EXAM: Sender = Sender {
    ask: |len| json!(len.min(4)),
    call: "sendmsg",
    wire: <[u8]>::to_vec,
    done: "Ok",
    gone: None,
    copy: "it builds a copy of the payload: an iovec points to the original",
    mistake,
};

const CASES: &[Case] = &[
    ("both wait in the same sendmsg", |c| {
        [2996, 100, 1].into_iter().try_for_each(|payload| one_call(c, payload))
    }),
    ("headers and payloads of many sizes arrive, one after the other", sizes),
    ("the peer has ended its own stream, and reads on", |c| EXAM.half_closed(c)),
    ("with nothing to send it is Ok", |c| EXAM.empty(c)),
    ("sendmsg takes a part: it ends in the header, in the payload", parts),
    ("4 MB to a peer that reads only when sendmsg waits", |c| {
        EXAM.slowly(c, json!(16), &pattern(4_000_003), [5, 0, 50_000])
    }),
    ("forty signals come while sendmsg waits", |c| EXAM.signals(c)),
    ("30 MB, with a signal after 17", |c| EXAM.large(c)),
    ("the peer goes: an error, and no SIGPIPE", |c| {
        let asks: [fn(usize) -> Value; 3] = [EXAM.ask, |_| json!(0), |len| json!(len)];
        asks.into_iter().try_for_each(|ask| Sender { ask, ..EXAM }.gone(c))
    }),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("more than 4 GiB, of which only the first bytes can go", |c| {
        in_one_list(&sends_huge(c, json!(1))?, huge::HUGE)
    }),
];

fn mistake(seen: &Seen) -> &'static str {
    let (right, got, same) = (seen.right, seen.got, seen.same());
    let (header, payload) = right.split_at(seen.said.more.as_u64().unwrap_or(0) as usize);
    first! {
        seen.text != EXAM.done => "",
        got.starts_with(right) =>
            "it sent bytes after the end of a buffer: an iovec's length is what is left of it",
        !payload.is_empty() && got == [payload, header].concat() =>
            "the payload went before the header: iovecs are sent in their order",
        payload.is_empty() && got.is_empty() =>
            "a header without a payload was not sent: go on while anything is left of either",
        right.starts_with(got) =>
            "it returned Ok before all was sent: sendmsg may take only a part, call it for the rest",
        same < header.len() && seen.said.calls("sendmsg") < 2 =>
            "the header was cut: its iovec has to be as long as it is, however long",
        same < header.len() =>
            "a part that ends inside the header: go on in the header, and then with the payload",
        got[same..].starts_with(&header[..header.len().min(got.len() - same)]) =>
            "after a part it sent the header again: n bytes are done, of header and payload together",
        true =>
            "a part that ends inside the payload: of n bytes, n less the header's are the payload's",
    }
}

fn sizes(child: &mut Child) -> Verdict {
    let small = [(4, 5), (4, 0), (0, 5), (1, 1), (8, 4096)];
    let large = [(4, 150_000), (50_000, 3), (70_000, 60_000), (4, 2_000_000)];
    for (header, payload) in small.into_iter().chain(large) {
        let bytes = pattern(header + payload);
        EXAM.plays(child, &bytes, &[Asked(&json!(header))])?;
    }
    Ok(())
}

fn one_call(child: &mut Child, payload: usize) -> Verdict {
    let bytes = pattern(4 + payload);
    let play = EXAM.begins(child, &bytes, &[Tiny, Full, Called])?;
    if child.until_blocked()? {
        let name = child.at_rest()?.name();
        let one =
            say!("it waits in {name} and not in sendmsg: the task is one call for both buffers");
        let mistake = first! {
            name == "writev" => "writev has no flags, so a peer that has gone kills: sendmsg takes \
                                 MSG_NOSIGNAL",
            name != "sendmsg" => one.as_str(),
        };
        judge(mistake, "a wait in sendmsg", name)?;
    }
    in_one_list(&EXAM.delivers(child, play, &bytes)?, payload)
}

/// The first sendmsg has a header of 4 bytes, and all of the payload.
fn in_one_list(said: &Said, payload: usize) -> Verdict {
    let lengths = said.after.calls.gathered.as_deref().unwrap_or_default();
    let given: usize = lengths.iter().sum();
    let few = lengths.iter().filter(|&&len| len > 0).count() < 2;
    let mistake = first! {
        few && given < 4 + payload =>
            "the first sendmsg has the header alone: both belong in the same list of iovecs",
        few => "header and payload were copied into one buffer: sendmsg can gather them itself",
        given < 4 + payload =>
            "a sendmsg had less than all that was left: the iovecs have header and payload, to their \
             ends",
        given != 4 + payload => "the iovecs are not as long as what they stand for",
    };
    let seen = say!("a sendmsg with iovecs of {lengths:?} bytes");
    judge(mistake, say!("one sendmsg with two iovecs: 4 and {payload} bytes"), seen)
}

/// A part ends at the header's end, or a byte away from it, or in what the only buffer has. Signals
/// end a sendmsg that has taken a part, and one that has taken nothing.
fn parts(child: &mut Child) -> Verdict {
    let bytes = pattern(300);
    let ends = [(100, 0), (99, 1), (99, 0), (101, 0), (40, 60), (40, 61)];
    let ends = ends.map(|(first, then)| [100, first, then]);
    for [header, first, then] in ends.into_iter().chain([[0, 100, 0], [300, 100, 0]]) {
        child.seldom = Seldom::Parts(first, then);
        let mut play = EXAM.begins(child, &bytes, &[Asked(&json!(header))])?;
        play.tells(say!("the header has {header} bytes, and {first} bytes were taken first"));
        play.scene(child, "");
        EXAM.delivers(child, play, &bytes)?;
    }
    [4, 600_000, 1_199_990].into_iter().try_for_each(|header| {
        EXAM.slowly(child, json!(header), &pattern(1_200_000), [3, 3, 120_000])
    })
}
