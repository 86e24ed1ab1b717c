//! Exercise `length_prefix`: one frame out, one frame in. Article 3.1.

use crate::examination::{CAP_CUT, CAPS};
use crate::huge;
use crate::prelude::*;

type SendFrame = fn(RawFd, &[u8], usize) -> io::Result<()>;
type RecvFrame = fn(RawFd, usize) -> io::Result<Option<Vec<u8>>>;

/// Grades the answer: asked to send the bytes, or 4 GiB and 5 of them; to receive; with this cap.
pub fn grade(send_frame: SendFrame, recv_frame: RecvFrame) -> ExitCode {
    grading::grade(
        "length_prefix",
        &RECV.cases(SENDS, RECEIVES),
        |(what, cap): (String, usize), given| {
            let memory = behind(&given.bytes);
            let payload = &memory[..given.bytes.len()];
            let some = |frame: Option<Vec<u8>>| match frame {
                Some(frame) => ("Ok(Some)".into(), frame),
                None => ("Ok(None)".into(), Vec::new()),
            };
            match &*what {
                "send" => given.call(|| send_frame(given.fd(), payload, cap), ok),
                "send_huge" => given.call(|| send_frame(given.fd(), huge::zeroes()?, cap), ok),
                _ => given.call(|| recv_frame(given.fd(), cap), some),
            }
        },
    )
}

const RECV: Receiver = Receiver {
    what: "a frame",
    several: &[b"hello", b"", &[7; 1000], b"", b"\x00\x00\x00\x01"],
    wire: frame,
    ask: |_, _| json!(("receive", CAP)),
    mistake: mistake_of_receiver,
    ..RECEIVER
};

const SEND: Sender = Sender {
    ask: |len| json!(("send", CAP.max(len))),
    call: "send",
    wire: frame,
    done: "Ok",
    gone: None,
    copy: "",
    mistake: mistake_of_sender,
};

const SENDS: &[Case] = &[
    ("send: payloads of 0 bytes to 300 kB, four bytes of length before", |c| {
        SEND.sizes(c, &[5, 0, 1, 255, 256, 65_536, 300_000])
    }),
    ("send: up to the cap and no further", send_cap),
    ("send: 4 GiB and 5 bytes do not fit into four bytes of length", huge),
    ("send: the send buffer is full, and signals come", full),
    ("send: the peer has ended its own stream, and reads on", |c| SEND.half_closed(c)),
    ("send: forty signals come while it waits", |c| SEND.signals(c)),
    ("send: the peer goes: an error, and no SIGPIPE", |c| SEND.gone(c)),
    ("send: other errors are returned as they come", |c| SEND.errors(c)),
];

const RECEIVES: &[Case] = &[
    ("receive: up to the cap and no further, and nothing allocated", recv_cap),
    ("receive: a cap is a limit, however large", |c| RECV.capped(c, |cap| json!(("receive", cap)))),
    ("receive: 1 MB through a buffer of 4 KiB, and 33 MB", |c| {
        let more = "it takes many times the memory that the frame needs";
        let all = pattern(1_000_001);
        let says = [Says(RECV.whole, &all), AtMost(5 << 20, more)];
        RECV.plays(c, &[&[Called, Streams(&frame(&all))], &says[..]].concat())?;
        let (all, ask) = (all.repeat(33), json!(("receive", 1 << 30)));
        RECV.plays(c, &[Asked(&ask), Streams(&frame(&all)), Says(RECV.whole, &all)])
    }),
];

const CAP: usize = 1 << 20;
const WHOLE: &str = RECV.whole;
const TOO_LONG: &str = "Err(InvalidData)";

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

fn mistake_of_sender(seen: &Seen) -> &'static str {
    let (header, payload) = seen.right.split_at(4);
    let len = payload.len() as u32;
    let begins = |header: &[u8]| seen.got.starts_with(header);
    first! {
        seen.said.kind() == "InvalidInput" && payload.is_empty() =>
            "an empty payload was refused: it is a frame, too, whose length says 0",
        seen.said.kind() == "InvalidInput" =>
            "a payload within the cap was refused: the cap is the last that goes",
        seen.text != SEND.done => "",
        seen.got.is_empty() && payload.is_empty() =>
            "an empty payload is a frame, too: four bytes of length that say 0",
        seen.got == payload => "the length is missing: the payload went out without its header",
        seen.got == header => "the header went out and the payload did not",
        begins(header) && seen.right.starts_with(seen.got) =>
            "the frame is not complete: send may take only a part, call it for the rest",
        begins(header) => "the payload is not as it was given: go on after what send has taken",
        begins(&len.to_le_bytes()) =>
            "the length went out with its low byte first: network byte order is big-endian",
        begins(&(len + 4).to_be_bytes()) =>
            "the length counts its own four bytes: it says how many come after it",
        true => "the frame does not begin with four bytes of length, big-endian",
    }
}

