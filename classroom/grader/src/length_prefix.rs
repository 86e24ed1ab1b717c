//! Exercise `length_prefix`: one frame out, one frame in. Article 3.1.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;

use say::say;
use serde::{Deserialize, Serialize};

use crate::beside::{Stage, stage};
use crate::child::Child;
use crate::examination::{Receiver, Says, Sender};
use crate::grading::{self, Case};
use crate::huge;
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Heard, Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

/// One call, on the last of the given descriptors.
#[derive(Serialize, Deserialize)]
enum Ask {
    /// Send the bytes.
    Send {
        cap: usize,
        fd: Option<RawFd>,
    },
    /// Send 4 GiB and 5 bytes.
    SendHuge,
    Receive {
        cap: usize,
        fd: Option<RawFd>,
    },
}

#[derive(Serialize, Deserialize)]
struct Said {
    /// `false`: `None` was returned.
    result: Result<bool, Failure>,
    after: After,
}

type SendFrame = fn(RawFd, &[u8], usize) -> io::Result<()>;
type RecvFrame = fn(RawFd, usize) -> io::Result<Option<Vec<u8>>>;

/// Grades the answer.
pub fn grade(send_frame: SendFrame, recv_frame: RecvFrame) -> ExitCode {
    grading::grade("length_prefix", CASES, |ask: Ask, given| {
        let conn = given.fds.last().copied().unwrap_or(-1);
        let ((result, after), frame) = match ask {
            Ask::Send { cap, fd } => {
                // Behind the payload lies memory that is readable, and not to be sent.
                let len = given.bytes.len();
                let mut memory = given.bytes;
                memory.resize(len + 4096, 0x5a);
                let seen =
                    observe(&given.fds, || send_frame(fd.unwrap_or(conn), &memory[..len], cap));
                ((seen.0.map(|()| true), seen.1), Vec::new())
            }
            Ask::SendHuge => {
                let seen = match huge::zeroes() {
                    Ok(huge) => observe(&given.fds, || send_frame(conn, huge, usize::MAX)),
                    Err(e) => (Err(e), After::default()),
                };
                ((seen.0.map(|()| true), seen.1), Vec::new())
            }
            Ask::Receive { cap, fd } => {
                let (result, after) = observe(&given.fds, || recv_frame(fd.unwrap_or(conn), cap));
                let mut frame = None;
                let some = result.map(|got| {
                    frame = got;
                    frame.is_some()
                });
                ((some, after), frame.unwrap_or_default())
            }
        };
        (Said { result: portable(result), after }, frame)
    })
}

const RECEIVER: Receiver<Ask, Said> = Receiver {
    message: b"\0\0\0\x08HELLO WO",
    ask: |fd| Ask::Receive { cap: CAP, fd },
    says,
    whole: "Ok(Some)",
    nothing: "Ok(None)",
    cut: "Err(UnexpectedEof)",
    reset: "Err(ECONNRESET)",
    reads_on: false,
};

const SENDER: Sender<Ask, Said> = Sender {
    ask: |fd, len| Ask::Send { cap: CAP.max(len), fd },
    says,
    call: "send",
    wire: frame,
    done: "Ok(Some)",
    gone: None,
};

fn says(said: &Said) -> Says<'_> {
    let text = |&some: &bool| if some { "Ok(Some)" } else { "Ok(None)" };
    Says { result: said.result.as_ref().map(|some| text(some).into()), after: &said.after }
}

