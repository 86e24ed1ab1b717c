//! Exercise `errno`: read errno at once, and name it. Article 1.3, 10.2.

use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;

use crate::calls::{self, Seldom};
use crate::huge::{self, HUGE};
use crate::inside;
use crate::peer::{Buffers, pair_with};
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

/// More than a u16 can count, and no bit of a u16 is set in it.
const LARGE: usize = 3 << 16;

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

/// Room for so many bytes: every errno comes, one after the other. Or many a count.
const ERRNOS: usize = 70_000;
const COUNTS: usize = ERRNOS + 1;

/// What an error has to be called.
fn name(errno: i32) -> String {
    match errno {
        libc::EAGAIN | libc::EBADF | libc::ECONNRESET | libc::EINTR | libc::ENOTCONN => {
            format!("{:?}", Errno::from_raw(errno))
        }
        other => format!("errno {other}"),
    }
}

/// What the answer is: one `recv`, a line for the log, and a count or a name.
pub type Answer = fn(RawFd, &mut [u8], fn(&str)) -> Result<usize, String>;

/// Grades the answer: asked to receive, where the logger sets errno to this, into so many bytes.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade("recv_logged", CASES, |(spoil, len): (i32, usize), given| {
        SPOIL.store(spoil, Relaxed);
        LOGGED.store(0, Relaxed);
        calls::SPOILS.store(true, Relaxed);
        let fd = if len == 0 { -1 } else { given.fd() };
        FD.store(fd, Relaxed);
        let mut usual = vec![0xa5; if len == HUGE { 0 } else { len }];
        let buf = if len == HUGE { huge::zeroes().expect("room") } else { &mut usual };
        let (result, said) = given.watch(|| {
            // Where all are asked for, the first of them that comes out wrong.
            let errnos = (1..134).filter(|_| len == ERRNOS);
            let counts = (1..=300).chain([32_767, 32_768, 65_535, 65_536]);
            let errnos = errnos.map(|errno| (Seldom::Says(errno, 1, 0, false), Err(name(errno))));
            let counts = counts.filter(|_| len == COUNTS).map(|n| (Seldom::Moves(n), Ok(n)));
            let wrong = errnos.chain(counts).find_map(|(seldom, right)| {
                calls::start_with(seldom);
                Some(answer(fd, buf, log)).filter(|result| *result != right)
            });
            calls::start_with(Seldom::Nothing);
            wrong.unwrap_or_else(|| answer(fd, buf, log))
        });
        let (times, unread) = (LOGGED.load(Relaxed), UNREAD.load(Relaxed));
        let bytes = buf[..len.min(LARGE)].to_vec();
        Said { bytes, ..said.with(Logged { result, times, unread }) }
    })
}

/// What a call that has succeeded leaves in errno: ENOTTY.
const AFTER: &str = "errno 25";

const NAMES: &str = "an errno has a name that the task does not give it, or another one's: five have \
                     names, all others are told by their numbers";

const LESS: &str = "recv was offered less room than buf has: give it all of buf";

