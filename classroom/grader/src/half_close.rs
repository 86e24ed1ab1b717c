//! Exercise `half_close`: a request that ends with a FIN, and its answer. Article 5.2.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread::{self, JoinHandle};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, getsockopt, socket, sockopt};
use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Heard, Peer, TINY, arrived, pair, pair_with, pattern};
use crate::refusal::{Refusal, UNFOUNDED};

/// Send the bytes, in pieces of these lengths, to the last of the given descriptors.
#[derive(Serialize, Deserialize)]
struct Ask {
    pieces: Vec<usize>,
    /// Instead of a given descriptor.
    fd: Option<RawFd>,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    /// Both directions of the socket had ended when the call returned.
    hung_up: bool,
    after: After,
}

/// Sends the pieces, returns what comes back.
type Answer = fn(RawFd, &[&[u8]]) -> io::Result<Vec<u8>>;

/// Grades the answer.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade_raw("half_close", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        let mut rest = &given.bytes[..];
        let pieces: Vec<&[u8]> = ask
            .pieces
            .iter()
            .map(|&len| {
                let (piece, behind) = rest.split_at(len);
                rest = behind;
                piece
            })
            .collect();
        let (result, after) = observe(&given.fds, || answer(fd, &pieces));
        let hung_up = hung_up(fd).unwrap_or(false);
        let (result, bytes) = match portable(result) {
            Ok(bytes) => (Ok(()), bytes),
            Err(e) => (Err(e), Vec::new()),
        };
        (Said { result, hung_up, after }, bytes)
    })
}

/// POLLHUP: a TCP socket has it once both of its directions have ended.
fn hung_up(fd: RawFd) -> io::Result<bool> {
    if fd < 0 {
        return Ok(false);
    }
    // SAFETY:
    // - the descriptor, open or not, is not closed by anybody during this function.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLHUP)))
}

const CASES: &[Case] = &[
    Case { name: "the answer comes byte by byte, with signals between", run: drip },
    Case { name: "the server answers once it has seen the end of the request", run: answers },
    Case { name: "the server has answered and ended before it reads", run: answered },
    Case { name: "a part of the answer comes before the request is complete", run: early },
    Case { name: "a request of 1 MB and an answer of 20 MB, through small buffers", run: large },
    Case { name: "a request of 20000 pieces, every other one empty", run: many_pieces },
    Case { name: "forty signals come while send waits", run: signals },
    Case {
        name: "the server resets the connection instead of an answer, or inside it",
        run: resets,
    },
    Case { name: "the server has gone before the request", run: gone },
    Case { name: "other errors are returned as they come", run: other_errors },
];

const NO_END: &str =
    "the server still waits for the end of the request: this direction has not been shut down";

/// Takes the answer and checks all that never may happen, whatever it returned.
fn taken(child: &mut Child) -> Result<(Said, Vec<u8>), Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    Ok((said, bytes))
}

/// The call was to return Ok and this answer.
fn check(said: &Said, got: &[u8], answer: &[u8], did: &str) -> Result<(), Refusal> {
    if said.result.is_err() {
        let kind = said.result.as_ref().err().map_or("", |e| e.kind.as_str());
        let mistake = match kind {
            "Interrupted" => "EINTR was returned as an error: nothing is broken, call again",
            "BrokenPipe" => "it sent after its own shutdown: shut down once, after the last piece",
            "UnexpectedEof" => "the end of the answer is no error: it is how the answer ends",
            _ => UNFOUNDED,
        };
        return Err(Refusal::new(mistake).peer(did).but("Ok", show(&said.result)));
    }
    if got == answer {
        return Ok(());
    }
    let mistake = if answer.starts_with(got) {
        "it returned before the answer had ended: receive until recv returns 0"
    } else {
        "the answer is not what the server sent"
    };
    Err(Refusal::new(mistake)
        .peer(did)
        .but(say!("{} bytes", answer.len()), say!("{} bytes", got.len()))
        .bytes(answer, got))
}

/// Compares what the server read, to the end, with what was to be sent.
fn request_arrived(sent: &[u8], got: &[u8]) -> Result<(), Refusal> {
    if sent == got {
        return Ok(());
    }
    let mistake = if sent.starts_with(got) {
        "the request ended too early at the server: every byte of every piece comes before the end"
    } else {
        "the server did not get the pieces one behind the other"
    };
    Err(Refusal::new(mistake)
        .but(say!("{} bytes at the server", sent.len()), say!("{} bytes", got.len()))
        .bytes(sent, got))
}