const CASES: &[Case] = &[
    Case { name: "send: payloads of 0 bytes to 300 kB, four bytes of length before", run: sizes },
    Case { name: "send: up to the cap and no further", run: send_cap },
    Case { name: "send: 4 GiB and 5 bytes do not fit into four bytes of length", run: huge },
    Case { name: "send: the send buffer is full, and signals come", run: slow_reader },
    Case {
        name: "send: the peer has ended its own stream, and reads on",
        run: |c| SENDER.half_closed(c),
    },
    Case { name: "send: forty signals come while it waits", run: |c| SENDER.signals(c) },
    Case { name: "send: the peer goes: an error, and no SIGPIPE", run: |c| SENDER.gone(c) },
    Case { name: "send: other errors are returned as they come", run: |c| SENDER.errors(c) },
    Case { name: "receive: one frame, and not a byte of the next", run: one_by_one },
    Case { name: "receive: the peer pauses, at every place, and a signal comes", run: every_cut },
    Case { name: "receive: the peer ends its stream, at every place", run: ends },
    Case { name: "receive: up to the cap and no further, and nothing allocated", run: recv_cap },
    Case { name: "receive: 1 MB through a buffer of 4 KiB", run: large },
    Case { name: "receive: other errors are returned as they come", run: |c| RECEIVER.errors(c) },
    Case { name: "receive: forty signals come while it waits", run: |c| RECEIVER.signals(c) },
    Case {
        name: "receive: the peer resets the connection, in all its ways",
        run: |c| RECEIVER.resets(c),
    },
];

const CAP: usize = 1 << 20;

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

fn send(child: &mut Child, payload: &[u8], conn: (Peer, OwnedFd)) -> Result<Stage, Refusal> {
    let (stage, fds) = stage(conn)?;
    child.ask(Ask::Send { cap: CAP.max(payload.len()), fd: None }, payload, fds)?;
    Ok(stage)
}

/// What a send left behind.
fn sent(child: &mut Child, bystander: &Stage) -> Result<Result<bool, Failure>, Refusal> {
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    bystander.bystander_untouched(&said.after)?;
    Ok(said.result)
}

/// The call returned, and these bytes came: compares.
fn delivered(
    result: &Result<bool, Failure>,
    payload: &[u8],
    got: &[u8],
    peer: &str,
) -> Result<(), Refusal> {
    if let Err(e) = result {
        let mistake = match e.kind.as_str() {
            "Interrupted" => "EINTR was returned as an error by the sender: call send again",
            "InvalidInput" => "a payload within the cap was refused: the cap is the last that goes",
            _ => UNFOUNDED,
        };
        return Err(Refusal::new(mistake).peer(peer).but("Ok", show(result)));
    }
    let expected = frame(payload);
    if got == expected {
        return Ok(());
    }
    let len = payload.len() as u32;
    let begins = |header: &[u8]| got.starts_with(header);
    let mistake = if got.is_empty() && payload.is_empty() {
        "an empty payload is a frame, too: four bytes of length that say 0"
    } else if got == payload {
        "the length is missing: the payload went out without its header"
    } else if *got == expected[..4] {
        "the header went out and the payload did not"
    } else if begins(&expected[..4]) && expected.starts_with(got) {
        "the frame is not complete: send may take only a part, call it for the rest"
    } else if begins(&expected[..4]) {
        "the payload is not as it was given: go on behind what send has taken"
    } else if begins(&len.to_le_bytes()) {
        "the length went out with its low byte first: network byte order is big-endian"
    } else if begins(&(len + 4).to_be_bytes()) {
        "the length counts its own four bytes: it says how many come behind it"
    } else {
        "the frame does not begin with four bytes of length, big-endian"
    };
    Err(Refusal::new(mistake)
        .peer(peer)
        .but(say!("{} bytes at the peer", expected.len()), say!("{} bytes", got.len()))
        .bytes(&expected, got))
}

