//! Exercise `clean_end`: a clean end, a broken frame, or a reset. Article 6.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::examination::{Receiver, Says};
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Heard, Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::Refusal;

/// How a stream of frames ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Between two frames, or before the first.
    Clean,
    /// Inside a frame.
    Broken,
    /// The peer reset the connection.
    Reset,
}

/// Read from the last of the given descriptors.
#[derive(Serialize, Deserialize)]
struct Ask {
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<End, Failure>,
    frames: Vec<Vec<u8>>,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &mut Vec<Vec<u8>>) -> io::Result<End>) -> ExitCode {
    grading::grade_raw("clean_end", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let mut frames = Vec::new();
        let (result, after) = observe(&given.fds, || answer(fd, &mut frames));
        (Said { result: portable(result), frames, after }, Vec::new())
    })
}

const EXAM: Receiver<Ask, Said> = Receiver {
    message: b"\0\0\0\x05HELLO",
    ask: |fd| Ask { fd },
    says: |said| Says {
        result: said.result.as_ref().map(|end| format!("Ok({end:?})")),
        after: &said.after,
    },
    whole: "Ok(Clean)",
    nothing: "Ok(Clean)",
    cut: "Ok(Broken)",
    reset: "Ok(Reset)",
    reads_on: true,
};

const CASES: &[Case] = &[
    Case { name: "no frame, one, three: then a clean end", run: clean },
    Case { name: "frames of 0 bytes are frames", run: empty_frames },
    Case { name: "the peer sends byte by byte, with signals between", run: drip },
    Case { name: "the stream ends at every place inside a frame", run: broken },
    Case { name: "the peer resets the connection, at every place", run: resets },
    Case { name: "forty signals come while it waits", run: |c| EXAM.signals(c) },
    Case { name: "the peer resets the connection, in all its ways", run: |c| EXAM.resets(c) },
    Case { name: "frames of 65536 bytes through a buffer of 4 KiB", run: large },
    Case { name: "20000 frames", run: many },
    Case { name: "other errors are returned as they come", run: other_errors },
    Case { name: "a header that claims more than a frame may have", run: claims },
];

fn encode(payloads: &[&[u8]]) -> Vec<u8> {
    payloads
        .iter()
        .flat_map(|p| [&(p.len() as u32).to_be_bytes()[..], p].concat())
        .collect::<Vec<u8>>()
}

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child, peer: Option<&Peer>) -> Result<Said, Refusal> {
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    if let Some(peer) = peer
        && peer.read_waiting()? != Heard::Nothing
    {
        return Err(Refusal::new("reading must not send anything, nor end a direction"));
    }
    Ok(said)
}

/// Compares the end and the frames with what the peer did.
fn check(said: &Said, end: End, frames: &[&[u8]], peer: &str) -> Result<(), Refusal> {
    let result = &said.result;
    let seen = match result {
        Ok(end) => say!("Ok({end:?}) after {} frames", said.frames.len()),
        Err(_) => show(result),
    };
    let refuse = |mistake: &str| {
        let expected = say!("Ok({end:?}) after {} frames", frames.len());
        Err(Refusal::new(mistake).peer(peer).but(expected, seen.clone()))
    };
    let missing = said.frames.len() < frames.len();
    match (end, result) {
        (_, Ok(found)) if *found == end => {}
        (_, Err(e)) if e.kind == "Interrupted" => {
            return refuse("EINTR was returned as an error: nothing is broken, call recv again");
        }
        (End::Clean, Ok(End::Broken)) if !missing => {
            return refuse(
                "0 where the next header would begin is no broken frame: nothing is cut",
            );
        }
        (_, Ok(End::Broken)) if missing => {
            return refuse("it took a frame that was still on its way for a broken one");
        }
        (_, Ok(End::Clean)) if missing => {
            return refuse("it stopped before the stream had ended: read on until recv returns 0");
        }
        (End::Broken, Ok(End::Clean)) => return refuse(cut_is_clean(peer)),
        (End::Broken, Err(e)) if e.kind == "UnexpectedEof" => {
            return refuse("a cut frame is Ok(Broken) here: the caller is to tell the ends apart");
        }
        (End::Reset, Ok(End::Clean)) => {
            return refuse(
                "a reset was taken for a clean end: ECONNRESET is told once, after it recv says 0",
            );
        }
        (End::Reset, Ok(_)) => {
            return refuse("a reset was taken for a broken frame: recv returned -1, not 0");
        }
        (End::Reset, Err(e)) if e.kind == "ConnectionReset" => {
            return refuse("a reset is an end like the others here: Ok(Reset), not an error");
        }
        (_, Ok(End::Reset)) => return refuse("nobody reset anything: that was recv saying 0"),
        _ => {
            return refuse(
                "an error where recv had returned none: one of its own, or errno read without a -1",
            );
        }
    }
    if said.frames.len() > frames.len() {
        return refuse("it handed over a frame that is not whole, or was never sent");
    }
    if missing {
        return refuse(
            "frames that came whole before the end are missing: it stopped early, or lost them",
        );
    }
    for (found, sent) in said.frames.iter().zip(frames) {
        if found != sent {
            return Err(Refusal::new("a payload is not what was sent")
                .peer(peer)
                .but("every byte in its place", "other bytes:")
                .bytes(sent, found));
        }
    }
    Ok(())
}

