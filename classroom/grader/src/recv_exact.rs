//! Exercise `recv_exact`: fill a buffer to the last byte. Article 2.1.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;

use say::say;
use serde::{Deserialize, Serialize};

use crate::calls::{self, Calls};
use crate::child::Child;
use crate::examination::{Receiver, Says};
use crate::grading::{self, Case};
use crate::huge;
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Heard, Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

/// Receive this many bytes from the last of the given descriptors.
#[derive(Serialize, Deserialize)]
struct Ask {
    len: usize,
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
    /// Into 4 GiB and 5 bytes; of those `len` are looked at.
    huge: bool,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    /// The bytes before and after the buffer are untouched.
    in_bounds: bool,
    calls: Calls,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &mut [u8]) -> io::Result<()>) -> ExitCode {
    grading::grade("recv_exact", CASES, |ask: Ask, given| {
        const GUARD: usize = 64;
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let mut memory = vec![0xa5; GUARD + ask.len + GUARD];
        let buf = GUARD..GUARD + ask.len;
        let zeroes = if ask.huge { huge::zeroes() } else { Ok(&mut [][..]) };
        calls::start();
        let (result, after) = observe(&given.fds, || match zeroes {
            Ok([]) => answer(fd, &mut memory[buf.clone()]),
            Ok(zeroes) => answer(fd, zeroes),
            Err(e) => Err(e),
        });
        let in_bounds =
            [&memory[..buf.start], &memory[buf.end..]].iter().all(|g| g.iter().all(|&b| b == 0xa5));
        let said = Said { result: portable(result), in_bounds, calls: calls::counted(), after };
        (said, memory[buf].to_vec())
    })
}

const EXAM: Receiver<Ask, Said> = Receiver {
    message: b"HELLO WO",
    ask: |fd| Ask { len: 8, fd, huge: false },
    says: |said| Says { result: said.result.as_ref().map(|()| "Ok".into()), after: &said.after },
    whole: "Ok",
    nothing: "Err(UnexpectedEof)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
};

const CASES: &[Case] = &[
    Case { name: "everything is there already, and more behind it", run: all_there },
    Case { name: "the peer sends byte by byte", run: drip },
    Case { name: "the peer pauses once, at every place", run: every_cut },
    Case { name: "an empty buffer needs no call", run: empty },
    Case {
        name: "forty signals come before the first byte, and in the middle",
        run: |c| EXAM.signals(c),
    },
    Case { name: "the peer ends its stream, at every place", run: ends },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
    Case { name: "the peer resets the connection, in all its ways", run: |c| EXAM.resets(c) },
    Case { name: "a buffer of more than 4 GiB", run: more_than_4_gib },
    Case { name: "3 MB through a buffer of 4 KiB", run: large },
];

/// A connection at a number that is not the first free one, beside one that is none of its
/// business: the peer of that one has sent something, and listens.
struct Stage {
    /// All the bytes were there before the call.
    at_once: bool,
    peer: Peer,
    bystander: Peer,
}

const BYSTANDER: &[u8] = b"not for you";

fn begin(child: &mut Child, len: usize, before: &[u8]) -> Result<Stage, Refusal> {
    begin_on(child, len, before, pair()?)
}

fn begin_on(
    child: &mut Child,
    len: usize,
    before: &[u8],
    (peer, conn): (Peer, OwnedFd),
) -> Result<Stage, Refusal> {
    let (bystander, theirs) = pair()?;
    bystander.send(BYSTANDER);
    peer.send(before);
    arrived(&theirs, BYSTANDER.len())?;
    arrived(&conn, before.len())?;
    child.ask(Ask { len, fd: None, huge: false }, &[], vec![theirs, conn])?;
    Ok(Stage { at_once: before.len() >= len, peer, bystander })
}

/// What it returned, what is in the buffer, how many bytes are still unread.
type Taken = (Result<(), Failure>, Vec<u8>, usize);

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child, stage: &Stage) -> Result<Taken, Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    if !said.in_bounds {
        return Err(Refusal::new(
            "recv was told of more room than there is: after n bytes, len - n are left",
        )
        .but("nothing written outside the buffer", "bytes behind its end have changed"));
    }
    child.left_as_it_was(&said.after)?;
    let quiet = [&stage.bystander, &stage.peer].map(Peer::read_waiting);
    for heard in quiet {
        match heard? {
            Heard::Nothing => {}
            heard => {
                return Err(Refusal::new("receiving must not send anything, nor end a direction")
                    .but("silence at the peer", format!("{heard:?}")));
            }
        }
    }
    if said.after.unread.first() != Some(&BYSTANDER.len()) {
        return Err(Refusal::new("it read from another descriptor than the one it was given"));
    }
    let calls = said.calls.transfers;
    if stage.at_once && bytes.len() > 8 && calls > 1 + bytes.len() / 2 {
        return Err(Refusal::new("a recv for each byte: offer all the room, it fills what it can")
            .peer("had sent everything before the call")
            .but("one recv", say!("{calls} calls")));
    }
    Ok((said.result, bytes, said.after.unread.last().copied().unwrap_or(0)))
}