const CASES: &[Case] = &[
    ("bytes are there: their count", |c| names(c, "has sent 5 bytes, and waits", 5, Ok(5), usual)),
    ("more bytes are there than buf has room for", |c| {
        names(c, "sent 400 bytes", 400, Ok(LEN), usual)?;
        names(c, "sent 196708 bytes", LARGE + 100, Ok(LARGE), || {
            pair_with(Buffers { recv: Some(LARGE + 1000), ..Buffers::default() }).map(both)
        })
    }),
    ("a buffer of more than 4 GiB", |c| {
        let (peer, conn) = pair()?;
        peer.send(&pattern(5));
        arrived(&conn, 5)?;
        c.scene("", "has sent 5 bytes, and waits", "");
        c.ask((libc::EBADF, HUGE), &[], vec![conn])?;
        let said: Said<Logged> = c.said_more()?;
        is(&said, 5, Ok(5), "EBADF")?;
        let (all, room) = (HUGE, said.after.calls.room);
        let expected = say!("a recv that is offered {all} bytes");
        ensure(room == 0 || room >= all, LESS, expected, say!("at most {} bytes", room))
    }),
    ("the stream has ended: 0, and no error", |c| {
        names(c, "ended its stream", 0, Ok(0), || {
            let (peer, conn) = pair()?;
            peer.end();
            Ok(both((peer, conn)))
        })
    }),
    ("EAGAIN, ENOTCONN, EBADF, ECONNRESET by their names", |c| {
        let silent = "sends nothing, and the socket is non-blocking";
        names(c, silent, 0, Err("EAGAIN"), || non_blocking(pair()?).map(both))?;
        names(c, "there is none: not connected", 0, Err("ENOTCONN"), || alone(lonely()?))?;
        let (spoil, none) = (libc::EAGAIN, "there is none: fd 150 is not open");
        names(c, none, 0, Err("EBADF"), || Ok((None, None)))?;
        c.ask((spoil, 0), &[], vec![])?;
        is(&c.said_more()?, 0, Err("EBADF"), "EAGAIN")?;
        names(c, "has reset the connection", 0, Err("ECONNRESET"), || {
            let (peer, conn) = pair()?;
            peer.reset()?;
            alone(conn)
        })
    }),
    ("a signal: EINTR, and no second call", signal),
    ("errors without a name here: errno and their numbers", |c| {
        let no_socket = "there is none: it is no socket";
        names(c, no_socket, 0, Err("errno 88"), || alone(File::open("/dev/null")?))?;
        // A datagram to a port where nobody is: the kernel's answer makes the next recv fail.
        let sent = "there is none: a datagram was sent to it, and ECONNREFUSED came back";
        names(c, sent, 0, Err("errno 111"), || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)?;
            socket.send(b"anybody?")?;
            alone(socket)
        })
    }),
    ("each errno there is, five of them by name; and counts of all sizes", |c| {
        const CAST: &str = "a count was taken for an error, or for another one: compare what recv \
                            returns with -1 before any cast";
        let errnos = "sends nothing; recv fails with each errno there is";
        let counts = "sends 1 byte, 2, and so on, up to 65536";
        for (did, len, mistake) in [(errnos, ERRNOS, NAMES), (counts, COUNTS, CAST)] {
            let (_peer, conn) = non_blocking(pair()?)?;
            c.scene("", did, "");
            c.ask((libc::EBADF, len), &[], vec![conn])?;
            let Logged { result, .. } = c.said_more::<Logged>()?.more;
            let right = result == Err("EAGAIN".into());
            ensure(right, mistake, "the number", format!("{result:?}"))?;
        }
        c.close_fds()?;
        c.ask((libc::EAGAIN, 0), &[], vec![])?;
        let said: Said<Logged> = c.said_more()?;
        let mistake =
            "recv was not called: the kernel says what is wrong with fd, also where it is -1";
        ensure(said.calls("recv") > 0, mistake, "recv", "")
    }),
];

/// The peer, and the descriptor to receive from; where there are such.
type Ends = (Option<Peer>, Option<OwnedFd>);

fn both((peer, conn): (Peer, OwnedFd)) -> Ends {
    (Some(peer), Some(conn))
}

fn usual() -> io::Result<Ends> {
    pair().map(both)
}

fn alone(fd: impl Into<OwnedFd>) -> io::Result<Ends> {
    Ok((None, Some(fd.into())))
}

/// Where the peer has sent so many bytes: it has to return this, whatever the logger leaves in
/// errno.
fn names(
    child: &mut Child,
    did: &str,
    sent: usize,
    expected: Result<usize, &str>,
    ends: fn() -> io::Result<Ends>,
) -> Verdict {
    const WAITS: &str = "recv waits for a full buffer: without MSG_WAITALL it gives what is there";
    const AGAIN: &str = "it calls recv again after EAGAIN: one call was asked for, and its error";
    let spoilers = [("EBADF", libc::EBADF), ("EAGAIN", libc::EAGAIN), ("ENOTCONN", libc::ENOTCONN)];
    for (name, spoil) in spoilers.into_iter().filter(|(name, _)| expected != Err(name)) {
        let (peer, conn) = ends()?;
        if let (Some(peer), Some(conn)) = (&peer, &conn) {
            peer.send(&pattern(sent));
            arrived(conn, sent)?;
        }
        child.scene("", did, if sent > 0 { WAITS } else { AGAIN });
        child.close_fds()?;
        let room = expected.unwrap_or(0).max(LEN);
        child.ask((spoil, room), &[], Vec::from_iter(conn))?;
        is(&child.said_more()?, sent, expected, name)?;
    }
    Ok(())
}

