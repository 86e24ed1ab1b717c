//! Exercise `half_close`: a request that ends with a FIN, and its answer. Article 5.2.

use std::os::fd::BorrowedFd;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};

use crate::prelude::*;

/// Sends the pieces, returns what comes back.
type Answer = fn(RawFd, &[&[u8]]) -> io::Result<Vec<u8>>;

/// Grades the answer: asked to send the bytes in pieces of these lengths.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade("half_close", CASES, |lengths: Vec<usize>, given| {
        let mut rest = &given.bytes[..];
        let mut piece = |len: &usize| rest.split_off(..*len).unwrap_or_default();
        let pieces: Vec<&[u8]> = lengths.iter().map(&mut piece).collect();
        let tell = |bytes| ("Ok".into(), bytes);
        let said = given.call(|| answer(given.fd(), &pieces), tell);
        said.with(hung_up(given.fd()).unwrap_or(false))
    })
}

/// POLLHUP: a TCP socket has it once both of its directions have ended.
fn hung_up(fd: RawFd) -> io::Result<bool> {
    // SAFETY: the descriptor, open or not, is not closed by anybody during this function.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut fds = [PollFd::new(fd, PollFlags::empty())];
    poll(&mut fds, PollTimeout::ZERO)?;
    Ok(fds[0].revents().is_some_and(|r| r.contains(PollFlags::POLLHUP)))
}

const CASES: &[Case] = &[
    ("the answer comes byte by byte, with signals between", drip),
    ("the server answers once it has seen the end of the request", answers),
    ("the server has answered and ended before it reads", answered),
    ("a part of the answer comes before the request is complete", early),
    ("a request of 1 MB and an answer of 20 MB, through small buffers", large),
    ("a request of 20000 pieces, every other one empty", many_pieces),
    ("forty signals come while send waits", signals),
    ("the server resets the connection instead of an answer, or inside it", resets),
    ("the server has gone before the request", gone),
    ("other errors are returned as they come", other_errors),
];

const NO_END: &str =
    "the server still waits for the end of the request: this direction has not been shut down";
const GOES_ON: &str = "it goes on after the 0";
const AGAIN: &str = "it calls again after errors other than EINTR: those do not go away";

/// The call was to return Ok and this answer.
fn check(said: &Said, answer: &[u8]) -> Verdict {
    let got = &said.bytes[..];
    let mistake = match said.kind() {
        "" if got == answer => return Ok(()),
        "" if got.is_empty() => {
            "the answer was lost: end your own direction only, and read until the 0"
        }
        "" if answer.starts_with(got) => {
            "it returned before the answer had ended: receive until recv returns 0"
        }
        "" => "the answer is not what the server sent",
        "Interrupted" => INTERRUPTED,
        "BrokenPipe" => "it sent after its own shutdown: shut down once, after the last piece",
        "UnexpectedEof" => "the end of the answer is no error: it is how the answer ends",
        _ if said.errno() == libc::EMSGSIZE => {
            "so many pieces are too many for one call: IOV_MAX is 1024"
        }
        _ => UNFOUNDED,
    };
    if said.result.is_err() {
        return Err(said.refused(mistake, "Ok"));
    }
    let seen = say!("{} bytes", got.len());
    Err(Refusal::new(mistake).but(say!("{} bytes", answer.len()), seen).bytes(answer, got))
}

/// Compares what the server read, to the end, with what was to be sent.
fn request_arrived(sent: &[u8], got: &[u8]) -> Verdict {
    if sent == got {
        return Ok(());
    }
    let mistake = if sent.starts_with(got) {
        "the request ended too early at the server: every byte of every piece comes before the end"
    } else {
        "the server did not get the pieces one behind the other"
    };
    let seen = say!("{} bytes", got.len());
    Err(Refusal::new(mistake)
        .but(say!("{} bytes at the server", sent.len()), seen)
        .bytes(sent, got))
}

/// Reads to the end, then sends the answer and ends; returns the request.
fn serve(peer: Peer, answer: &[u8]) -> JoinHandle<Vec<u8>> {
    let answer = answer.to_vec();
    thread::spawn(move || {
        let request = peer.read(usize::MAX);
        peer.send(&answer);
        peer.end();
        peer.read(1); // until the answer's end has been closed
        request
    })
}

fn ask(child: &mut Child, pieces: &[&[u8]], conn: OwnedFd) -> Verdict {
    let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
    child.ask(lengths, &pieces.concat(), vec![conn])
}