/// For cases that end well: Ok, and exactly these bytes.
fn full(child: &mut Child, stage: &Stage, expected: &[u8], peer: &str) -> Result<usize, Refusal> {
    let (result, bytes, unread) = taken(child, stage)?;
    if let Err(e) = &result {
        let mistake = match e.kind.as_str() {
            "Interrupted" => "EINTR was returned as an error: nothing is broken, call recv again",
            "UnexpectedEof" => "a recv that returns fewer bytes than asked is no end of stream",
            _ => UNFOUNDED,
        };
        return Err(Refusal::new(mistake).peer(peer).but("Ok", show(&result)));
    }
    if bytes != expected {
        return Err(Refusal::new(misplaced(expected, &bytes))
            .peer(peer)
            .but("Ok, and every byte in its place", "Ok, and other bytes:")
            .bytes(expected, &bytes));
    }
    Ok(unread)
}

fn misplaced(expected: &[u8], bytes: &[u8]) -> &'static str {
    let right = expected.iter().zip(bytes).take_while(|(a, b)| a == b).count();
    if bytes[right..].iter().all(|&b| b == 0xa5) && right == 0 {
        "nothing was written to the buffer, and yet it returned Ok"
    } else if bytes[right..].iter().all(|&b| b == 0xa5) {
        "it returned Ok before the buffer was full: recv gives what is there, call it in a loop"
    } else {
        "the pieces are not one behind the other: the next recv has to write behind the last one"
    }
}

fn all_there(child: &mut Child) -> Result<(), Refusal> {
    let stage = begin(child, 11, b"hello worldAND MORE")?;
    let peer = "sent 19 bytes; 11 of them were asked for";
    child.scene("with all 11 bytes there", "the peer has sent them all", "");
    let unread = full(child, &stage, b"hello world", peer)?;
    if unread != 8 {
        return Err(Refusal::new(
            "it took bytes out of the stream that belong to the next message",
        )
        .peer(peer)
        .but("8 bytes still unread", say!("{unread} bytes still unread")));
    }
    ask_again(child, 8)?;
    full(child, &stage, b"AND MORE", "had sent those before")?;
    ask_again(child, 4)?;
    child.scene("after 0 of 4 bytes", "the peer waits for it to ask for more", "");
    if child.until_blocked()? {
        stage.peer.send(b"LAST");
        return full(child, &stage, b"LAST", "sent those when recv was waiting").map(drop);
    }
    let (said, _) = child.said_as::<Said>()?;
    Err(Refusal::new("after one recv_exact the connection takes no other: was it shut down?")
        .peer("sends 4 bytes more as soon as recv waits")
        .but("Ok", show(&said.result)))
}

/// On the same connection.
fn ask_again(child: &mut Child, len: usize) -> Result<(), Refusal> {
    child.ask(Ask { len, fd: None, huge: false }, &[], vec![])
}

fn drip(child: &mut Child) -> Result<(), Refusal> {
    let message = b"\x00\x01two\xff\x00end";
    let stage = begin(child, message.len(), b"")?;
    for (n, byte) in message.iter().enumerate() {
        child.scene(&say!("after {n} of 10 bytes"), "the peer waits for it to ask for more", "");
        if !child.until_blocked()? {
            break;
        }
        stage.peer.send(&[*byte]);
    }
    child.scene("after 10 of 10 bytes", "the peer has sent them all", "");
    full(child, &stage, message, "sent each byte when recv was waiting for it").map(drop)
}

fn every_cut(child: &mut Child) -> Result<(), Refusal> {
    let message = b"GET / HTTP/1.1";
    for cut in 0..message.len() {
        let stage = begin(child, message.len(), &message[..cut])?;
        child.scene(&say!("after {cut} of 14 bytes"), "the peer waits", "");
        if child.until_blocked()? {
            stage.peer.send(&[&message[cut..], b"NEXT"].concat());
        }
        child.scene("after 14 of 14 bytes", "the peer has sent them all", "");
        let peer = say!("sent {cut} bytes, then the other {} and 4 more", 14 - cut);
        let unread = full(child, &stage, message, &peer)?;
        if unread != 4 {
            return Err(Refusal::new("it took bytes that come behind the end of the message")
                .peer(peer)
                .but("4 bytes still unread", say!("{unread} bytes still unread")));
        }
    }
    Ok(())
}