fn cut_is_clean(peer: &str) -> &'static str {
    if peer.contains("of a header") {
        "a stream that ends inside the header was taken for a clean end: 1 to 3 bytes are not 0"
    } else {
        "a stream that ends inside a payload was taken for a clean end: the header promised more"
    }
}

/// Everything has been sent and the stream has ended before the answer is called.
fn ended(
    child: &mut Child,
    bytes: &[u8],
    expect: (End, &[&[u8]]),
    did: &str,
) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    peer.send(bytes);
    arrived(&conn, bytes.len())?;
    let reset = expect.0 == End::Reset;
    let peer = if reset {
        peer.reset()?;
        None
    } else {
        peer.end();
        Some(peer)
    };
    child.ask(Ask { fd: None }, &[], vec![conn])?;
    let mistake = if reset {
        "it goes on calling recv although the connection is gone"
    } else {
        "recv returned 0, which is the end of the stream; it called recv again"
    };
    child.scene(&say!("after {} bytes", bytes.len()), did, mistake);
    let said = taken(child, peer.as_ref())?;
    check(&said, expect.0, expect.1, did)
}

fn clean(child: &mut Child) -> Result<(), Refusal> {
    let three: &[&[u8]] = &[b"HELLO", b"\x00\x00\x00\x05", &[b'x'; 300]];
    for count in [0, 1, 3] {
        let frames = &three[..count];
        let did = say!("sent {count} frames and ended its stream");
        ended(child, &encode(frames), (End::Clean, frames), &did)?;
    }
    Ok(())
}

fn empty_frames(child: &mut Child) -> Result<(), Refusal> {
    let lists: [&[&[u8]]; 3] = [&[b""], &[b"", b"", b"one", b""], &[b"one", b"", b"two"]];
    for frames in lists {
        let (peer, conn) = pair()?;
        peer.send(&encode(frames));
        child.ask(Ask { fd: None }, &[], vec![conn])?;
        child.scene("after a frame of 0 bytes", "the peer waits", "");
        // It has to ask for the next header, whatever came so far.
        let waits = child.until_blocked()?;
        peer.end();
        let said = taken(child, Some(&peer))?;
        if !waits && said.frames.len() < frames.len() {
            return Err(Refusal::new(
                "a frame of 0 bytes is a frame, and neither an end nor an error",
            )
            .peer("sent frames of 0 bytes among others, and did not end its stream")
            .but(say!("{} frames", frames.len()), say!("{} frames", said.frames.len())));
        }
        if !waits {
            return Err(Refusal::new("it returned while the stream was still open"));
        }
        let did = "sent frames of 0 bytes among others, then ended its stream";
        if said.frames.len() != frames.len() {
            return Err(Refusal::new(
                "it reports frames of 0 bytes that nobody sent, or leaves out some that were",
            )
            .peer(did)
            .but(say!("{} frames", frames.len()), say!("{} frames", said.frames.len())));
        }
        check(&said, End::Clean, frames, did)?;
    }
    Ok(())
}