/// Reads to the end, then sends the answer and ends; returns the request.
fn serve(peer: Peer, answer: Vec<u8>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let request = peer.read(usize::MAX);
        peer.send(&answer);
        peer.end();
        peer.read(1); // until the answer's end has been closed
        request
    })
}

fn ask_with(child: &mut Child, pieces: &[&[u8]], fds: Vec<OwnedFd>) -> Result<(), Refusal> {
    let lengths = pieces.iter().map(|p| p.len()).collect();
    child.ask(Ask { pieces: lengths, fd: None }, &pieces.concat(), fds)
}

fn answers(child: &mut Child) -> Result<(), Refusal> {
    let requests: [&[&[u8]]; 4] =
        [&[b"one two ", b"three"], &[b"HELLO"], &[], &[b"", b"a", b"", b"bc", b""]];
    for pieces in requests {
        for answer in [&b"3 words"[..], b""] {
            let (peer, conn) = pair()?;
            let server = serve(peer, answer.into());
            ask_with(child, pieces, vec![conn])?;
            let progress = say!("with a request of {} pieces", pieces.len());
            child.scene(&progress, "the server reads until the end of the request", NO_END);
            let (said, got) = taken(child)?;
            child.close_fds()?;
            let request = server.join().expect("the server does not panic");
            let did = "read the request to its end, sent an answer and ended its stream";
            if said.result.is_ok() && got.is_empty() && !answer.is_empty() {
                return Err(Refusal::new(
                    "the answer was lost: end your own direction only, and read until the 0",
                )
                .peer(did)
                .but(say!("{} bytes", answer.len()), "0 bytes"));
            }
            check(&said, &got, answer, did)?;
            request_arrived(&pieces.concat(), &request)?;
            let calls = said.after.calls.transfers;
            if calls > pieces.len() + 6 {
                return Err(Refusal::new(
                    "a call for each byte: offer all of the rest, or all the room there is",
                )
                .peer(did)
                .but("a send for each piece, few recv", say!("{calls} calls")));
            }
        }
    }
    Ok(())
}

/// Waits until the answer is blocked in recv, and the request is here with its end.
fn complete(child: &mut Child, peer: &Peer, request: &[u8]) -> Result<bool, Refusal> {
    child.scene("after its request", "the server waits for the end of the request", NO_END);
    if !child.until_blocked()? {
        return Ok(false);
    }
    let got = peer.read(request.len());
    let ended = child.brings(peer)?;
    if got == request && (!ended || peer.read_waiting()? != Heard::End) {
        return Err(Refusal::new(NO_END)
            .but("the end of the stream at the server", "silence, while the client reads"));
    }
    request_arrived(request, &got)?;
    Ok(true)
}

/// The call has returned although the server was not done: which mistake was it?
fn too_early(said: &Said, got: &[u8], did: &str) -> Result<(), Refusal> {
    if said.result.is_err() {
        return check(said, got, b"", did);
    }
    let mistake = if said.hung_up {
        "both directions have been ended: SHUT_RDWR, where the answer is still to come; SHUT_WR"
    } else {
        "it returned while the server was still answering: one recv is not the answer"
    };
    Err(Refusal::new(mistake).peer(did).but(
        "a call that waits for the rest",
        say!("{} with {} bytes", show(&said.result), got.len()),
    ))
}

/// More pieces than one `sendmsg` or `writev` takes: IOV_MAX is 1024.
fn many_pieces(child: &mut Child) -> Result<(), Refusal> {
    let request = pattern(20_000);
    let pieces: Vec<&[u8]> = request.chunks(2).flat_map(|piece| [piece, b""]).collect();
    let (peer, conn) = pair()?;
    let server = serve(peer, b"ok".into());
    ask_with(child, &pieces, vec![conn])?;
    child.scene("with a request of 20000 pieces", "the server reads until the end of it", NO_END);
    let (said, got) = taken(child)?;
    child.close_fds()?;
    let read = server.join().expect("the server does not panic");
    if said.result.as_ref().is_err_and(|e| e.errno == Some(libc::EMSGSIZE)) {
        return Err(Refusal::new("so many pieces are too many for one call: IOV_MAX is 1024")
            .but("Ok", show(&said.result)));
    }
    check(&said, &got, b"ok", "read a request of 20000 pieces, and answered")?;
    request_arrived(&request, &read)
}