fn signal(child: &mut Child) -> Verdict {
    let (_peer, conn) = pair()?;
    let again = "it called recv again after EINTR: one call was asked for";
    child.scene("after a signal", "sends nothing; SIGUSR1 came while recv was waiting", again);
    child.ask((libc::EBADF, LEN), &[], vec![conn])?;
    child.interrupts(1)?;
    is(&child.said_more()?, 0, Err("EINTR"), "EBADF")
}

/// It has to have returned this, of so many bytes; the logger has set errno to `spoil`, by its name.
fn is(said: &Said<Logged>, sent: usize, expected: Result<usize, &str>, spoil: &str) -> Verdict {
    let Logged { result, times, unread } = &said.more;
    let result = result.as_ref().map(|n| *n).map_err(String::as_str);
    let (left, rest) = (said.unread(), sent - expected.unwrap_or(0));
    let (count, name) = (result.unwrap_or(0), result.err().unwrap_or(""));
    let (fails, is_number) = (expected.is_err(), name.starts_with("errno "));
    let bytes = &pattern(sent)[..sent - rest];
    if *times > 1 && result == expected {
        return Err(Refusal::new(say!("one call was made, and it logged {times} lines")));
    }
    let mistake = first! {
        left < rest => "it took more bytes than buf has room for: the others are lost",
        result == expected && *times == 0 && fails => "it did not log the call that failed",
        result == expected && *times == 0 => "it did not log the call that succeeded",
        result == expected && left > rest =>
            "the bytes are still unread: without MSG_PEEK recv takes them",
        result == expected && *unread > rest =>
            "recv comes first, takes the bytes, and then comes the log",
        result == expected && !said.bytes.starts_with(bytes) =>
            "the bytes that came have to be in buf",
        result == expected && said.calls("poll") > 0 =>
            "poll was called, and one recv was asked for: EAGAIN is said at once",
        result == expected && said.after.calls.recv_flags & !libc::MSG_DONTWAIT != 0 =>
            "the flags of recv are 0: nothing else was asked for",
        result == expected => "",
        fails && name == AFTER =>
            "errno was read after another call, or after memory was taken or given back: read it \
             right after recv",
        fails && name == spoil && expected.is_err_and(|name| name.starts_with("errno ")) => NAMES,
        fails && name == spoil =>
            "errno was read after log had made calls of its own: read it right after recv",
        expected == Ok(0) && result.is_err() =>
            "0 is the end of the stream and no error: errno has nothing to say",
        !fails && result.is_err() =>
            "recv had succeeded: errno counts only where a call has returned -1",
        expected.is_ok_and(|n| n >= LEN && n != count && [n % 256, n % 65_536].contains(&count)) =>
            "the count, or the length of buf, was cut to 8 or 16 bits: a cast loses what is more",
        expected.is_ok_and(|n| n >= LEN) => LESS,
        expected == Err("EINTR") && name == "EAGAIN" =>
            "recv did not wait, though the socket does: the flags are 0",
        fails && name == "EINTR" =>
            "errno was read before recv, or not at all: EINTR is what it was when the call began",
        fails && count > LEN => "-1 became a huge count: compare before the cast to usize",
        expected == Err("errno 88") && result == Ok(0) =>
            "recv fails where there is no socket, read does not: call recv",
        expected == Err("ECONNRESET") && result == Ok(0) =>
            "a reset is an error and no end of the stream: ECONNRESET",
        expected.is_err_and(|name| name.starts_with("errno ")) && is_number =>
            "the number of every other error is its own: errno has it, its kind has another one",
        fails && result == Ok(0) && said.calls("recv") == 0 =>
            "for an empty buf recv was not called: what is wrong with fd is said all the same",
        fails && result == Ok(0) =>
            "recv had failed, and it returned 0: that means the end of the stream",
        name.contains(' ') && !is_number =>
            "a text for people instead of the name: compare errno with libc's constants",
        fails => "that is not the name of the error: compare with libc's constants",
        true => "that is not what recv returned",
    };
    let unread = say!("; {unread} bytes unread when it logged");
    judge(mistake, format!("{expected:?}"), format!("{result:?}{unread}"))
}
