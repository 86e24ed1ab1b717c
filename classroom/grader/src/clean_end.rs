//! Exercise `clean_end`: a clean end, a broken frame, or a reset. Article 6.

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
    grading::grade("clean_end", CASES, |(): (), given| {
        let mut frames = Vec::new();
        let text = |end| (format!("Ok({end:?})"), Vec::new());
        let said = given.call(|| answer(given.fd(), &mut frames), text);
        Said { bytes: encode(&frames), ..said.with(frames.len()) }
    })
}

const EXAM: Receiver = Receiver {
    payload: b"HELLO",
    wire: |payload| encode(&[payload]),
    ask: |_| Value::Null,
    whole: "Ok(Clean)",
    nothing: "Ok(Clean)",
    cut: "Ok(Broken)",
    reset: "Ok(Reset)",
    reads_on: true,
    mistake: |_| "",
};

const CASES: &[Case] = &[
    ("no frame, one, three: then a clean end", clean),
    ("frames of 0 bytes are frames", empty_frames),
    ("the peer sends byte by byte, with signals between", drip),
    ("the stream ends at every place inside a frame", broken),
    ("the peer resets the connection, at every place", resets),
    ("forty signals come while it waits", |c| EXAM.signals(c)),
    ("the peer resets the connection, in all its ways", |c| EXAM.resets(c)),
    ("frames of 65536 bytes through a buffer of 4 KiB", large),
    ("20000 frames", many),
    ("other errors are returned as they come", |c| EXAM.errors(c)),
    ("an error behind a frame of 0 bytes", error_behind),
    ("a header that claims more than a frame may have", claims),
];

fn encode(payloads: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let one = |p: &[u8]| [&(p.len() as u32).to_be_bytes()[..], p].concat();
    payloads.iter().flat_map(|p| one(p.as_ref())).collect()
}

/// It has to say how a stream of so many bytes ended, and to have handed over these frames.
fn check(said: &Said, end: End, frames: &[&[u8]], sent: usize) -> Verdict {
    let (text, came) = (&*said.text(), said.more.as_u64().unwrap_or(0) as usize);
    let (expected, right) = (format!("Ok({end:?})"), encode(frames));
    let few = came < frames.len();
    let mistake = if text == expected && said.bytes == right {
        return Ok(());
    } else if text == expected && came > frames.len() {
        "it handed over a frame that is not whole, or was never sent"
    } else if text == expected && few {
        "frames that came whole before the end are missing: it stopped early, or lost them"
    } else if text == expected {
        return Err(Refusal::new("a payload is not what was sent").bytes(&right, &said.bytes));
    } else if said.kind() == "Interrupted" {
        INTERRUPTED
    } else if end == End::Clean && text == "Ok(Broken)" && !few {
        "0 where the next header would begin is no broken frame: nothing is cut"
    } else if text == "Ok(Broken)" && few {
        "it took a frame that was still on its way for a broken one"
    } else if text == "Ok(Clean)" && few {
        "it stopped before the stream had ended: read on until recv returns 0"
    } else if end == End::Broken && text == "Ok(Clean)" && sent < right.len() + 4 {
        "a stream that ends inside the header was taken for a clean end: 1 to 3 bytes are not 0"
    } else if end == End::Broken && text == "Ok(Clean)" {
        "a stream that ends inside a payload was taken for a clean end: the header promised more"
    } else if end == End::Broken && text == "Err(UnexpectedEof)" {
        "a cut frame is Ok(Broken) here: the caller is to tell the ends apart"
    } else if end == End::Reset && text == "Ok(Clean)" {
        "a reset was taken for a clean end: ECONNRESET is told once, after it recv says 0"
    } else if end == End::Reset && text == "Ok(Broken)" {
        "a reset was taken for a broken frame: recv returned -1, not 0"
    } else if end == End::Reset && text == "Err(ECONNRESET)" {
        "a reset is an end like the others here: Ok(Reset), not an error"
    } else if said.kind() == "InvalidData" {
        "a length up to 65536 was refused, or it was read wrong: it is big-endian"
    } else if text == "Ok(Reset)" {
        "nobody reset anything: that was recv saying 0"
    } else {
        UNFOUNDED
    };
    let seen = say!("{} after {came} frames", said.shown());
    refuse(mistake, say!("{expected} after {} frames", frames.len()), seen)
}