fn drip(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    ask_with(child, &[b"one ", b"two"], vec![conn])?;
    let did = "answered byte by byte, with a signal before each";
    let mut open = complete(child, &peer, b"one two")?;
    let answer = b"2\0words";
    for byte in answer {
        child.scene("in the middle of the answer", "the server waits", "");
        if open {
            child.interrupt();
            open = child.until_blocked()?;
        }
        if open {
            peer.send(&[*byte]);
            open = child.until_blocked()?;
        }
    }
    if !open {
        let (said, got) = taken(child)?;
        return too_early(&said, &got, did);
    }
    peer.end();
    child.scene(
        "after the whole answer",
        "the server has ended its stream",
        "it goes on after the 0",
    );
    let (said, got) = taken(child)?;
    check(&said, &got, answer, did)
}

/// Half closed by the server first: the request still goes, and the answer still comes.
fn answered(child: &mut Child) -> Result<(), Refusal> {
    let request = pattern(300_000);
    let (peer, conn) = pair()?;
    peer.send(b"no need to ask");
    peer.end();
    peer.end_has_arrived(&conn)?;
    let did = "sent its answer, ended its stream, and then read the request to its end";
    ask_with(child, &[&request], vec![conn])?;
    child.scene("with 300000 bytes", "the server reads until the end of the request", NO_END);
    let server = thread::spawn(move || peer.read(usize::MAX));
    let (said, got) = taken(child)?;
    child.close_fds()?;
    let read = server.join().expect("the server does not panic");
    check(&said, &got, b"no need to ask", did)?;
    request_arrived(&request, &read)
}

fn early(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    let first = b"100 go on\n";
    peer.send(first);
    arrived(&conn, first.len())?;
    ask_with(child, &[b"request"], vec![conn])?;
    let did = "sent a part of its answer before it had read the request";
    if !complete(child, &peer, b"request")? {
        let (said, got) = taken(child)?;
        return too_early(&said, &got, did);
    }
    peer.send(b"200 done\n");
    peer.end();
    child.scene(
        "after the whole answer",
        "the server has ended its stream",
        "it goes on after the 0",
    );
    let (said, got) = taken(child)?;
    check(&said, &got, b"100 go on\n200 done\n", did)
}

fn large(child: &mut Child) -> Result<(), Refusal> {
    let (request, answer) = (pattern(1_000_003), pattern(20_000_001));
    let (peer, conn) = pair_with(TINY)?;
    let server = serve(peer, answer.clone());
    ask_with(child, &[&request[..500_000], &request[500_000..]], vec![conn])?;
    child.scene("with 1 MB out and 20 MB back", "the server reads all, then answers", NO_END);
    let (said, got) = taken(child)?;
    child.close_fds()?;
    let did = "read the request to its end, then sent 20000001 bytes";
    let read = server.join().expect("the server does not panic");
    request_arrived(&request, &read)?;
    check(&said, &got, &answer, did)
}

fn signals(child: &mut Child) -> Result<(), Refusal> {
    let request = pattern(500_000);
    let (peer, conn) = pair_with(TINY)?;
    ask_with(child, &[&request], vec![conn])?;
    child.scene("in the middle of its request", "the server does not read yet", "");
    // The first signal ends a send that has taken a part, the others one that has taken nothing.
    for _ in 0..40 {
        if child.until_blocked()? {
            child.interrupt();
        }
    }
    child.until_blocked()?;
    let server = serve(peer, b"ok".into());
    child.scene("with its whole request", "the server reads until the end of the request", NO_END);
    let (said, got) = taken(child)?;
    child.close_fds()?;
    let read = server.join().expect("the server does not panic");
    check(&said, &got, b"ok", "read nothing until forty signals had come")?;
    request_arrived(&request, &read)
}

