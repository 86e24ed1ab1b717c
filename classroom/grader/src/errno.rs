//! Exercise `errno`: read errno at once, and name it. Article 1.3, 10.2.

use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{OwnedFd, RawFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use say::say;
use serde::{Deserialize, Serialize};

use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{self, After, observe};
use crate::peer::{arrived, pair, pattern};
use crate::refusal::Refusal;

/// Receive from the given descriptor, or from this number.
#[derive(Serialize, Deserialize)]
struct Ask {
    fd: Option<RawFd>,
    /// What errno is set to by the logger.
    spoil: i32,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<usize, String>,
    logged: usize,
    unread_at_log: usize,
    after: After,
}

/// Room for so many bytes: more than a u8 can count.
const LEN: usize = 300;

static LOGGED: AtomicUsize = AtomicUsize::new(0);
static SPOIL: AtomicUsize = AtomicUsize::new(0);
static FD: AtomicI32 = AtomicI32::new(-1);
/// What was unread when the logger was called.
static UNREAD: AtomicUsize = AtomicUsize::new(0);

/// As loggers do: it makes calls of its own, and leaves errno as they leave it.
fn log(_: &str) {
    LOGGED.fetch_add(1, Relaxed);
    UNREAD.store(inside::unread(FD.load(Relaxed)), Relaxed);
    Errno::from_raw(SPOIL.load(Relaxed) as i32).set();
}

/// What the answer is: one `recv`, a line for the log, and a count or a name.
pub type Answer = fn(RawFd, &mut [u8], fn(&str)) -> Result<usize, String>;

/// Grades the answer.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade_raw("recv_logged", CASES, |ask: Ask, given| {
        let fd = ask.fd.or(given.fds.last().copied()).unwrap_or(-1);
        SPOIL.store(ask.spoil as usize, Relaxed);
        LOGGED.store(0, Relaxed);
        FD.store(fd, Relaxed);
        let mut buf = [0xa5; LEN];
        let (result, after) = observe(&given.fds, || answer(fd, &mut buf, log));
        let (logged, unread_at_log) = (LOGGED.load(Relaxed), UNREAD.load(Relaxed));
        (Said { result, logged, unread_at_log, after }, buf.to_vec())
    })
}

const CASES: &[Case] = &[
    Case { name: "bytes are there: their count", run: bytes },
    Case { name: "more bytes are there than buf has room for", run: full },
    Case { name: "the stream has ended: 0, and no error", run: end },
    Case { name: "EAGAIN, ENOTCONN, EBADF, ECONNRESET by their names", run: names },
    Case { name: "a signal: EINTR, and no second call", run: signal },
    Case { name: "errors without a name here: errno and their numbers", run: unknown },
];

fn checked(
    child: &mut Child,
    expected: Result<usize, &str>,
    spoil: &str,
    peer: &str,
) -> Result<Vec<u8>, Refusal> {
    let (said, bytes) = child.said_as::<Said>()?;
    checked_said(child, said, expected, spoil, peer).map(|()| bytes)
}

fn checked_said(
    child: &Child,
    said: Said,
    expected: Result<usize, &str>,
    spoil: &str,
    peer: &str,
) -> Result<(), Refusal> {
    child.left_as_it_was(&said.after)?;
    let expected = expected.map_err(String::from);
    if said.result == expected {
        return match said.logged {
            1 if said.after.unread.last().is_some_and(|&left| left > 0) && !spoil.is_empty() => {
                Err(Refusal::new("the bytes are still unread: without MSG_PEEK recv takes them")
                    .but("nothing unread", say!("{} bytes unread", said.unread_at_log)))
            }
            1 if said.unread_at_log > 0 && !spoil.is_empty() => {
                Err(Refusal::new("recv comes first, takes the bytes, and then comes the log")
                    .but("nothing unread", say!("{} bytes unread", said.unread_at_log)))
            }
            1 => Ok(()),
            0 if expected.is_ok() => Err(Refusal::new("it did not log the call that succeeded")),
            0 => Err(Refusal::new("it did not log the call that failed")),
            n => Err(Refusal::new(say!("one call was made, and it logged {n} lines"))),
        };
    }
    let mistake = match (expected.as_ref().copied().map_err(String::as_str), &said.result) {
        (Err(_), Err(name)) if name == spoil => {
            "errno was read after log had made calls of its own: read it right behind recv"
        }
        (Ok(0), Err(_)) => "0 is the end of the stream and no error: errno has nothing to say",
        (Ok(_), Err(_)) => "recv had succeeded: errno counts only where a call has returned -1",
        (Ok(LEN), Ok(n)) if *n == LEN % 256 => {
            "the count was cut to 8 bits: a cast loses what is more"
        }
        (Ok(LEN), Ok(_)) => "recv was offered less room than buf has: give it all of buf",
        (Err("EINTR"), Err(seen)) if seen == "EAGAIN" => {
            "recv did not wait, though the socket does: the flags are 0"
        }
        (Err(_), Err(name)) if name == "EINTR" => {
            "errno was read before recv, or not at all: EINTR is what it was when the call began"
        }
        (Err(_), Ok(n)) if *n > LEN => "-1 became a huge count: compare before the cast to usize",
        (Err("errno 88"), Ok(0)) => "recv fails where there is no socket, read does not: call recv",
        (Err("ECONNRESET"), Ok(0)) => "a reset is an error and no end of the stream: ECONNRESET",
        (Err(_), Err(name)) if name.starts_with("errno ") && peer == MANY => {
            "the number of every other error is its own: do not write one down"
        }
        (Err(_), Ok(0)) => "recv had failed, and it returned 0: that means the end of the stream",
        (Err("EINTR"), _) => "it called recv again after EINTR: one call was asked for",
        (Err(_), Err(name)) if name.contains(' ') && !name.starts_with("errno ") => {
            "a text for people instead of the name: compare errno with libc's constants"
        }
        (Err(_), Err(_)) => "that is not the name of the error: compare with libc's constants",
        _ => "that is not what recv returned",
    };
    let show = |result: &Result<usize, String>| format!("{result:?}");
    Err(Refusal::new(mistake).peer(peer).but(show(&expected), show(&said.result)))
}

