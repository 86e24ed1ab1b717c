//! Exercise `gathered`: header and payload in one `sendmsg`. Article 3.1 and 11.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::examination::{Says, Sender};
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::kernel;
use crate::peer::{Heard, Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

/// Send so many of the bytes as the header, and the others as the payload.
#[derive(Serialize, Deserialize)]
struct Ask {
    header: usize,
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(RawFd, &[u8], &[u8]) -> io::Result<()>) -> ExitCode {
    grading::grade("gathered", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        // Apart from each other, and each with memory behind it that is not to be sent.
        let apart = |bytes: &[u8]| [bytes, &[0x5a; 4096]].concat();
        let (header, payload) = given.bytes.split_at(ask.header);
        let lengths = (header.len(), payload.len());
        let (header, payload) = (apart(header), apart(payload));
        let (result, after) =
            observe(&given.fds, || answer(fd, &header[..lengths.0], &payload[..lengths.1]));
        (Said { result: portable(result), after }, Vec::new())
    })
}

const EXAM: Sender<Ask, Said> = Sender {
    ask: |fd, len| Ask { header: len.min(4), fd },
    says: |said| Says { result: said.result.as_ref().map(|()| "Ok".into()), after: &said.after },
    call: "sendmsg",
    wire: <[u8]>::to_vec,
    done: "Ok",
    gone: None,
};

const CASES: &[Case] = &[
    Case { name: "headers and payloads of many sizes arrive, one behind the other", run: sizes },
    Case { name: "the peer has ended its own stream, and reads on", run: |c| EXAM.half_closed(c) },
    Case { name: "both wait in the same sendmsg", run: one_call },
    Case { name: "with nothing to send it is Ok", run: empty },
    Case { name: "sendmsg takes a part: it ends in the header, in the payload", run: parts },
    Case { name: "4 MB to a peer that reads only when sendmsg waits", run: slow_reader },
    Case { name: "no copy is made of the payload", run: no_copy },
    Case { name: "forty signals come while sendmsg waits", run: |c| EXAM.signals(c) },
    Case { name: "the peer goes: an error, and no SIGPIPE", run: |c| EXAM.gone(c) },
    Case { name: "other errors are returned as they come", run: |c| EXAM.errors(c) },
];

const QUESTION: &[u8] = b"unread";

fn begin(
    child: &mut Child,
    header: &[u8],
    payload: &[u8],
    (peer, conn): (Peer, OwnedFd),
) -> Result<Peer, Refusal> {
    peer.send(QUESTION);
    arrived(&conn, QUESTION.len())?;
    child.ask(Ask { header: header.len(), fd: None }, &[header, payload].concat(), vec![conn])?;
    Ok(peer)
}

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child) -> Result<Said, Refusal> {
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    if said.after.unread.last() != Some(&QUESTION.len()) {
        return Err(Refusal::new("sending must not read what the peer has sent"));
    }
    Ok(said)
}

/// The call returned Ok, and these bytes arrived: compares.
fn delivered(
    said: &Said,
    header: &[u8],
    payload: &[u8],
    got: &[u8],
    did: &str,
) -> Result<(), Refusal> {
    if let Err(e) = &said.result {
        let mistake = match e.kind.as_str() {
            "Interrupted" => {
                "EINTR was returned as an error: nothing is broken, call sendmsg again"
            }
            "WriteZero" => {
                "a sendmsg that took fewer bytes than asked is no failure: send the rest"
            }
            _ => UNFOUNDED,
        };
        return Err(Refusal::new(mistake).peer(did).but("Ok", show(&said.result)));
    }
    let sent = [header, payload].concat();
    if sent == got {
        return Ok(());
    }
    let right = sent.iter().zip(got).take_while(|(a, b)| a == b).count();
    let mistake = if got.starts_with(&sent) {
        "it sent bytes behind the end of a buffer: an iovec's length is what is left of it"
    } else if !payload.is_empty() && got == [payload, header].concat() {
        "the payload went before the header: iovecs are sent in their order"
    } else if sent.starts_with(got) {
        "it returned Ok before all was sent: sendmsg may take only a part, call it for the rest"
    } else if right < header.len() {
        "a part that ends inside the header: go on in the header, and then with the payload"
    } else if got[right..].starts_with(&header[..header.len().min(got.len() - right)]) {
        "after a part it sent the header again: n bytes are done, of header and payload together"
    } else {
        "a part that ends inside the payload: of n bytes, n less the header's are the payload's"
    };
    Err(Refusal::new(mistake)
        .peer(did)
        .but(say!("{} bytes at the peer", sent.len()), say!("{} bytes", got.len()))
        .bytes(&sent, got))
}