/// Everything has been sent and the stream has ended before the answer is called.
fn ended(child: &mut Child, bytes: &[u8], end: End, frames: &[&[u8]], did: &str) -> Verdict {
    let (peer, conn) = pair()?;
    peer.send(bytes);
    arrived(&conn, bytes.len())?;
    let mut peer = Some(peer);
    let reset = end == End::Reset;
    match &peer {
        Some(peer) if !reset => peer.end(),
        _ => peer.take().map_or(Ok(()), Peer::reset)?,
    }
    child.ask((), &[], vec![conn])?;
    let mistake = if reset {
        "it goes on calling recv although the connection is gone"
    } else {
        "recv returned 0, which is the end of the stream; it called recv again"
    };
    child.scene(&say!("after {} bytes", bytes.len()), did, mistake);
    check(&child.said()?, end, frames, bytes.len())
}

fn clean(child: &mut Child) -> Verdict {
    let three: &[&[u8]] = &[b"HELLO", b"\x00\x00\x00\x05", &[b'x'; 300]];
    [0, 1, 3].into_iter().try_for_each(|count| {
        let frames = &three[..count];
        let did = say!("sent {count} frames and ended its stream");
        ended(child, &encode(frames), End::Clean, frames, &did)
    })
}

fn empty_frames(child: &mut Child) -> Verdict {
    let lists: [&[&[u8]]; 3] = [&[b""], &[b"", b"", b"one", b""], &[b"one", b"", b"two"]];
    for frames in lists {
        let (stage, fds) = stage(pair()?)?;
        stage.peer.send(&encode(frames));
        child.ask((), &[], fds)?;
        let did = "sent frames of 0 bytes among others, and did not end its stream";
        child.scene("after a frame of 0 bytes", did, "");
        // It has to ask for the next header, whatever came so far.
        let waits = child.until_blocked()?;
        stage.peer.end();
        let said = child.said()?;
        if !waits || said.more != frames.len() {
            let mistake = "a frame of 0 bytes is a frame, and neither an end nor an error";
            let seen = say!("{} after {} frames", said.shown(), said.more);
            return refuse(mistake, say!("{} frames", frames.len()), seen);
        }
        check(&said, End::Clean, frames, 0)?;
    }
    Ok(())
}

fn drip(child: &mut Child) -> Verdict {
    let frames: &[&[u8]] = &[b"ab", b"", b"\xff\x00c"];
    let bytes = encode(frames);
    let (stage, fds) = stage(pair()?)?;
    child.ask((), &[], fds)?;
    for (n, byte) in bytes.iter().enumerate() {
        let did = "sent byte by byte, a signal before each, and ended its stream";
        child.scene(&say!("after {n} of {} bytes", bytes.len()), did, "");
        child.interrupts(1)?;
        child.feed(&stage.peer, &[*byte])?;
    }
    if child.until_blocked()? {
        child.interrupt();
        child.until_blocked()?;
    }
    stage.peer.end();
    check(&stage.received(child)?, End::Clean, frames, 0)
}

/// Where in its second frame a stream of two is cut.
fn place(cut: usize) -> String {
    match cut - 9 {
        0 => "a whole frame".into(),
        n @ 1..4 => say!("a frame and {n} bytes of a header"),
        4 => "a frame and the header of the next".into(),
        9 => "two whole frames".into(),
        n => say!("a frame, a header and {} of 5 bytes", n - 4),
    }
}

