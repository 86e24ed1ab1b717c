//! Exercise `recv_exact`: fill a buffer to the last byte. Article 2.1.

use crate::huge;
use crate::prelude::*;

/// Grades the answer: asked for so many bytes; or for 4 GiB and 5.
pub fn grade(answer: fn(RawFd, &mut [u8]) -> io::Result<()>) -> ExitCode {
    grading::grade("recv_exact", CASES, |len: Option<usize>, given| {
        let mut room = Room::new(len.unwrap_or(0));
        let call = || match len {
            Some(_) => answer(given.fd(), room.buf()),
            None => answer(given.fd(), huge::zeroes()?),
        };
        let mut said = given.call(call, ok);
        room.told(&mut said);
        said
    })
}

const EXAM: Receiver = Receiver {
    payload: b"HELLO WO",
    wire: <[u8]>::to_vec,
    ask: |len| json!(len),
    whole: "Ok",
    nothing: "Err(UnexpectedEof)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
    mistake,
};

const CASES: &[Case] = &[
    ("everything is there already, and more behind it", all_there),
    ("the peer pauses, at every place, and a signal comes", |c| {
        EXAM.pauses(c, b"GET\0/ \xffTP/1.1")
    }),
    ("an empty buffer needs no call", empty),
    ("forty signals come while it waits", |c| EXAM.signals(c)),
    ("the peer ends its stream, at every place", |c| EXAM.ends(c, 0..=8)),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("the peer resets the connection, in all its ways", |c| EXAM.resets(c)),
    ("a buffer of more than 4 GiB", more_than_4_gib),
    ("3 MB through a buffer of 4 KiB", large),
];

fn mistake(seen: &Seen) -> &'static str {
    let rest = &seen.got[seen.same()..];
    let untouched = !rest.is_empty() && rest.iter().all(|&b| b == 0xa5);
    let at_the_end = seen.expected == EXAM.cut;
    if at_the_end && seen.text == "Ok" && seen.cut == 0 {
        "an end before the first byte was taken for success: the buffer holds nothing"
    } else if at_the_end && seen.text == "Ok" {
        "recv returned 0 and that was taken for success: the message is not complete"
    } else if at_the_end && seen.said.errno() != 0 {
        "after recv returned 0 errno was reported: errno means nothing unless recv said -1"
    } else if at_the_end {
        "the end of the stream inside a message has a kind: UnexpectedEof"
    } else if seen.text == EXAM.cut && seen.right.len() > 1000 {
        "it gives up after some calls of recv: go on until buf is full"
    } else if seen.text != EXAM.whole {
        ""
    } else if untouched && seen.same() == 0 {
        "nothing was written to the buffer, and yet it returned Ok"
    } else if untouched {
        "it returned Ok before the buffer was full: recv gives what is there, call it in a loop"
    } else {
        "the pieces are not one behind the other: the next recv has to write behind the last one"
    }
}

fn all_there(child: &mut Child) -> Verdict {
    EXAM.at_once(child, &[b"hello world", b"AND MORE"])?;
    let stage = EXAM.begin(child, 5, b"hello", pair()?)?;
    EXAM.takes(child, &stage, b"hello", 0)?;
    child.ask(4, &[], vec![])?;
    child.scene("after 0 of 4 bytes", "sends 4 bytes more as soon as recv waits", "");
    if child.until_blocked()? {
        stage.peer.send(b"LAST");
        return EXAM.takes(child, &stage, b"LAST", 0).map(drop);
    }
    let mistake = "after one recv_exact the connection takes no other: was it shut down?";
    Err(child.said()?.refused(mistake, "Ok"))
}

fn empty(child: &mut Child) -> Verdict {
    const WAITS: &str = "it called recv for an empty buffer, and that waits: check before the call";
    let stage = EXAM.begin(child, 0, b"", pair()?)?;
    child.scene("after 0 of 0 bytes", "the peer sends nothing", WAITS);
    EXAM.takes(child, &stage, b"", 0)?;
    // And where recv would return at once, with 0.
    let (peer, conn) = pair()?;
    peer.end();
    let stage = EXAM.begin(child, 0, b"", (peer, conn))?;
    child.scene("after 0 of 0 bytes", "has ended its stream", WAITS);
    let said = stage.received(child)?;
    let mistake = "an empty buffer is full before the first recv: that is no end of stream";
    said.ensure(said.text() == "Ok", mistake, "Ok")
}

fn more_than_4_gib(child: &mut Child) -> Verdict {
    const CAST: &str = "a length or a count was cut to 32 bits: this buffer has 4 GiB and 5 bytes";
    let ((_bystander, theirs), (peer, conn)) = (pair()?, pair()?);
    peer.send(b"HELLO");
    peer.end();
    child.scene("after 5 of 4 GiB and 5 bytes", "sent 5 bytes and ended its stream", CAST);
    let said = child.call(None::<usize>, &[], vec![theirs, conn])?;
    said.ensure(said.text() == EXAM.cut, CAST, EXAM.cut)
}

fn large(child: &mut Child) -> Verdict {
    let copy = "it builds a copy of the message: recv can write into buf itself";
    EXAM.large(child, &pattern(3_000_001), 1 << 20, copy)
}