fn mistake_of_receiver(seen: &Seen) -> &'static str {
    let (right, got) = (seen.right, seen.got);
    let is = |right, said| (seen.expected, seen.text) == (right, said);
    first! {
        is(TOO_LONG, "") =>
            "it waits for a payload that is over the cap: look at the length before the payload",
        is(TOO_LONG, WHOLE) =>
            "there is no cap: the peer decides how much memory this process takes",
        (is(WHOLE, TOO_LONG) || is(WHOLE, WHOLE)) && seen.cut < 4 && right.len() < 1000 =>
            "the header was taken for complete before its four bytes had come",
        is(WHOLE, TOO_LONG) && (right.len() > 255 || right.is_empty()) =>
            "a length within the cap was refused: the cap is what the caller says, and the last \
             that goes",
        is(WHOLE, TOO_LONG) =>
            "the length was read wrong: it is big-endian, and does not count its own four bytes",
        is(WHOLE, WHOLE) && got.len() != right.len() =>
            "the payload has not the length that was announced",
    }
}

fn send_cap(child: &mut Child) -> Verdict {
    let large = CAPS.map(|cap| (8, cap));
    for (len, cap) in [(8, 8), (0, 0), (9, 8), (1, 0)].into_iter().chain(large) {
        let ask = json!(("send", cap));
        let play = SEND.begins(child, &pattern(len), &[Asked(&ask)])?;
        if len <= cap {
            let mistake = |seen: &Seen| match seen.said.kind() {
                "InvalidInput" => CAP_CUT,
                _ => mistake_of_sender(seen),
            };
            let send = if cap > 9 { Sender { mistake, ..SEND } } else { SEND };
            send.delivers(child, play, &pattern(len))?;
            continue;
        }
        let (said, (stage, _)) = (child.said()?, play.take()?);
        let mistake = if said.text() == "Ok" {
            "a payload over the cap was sent: the other side would refuse it"
        } else if said.kind() != "InvalidInput" {
            "a payload over the cap has a kind: InvalidInput"
        } else if stage.peer.read_waiting()? != Heard::Nothing {
            "something was sent of a payload over the cap: check before the first byte"
        } else {
            ""
        };
        said.judged(mistake, "Err(InvalidInput), and silence at the peer")?;
    }
    Ok(())
}

fn huge(child: &mut Child) -> Verdict {
    const CAST: &str = "a cast cut the length to 32 bits: 4 GiB and 5 bytes were announced as 5";
    let ask = json!(("send_huge", usize::MAX));
    let (stage, _) = SEND.begins(child, b"", &[Tiny, Asked(&ask)])?.take()?;
    child.scene("with 4 GiB and 5 bytes", "the peer does not read", CAST);
    if child.until_blocked()? {
        let seen = format!("{:?}", stage.peer.read(4));
        return refuse(CAST, "Err(InvalidInput), silence at the peer", seen);
    }
    let said = child.said()?;
    let mistake = if stage.peer.read_waiting()? != Heard::Nothing {
        CAST
    } else if said.kind() != "InvalidInput" {
        "a length that four bytes cannot say has a kind: InvalidInput, whatever the cap"
    } else {
        ""
    };
    said.judged(mistake, "Err(InvalidInput), silence at the peer")
}

/// Nothing of the header can go, and signals come; then a part of the payload, and signals.
fn full(child: &mut Child) -> Verdict {
    let payload = pattern(600_000);
    SEND.plays(child, &payload, &[Tiny, Full, Called, Signals(2)])?;
    SEND.slowly(child, (SEND.ask)(0), &payload, [3, 1, 20_000])
}

fn recv_cap(child: &mut Child) -> Verdict {
    for (len, cap) in [(1000, 1000), (0, 0)] {
        let payload = pattern(len);
        let ask = json!(("receive", cap));
        let says = Says(RECV.whole, &payload);
        RECV.plays(child, &[Sends(&frame(&payload)), Asked(&ask), says, Leaves(0)])?;
    }
    for (claim, cap) in
        [(1001_u32, 1000), (1, 0), (1 << 24, 1000), (0x8000_0000, 1000), (u32::MAX, CAP)]
    {
        let sent = [&claim.to_be_bytes()[..], b"12345678"].concat();
        let ask = json!(("receive", cap));
        let early = "memory was allocated before the length was checked: first the cap, then the \
                     buffer";
        let says = [Says(TOO_LONG, b""), AtMost(4096 + cap, early), Leaves(8)];
        RECV.plays(child, &[&[Sends(&sent), Asked(&ask)], &says[..]].concat())?;
    }
    Ok(())
}
