//! Exercise `send_all`: send a buffer to the last byte. Article 2.1.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;

use say::say;
use serde::{Deserialize, Serialize};

use crate::calls::{self, Calls};
use crate::child::Child;
use crate::examination::{Says, Sender, misplaced};
use crate::grading::{self, Case};
use crate::huge;
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Heard, Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

/// Send the bytes to the last of the given descriptors.
#[derive(Serialize, Deserialize)]
struct Ask {
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
    /// Instead of the bytes: 4 GiB and 5 zeroes.
    huge: bool,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    calls: Calls,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &[u8]) -> io::Result<()>) -> ExitCode {
    grading::grade("send_all", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        // Behind the buffer lies memory that is readable, and not to be sent.
        let len = given.bytes.len();
        let mut memory = given.bytes;
        memory.resize(2 * len, 0x5a);
        let zeroes = if ask.huge { huge::zeroes() } else { Ok(&mut [][..]) };
        let buf = match &zeroes {
            Ok([]) => &memory[..len],
            Ok(zeroes) => zeroes,
            Err(_) => &[],
        };
        calls::start();
        let (result, after) = observe(&given.fds, || answer(fd, buf));
        let result = zeroes.and(result);
        (Said { result: portable(result), calls: calls::counted(), after }, Vec::new())
    })
}

const EXAM: Sender<Ask, Said> = Sender {
    ask: |fd, _| Ask { fd, huge: false },
    says: |said| Says { result: said.result.as_ref().map(|()| "Ok".into()), after: &said.after },
    call: "send",
    wire: <[u8]>::to_vec,
    done: "Ok",
    gone: None,
};

const CASES: &[Case] = &[
    Case { name: "messages of 1 byte to 300 kB arrive, byte for byte", run: sizes },
    Case { name: "an empty buffer is Ok", run: empty },
    Case { name: "4 MB to a peer that reads only when send waits", run: slow_reader },
    Case { name: "forty signals come while send waits", run: |c| EXAM.signals(c) },
    Case { name: "signals come while the peer reads a little at a time", run: signals_between },
    Case { name: "the peer has ended its own stream, and reads on", run: |c| EXAM.half_closed(c) },
    Case { name: "the peer goes: an error, and no SIGPIPE", run: |c| EXAM.gone(c) },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
    Case { name: "more than 4 GiB, of which only the first bytes can go", run: more_than_4_gib },
];

const QUESTION: &[u8] = b"unread";

/// The connection, with unread bytes at the answer's end, and a bystander that must hear nothing.
struct Stage {
    peer: Peer,
    bystander: Peer,
}

fn begin(child: &mut Child, bytes: &[u8], (peer, conn): (Peer, OwnedFd)) -> Result<Stage, Refusal> {
    let (bystander, theirs) = pair()?;
    peer.send(QUESTION);
    arrived(&conn, QUESTION.len())?;
    child.ask(Ask { fd: None, huge: false }, bytes, vec![theirs, conn])?;
    Ok(Stage { peer, bystander })
}

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child, bystander: &Peer) -> Result<Result<(), Failure>, Refusal> {
    let (said, _) = child.said_as::<Said>()?;
    checked(child, said, bystander, false, 0)
}

/// As `taken`. `small`: there was nothing in the way of the bytes, so they have to have left.
fn checked(
    child: &mut Child,
    said: Said,
    bystander: &Peer,
    small: bool,
    sent: usize,
) -> Result<Result<(), Failure>, Refusal> {
    child.left_as_it_was(&said.after)?;
    if bystander.read_waiting()? != Heard::Nothing {
        return Err(Refusal::new("it wrote to another descriptor than the one it was given"));
    }
    if sent > 0 && said.calls.transfers > 2 + sent / 16 {
        return Err(Refusal::new(
            "a send for every few bytes: offer all of the rest, it takes a part",
        )
        .but("at most one send for 16 bytes", say!("{} calls", said.calls.transfers)));
    }
    let unsent = said.after.unsent.last().copied().unwrap_or(0);
    if said.result.is_ok() && (1..=4096).contains(&unsent) && small && said.calls.transfers <= 1 {
        return Err(Refusal::new(
            "the kernel was told that more would follow, and waits: MSG_MORE",
        )
        .peer("has room for it")
        .but("nothing held back", say!("{unsent} bytes held back")));
    }
    if said.after.unread.last() != Some(&QUESTION.len()) {
        return Err(Refusal::new("sending must not read what the peer has sent"));
    }
    if said.after.peak > 1 << 20 {
        return Err(Refusal::new("it builds a copy of the message: send can read from buf itself")
            .but("no memory of its own", say!("{} bytes at once", said.after.peak)));
    }
    Ok(said.result)
}