fn drip(child: &mut Child) -> Result<(), Refusal> {
    let frames: &[&[u8]] = &[b"ab", b"", b"\xff\x00c"];
    let bytes = encode(frames);
    let (peer, conn) = pair()?;
    child.ask(Ask { fd: None }, &[], vec![conn])?;
    let did = "sent byte by byte, a signal before each, and ended its stream";
    for (n, byte) in bytes.iter().enumerate() {
        child.scene(&say!("after {n} of {} bytes", bytes.len()), "the peer waits", "");
        if !child.until_blocked()? {
            break;
        }
        child.interrupt();
        if !child.until_blocked()? {
            break;
        }
        peer.send(&[*byte]);
    }
    child.scene("after all bytes", "the peer waits", "");
    if child.until_blocked()? {
        child.interrupt();
        child.until_blocked()?;
    }
    peer.end();
    child.scene("after all bytes", "the peer has ended its stream", "");
    let said = taken(child, Some(&peer))?;
    check(&said, End::Clean, frames, did)
}

/// Where in its second frame a stream of two is cut.
fn place(cut: usize, first: usize) -> String {
    match cut - first {
        0 => "a whole frame".into(),
        n @ 1..4 => say!("a frame and {n} bytes of a header"),
        4 => "a frame and the header of the next".into(),
        n => say!("a frame, a header and {} of 5 bytes", n - 4),
    }
}

fn broken(child: &mut Child) -> Result<(), Refusal> {
    let all = encode(&[b"first", b"HELLO"]);
    for cut in 10..all.len() {
        let did = say!("sent {} and ended its stream", place(cut, 9));
        ended(child, &all[..cut], (End::Broken, &[b"first"]), &did)?;
    }
    // A header that promises what never comes, and one that is all there is.
    ended(child, &[0, 1, 0, 0], (End::Broken, &[]), "sent a header of 65536 and ended its stream")?;
    ended(child, &[0], (End::Broken, &[]), "sent 1 byte of a header and ended its stream")
}

fn resets(child: &mut Child) -> Result<(), Refusal> {
    let all = encode(&[b"first", b"HELLO"]);
    for cut in 9..=all.len() {
        let frames: &[&[u8]] = if cut < all.len() { &[b"first"] } else { &[b"first", b"HELLO"] };
        let what = if cut < all.len() { place(cut, 9) } else { "two whole frames".into() };
        let did = say!("sent {what} and reset the connection");
        ended(child, &all[..cut], (End::Reset, frames), &did)?;
    }
    ended(child, b"", (End::Reset, &[]), "reset the connection before the first byte")
}

fn large(child: &mut Child) -> Result<(), Refusal> {
    let payload = pattern(65_536);
    let frames: &[&[u8]] = &[&payload, &payload[..40_000]];
    let bytes = encode(frames);
    for (cut, end, whole) in [(bytes.len(), End::Clean, 2), (bytes.len() - 1, End::Broken, 1)] {
        let (peer, conn) = pair_with(TINY)?;
        child.ask(Ask { fd: None }, &[], vec![conn])?;
        child.scene("inside a frame of 65536 bytes", "the peer sends as fast as it goes", "");
        let said = said_while_sending(child, &peer, &bytes[..cut])?;
        child.left_as_it_was(&said.after)?;
        check(&said, end, &frames[..whole], "sent two large frames, as fast as it went")?;
    }
    Ok(())
}

fn many(child: &mut Child) -> Result<(), Refusal> {
    const COUNT: usize = 20_000;
    let bytes = pattern(COUNT + 8);
    let frames: Vec<&[u8]> = (0..COUNT).map(|n| &bytes[n..n + n % 8]).collect();
    let (peer, conn) = pair()?;
    child.ask(Ask { fd: None }, &[], vec![conn])?;
    child.scene("among 20000 frames", "the peer sends them as fast as it goes", "");
    let said = said_while_sending(child, &peer, &encode(&frames))?;
    child.left_as_it_was(&said.after)?;
    check(&said, End::Clean, &frames, "sent 20000 frames and ended its stream")
}