/// The name of an errno that is not the one to be reported, and its number.
const SPOILERS: [(&str, i32); 2] = [("EBADF", libc::EBADF), ("ENOTCONN", libc::ENOTCONN)];

fn with_each_spoiler(
    child: &mut Child,
    mut fds: impl FnMut() -> Result<Vec<OwnedFd>, Refusal>,
    fd: Option<RawFd>,
    expected: Result<usize, &str>,
    peer: &str,
) -> Result<(), Refusal> {
    for (name, spoil) in SPOILERS.iter().filter(|(name, _)| expected != Err(*name)) {
        child.ask(Ask { fd, spoil: *spoil }, &[], fds()?)?;
        checked(child, expected, name, peer)?;
    }
    Ok(())
}

fn bytes(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    peer.send(b"hello");
    arrived(&conn, 5)?;
    child.scene(
        "after 5 of 300 bytes",
        "the peer has sent 5 bytes, and waits",
        "recv waits for a full buffer: without MSG_WAITALL it gives what is there",
    );
    child.ask(Ask { fd: None, spoil: libc::EBADF }, &[], vec![conn])?;
    let bytes = checked(child, Ok(5), "EBADF", "sent 5 bytes")?;
    if &bytes[..6] != b"hello\xa5" {
        return Err(Refusal::new("the bytes have to be in buf").bytes(b"hello\xa5", &bytes[..6]));
    }
    Ok(())
}

fn full(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    let message = pattern(LEN + 100);
    peer.send(&message);
    arrived(&conn, message.len())?;
    child.ask(Ask { fd: None, spoil: libc::EBADF }, &[], vec![conn])?;
    let (said, bytes) = child.said_as::<Said>()?;
    let left = said.after.unread.last().copied().unwrap_or(0);
    if left < 100 {
        return Err(Refusal::new("it took more bytes than buf has room for: the others are lost")
            .peer("sent 400 bytes")
            .but("100 bytes unread", say!("{left} bytes unread")));
    }
    // The 100 bytes are unread, as they should be: no spoiler.
    let bytes = checked_said(child, said, Ok(LEN), "", "sent 400 bytes").map(|()| bytes)?;
    if bytes != message[..LEN] {
        return Err(
            Refusal::new("the bytes in buf are not those that came").bytes(&message[..LEN], &bytes)
        );
    }
    Ok(())
}

fn end(child: &mut Child) -> Result<(), Refusal> {
    let ended = || {
        let (peer, conn) = pair()?;
        drop(peer);
        Ok(vec![conn])
    };
    with_each_spoiler(child, ended, None, Ok(0), "ended its stream")
}

fn names(child: &mut Child) -> Result<(), Refusal> {
    child.scene(
        "",
        "the socket does not wait, and recv says EAGAIN",
        "it calls recv again after EAGAIN: one call was asked for, and its error",
    );
    let mut peers = Vec::new();
    let waiting = || {
        let (peer, conn) = pair()?;
        fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
        peers.push(peer);
        Ok(vec![conn])
    };
    let peer = "sends nothing, and the socket is non-blocking";
    with_each_spoiler(child, waiting, None, Err("EAGAIN"), peer)?;
    let alone = || {
        let kind = SockType::Stream;
        let alone = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None);
        Ok(vec![alone.map_err(io::Error::from)?])
    };
    with_each_spoiler(child, alone, None, Err("ENOTCONN"), "there is none: not connected")?;
    let none = || Ok(Vec::new());
    with_each_spoiler(child, none, Some(150), Err("EBADF"), "there is none: fd 150 is not open")?;
    let reset = || {
        let (peer, conn) = pair()?;
        peer.reset()?;
        Ok(vec![conn])
    };
    with_each_spoiler(child, reset, None, Err("ECONNRESET"), "has reset the connection")
}

fn signal(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    child.scene(
        "after a signal",
        "the peer sends nothing",
        "it called recv again after EINTR: one call was asked for",
    );
    child.ask(Ask { fd: None, spoil: libc::EBADF }, &[], vec![conn])?;
    if child.until_blocked()? {
        child.interrupt();
    }
    checked(child, Err("EINTR"), "EBADF", "sends nothing; SIGUSR1 came while recv was waiting")?;
    drop(peer);
    Ok(())
}

fn unknown(child: &mut Child) -> Result<(), Refusal> {
    let file = || Ok(vec![OwnedFd::from(std::fs::File::open("/dev/null")?)]);
    let expected = format!("errno {}", libc::ENOTSOCK);
    with_each_spoiler(child, file, None, Err(&expected), "there is none: it is no socket")?;
    // A datagram to a port where nobody is: the answer of the kernel makes the next recv fail.
    let nobody = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let gone = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        socket.connect(gone)?;
        socket.send(b"anybody?")?;
        Ok(vec![OwnedFd::from(socket)])
    };
    let expected = format!("errno {}", libc::ECONNREFUSED);
    with_each_spoiler(child, nobody, None, Err(&expected), MANY)
}

const MANY: &str = "there is none: a datagram was sent to it, and ECONNREFUSED came back";