fn sizes(child: &mut Child) -> Result<(), Refusal> {
    for len in [5, 0, 1, 255, 256, 65_536, 300_000] {
        let payload = pattern(len);
        let stage = send(child, &payload, pair()?)?;
        child.scene(&say!("with a payload of {len} bytes"), "the peer reads all it gets", "");
        // Its own thread reads, so that nothing holds the sender up.
        let (peer, bystander) = (stage.peer, stage.bystander);
        let reader = peer.read_all();
        let (said, _) = child.said_as::<Said>()?;
        child.left_as_it_was(&said.after)?;
        if bystander.read_waiting()? != Heard::Nothing {
            return Err(Refusal::new("it wrote to another descriptor than the one it was given"));
        }
        child.close_fds()?;
        let got = reader.join().expect("the reader does not panic");
        delivered(&said.result, &payload, &got, "read until the end of the stream")?;
    }
    Ok(())
}

fn send_cap(child: &mut Child) -> Result<(), Refusal> {
    for (len, cap) in [(8, 8), (0, 0), (9, 8), (1, 0)] {
        let (stage, fds) = stage(pair()?)?;
        child.ask(Ask::Send { cap, fd: None }, &pattern(len), fds)?;
        child.scene(&say!("with {len} bytes and a cap of {cap}"), "the peer reads", "");
        let result = sent(child, &stage)?;
        if len <= cap {
            let got = stage.peer.read(4 + len);
            delivered(&result, &pattern(len), &got, "read the frame")?;
            continue;
        }
        let tried = say!("a payload of {len} bytes, with a cap of {cap}");
        let kind = result.as_ref().err().map(|e| e.kind.as_str());
        match (kind, stage.peer.read_waiting()?) {
            (Some("InvalidInput"), Heard::Nothing) => {}
            (Some("InvalidInput"), heard) => {
                return Err(Refusal::new(
                    "something was sent of a payload over the cap: check before the first byte",
                )
                .but(say!("silence at the peer: {tried}"), format!("{heard:?}")));
            }
            (None, _) => {
                return Err(Refusal::new(
                    "a payload over the cap was sent: the other side would refuse it",
                )
                .but(format!("Err(InvalidInput): {tried}"), show(&result)));
            }
            _ => {
                return Err(Refusal::new("a payload over the cap has a kind: InvalidInput")
                    .but(format!("Err(InvalidInput): {tried}"), show(&result)));
            }
        }
    }
    Ok(())
}

fn huge(child: &mut Child) -> Result<(), Refusal> {
    const CAST: &str = "a cast cut the length to 32 bits: 4 GiB and 5 bytes were announced as 5";
    let (stage, fds) = stage(pair_with(TINY)?)?;
    child.ask(Ask::SendHuge, &[], fds)?;
    child.scene("with 4 GiB and 5 bytes", "the peer does not read", CAST);
    if child.until_blocked()? {
        let seen = format!("{:?}", stage.peer.read(4));
        return Err(Refusal::new(CAST).but("Err(InvalidInput), silence at the peer", seen));
    }
    let result = sent(child, &stage)?;
    let kind = result.as_ref().err().map(|e| e.kind.as_str());
    match stage.peer.read_waiting()? {
        Heard::Nothing if kind == Some("InvalidInput") => Ok(()),
        Heard::Nothing => Err(Refusal::new(
            "a length that four bytes cannot say has a kind: InvalidInput, whatever the cap",
        )
        .but("Err(InvalidInput)", show(&result))),
        heard => Err(Refusal::new(CAST).but("silence at the peer", format!("{heard:?}"))),
    }
}

/// Fills the send buffer of `conn`, and says how many bytes that took.
fn fill(conn: &OwnedFd) -> usize {
    let filler = [0x5a; 4096];
    let mut filled = 0;
    loop {
        // SAFETY:
        // - `filler` is readable for its whole length.
        let n = unsafe {
            libc::send(conn.as_raw_fd(), filler.as_ptr().cast(), filler.len(), libc::MSG_DONTWAIT)
        };
        match n {
            1.. => filled += n as usize,
            _ => return filled,
        }
    }
}