fn sizes(child: &mut Child) -> Result<(), Refusal> {
    let bytes = pattern(200_000);
    for (header, payload) in
        [(4, 5), (4, 0), (0, 5), (1, 1), (8, 4096), (4, 150_000), (50_000, 3), (60_000, 60_000)]
    {
        let (header, payload) = (&bytes[..header], &bytes[header..header + payload]);
        let peer = begin(child, header, payload, pair()?)?;
        child.scene(
            &say!("with {} and {} bytes", header.len(), payload.len()),
            "the peer reads all it gets",
            "",
        );
        let reader = peer.read_all();
        let said = taken(child)?;
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        delivered(&said, header, payload, &got, "read until the end of the stream")?;
    }
    Ok(())
}

/// A connection whose buffers are full: `fill` is what the peer will read first.
fn full() -> io::Result<(Peer, OwnedFd, usize)> {
    let (peer, conn) = pair_with(TINY)?;
    let mut fill = 0;
    loop {
        match send(conn.as_raw_fd(), &[0; 4096], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL) {
            Ok(n) => fill += n,
            // What is still on its way to the peer may yet make room.
            Err(nix::Error::EAGAIN) if settled(&conn)? => return Ok((peer, conn, fill)),
            Err(nix::Error::EAGAIN) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Nothing has made room for 20 ms.
fn settled(conn: &OwnedFd) -> io::Result<bool> {
    let mut fds = [PollFd::new(conn.as_fd(), PollFlags::POLLOUT)];
    Ok(poll(&mut fds, PollTimeout::from(20_u8))? == 0)
}

/// The system call that the child waits in, and, if it is `sendmsg`, the lengths of its iovecs.
fn waits_in(pid: i32) -> io::Result<(String, Option<Vec<usize>>)> {
    let line = fs::read_to_string(format!("/proc/{pid}/syscall"))?;
    let mut fields = line.split_whitespace();
    let number: i64 = fields.next().and_then(|n| n.parse().ok()).unwrap_or(-1);
    let hex = |field: &str| u64::from_str_radix(field.trim_start_matches("0x"), 16).ok();
    let message = fields.nth(1).and_then(hex).unwrap_or(0);
    let name = kernel::name(number).0.to_string();
    if number != libc::SYS_sendmsg {
        return Ok((name, None));
    }
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let word = |at: u64| {
        let mut word = [0; 8];
        memory.read_exact_at(&mut word, at).map(|()| u64::from_ne_bytes(word))
    };
    // msghdr: name, its length, iov, iovlen, …, eight bytes each. man: sendmsg(2).
    let (iov, count) = (word(message + 16)?, word(message + 24)?);
    let lengths = (0..count.min(16))
        .map(|n| word(iov + 16 * n + 8).map(|len| len as usize))
        .collect::<io::Result<Vec<_>>>()?;
    Ok((name, Some(lengths)))
}

fn one_call(child: &mut Child) -> Result<(), Refusal> {
    let bytes = pattern(3000);
    let (header, payload) = bytes.split_at(4);
    let (peer, conn, fill) = full()?;
    let peer = begin(child, header, payload, (peer, conn))?;
    let did = "has a full buffer, so that the first call has to wait";
    child.scene("with 4 and 2996 bytes", did, "");
    if child.until_blocked()? {
        match waits_in(child.pid())? {
            (_, Some(lengths)) if lengths.iter().filter(|&&len| len > 0).count() < 2 => {
                let given: usize = lengths.iter().sum();
                let mistake = if given < bytes.len() {
                    "the first sendmsg has the header alone: both belong in the same list of iovecs"
                } else {
                    "header and payload were copied into one buffer: sendmsg can gather them itself"
                };
                return Err(Refusal::new(mistake).peer(did).but(
                    "one sendmsg with two iovecs: 4 and 2996 bytes",
                    say!("a sendmsg with iovecs of {lengths:?} bytes"),
                ));
            }
            (_, Some(lengths)) if lengths.iter().sum::<usize>() != bytes.len() => {
                return Err(Refusal::new("the iovecs are not as long as what they stand for")
                    .peer(did)
                    .but("4 and 2996 bytes", say!("{lengths:?} bytes")));
            }
            (_, Some(_)) => {}
            (name, None) => {
                return Err(Refusal::new(say!(
                    "it waits in {name} and not in sendmsg: the task is one call for both buffers"
                ))
                .peer(did)
                .but("a sendmsg with two iovecs", name));
            }
        }
    }
    let reader = peer.read_all();
    let said = taken(child)?;
    child.close_fds()?;
    let got = reader.join().expect("the reader does not panic");
    delivered(&said, header, payload, got.get(fill..).unwrap_or(&[]), did)
}

fn empty(child: &mut Child) -> Result<(), Refusal> {
    let peer = begin(child, b"", b"", pair()?)?;
    let mistake = "it never ends where there is nothing to send";
    child.scene("after 0 of 0 bytes", "there is nothing to send", mistake);
    let said = taken(child)?;
    if said.result.is_err() {
        return Err(Refusal::new(
            "sendmsg of 0 bytes returns 0, and that was taken for a failure: check before the call",
        )
        .but("Ok", show(&said.result)));
    }
    match peer.read_waiting()? {
        Heard::Nothing => Ok(()),
        heard => Err(Refusal::new("it sent something where there was nothing to send")
            .but("silence at the peer", format!("{heard:?}"))),
    }
}

/// Signals end a sendmsg that has taken a part, and one that has taken nothing.
fn parts(child: &mut Child) -> Result<(), Refusal> {
    let bytes = pattern(1_200_000);
    for header in [4, 600_000, 1_199_990] {
        let (header, payload) = bytes.split_at(header);
        let peer = begin(child, header, payload, pair_with(TINY)?)?;
        child.scene("with a full send buffer", "the peer does not read, a signal has come", "");
        let mut head = Vec::new();
        for round in 0..9 {
            if !child.until_blocked()? {
                break;
            }
            child.interrupt();
            if round % 3 == 2 && child.until_blocked()? {
                head.extend(peer.read(120_000));
            }
        }
        let reader = peer.read_all();
        let said = taken(child)?;
        child.close_fds()?;
        head.extend(reader.join().expect("the reader does not panic"));
        let did = "read now and then, while signals came";
        delivered(&said, header, payload, &head, did)?;
    }
    Ok(())
}

fn slow_reader(child: &mut Child) -> Result<(), Refusal> {
    let bytes = pattern(4_000_003);
    let (header, payload) = bytes.split_at(16);
    let peer = begin(child, header, payload, pair_with(TINY)?)?;
    child.scene("in the middle of 4000003 bytes", "the peer has read all that was sent", "");
    let mut head = Vec::new();
    for _ in 0..5 {
        if !child.until_blocked()? {
            break;
        }
        head.extend(peer.read(50_000));
    }
    let reader = peer.read_all();
    let said = taken(child)?;
    child.close_fds()?;
    head.extend(reader.join().expect("the reader does not panic"));
    delivered(&said, header, payload, &head, "read 50000 bytes each time sendmsg was waiting")
}

fn no_copy(child: &mut Child) -> Result<(), Refusal> {
    let bytes = pattern(2_000_000);
    let (header, payload) = bytes.split_at(4);
    let peer = begin(child, header, payload, pair()?)?;
    let reader = peer.read_all();
    let said = taken(child)?;
    child.close_fds()?;
    let got = reader.join().expect("the reader does not panic");
    if said.after.peak > 1 << 20 {
        return Err(Refusal::new(
            "it builds a copy of the payload: an iovec points to the original",
        )
        .but("no memory of its own", say!("{} bytes at once", said.after.peak)));
    }
    delivered(&said, header, payload, &got, "read until the end of the stream")
}
