//! Exercise `errno`: read errno at once, and name it. Article 1.3, 10.2.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;

use crate::inside;
use crate::prelude::*;

#[derive(Serialize, Deserialize)]
struct Logged {
    result: Result<usize, String>,
    times: usize,
    /// What was unread at the first time.
    unread: usize,
}

/// Room for so many bytes: more than a u8 can count.
const LEN: usize = 300;

static LOGGED: AtomicUsize = AtomicUsize::new(0);
static SPOIL: AtomicI32 = AtomicI32::new(0);
static FD: AtomicI32 = AtomicI32::new(-1);
static UNREAD: AtomicUsize = AtomicUsize::new(0);

/// As loggers do: it makes calls of its own, and leaves errno as they leave it.
fn log(_: &str) {
    LOGGED.fetch_add(1, Relaxed);
    UNREAD.store(inside::unread(FD.load(Relaxed)), Relaxed);
    Errno::from_raw(SPOIL.load(Relaxed)).set();
}

/// What the answer is: one `recv`, a line for the log, and a count or a name.
pub type Answer = fn(RawFd, &mut [u8], fn(&str)) -> Result<usize, String>;

/// Grades the answer: asked to receive, where the logger sets errno to this.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade("recv_logged", CASES, |spoil: i32, given| {
        SPOIL.store(spoil, Relaxed);
        LOGGED.store(0, Relaxed);
        FD.store(given.fd(), Relaxed);
        let mut buf = [0xa5; LEN];
        let (result, said) = given.watch(|| answer(given.fd(), &mut buf, log));
        let (times, unread) = (LOGGED.load(Relaxed), UNREAD.load(Relaxed));
        Said { bytes: buf.to_vec(), ..said.with(Logged { result, times, unread }) }
    })
}

const CASES: &[Case] = &[
    ("bytes are there: their count", bytes),
    ("more bytes are there than buf has room for", full),
    ("the stream has ended: 0, and no error", end),
    ("EAGAIN, ENOTCONN, EBADF, ECONNRESET by their names", names),
    ("a signal: EINTR, and no second call", signal),
    ("errors without a name here: errno and their numbers", unknown),
];