/// The call returned Ok, and these bytes arrived: compares.
fn delivered(
    result: &Result<(), Failure>,
    sent: &[u8],
    got: &[u8],
    peer: &str,
) -> Result<(), Refusal> {
    if let Err(e) = result {
        let mistake = match e.kind.as_str() {
            "Interrupted" => "EINTR was returned as an error: nothing is broken, call send again",
            "WriteZero" => "a send that took fewer bytes than asked is no failure: send the rest",
            _ => UNFOUNDED,
        };
        return Err(Refusal::new(mistake).peer(peer).but("Ok", show(result)));
    }
    if sent == got {
        return Ok(());
    }
    Err(Refusal::new(misplaced(sent, got))
        .peer(peer)
        .but(say!("{} bytes at the peer", sent.len()), say!("{} bytes", got.len()))
        .bytes(sent, got))
}

fn sizes(child: &mut Child) -> Result<(), Refusal> {
    for len in [1, 2, 17, 4096, 65_536, 300_000] {
        let message = pattern(len);
        let Stage { peer, bystander } = begin(child, &message, pair()?)?;
        child.scene(&say!("with a message of {len} bytes"), "the peer reads all it gets", "");
        let reader = peer.read_all();
        let (said, _) = child.said_as::<Said>()?;
        let mut result = checked(child, said, &bystander, len <= 4096, len)?;
        let mut sent = message;
        if result.is_ok() {
            child.ask(Ask { fd: None, huge: false }, b"one more", vec![])?;
            result = taken(child, &bystander)?;
            sent.extend(b"one more");
            if result.is_err() {
                return Err(Refusal::new("after one send_all the connection takes no other")
                    .but("Ok", show(&result)));
            }
        }
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        delivered(&result, &sent, &got, "read until the end of the stream")?;
    }
    Ok(())
}

fn empty(child: &mut Child) -> Result<(), Refusal> {
    let Stage { peer, bystander } = begin(child, b"", pair()?)?;
    child.scene(
        "after 0 of 0 bytes",
        "there is nothing to send",
        "it never ends for an empty buffer",
    );
    let result = taken(child, &bystander)?;
    if result.is_err() {
        return Err(Refusal::new(
            "send of 0 bytes returns 0, and that was taken for a failure: check before the call",
        )
        .but("Ok", show(&result)));
    }
    match peer.read_waiting()? {
        Heard::Nothing => Ok(()),
        heard => Err(Refusal::new("it sent something for an empty buffer")
            .but("silence at the peer", format!("{heard:?}"))),
    }
}

fn slow_reader(child: &mut Child) -> Result<(), Refusal> {
    let message = pattern(4_000_003);
    let Stage { peer, bystander } = begin(child, &message, pair_with(TINY)?)?;
    child.scene("in the middle of 4000003 bytes", "the peer has read all that was sent", "");
    let mut head = Vec::new();
    for _ in 0..5 {
        if !child.until_blocked()? {
            break;
        }
        head.extend(peer.read(50_000));
    }
    let reader = peer.read_all();
    let result = taken(child, &bystander)?;
    child.close_fds()?;
    head.extend(reader.join().expect("the reader does not panic"));
    delivered(
        &result,
        &message,
        &head,
        "read 50000 bytes each time send was waiting, then the rest",
    )
}

fn signals_between(child: &mut Child) -> Result<(), Refusal> {
    let message = pattern(700_001);
    let Stage { peer, bystander } = begin(child, &message, pair_with(TINY)?)?;
    child.scene("with a full send buffer", "the peer reads a little, and a signal has come", "");
    let mut head = Vec::new();
    // The signal may find it waiting or sending; behind it, it waits anew.
    child.until_blocked()?;
    for _ in 0..60 {
        child.interrupt();
        if !child.until_blocked()? {
            break;
        }
        head.extend(peer.read(3001));
    }
    let reader = peer.read_all();
    let result = taken(child, &bystander)?;
    child.close_fds()?;
    head.extend(reader.join().expect("the reader does not panic"));
    delivered(&result, &message, &head, "read 3001 bytes behind each of sixty signals")
}

fn more_than_4_gib(child: &mut Child) -> Result<(), Refusal> {
    const CAST: &str = "a length or a count was cut to 32 bits: this buffer has 4 GiB and 5 bytes";
    let (peer, conn) = pair_with(TINY)?;
    let (bystander, theirs) = pair()?;
    child.ask(Ask { fd: None, huge: true }, &[], vec![theirs, conn])?;
    child.scene("with 4 GiB and 5 bytes", "the peer does not read", CAST);
    // A signal has send return what it had taken by then; the rest remains.
    if child.until_blocked()? {
        child.interrupt();
    }
    if child.until_blocked()? {
        peer.reset()?;
        child.said_as::<Said>()?;
        drop(bystander);
        return Ok(());
    }
    let (said, _) = child.said_as::<Said>()?;
    Err(Refusal::new(CAST)
        .peer("does not read")
        .but("it waits with a full send buffer", show(&said.result)))
}