fn slow_reader(child: &mut Child) -> Result<(), Refusal> {
    let payload = pattern(600_000);
    let (peer, conn) = pair_with(TINY)?;
    let filled = fill(&conn);
    let stage = send(child, &payload, (peer, conn))?;
    let what = "the peer has read nothing yet, and signals have come";
    child.scene("with a full send buffer", what, "");
    for _ in 0..2 {
        if child.until_blocked()? {
            child.interrupt(); // nothing has been taken of the header
        }
    }
    child.until_blocked()?;
    let mut got = stage.peer.read(filled);
    got.clear();
    for _ in 0..3 {
        if !child.until_blocked()? {
            break;
        }
        child.interrupt(); // perhaps a part of the payload has been taken
        if child.until_blocked()? {
            got.extend(stage.peer.read(20_000));
        }
    }
    let reader = stage.peer.read_all();
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    child.close_fds()?;
    got.extend(reader.join().expect("the reader does not panic"));
    delivered(&said.result, &payload, &got, "read little by little, and signals came meanwhile")
}

fn receive(child: &mut Child, before: &[u8], cap: usize) -> Result<Stage, Refusal> {
    receive_on(child, before, cap, pair()?)
}

fn receive_on(
    child: &mut Child,
    before: &[u8],
    cap: usize,
    (peer, conn): (Peer, OwnedFd),
) -> Result<Stage, Refusal> {
    peer.send(before);
    arrived(&conn, before.len())?;
    let (stage, fds) = stage((peer, conn))?;
    child.ask(Ask::Receive { cap, fd: None }, &[], fds)?;
    Ok(stage)
}

/// What was received: `Some(payload)`, `None` or an error; and what is still unread.
struct Received {
    payload: Result<Option<Vec<u8>>, Failure>,
    unread: usize,
    peak: usize,
}

fn received(child: &mut Child, stage: &Stage) -> Result<Received, Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    stage.nothing_sent(&said.after)?;
    Ok(Received {
        payload: said.result.map(|some| some.then_some(bytes)),
        unread: said.after.unread.last().copied().unwrap_or(0),
        peak: said.after.peak,
    })
}

fn shown(payload: &Result<Option<Vec<u8>>, Failure>) -> String {
    match payload {
        Ok(Some(bytes)) => format!("Ok(Some({} bytes))", bytes.len()),
        Ok(None) => "Ok(None)".into(),
        Err(e) => e.shown(),
    }
}

/// Exactly this payload, and so many bytes left for the next call.
fn whole(got: &Received, payload: &[u8], unread: usize, peer: &str) -> Result<(), Refusal> {
    let expected = format!("Ok(Some({} bytes))", payload.len());
    let refuse = |mistake: &str| {
        Err(Refusal::new(mistake).peer(peer).but(expected.clone(), shown(&got.payload)))
    };
    match &got.payload {
        Err(e) if e.kind == "Interrupted" => {
            refuse("EINTR was returned as an error by the receiver: call recv again")
        }
        Err(e) if e.kind == "UnexpectedEof" => {
            refuse("a recv that returns fewer bytes than asked is no end of stream")
        }
        Err(e) if e.kind == "InvalidData" && payload.len() > 255 => {
            refuse("a length within the cap was refused: the cap is the last that goes")
        }
        Err(e) if e.kind == "InvalidData" => refuse(
            "the length was read wrong: it is big-endian, and does not count its own four bytes",
        ),
        Err(_) => refuse(UNFOUNDED),
        Ok(None) if payload.is_empty() => {
            refuse("a frame of length 0 was taken for the end of the stream: it is an empty frame")
        }
        Ok(None) => refuse("a frame came, and None says that the stream has ended"),
        Ok(Some(bytes)) if bytes != payload => {
            let same = bytes.iter().zip(payload).take_while(|(a, b)| a == b).count();
            let mistake = if bytes.starts_with(payload) || bytes.len() < payload.len() {
                "the payload has not the length that was announced"
            } else if bytes[same..].iter().all(|&b| b == 0) {
                "the payload was returned before all of it had come: recv gives what is there"
            } else {
                "the payload is not what was sent: the next recv writes behind the last one"
            };
            Err(Refusal::new(mistake)
                .peer(peer)
                .but(expected, shown(&got.payload))
                .bytes(payload, bytes))
        }
        Ok(Some(_)) if got.unread != unread => {
            Err(Refusal::new("it took bytes out of the stream that belong to the next frame")
                .peer(peer)
                .but(say!("{unread} bytes still unread"), say!("{} bytes", got.unread)))
        }
        Ok(Some(_)) => Ok(()),
    }
}

