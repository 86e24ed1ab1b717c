//! Exercise `half_close`: a request that ends with a FIN, and its answer. Article 5.2.

use std::thread;

use crate::examination::values;
use crate::huge::{self, HUGE};
use crate::prelude::*;

/// Sends the pieces, returns what comes back.
type Answer = fn(RawFd, &[&[u8]]) -> io::Result<Vec<u8>>;

/// Grades the answer: asked to send the bytes in pieces of these lengths; or 4 GiB and 5 zeroes.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade("half_close", CASES, |lengths: Vec<usize>, given| {
        let mut rest = &given.bytes[..];
        let mut piece = |len: &usize| rest.split_off(..*len).unwrap_or_default();
        let pieces: Vec<&[u8]> = lengths.iter().map(&mut piece).collect();
        let tell = |bytes| ("Ok".into(), bytes);
        let call = || match lengths == [HUGE] {
            true => answer(given.fd(), &[huge::zeroes()?]),
            false => answer(given.fd(), &pieces),
        };
        given.call(call, tell)
    })
}

const CASES: &[Case] = &[
    ("the answer comes byte by byte, with signals between", |c| {
        let answer = b"2\0words";
        let drips = answer.chunks(1).flat_map(|byte| [Signals(1), Sends(byte)]);
        let drips: Vec<_> = [Called, Hears].into_iter().chain(drips).collect();
        plays(c, &[b"one ", b"two"], &[&drips[..], &[Ends, Says("Ok", answer)]].concat())
    }),
    ("the server answers once it has seen the end of the request", |c| {
        let requests: [&[&[u8]]; 5] =
            [&[b"one two ", b"three"], &[b"HELLO"], &[], &[b"", b""], &[b"", b"a", b"bc", b""]];
        requests.iter().try_for_each(|pieces| {
            plays(c, pieces, &[Called, Serves(b"3 words")])?;
            plays(c, pieces, &[Called, Serves(b"")])
        })
    }),
    ("a request and an answer of any bytes", |c| {
        let of_any = |value: &Vec<u8>| plays(c, &[value, value], &[Called, Serves(value)]);
        values(b"0 words").iter().try_for_each(of_any)
    }),
    ("the server has answered and ended before it reads", |c| {
        let answered = [Sends(b"no need to ask"), Ends, Called, Serves(b"no need to ask")];
        plays(c, &[&pattern(300_000)], &answered)
    }),
    ("a part of the answer comes before the request is complete", |c| {
        let (first, then) = ([Sends(b"100 go on\n"), Called, Hears], [Sends(b"200 done\n"), Ends]);
        let says = [Says("Ok", b"100 go on\n200 done\n")];
        plays(c, &[b"request"], &[&first[..], &then, &says].concat())
    }),
    ("a request and an answer of 1 MB through small buffers, and of 33 MB", |c| {
        let bytes = pattern(1_000_003);
        let pieces = [&bytes[..500_000], &bytes[500_000..]];
        plays(c, &pieces, &[Tiny, Called, Serves(&bytes)])?;
        let large = bytes.repeat(33);
        plays(c, &[&large], &[Called, Serves(&large)])
    }),
    // One `sendmsg` or `writev` takes IOV_MAX pieces: 1024.
    ("a request of 20000 pieces, every other one empty", |c| {
        let request = pattern(20_000);
        let pieces: Vec<&[u8]> = request.chunks(2).flat_map(|piece| [piece, b""]).collect();
        plays(c, &pieces, &[Called, Serves(b"ok")])
    }),
    // The first ends a send that has taken a part, the others one that has taken nothing.
    ("forty signals come while send waits", |c| {
        plays(c, &[&pattern(500_000)], &[Tiny, Called, Signals(40), Serves(b"ok")])
    }),
    ("the server resets the connection instead of an answer, or inside it", |c| {
        let says = Says("Err(ECONNRESET)", b"");
        plays(c, &[b"request"], &[Called, Hears, Resets, says])?;
        plays(c, &[b"request"], &[Called, Hears, Sends(b"half an ans"), Resets, says])
    }),
    // ECONNRESET is told once. From then on send says EPIPE, shutdown ENOTCONN, recv 0.
    ("the server has gone before the request", |c| {
        let requests: [&[&[u8]]; 3] = [&[b"request", b"more"], &[b"request"], &[]];
        requests
            .iter()
            .try_for_each(|pieces| plays(c, pieces, &[Resets, Called, Gone, Called, Gone]))
    }),
    ("other errors are returned as they come", other_errors),
    ("more than 4 GiB, of which only the first bytes can go", |c| {
        sends_huge(c, json!([HUGE])).map(drop)
    }),
];