/// Request and answer come through, to a server that is served by this thread.
fn served(
    child: &mut Child,
    pieces: &[&[u8]],
    server: JoinHandle<Vec<u8>>,
    answer: &[u8],
) -> Result<Said, Refusal> {
    let said = child.said()?;
    child.close_fds()?;
    let request = server.join().expect("the server does not panic");
    check(&said, answer)?;
    request_arrived(&pieces.concat(), &request)?;
    Ok(said)
}

fn answers(child: &mut Child) -> Verdict {
    let requests: [&[&[u8]]; 4] =
        [&[b"one two ", b"three"], &[b"HELLO"], &[], &[b"", b"a", b"", b"bc", b""]];
    for pieces in requests {
        for answer in [&b"3 words"[..], b""] {
            let (peer, conn) = pair()?;
            ask(child, pieces, conn)?;
            let progress = say!("with a request of {} pieces", pieces.len());
            let did = "read the request to its end, sent an answer and ended its stream";
            child.scene(&progress, did, NO_END);
            let said = served(child, pieces, serve(peer, answer), answer)?;
            let calls = said.calls("send") + said.calls("recv");
            if calls > pieces.len() + 6 {
                let mistake =
                    "a call for each byte: offer all of the rest, or all the room there is";
                return refuse(mistake, "a send for each piece, few recv", say!("{calls} calls"));
            }
        }
    }
    Ok(())
}

/// Waits until the answer is blocked in recv, and the request is here with its end. It may have
/// returned instead, although the server was not done: which mistake was it?
fn complete(child: &mut Child, peer: &Peer, request: &[u8], did: &str) -> Verdict {
    child.scene("after its request", "the server waits for the end of the request", NO_END);
    goes_on(child, did)?;
    let got = peer.read(request.len());
    let ended = child.brings(peer)?;
    if got == request && (!ended || peer.read_waiting()? != Heard::End) {
        let seen = "silence, while the client reads";
        return refuse(NO_END, "the end of the stream at the server", seen);
    }
    request_arrived(request, &got)?;
    child.scene("in the middle of the answer", did, "");
    Ok(())
}

/// It waits for more of the answer.
fn goes_on(child: &mut Child, did: &str) -> Verdict {
    if child.until_blocked()? {
        return Ok(());
    }
    let said = child.said()?;
    if said.result.is_err() {
        return check(&said, b"");
    }
    let mistake = if said.more == true {
        "both directions have been ended: SHUT_RDWR, where the answer is still to come; SHUT_WR"
    } else {
        "it returned while the server was still answering: one recv is not the answer"
    };
    let seen = say!("{} with {} bytes", said.shown(), said.bytes.len());
    Err(Refusal::new(mistake).peer(did).but("a call that waits for the rest", seen))
}

/// More pieces than one `sendmsg` or `writev` takes: IOV_MAX is 1024.
fn many_pieces(child: &mut Child) -> Verdict {
    let request = pattern(20_000);
    let pieces: Vec<&[u8]> = request.chunks(2).flat_map(|piece| [piece, b""]).collect();
    let (peer, conn) = pair()?;
    ask(child, &pieces, conn)?;
    let did = "read a request of 20000 pieces, and answered";
    child.scene("with a request of 20000 pieces", did, NO_END);
    served(child, &pieces, serve(peer, b"ok"), b"ok").map(drop)
}

fn drip(child: &mut Child) -> Verdict {
    let (peer, conn) = pair()?;
    ask(child, &[b"one ", b"two"], conn)?;
    let did = "answered byte by byte, with a signal before each";
    complete(child, &peer, b"one two", did)?;
    let answer = b"2\0words";
    for byte in answer {
        child.interrupt();
        goes_on(child, did)?;
        peer.send(&[*byte]);
        goes_on(child, did)?;
    }
    peer.end();
    child.scene("after the whole answer", "the server has ended its stream", GOES_ON);
    check(&child.said()?, answer)
}

/// Half closed by the server first: the request still goes, and the answer still comes.
fn answered(child: &mut Child) -> Verdict {
    let (request, answer) = (pattern(300_000), b"no need to ask");
    let (peer, conn) = pair()?;
    peer.send(answer);
    peer.end();
    peer.end_has_arrived(&conn)?;
    ask(child, &[&request], conn)?;
    let did = "sent its answer, ended its stream, and then read the request to its end";
    child.scene("with 300000 bytes", did, NO_END);
    let server = thread::spawn(move || peer.read(usize::MAX));
    served(child, &[&request], server, answer).map(drop)
}