/// What the answer says while these bytes come, and then the stream's end.
fn said_while_sending(child: &mut Child, peer: &Peer, bytes: &[u8]) -> Result<Said, Refusal> {
    let said = thread::scope(|scope| {
        scope.spawn(|| {
            peer.send(bytes);
            peer.end();
        });
        let said = child.said_as::<Said>();
        peer.abandon(); // where it stopped early, the sender still waits
        said
    });
    Ok(said?.0)
}

/// What a header claims is no reason to take memory.
fn claims(child: &mut Child) -> Result<(), Refusal> {
    for claim in [65_537_u32, 0x7fff_ffff, u32::MAX] {
        let (peer, conn) = pair()?;
        peer.send(&encode(&[b"first"]));
        peer.send(&claim.to_be_bytes());
        peer.send(b"12345678");
        arrived(&conn, 21)?;
        let did = say!("sent a frame, then a header that claims {claim} bytes, and waits");
        const WAITS: &str = "it waits for a payload that no frame may have: 65536 bytes at most";
        child.scene("after that header", &did, WAITS);
        child.ask(Ask { fd: None }, &[], vec![conn])?;
        if child.until_blocked()? {
            return Err(Refusal::new(WAITS).peer(did).but("Err(InvalidData)", "it waits"));
        }
        let said = taken(child, Some(&peer))?;
        let mistake = match &said.result {
            Err(e) if e.kind == "InvalidData" && said.after.peak <= 1 << 16 => continue,
            Err(e) if e.kind == "InvalidData" => {
                "memory was taken before the length was looked at: first the limit, then the buffer"
            }
            _ => "a header that claims more than a frame may have is InvalidData",
        };
        return Err(Refusal::new(mistake).peer(did).but(
            "Err(InvalidData), no memory",
            say!("{}, {} bytes", show(&said.result), said.after.peak),
        ));
    }
    Ok(())
}

fn other_errors(child: &mut Child) -> Result<(), Refusal> {
    const LOOP: &str = "it calls recv again after errors that do not go away: only EINTR does";
    let expect = |result: &Result<End, Failure>, errno: i32, what: &str| match result {
        Err(e) if e.errno == Some(errno) => Ok(()),
        Ok(end) => Err(Refusal::new(say!(
            "recv failed with an errno of its own, and that was taken for the end {end:?}"
        ))
        .but(what, show(result))),
        _ => Err(Refusal::new("the errno of recv has to reach the caller as it is")
            .but(what, show(result))),
    };
    child.scene("after 0 bytes", "there is no such descriptor: recv says EBADF", LOOP);
    let (said, _) = child.call_as::<Said>(Ask { fd: Some(150) }, &[], vec![])?;
    expect(&said.result, libc::EBADF, "Err(EBADF), as fd 150 is not open")?;

    let lonely = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io::Error::from)?;
    child.scene("after 0 bytes", "the socket has no peer: recv says ENOTCONN", LOOP);
    let (said, _) = child.call_as::<Said>(Ask { fd: None }, &[], vec![lonely])?;
    expect(&said.result, libc::ENOTCONN, "Err(NotConnected), as the socket has no peer")?;

    for bytes in [&b""[..], b"\0\0", b"\0\0\0\x05HE", b"\0\0\0\0"] {
        let (peer, conn): (Peer, OwnedFd) = pair()?;
        fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        peer.send(bytes);
        arrived(&conn, bytes.len())?;
        child.scene("on a non-blocking socket", "recv says EAGAIN", LOOP);
        let (said, _) = child.call_as::<Said>(Ask { fd: None }, &[], vec![conn])?;
        expect(&said.result, libc::EAGAIN, "Err(WouldBlock), as the socket is non-blocking")?;
        if bytes == [0; 4] && said.frames.is_empty() {
            return Err(Refusal::new(
                "a frame that came whole before the error is missing: hand each over at once, and \
                 a payload of 0 bytes needs no recv",
            )
            .peer("sent a frame of 0 bytes, and nothing behind it")
            .but("the frame, then Err(WouldBlock)", "no frame"));
        }
    }
    Ok(())
}