const NO_END: &str =
    "the server still waits for the end of the request: this direction has not been shut down";
const AGAIN: &str = "it calls again after errors other than EINTR: those do not go away";

/// Has it send these pieces while the server makes these moves.
fn plays(child: &mut Child, pieces: &[&[u8]], moves: &[Move]) -> Verdict {
    let (mut play, request) = (Play::new(moves)?, pieces.concat());
    play.so.progress = say!("with a request of {} bytes in {} pieces", request.len(), pieces.len());
    for one in moves {
        match *one {
            Called => {
                let lengths: Vec<usize> = pieces.iter().map(|piece| piece.len()).collect();
                play.calls(child, lengths, &request)?;
            }
            Hears => hears(child, &mut play, &request)?,
            Serves(answer) => return serves(child, play, pieces, answer),
            Says(..) | Gone => {
                let hang = if play.so.ended { "it goes on after the 0" } else { AGAIN };
                play.scene(child, hang);
                check(&child.said()?, one, pieces, play.so.ended)?;
            }
            _ => play.does(child, one)?,
        }
    }
    Ok(())
}

/// Whether it has said what it had to.
fn check(said: &Said, expected: &Move, pieces: &[&[u8]], ended: bool) -> Verdict {
    let (text, got) = (&*said.text(), &*said.bytes);
    let (expected, answer) = match *expected {
        Says(text, answer) => (text, answer),
        _ => ("Err(EPIPE)", &b""[..]),
    };
    let is = |right, seen| (expected, text) == (right, seen);
    let right = match expected {
        "Ok" => text == "Ok" && got == answer,
        "Err(EPIPE)" if pieces.is_empty() => text != "Ok",
        "Err(EPIPE)" => ["Err(EPIPE)", "Err(ECONNRESET)"].contains(&text),
        _ => text == expected,
    };
    if right {
        return Ok(());
    }
    let cut = answer.strip_prefix(got).unwrap_or(b"-");
    let mistake = first! {
        is("Err(EPIPE)", "Ok") && pieces.is_empty() =>
            "shutdown returned -1, and nobody looked: the reset became an empty answer",
        is("Err(EPIPE)", "Ok") =>
            "a send failed because the server was gone, and it went on as if all were well",
        expected == "Err(EPIPE)" =>
            "a send failed because the server was gone, and not its errno reached the caller",
        is("Err(ECONNRESET)", "Ok") =>
            "recv failed inside the answer, and what had come so far was returned as Ok",
        expected == "Err(ECONNRESET)" => "recv failed, and its errno did not reach the caller",
        expected != "Ok" => "the errno of the failed call has to reach the caller as it is",
        text == "Ok" && !ended && said.after.ended.last() == Some(&true) =>
            "both directions have been ended: SHUT_RDWR, where the answer is still to come; SHUT_WR",
        text == "Ok" && !cut.is_empty() && cut.iter().all(|b| [0, 0xff].contains(b)) =>
            "bytes of 0x00 or 0xff were cut off or left out: they are bytes like all others",
        text == "Ok" && got.is_empty() && pieces.concat().is_empty() =>
            "a request without a byte is one, too: end this direction, and receive the answer",
        text == "Ok" && got.is_empty() =>
            "the answer was lost: end your own direction only, and read until the 0",
        text == "Ok" && answer.starts_with(got) && answer.len() < 100 =>
            "it returned while the server was still answering: one recv is not the answer",
        text == "Ok" && answer.starts_with(got) =>
            "it returned before the answer had ended: receive until recv returns 0",
        text == "Ok" => "the answer is not what the server sent",
        text == "Err(EINTR)" => INTERRUPTED,
        text == "Err(EBADF)" => ZERO,
        text == "Err(EPIPE)" =>
            "it sent after its own shutdown: shut down once, after the last piece",
        text == "Err(UnexpectedEof)" =>
            "the end of the answer is no error: it is how the answer ends",
        text == "Err(EMSGSIZE)" =>
            "so many pieces are too many for one call: IOV_MAX is 1024",
        true => UNFOUNDED,
    };
    let refusal = said.refused(mistake, expected);
    Err(if (expected, text) == ("Ok", "Ok") { refusal.bytes(answer, got) } else { refusal })
}