fn broken(child: &mut Child) -> Verdict {
    let all = encode(&[b"first", b"HELLO"]);
    for cut in 10..all.len() {
        let did = say!("sent {} and ended its stream", place(cut));
        ended(child, &all[..cut], End::Broken, &[b"first"], &did)?;
    }
    // A header that promises what never comes, and one that is all there is.
    ended(child, &[0, 1, 0, 0], End::Broken, &[], "sent a header of 65536 and ended its stream")?;
    ended(child, &[0], End::Broken, &[], "sent 1 byte of a header and ended its stream")
}

fn resets(child: &mut Child) -> Verdict {
    let two: &[&[u8]] = &[b"first", b"HELLO"];
    let all = encode(two);
    for cut in 9..=all.len() {
        let did = say!("sent {} and reset the connection", place(cut));
        ended(child, &all[..cut], End::Reset, &two[..1 + cut / all.len()], &did)?;
    }
    ended(child, b"", End::Reset, &[], "reset the connection before the first byte")
}

fn large(child: &mut Child) -> Verdict {
    let payload = pattern(65_536);
    let frames: &[&[u8]] = &[&payload, &payload[..40_000]];
    let bytes = encode(frames);
    for (cut, end, whole) in [(bytes.len(), End::Clean, 2), (bytes.len() - 1, End::Broken, 1)] {
        let (stage, fds) = stage(pair_with(TINY)?)?;
        child.ask((), &[], fds)?;
        let did = "sent two large frames, as fast as it went";
        child.scene("inside a frame of 65536 bytes", did, "");
        let said = stage.said_while_sending(child, &bytes[..cut], true)?;
        check(&said, end, &frames[..whole], cut)?;
    }
    Ok(())
}

fn many(child: &mut Child) -> Verdict {
    const COUNT: usize = 20_000;
    let bytes = pattern(COUNT + 8);
    let frames: Vec<&[u8]> = (0..COUNT).map(|n| &bytes[n..n + n % 8]).collect();
    let (stage, fds) = stage(pair()?)?;
    child.ask((), &[], fds)?;
    child.scene("among 20000 frames", "sent 20000 frames and ended its stream", "");
    let said = stage.said_while_sending(child, &encode(&frames), true)?;
    check(&said, End::Clean, &frames, 0)
}

/// What a header claims is no reason to take memory.
fn claims(child: &mut Child) -> Verdict {
    const WAITS: &str = "it waits for a payload that no frame may have: 65536 bytes at most";
    for claim in [65_537_u32, 0x7fff_ffff, u32::MAX] {
        let sent = [&encode(&[b"first"])[..], &claim.to_be_bytes(), b"12345678"].concat();
        let stage = EXAM.begin(child, 0, &sent, pair()?)?;
        let did = say!("sent a frame, then a header that claims {claim} bytes, and waits");
        child.scene("after that header", &did, WAITS);
        if child.until_blocked()? {
            return refuse(WAITS, "Err(InvalidData)", "it waits");
        }
        let said = stage.received(child)?;
        let peak = said.after.peak;
        let mistake = "a header that claims more than a frame may have is InvalidData";
        said.ensure(said.kind() == "InvalidData", mistake, "Err(InvalidData)")?;
        if peak > 1 << 16 {
            let mistake = "memory was taken before the length was looked at: first the limit, \
                           then the buffer";
            let seen = say!("{}, {} bytes", said.shown(), peak);
            return refuse(mistake, "Err(InvalidData), no memory", seen);
        }
    }
    Ok(())
}

fn error_behind(child: &mut Child) -> Verdict {
    let _stage = EXAM.begin(child, 0, &[0; 4], non_blocking(pair()?)?)?;
    child.scene("on a non-blocking socket", "sent a frame of 0 bytes, and nothing behind it", "");
    let said = child.said()?;
    let mistake = if said.more == 1 {
        ""
    } else {
        "a frame that came whole before the error is missing: hand each over at once, and a \
         payload of 0 bytes needs no recv"
    };
    said.judged(mistake, "the frame, then Err(WouldBlock)")
}