fn resets(child: &mut Child) -> Result<(), Refusal> {
    for answer in [&b""[..], b"half an ans"] {
        let (peer, conn) = pair()?;
        ask_with(child, &[b"request"], vec![conn])?;
        let did = say!("sent {} bytes of an answer, then reset the connection", answer.len());
        let mut open = complete(child, &peer, b"request")?;
        if open && !answer.is_empty() {
            peer.send(answer);
            open = child.until_blocked()?;
        }
        if !open {
            let (said, got) = taken(child)?;
            return too_early(&said, &got, &did);
        }
        peer.reset()?;
        child.scene(
            "waiting for the answer",
            "the server has reset the connection",
            "it goes on calling recv after an error that will not go away: return it",
        );
        let (said, got) = taken(child)?;
        match &said.result {
            Err(e) if e.errno == Some(libc::ECONNRESET) => {}
            Ok(()) => {
                return Err(Refusal::new(
                    "recv failed inside the answer, and what had come so far was returned as Ok",
                )
                .peer(did)
                .but("Err(ConnectionReset)", say!("Ok with {} bytes", got.len())));
            }
            Err(_) => {
                return Err(Refusal::new("recv failed, and its errno did not reach the caller")
                    .peer(did)
                    .but("Err(ConnectionReset)", show(&said.result)));
            }
        }
    }
    Ok(())
}

fn gone(child: &mut Child) -> Result<(), Refusal> {
    // With a request the send fails; without one, only shutdown or recv can tell.
    for (pieces, told) in
        [(&[&b"request"[..], b"more"][..], false), (&[b"request"], true), (&[], false), (&[], true)]
    {
        let (peer, conn) = pair()?;
        peer.reset()?;
        if told {
            // ECONNRESET is told once. From then on send says EPIPE, shutdown ENOTCONN, recv 0.
            getsockopt(&conn, sockopt::SocketError).map_err(io::Error::from)?;
        }
        ask_with(child, pieces, vec![conn])?;
        child.scene(
            "at its first call",
            "the server has reset the connection",
            "it calls again after an error that does not go away: return it",
        );
        let (said, _) = taken(child)?;
        let wrong = |e: &Failure| ![Some(libc::EPIPE), Some(libc::ECONNRESET)].contains(&e.errno);
        if !pieces.is_empty() && said.result.as_ref().is_err_and(wrong) {
            return Err(Refusal::new(
                "a send failed because the server was gone, and not its errno reached the caller",
            )
            .peer("had reset the connection before")
            .but("Err(BrokenPipe) or Err(ConnectionReset)", show(&said.result)));
        }
        if said.result.is_ok() {
            let mistake = if pieces.is_empty() {
                "shutdown returned -1, and nobody looked: the reset became an empty answer"
            } else {
                "a send failed because the server was gone, and it went on as if all were well"
            };
            return Err(Refusal::new(mistake)
                .peer("had reset the connection before")
                .but("an error", "Ok"));
        }
    }
    Ok(())
}

fn other_errors(child: &mut Child) -> Result<(), Refusal> {
    const LOOP: &str = "it calls again after errors other than EINTR: those do not go away";
    let expect = |result: &Result<(), Failure>, errno: i32, what: &str| match result {
        Err(e) if e.errno == Some(errno) => Ok(()),
        _ => Err(Refusal::new("the errno of the failed call has to reach the caller as it is")
            .but(what, show(result))),
    };
    child.scene("at its first call", "there is no such descriptor: EBADF", LOOP);
    let (said, _) = child.call_as::<Said>(Ask { pieces: vec![1], fd: Some(150) }, b"x", vec![])?;
    expect(&said.result, libc::EBADF, "Err(EBADF), as fd 150 is not open")?;

    let lonely = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io::Error::from)?;
    child.scene("at its first call", "the socket has no peer: ENOTCONN", LOOP);
    let (said, _) = child.call_as::<Said>(Ask { pieces: vec![], fd: None }, b"", vec![lonely])?;
    expect(&said.result, libc::ENOTCONN, "Err(NotConnected), as the socket has no peer")?;

    let (peer, conn) = pair()?;
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    child.scene("on a non-blocking socket", "recv says EAGAIN", LOOP);
    ask_with(child, &[b"request"], vec![conn])?;
    let (said, _) = taken(child)?;
    expect(&said.result, libc::EAGAIN, "Err(WouldBlock), as the socket is non-blocking")?;
    drop(peer);

    let (_peer, conn) = pair_with(TINY)?;
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    child.scene("with a full send buffer", "the socket is non-blocking: send says EAGAIN", LOOP);
    ask_with(child, &[&pattern(2_000_000)], vec![conn])?;
    let (said, _) = taken(child)?;
    expect(&said.result, libc::EAGAIN, "Err(WouldBlock), as the socket is non-blocking")
}