fn empty(child: &mut Child) -> Result<(), Refusal> {
    const MISTAKE: &str =
        "it called recv for an empty buffer, and that waits: check before the call";
    let stage = begin(child, 0, b"")?;
    child.scene("after 0 of 0 bytes", "the peer sends nothing", MISTAKE);
    full(child, &stage, b"", "sends nothing")?;
    // And where recv would return at once, with 0.
    let (peer, conn) = pair()?;
    peer.end();
    let stage = begin_on(child, 0, b"", (peer, conn))?;
    let (result, ..) = taken(child, &stage)?;
    result.map_err(|e| {
        Refusal::new("an empty buffer is full before the first recv: that is no end of stream")
            .peer("has ended its stream")
            .but("Ok", show::<()>(&Err(e)))
    })
}

fn ends(child: &mut Child) -> Result<(), Refusal> {
    let message = b"HELLO WO";
    for cut in 0..=message.len() {
        let stage = begin(child, message.len(), &message[..cut])?;
        stage.peer.end();
        let progress = say!("after {cut} of 8 bytes");
        let mistake = "recv returned 0, which is the end of the stream; it called recv again";
        child.scene(&progress, "the peer has already closed", mistake);
        let peer = say!("sent {cut} of 8 bytes and ended its stream");
        if cut == message.len() {
            full(child, &stage, message, &peer)?; // the end comes behind the last byte
            continue;
        }
        let (result, ..) = taken(child, &stage)?;
        let mistake = match &result {
            Err(e) if e.kind == "UnexpectedEof" => continue,
            Ok(()) if cut == 0 => {
                "an end before the first byte was taken for success: the buffer holds nothing"
            }
            Ok(()) => "recv returned 0 and that was taken for success: the message is not complete",
            Err(e) if e.errno.is_some() => {
                "after recv returned 0 errno was reported: errno means nothing unless recv said -1"
            }
            Err(_) => "the end of the stream inside a message has a kind: UnexpectedEof",
        };
        return Err(Refusal::new(mistake).peer(peer).but("Err(UnexpectedEof)", show(&result)));
    }
    Ok(())
}

fn more_than_4_gib(child: &mut Child) -> Result<(), Refusal> {
    const CAST: &str = "a length or a count was cut to 32 bits: this buffer has 4 GiB and 5 bytes";
    let (bystander, theirs) = pair()?;
    let (peer, conn) = pair()?;
    peer.send(b"HELLO");
    peer.end();
    child.scene("after 5 of 4 GiB and 5 bytes", "the peer has ended its stream", CAST);
    let ask = Ask { len: 0, fd: None, huge: true };
    let (said, _) = child.call_as::<Said>(ask, &[], vec![theirs, conn])?;
    drop(bystander);
    match &said.result {
        Err(e) if e.kind == "UnexpectedEof" => Ok(()),
        result => Err(Refusal::new(CAST)
            .peer("sent 5 bytes and ended its stream")
            .but("Err(UnexpectedEof)", show(result))),
    }
}

fn large(child: &mut Child) -> Result<(), Refusal> {
    let message = pattern(3_000_001);
    let stage = begin_on(child, message.len(), b"", pair_with(TINY)?)?;
    child.scene("in the middle of 3000001 bytes", "the peer has sent all it has", "");
    let (said, bytes) = thread::scope(|scope| {
        scope.spawn(|| stage.peer.send(&message));
        let outcome = child.said_as::<Said>();
        stage.peer.abandon(); // where it stopped early, the sender still waits
        outcome
    })?;
    child.left_as_it_was(&said.after)?;
    if said.result.as_ref().is_err_and(|e| e.kind == "UnexpectedEof") {
        return Err(Refusal::new("it gives up after some calls of recv: go on until buf is full")
            .peer("sent 3000001 bytes as fast as they went")
            .but("Ok", show(&said.result)));
    }
    if said.result.is_err() || bytes != message || !said.in_bounds {
        return Err(Refusal::new(misplaced(&message, &bytes))
            .peer("sent 3000001 bytes as fast as they went")
            .but("Ok, and every byte in its place", show(&said.result))
            .bytes(&message, &bytes));
    }
    if said.after.kept > 1 << 15 {
        return Err(Refusal::new("it keeps memory after it has returned")
            .but(say!("none"), say!("{} bytes", said.after.kept)));
    }
    if said.after.peak > 1 << 20 {
        return Err(Refusal::new(
            "it builds a copy of the message: recv can write into buf itself",
        )
        .but("no memory of its own", say!("{} bytes at once", said.after.peak)));
    }
    Ok(())
}