fn early(child: &mut Child) -> Verdict {
    let (peer, conn) = pair()?;
    let first = b"100 go on\n";
    peer.send(first);
    arrived(&conn, first.len())?;
    ask(child, &[b"request"], conn)?;
    complete(child, &peer, b"request", "sent a part of its answer before it had read the request")?;
    peer.send(b"200 done\n");
    peer.end();
    child.scene("after the whole answer", "the server has ended its stream", GOES_ON);
    check(&child.said()?, b"100 go on\n200 done\n")
}

fn large(child: &mut Child) -> Verdict {
    let (request, answer) = (pattern(1_000_003), pattern(20_000_001));
    let pieces = [&request[..500_000], &request[500_000..]];
    let (peer, conn) = pair_with(TINY)?;
    ask(child, &pieces, conn)?;
    let did = "read the request to its end, then sent 20000001 bytes";
    child.scene("with 1 MB out and 20 MB back", did, NO_END);
    served(child, &pieces, serve(peer, &answer), &answer).map(drop)
}

fn signals(child: &mut Child) -> Verdict {
    let request = pattern(500_000);
    let (peer, conn) = pair_with(TINY)?;
    ask(child, &[&request], conn)?;
    let did = "read nothing until forty signals had come";
    child.scene("in the middle of its request", did, "");
    // The first signal ends a send that has taken a part, the others one that has taken nothing.
    child.interrupts(40)?;
    child.until_blocked()?;
    child.scene("with its whole request", did, NO_END);
    served(child, &[&request], serve(peer, b"ok"), b"ok").map(drop)
}

fn resets(child: &mut Child) -> Verdict {
    for answer in [&b""[..], b"half an ans"] {
        let (peer, conn) = pair()?;
        ask(child, &[b"request"], conn)?;
        let did = say!("sent {} bytes of an answer, then reset the connection", answer.len());
        complete(child, &peer, b"request", &did)?;
        if !answer.is_empty() {
            peer.send(answer);
            goes_on(child, &did)?;
        }
        peer.reset()?;
        child.scene("waiting for the answer", &did, AGAIN);
        let said = child.said()?;
        let mistake = if said.text() == "Ok" {
            "recv failed inside the answer, and what had come so far was returned as Ok"
        } else if said.errno() != libc::ECONNRESET {
            "recv failed, and its errno did not reach the caller"
        } else {
            ""
        };
        said.judged(mistake, "Err(ConnectionReset)")?;
    }
    Ok(())
}

fn gone(child: &mut Child) -> Verdict {
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
        ask(child, pieces, conn)?;
        child.scene("at its first call", "had reset the connection before", AGAIN);
        let said = child.said()?;
        let mistake = if said.text() == "Ok" && pieces.is_empty() {
            "shutdown returned -1, and nobody looked: the reset became an empty answer"
        } else if said.text() == "Ok" {
            "a send failed because the server was gone, and it went on as if all were well"
        } else if !pieces.is_empty() && ![libc::EPIPE, libc::ECONNRESET].contains(&said.errno()) {
            "a send failed because the server was gone, and not its errno reached the caller"
        } else {
            ""
        };
        said.judged(mistake, say!("{} or {}", "Err(BrokenPipe)", "Err(ConnectionReset)"))?;
    }
    Ok(())
}

fn other_errors(child: &mut Child) -> Verdict {
    let (_peer, conn) = non_blocking(pair()?)?;
    let (_full, full) = non_blocking(pair_with(TINY)?)?;
    for (did, expected, request, fds) in [
        ("there is no such descriptor: EBADF", "Err(EBADF)", &b"x"[..], vec![]),
        ("the socket has no peer: ENOTCONN", "Err(ENOTCONN)", b"", vec![lonely()?]),
        ("the socket is non-blocking: recv says EAGAIN", "Err(EAGAIN)", b"request", vec![conn]),
        (
            "the socket is non-blocking: send says EAGAIN",
            "Err(EAGAIN)",
            &pattern(2_000_000),
            vec![full],
        ),
    ] {
        child.scene("at its first call", did, AGAIN);
        let said = child.call([request.len()], request, fds)?;
        let mistake = "the errno of the failed call has to reach the caller as it is";
        said.ensure(said.text() == expected, mistake, expected)?;
    }
    Ok(())
}