fn one_by_one(child: &mut Child) -> Result<(), Refusal> {
    let payloads = [&b"hello"[..], b"", &pattern(1000), b"\x00\x00\x00\x01", b""];
    let all: Vec<u8> = payloads.iter().flat_map(|p| frame(p)).collect();
    let stage = receive(child, &all, 4096)?;
    let peer = say!("sent 5 frames at once, {} bytes", all.len());
    let mut unread = all.len();
    for (n, payload) in payloads.iter().enumerate() {
        if n > 0 {
            child.ask(Ask::Receive { cap: 4096, fd: None }, &[], vec![])?;
        }
        child.scene(
            &say!("in frame {} of 5, of {} bytes", n + 1, payload.len()),
            "the peer has sent it whole",
            "it waits for more than the frame has: four bytes, big-endian, say how many follow",
        );
        unread -= 4 + payload.len();
        whole(&received(child, &stage)?, payload, unread, &peer)?;
    }
    Ok(())
}

fn every_cut(child: &mut Child) -> Result<(), Refusal> {
    let payload = b"GET / HTTP/1.1";
    let all = frame(payload);
    for cut in 0..all.len() {
        let stage = receive(child, &all[..cut], CAP)?;
        let progress = say!("after {cut} of 18 bytes");
        child.scene(&progress, "the peer waits, a signal has come", "");
        if child.until_blocked()? {
            child.interrupt();
        }
        if child.until_blocked()? {
            stage.peer.send(&[&all[cut..], b"\0\0\0"].concat());
        }
        child.scene("after 18 of 18 bytes", "the peer has sent them all", "");
        let peer = say!("sent {cut} of 18 bytes, a signal came, then it sent the rest");
        let got = received(child, &stage)?;
        if cut < 4
            && let Ok(Some(bytes)) = &got.payload
            && bytes != payload
        {
            return Err(Refusal::new(
                "the header was taken for complete before its four bytes had come",
            )
            .peer(peer)
            .but("Ok(Some(14 bytes))", shown(&got.payload)));
        }
        whole(&got, payload, 3, &peer)?;
    }
    Ok(())
}

fn ends(child: &mut Child) -> Result<(), Refusal> {
    let all = frame(b"HELLO WO");
    for cut in [0, 4, 1, 2, 3, 5, 8, 11, 12] {
        let stage = receive(child, &all[..cut], CAP)?;
        stage.peer.end();
        let progress = say!("after {cut} of 12 bytes");
        let mistake = "recv returned 0, which is the end of the stream; it called recv again";
        child.scene(&progress, "the peer has already closed", mistake);
        let peer = say!("sent {cut} of 12 bytes and ended its stream");
        let got = received(child, &stage)?;
        if cut == all.len() {
            whole(&got, b"HELLO WO", 0, &peer)?;
            continue;
        }
        let (expected, mistake) = match (&got.payload, cut) {
            (Ok(None), 0) => continue,
            (Err(e), 1..) if e.kind == "UnexpectedEof" => continue,
            (Err(e), 0) if e.kind == "UnexpectedEof" => (
                "Ok(None)",
                "an end between two frames is no error: the peer has said all it had to say",
            ),
            (_, 0) => ("Ok(None)", "an end between two frames is None"),
            (Ok(None), 1..=3) => (
                "Err(UnexpectedEof)",
                "an end inside the header was taken for a clean end: a frame had begun",
            ),
            (Ok(None), 4) => (
                "Err(UnexpectedEof)",
                "an end right behind the header was taken for a clean end: 8 bytes were announced",
            ),
            (Ok(_), _) => (
                "Err(UnexpectedEof)",
                "the stream ended inside a frame, and the frame was taken for whole",
            ),
            (Err(_), _) => {
                ("Err(UnexpectedEof)", "an end inside a frame has a kind: UnexpectedEof")
            }
        };
        return Err(Refusal::new(mistake).peer(peer).but(expected, shown(&got.payload)));
    }
    Ok(())
}