/// It has to return this; the logger has set errno to `spoil`, by its name.
fn check(said: &Said<Logged>, expected: Result<usize, &str>, spoil: &str) -> Verdict {
    let Logged { result, times, unread } = &said.more;
    let result = result.as_ref().map(|n| *n).map_err(String::as_str);
    let left = said.unread() > 0 && spoil != "none";
    let mistake = match (expected, result) {
        _ if result == expected && *times == 0 && expected.is_ok() => {
            "it did not log the call that succeeded"
        }
        _ if result == expected && *times == 0 => "it did not log the call that failed",
        _ if result == expected && *times > 1 => {
            return Err(Refusal::new(say!("one call was made, and it logged {times} lines")));
        }
        _ if result == expected && left => {
            "the bytes are still unread: without MSG_PEEK recv takes them"
        }
        _ if result == expected && *unread > 0 && spoil != "none" => {
            "recv comes first, takes the bytes, and then comes the log"
        }
        _ if result == expected => return Ok(()),
        (Err(_), Err(name)) if name == spoil => {
            "errno was read after log had made calls of its own: read it right behind recv"
        }
        (Ok(0), Err(_)) => "0 is the end of the stream and no error: errno has nothing to say",
        (Ok(_), Err(_)) => "recv had succeeded: errno counts only where a call has returned -1",
        (Ok(LEN), Ok(n)) if n == LEN % 256 => {
            "the count was cut to 8 bits: a cast loses what is more"
        }
        (Ok(LEN), Ok(_)) => "recv was offered less room than buf has: give it all of buf",
        (Err("EINTR"), Err("EAGAIN")) => {
            "recv did not wait, though the socket does: the flags are 0"
        }
        (Err(_), Err("EINTR")) => {
            "errno was read before recv, or not at all: EINTR is what it was when the call began"
        }
        (Err(_), Ok(n)) if n > LEN => "-1 became a huge count: compare before the cast to usize",
        (Err("errno 88"), Ok(0)) => "recv fails where there is no socket, read does not: call recv",
        (Err("ECONNRESET"), Ok(0)) => "a reset is an error and no end of the stream: ECONNRESET",
        (Err("errno 111"), Err(name)) if name.starts_with("errno ") => {
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
    let unread = say!("; {unread} bytes unread when it logged");
    refuse(mistake, format!("{expected:?}"), format!("{result:?}{unread}"))
}

/// What the logger may leave in errno.
const SPOILERS: [(&str, i32); 3] =
    [("EBADF", libc::EBADF), ("EAGAIN", libc::EAGAIN), ("ENOTCONN", libc::ENOTCONN)];

fn with_each_spoiler(
    child: &mut Child,
    did: &str,
    expected: Result<usize, &str>,
    mut fds: impl FnMut() -> Result<Vec<OwnedFd>, Refusal>,
) -> Verdict {
    for (name, spoil) in SPOILERS.iter().filter(|(name, _)| expected != Err(*name)) {
        let again = "it calls recv again after EAGAIN: one call was asked for, and its error";
        child.scene("", did, again);
        child.close_fds()?;
        child.ask(spoil, &[], fds()?)?;
        check(&child.said_more()?, expected, name)?;
    }
    Ok(())
}

fn bytes(child: &mut Child) -> Verdict {
    let (peer, conn) = pair()?;
    peer.send(b"hello");
    arrived(&conn, 5)?;
    let full = "recv waits for a full buffer: without MSG_WAITALL it gives what is there";
    child.scene("after 5 of 300 bytes", "the peer has sent 5 bytes, and waits", full);
    child.ask(libc::EBADF, &[], vec![conn])?;
    let said = child.said_more()?;
    check(&said, Ok(5), "EBADF")?;
    let (right, got) = (b"hello\xa5", &said.bytes[..6]);
    if got == right {
        return Ok(());
    }
    Err(Refusal::new("the bytes have to be in buf").bytes(right, got))
}

fn full(child: &mut Child) -> Verdict {
    let (peer, conn) = pair()?;
    let message = pattern(LEN + 100);
    peer.send(&message);
    arrived(&conn, message.len())?;
    child.scene("", "sent 400 bytes", "");
    child.ask(libc::EBADF, &[], vec![conn])?;
    let said = child.said_more()?;
    let left = said.unread();
    if left < 100 {
        let mistake = "it took more bytes than buf has room for: the others are lost";
        return refuse(mistake, "100 bytes unread", say!("{left} bytes unread"));
    }
    check(&said, Ok(LEN), "none")?; // the 100 bytes are unread, as they should be
    let (right, got) = (&message[..LEN], &said.bytes[..]);
    if got == right {
        return Ok(());
    }
    Err(Refusal::new("the bytes in buf are not those that came").bytes(right, got))
}

fn end(child: &mut Child) -> Verdict {
    with_each_spoiler(child, "ended its stream", Ok(0), || {
        let (peer, conn) = pair()?;
        drop(peer);
        Ok(vec![conn])
    })
}

fn names(child: &mut Child) -> Verdict {
    let mut peers = Vec::new();
    let did = "sends nothing, and the socket is non-blocking";
    with_each_spoiler(child, did, Err("EAGAIN"), || {
        let (peer, conn) = non_blocking(pair()?)?;
        peers.push(peer);
        Ok(vec![conn])
    })?;
    let did = "there is none: not connected";
    with_each_spoiler(child, did, Err("ENOTCONN"), || Ok(vec![lonely()?]))?;
    let did = "there is none: fd 150 is not open";
    with_each_spoiler(child, did, Err("EBADF"), || Ok(Vec::new()))?;
    with_each_spoiler(child, "has reset the connection", Err("ECONNRESET"), || {
        let (peer, conn) = pair()?;
        peer.reset()?;
        Ok(vec![conn])
    })
}

fn signal(child: &mut Child) -> Verdict {
    let (_peer, conn) = pair()?;
    let again = "it called recv again after EINTR: one call was asked for";
    let did = "sends nothing; SIGUSR1 came while recv was waiting";
    child.scene("after a signal", did, again);
    child.ask(libc::EBADF, &[], vec![conn])?;
    child.interrupts(1)?;
    check(&child.said_more()?, Err("EINTR"), "EBADF")
}

fn unknown(child: &mut Child) -> Verdict {
    let did = "there is none: it is no socket";
    with_each_spoiler(child, did, Err(&format!("errno {}", libc::ENOTSOCK)), || {
        Ok(vec![OwnedFd::from(std::fs::File::open("/dev/null")?)])
    })?;
    // A datagram to a port where nobody is: the answer of the kernel makes the next recv fail.
    let did = "there is none: a datagram was sent to it, and ECONNREFUSED came back";
    with_each_spoiler(child, did, Err(&format!("errno {}", libc::ECONNREFUSED)), || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)?;
        socket.send(b"anybody?")?;
        Ok(vec![OwnedFd::from(socket)])
    })
}