/// The server has read all, to the end of the stream: compares.
fn arrives(sent: &[u8], got: &[u8]) -> Verdict {
    let mistake = if sent == got {
        return Ok(());
    } else if sent.starts_with(got) {
        "the request ended too early at the server: every byte of every piece comes before the end"
    } else {
        "the server did not get the pieces one after the other"
    };
    let (right, seen) = (say!("{} bytes at the server", sent.len()), say!("{} bytes", got.len()));
    Err(Refusal::new(mistake).but(right, seen).bytes(sent, got))
}

/// The server reads the request, and its end, while the call waits for an answer.
fn hears(child: &mut Child, play: &mut Play, request: &[u8]) -> Verdict {
    play.tells(say!("waits for the end of the request"));
    play.scene(child, NO_END);
    let (true, Some(peer)) = (child.until_blocked()?, &play.peer) else { return Ok(()) };
    let got = peer.hears(child, request.len())?;
    let ended = child.brings(peer)?;
    let ended = got != request || ended && peer.read_waiting()? == Heard::End;
    let seen = "silence, while the client reads";
    ensure(ended, NO_END, "the end of the stream at the server", seen)?;
    arrives(request, &got)?;
    play.so.met = true; // it waits on
    Ok(())
}

/// A thread reads the request to its end, then sends the answer and ends, unless it has before.
fn serves(child: &mut Child, mut play: Play, pieces: &[&[u8]], answer: &[u8]) -> Verdict {
    let (ended, all) = (play.so.ended, answer.to_vec());
    play.tells(say!("reads the request to its end, answers with {} bytes", answer.len()));
    play.scene(child, NO_END);
    let (Stage { peer, bystander: _bystander }, _) = play.take()?;
    let server = thread::spawn(move || {
        let request = peer.read(usize::MAX);
        if !ended {
            peer.send(&all);
            peer.end();
        }
        peer.read(1); // until the answer's end has been closed
        request
    });
    let said = child.said()?;
    child.close_fds()?;
    let request = server.join().expect("the server does not panic");
    check(&said, &Says("Ok", answer), pieces, true)?;
    arrives(&pieces.concat(), &request)?;
    let calls = said.calls("send") + said.calls("recv");
    let few = answer.len() >= 100 || request.len() >= 100 || calls <= pieces.len() + 6;
    let mistake = "a call for each byte: offer all of the rest, or all the room there is";
    ensure(few, mistake, "a send for each piece, few recv", say!("{calls} calls"))
}

fn other_errors(child: &mut Child) -> Verdict {
    for (did, expected, request, fds) in [
        ("there is no such descriptor: EBADF", "Err(EBADF)", &b"x"[..], vec![]),
        ("the socket has no peer: ENOTCONN", "Err(ENOTCONN)", b"", vec![lonely()?]),
    ] {
        child.scene("at its first call", did, AGAIN);
        let said = child.call([request.len()], request, fds)?;
        let mistake = "the errno of the failed call has to reach the caller as it is";
        said.ensure(said.text() == expected, mistake, expected)?;
    }
    child.lent_zero = true;
    plays(child, &[b"request"], &[Called, Serves(b"answer")])?;
    let says = Says("Err(EAGAIN)", b"");
    plays(child, &[b"request"], &[NonBlocking, Called, says])?;
    plays(child, &[&pattern(2_000_000)], &[Tiny, NonBlocking, Called, says])
}