fn recv_cap(child: &mut Child) -> Result<(), Refusal> {
    const WAITS: &str =
        "it waits for a payload that is over the cap: look at the length before the payload";
    for (claim, cap) in [(1000, 1000), (0, 0)] {
        let payload = pattern(claim);
        let stage = receive(child, &frame(&payload), cap)?;
        child.scene(&say!("with a cap of {cap}"), "the peer has sent the whole frame", "");
        let peer = say!("sent a frame of {claim} bytes; the cap is {cap}");
        whole(&received(child, &stage)?, &payload, 0, &peer)?;
    }
    for (claim, cap) in
        [(1001_u32, 1000), (1, 0), (1 << 24, 1000), (0x8000_0000, 1000), (u32::MAX, CAP)]
    {
        let stage = receive(child, &[&claim.to_be_bytes()[..], b"12345678"].concat(), cap)?;
        child.scene(&say!("with a cap of {cap}"), &say!("the header says {claim}"), WAITS);
        let peer = say!("sent a header that says {claim}; the cap is {cap}");
        if child.until_blocked()? {
            return Err(Refusal::new(WAITS)
                .peer(peer)
                .but("Err(InvalidData) at once", "it waits in a call"));
        }
        let got = received(child, &stage)?;
        let mistake = match &got.payload {
            Err(e) if e.kind == "InvalidData" && got.peak > 4096 + cap => {
                "memory was allocated before the length was checked: first the cap, then the buffer"
            }
            Err(e) if e.kind == "InvalidData" && got.unread < 8 => {
                "payload over the cap was read: the caller decides whether to skip it or to close"
            }
            Err(e) if e.kind == "InvalidData" => continue,
            Err(_) => "a length over the cap has a kind: InvalidData",
            Ok(_) => "there is no cap: the peer decides how much memory this process takes",
        };
        let seen = say!(
            "{}, {} bytes allocated, {} of 8 unread",
            shown(&got.payload),
            got.peak,
            got.unread
        );
        return Err(Refusal::new(mistake).peer(peer).but("Err(InvalidData), no memory", seen));
    }
    Ok(())
}

fn large(child: &mut Child) -> Result<(), Refusal> {
    let payload = pattern(1_000_001);
    let stage = receive_on(child, b"", CAP, pair_with(TINY)?)?;
    child.scene("in the middle of 1000001 bytes", "the peer has sent all it has", "");
    let outcome = thread::scope(|scope| {
        scope.spawn(|| stage.peer.send(&frame(&payload)));
        let outcome = child.said_as::<Said>();
        stage.peer.abandon(); // where it stopped early, the sender still waits
        outcome
    });
    let (said, bytes) = outcome?;
    child.left_as_it_was(&said.after)?;
    let peak = said.after.peak;
    let payload_is = said.result.map(|some| some.then_some(bytes));
    let got = Received { payload: payload_is, unread: 0, peak };
    whole(&got, &payload, 0, "sent a frame of 1000001 bytes as fast as they went")?;
    if got.peak > 5 << 20 {
        return Err(Refusal::new("it takes many times the memory that the frame needs")
            .but("about 1 MB", say!("{} bytes at once", got.peak)));
    }
    Ok(())
}
