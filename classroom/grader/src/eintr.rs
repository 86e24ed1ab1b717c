//! Exercise `eintr`: a call to make again, one to wait for, one to leave alone. Article 10.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, getpeername};

use crate::beside::QUESTION;
use crate::calls::Seldom;
use crate::denied::Denied;
use crate::inside::{unasked_settings, unread};
use crate::peer::{full, impatient, listener, readable};
use crate::play::STORM;
use crate::prelude::*;
use crate::refusal::{DRAINED, NO_ERRNO};

type Accept = fn(RawFd) -> io::Result<RawFd>;
type Connect = fn(RawFd, &libc::sockaddr_in) -> io::Result<()>;
type Close = fn(RawFd) -> io::Result<()>;

/// The port at the other end of what was accepted or connected; or, of a close, whether the
/// descriptor is closed.
type Came = Option<u16>;

/// Grades the answer: asked to accept; to connect to a port; to close; perhaps where the call
/// always says this.
pub fn grade(accept_one: Accept, connect_once: Connect, close_once: Close) -> ExitCode {
    grading::grade("eintr", CASES, |(what, port, errno): (String, u16, i32), given| {
        let fd = given.fd();
        let calls = match &*what {
            "accept" => &[libc::SYS_accept4, libc::SYS_accept][..],
            "connect" => &[libc::SYS_connect],
            "poll" => &[libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_pwait],
            "getsockopt" => &[libc::SYS_getsockopt],
            _ => &[libc::SYS_close],
        };
        let (polls, only) = (what == "poll", Some((0, fd as u64)));
        for &call in calls.iter().filter(|_| errno != 0) {
            Denied { call, only: only.filter(|_| !polls), errno }.from_here_on();
        }
        if polls || what == "getsockopt" {
            Denied { call: libc::SYS_connect, only, errno: libc::EINTR }.from_here_on();
        }
        match &*what {
            "accept" => {
                let mut conn = -1;
                let keep = |fd| {
                    conn = fd;
                    ok(())
                };
                let mut said = given.call(|| accept_one(fd), keep);
                let mine = format!("fd {conn} (");
                said.after.opened.retain(|opened| !opened.starts_with(&mine));
                said.after.changed.extend(unasked_settings(conn));
                let port = peer_port(conn);
                if !given.fds.contains(&conn) && port.is_some() {
                    // SAFETY: it was accepted a moment ago, and the answer has given it away.
                    drop(unsafe { OwnedFd::from_raw_fd(conn) });
                }
                said.with(port)
            }
            "connect" | "poll" | "getsockopt" => {
                let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
                let said = given.call(|| connect_once(fd, to.as_ref()), ok);
                said.with(peer_port(fd))
            }
            _ => {
                let mut said = given.call(|| close_once(fd), ok);
                let closed = said.after.closed.contains(&fd);
                said.after.closed.retain(|&other| other != fd);
                said.with(closed.then_some(0))
            }
        }
    })
}

fn peer_port(fd: RawFd) -> Came {
    getpeername::<SockaddrIn>(fd).ok().map(|at| at.port())
}

const CASES: &[Case] = &[
    ("accept: signals come while it waits, then a client", |c| {
        accepts(c, false)?;
        accepts(c, true)
    }),
    ("accept: other errors are returned as they come", |c| {
        let again = "it calls accept again after errors that do not go away: only EINTR does";
        fails(c, ("accept", 0, 0), Some(pair()?.1), "EINVAL", again)?;
        let others = [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ECONNABORTED];
        others.into_iter().try_for_each(|errno| says(c, "accept", errno, again))
    }),
    ("accept: EAGAIN of a listener that does not wait", |c| {
        let spins = "EAGAIN of a non-blocking listener goes to the caller: calling accept again at \
                     once only spins";
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        fails(c, ("accept", 0, 0), Some(listener.into()), "EAGAIN", spins)
    }),
    ("connect: no signal comes", |c| {
        let (listener, _held) = listener(128)?;
        let port = listener.local_addr()?.port();
        let _bystander = ask(c, ("connect", port, 0), lonely()?)?;
        c.scene("", "listens", "");
        let said = c.said_more::<Came>()?;
        let is_there = said.text() == "Ok" && said.more == Some(port);
        let mistake = "a connection that could be made was not made";
        said.ensure(is_there, mistake, "Ok, and a connection")?;
        drop(listener);
        fails(c, ("connect", port, 0), Some(lonely()?), "ECONNREFUSED", CONNECTS_AGAIN)?;
        fails(c, ("connect", port, 0), Some(pair()?.1), "EISCONN", CONNECTS_AGAIN)?;
        // A socket that does not wait: its owner does.
        let waits = "it waits after EINPROGRESS: who made the socket non-blocking does not want to \
                     wait, EINTR alone is yours to wait for";
        let (_listener, port, _filler, _held) = full()?;
        let (_peer, waiting) = non_blocking((pair()?.0, lonely()?))?;
        fails(c, ("connect", port, 0), Some(waiting), "EINPROGRESS", waits)?;
        use Errno::*;
        let others = [EALREADY, EAGAIN, EACCES, ENETUNREACH, ETIMEDOUT, EHOSTUNREACH, ECONNRESET];
        others.into_iter().try_for_each(|errno| says(c, "connect", errno, CONNECTS_AGAIN))
    }),
    ("connect: signals come, and then the connection stands", connects_later),
    ("connect: signals come, and then the peer refuses, or does not answer", |c| {
        fails_later(c, "ECONNREFUSED", false)?;
        fails_later(c, "ECONNREFUSED", true)?;
        fails_later(c, "ETIMEDOUT", false)
    }),
    ("connect: after EINTR poll fails, or getsockopt", |c| {
        let again = "it calls poll again after errors that do not go away: only EINTR does";
        says(c, "getsockopt", Errno::ENOPROTOOPT, "")?;
        says(c, "poll", Errno::EINVAL, again)
    }),
    ("close: it closes, once, and says what close says", |c| {
        let (peer, conn) = pair()?;
        let another = conn.try_clone()?;
        peer.send(QUESTION);
        arrived(&another, QUESTION.len())?;
        closes(c, conn, "close was called more than once though the first had closed")?;
        let mistake =
            "shutdown ends the connection for every descriptor of it: close ends this one";
        ensure(peer.read_waiting()? == Heard::Nothing, mistake, "no FIN", "a FIN")?;
        let still_there = unread(another.as_raw_fd()) == QUESTION.len();
        ensure(still_there, DRAINED, "bytes still unread", "none")?;
        drop(another);
        let closed = peer.read(1).is_empty();
        c.close_fds()?;
        let again = "close is called again after an error";
        fails(c, ("close", 0, 0), None, "EBADF", again)?;
        let mistake = "close_once has to close what it is given";
        ensure(closed, mistake, "the end of the stream at the peer", "none")?;
        let others = [Errno::EIO, Errno::ENOSPC, Errno::EDQUOT];
        others.into_iter().try_for_each(|errno| says(c, "close", errno, again))
    }),
    ("close: EINTR, and the descriptor is closed all the same", |c| {
        let twice = "close was called again after EINTR: on Linux the descriptor is gone, and its \
                     number may be another's by now";
        c.seldom = Seldom::CloseSaysEintr;
        closes(c, pair()?.1, twice)
    }),
];

const CONNECTS_AGAIN: &str = "it calls connect again after it has failed: each error is final";

const IN_POLL: &str = "EINTR of poll was returned: it was only interrupted, and is called again, \
                       connect is not";

const STALE: &str = "errno was returned, which is EINTR from before: the reason is the number that \
                     SO_ERROR gave";

const OFTEN: &str = "after some signals EINTR was returned all the same: as often as it comes, the \
                     call is made again";

const TOO_SOON: &str =
    "it returned Ok right after EINTR: nothing is decided yet, poll waits until it is";

/// The call on this descriptor, beside one that is none of its business.
fn ask(child: &mut Child, ask: (&str, u16, i32), fd: impl Into<OwnedFd>) -> Result<Peer, Refusal> {
    let (bystander, theirs) = pair()?;
    child.ask(ask, &[], vec![theirs, fd.into()])?;
    Ok(bystander)
}

/// The call fails, and has to say so.
fn fails(
    child: &mut Child,
    (call, port, says): (&str, u16, i32),
    fd: Option<OwnedFd>,
    errno: &str,
    again: &str,
) -> Verdict {
    let (_bystander, theirs) = pair()?;
    child.scene("", &say!("{call} says {errno}"), again);
    let fds = fd.map_or(vec![], |fd| vec![theirs, fd]);
    child.ask((call, port, says), &[], fds)?;
    if call == "accept" && child.until_blocked()? {
        let mistake = say!(
            "it waits where accept says {errno} at once: poll before it, or after it, is not asked for"
        );
        return refuse(mistake, format!("Err({errno})"), "it waits");
    }
    let (said, expected) = (child.said()?, format!("Err({errno})"));
    if said.calls(call) > 1 {
        return refuse(again, expected, seen(&said, call));
    }
    if call == "poll" && said.calls(call) == 0 {
        return Ok(()); // it waits by another call
    }
    let lost = say!("{call} said {errno}, and that did not reach the caller");
    let mistake = if said.without_errno() { NO_ERRNO.into() } else { lost };
    said.ensure(said.text() == expected, mistake, expected)
}

/// It has this error from the kernel, and has to say so.
fn says(child: &mut Child, call: &str, errno: Errno, again: &str) -> Verdict {
    fails(child, (call, 1, errno as i32), Some(pair()?.1), &format!("{errno:?}"), again)
}

fn seen<X>(said: &Said<X>, call: &str) -> String {
    say!("{} calls, {}", said.calls(call), said.shown())
}

/// Closed, in one call; that call may have said EINTR.
fn closes(child: &mut Child, conn: OwnedFd, twice: &str) -> Verdict {
    let interrupted = child.seldom == Seldom::CloseSaysEintr;
    child.scene("", "waits for the end of the stream", twice);
    let _bystander = ask(child, ("close", 0, 0), conn)?;
    let said = child.said_more::<Came>()?;
    let mistake = if said.calls("close") > 1 {
        twice
    } else if said.text() != "Ok" && interrupted {
        "EINTR from close is no failure: the descriptor is closed, nothing is left to do"
    } else if said.text() != "Ok" || said.more.is_none() {
        "close_once has to close what it is given"
    } else {
        ""
    };
    judge(mistake, "one call, Ok, and fd closed", seen(&said, "close"))
}

/// Perhaps where descriptor 0 is free.
fn accepts(child: &mut Child, zero: bool) -> Verdict {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    child.zero = zero;
    child.seldom = Seldom::Says(libc::EINTR, STORM, 0, true);
    let _bystander = ask(child, ("accept", 0, 0), listener)?;
    let did = "SIGUSR1 came forty times while accept waited, then a client connected";
    child.scene("before the first client", did, if zero { ZERO } else { "" });
    let came = child.interrupts(40)?;
    let client = if child.until_blocked()? { Some(TcpStream::connect(at)?) } else { None };
    let said = child.said_more::<Came>()?;
    let port = client.as_ref().and_then(|c| c.local_addr().ok()).map(|at| at.port());
    let mistake = match said.kind() {
        "" if said.more.is_some() && said.more == port => "",
        _ if zero => ZERO,
        "" => "what it returned is not the accepted connection",
        "Interrupted" if came > 0 || said.after.calls.failed > 1 => OFTEN,
        "Interrupted" => {
            "EINTR ended accept: nobody has connected yet, and it is right to call it again"
        }
        _ => UNFOUNDED,
    };
    said.judged(mistake, "Ok, and the connection")
}

fn connects_later(child: &mut Child) -> Verdict {
    const LOOKS: &str = "it looks over and over: poll with a timeout of -1 waits, one of 0 does \
                         not; a second connect is no way to wait";
    const MISSED: &str = "after EINTR it does not see that the connection stands: poll for POLLOUT, \
                          as POLLIN waits for bytes; a second connect is no way to wait";
    let (listener, port, _filler, _held) = full()?;
    child.seldom = Seldom::Says(libc::EINTR, STORM, 0, true);
    let _bystander = ask(child, ("connect", port, 0), lonely()?)?;
    let did = "let the first try wait; forty signals came; then it took the connection";
    child.scene("after EINTR", did, LOOKS);
    child.interrupts(40)?;
    // Its kernel tries again within a second.
    let _room = if child.until_blocked()? { Some(listener.accept()?) } else { None };
    child.scene("after EINTR", did, MISSED);
    let said = child.said_more::<Came>()?;
    let mistake = "connect was called again after EINTR: the first goes on by itself, wait for it \
                   in poll";
    ensure(said.calls("connect") <= 1, mistake, "one call, Ok", seen(&said, "connect"))?;
    let too_soon = said.text() == "Ok" && said.more != Some(port);
    ensure(!too_soon, TOO_SOON, "Ok, and a connection", "Ok, and no connection yet")?;
    let mistake = if said.text() == "Ok" {
        ""
    } else if said.kind() == "Interrupted" && said.after.calls.failed > 0 {
        if said.after.calls.failed == 1 { IN_POLL } else { OFTEN }
    } else if said.kind() == "Interrupted" {
        "EINTR ended connect: the kernel goes on with it, and that was not waited for"
    } else {
        "the connection stands, and an error was returned"
    };
    said.judged(mistake, "Ok")
}

/// It fails while poll waits; or, if `decided`, before connect has even said EINTR.
fn fails_later(child: &mut Child, errno: &str, decided: bool) -> Verdict {
    const MISSED: &str = "after EINTR it does not see that the connect has failed: poll says POLLERR \
                          and POLLHUP as well, whatever was asked for";
    let (listener, port, filler, _held) = full()?;
    let (refuses, expected) = (errno == "ECONNREFUSED", format!("Err({errno})"));
    let conn = if refuses { lonely()? } else { impatient(lonely()?)? };
    let (another, mut silent) = (conn.try_clone()?, Some((listener, filler)));
    let _bystander = ask(child, ("connect", port, 0), conn)?;
    let did = say!("let the first try wait; signals came; then it came to {errno}");
    child.scene("after EINTR", &did, MISSED);
    // Without a listener its kernel answers the next try with a reset.
    let came = if decided { 1 } else { child.interrupts(40)? };
    let early = !child.until_blocked()?;
    if decided && !early {
        child.while_stopped(|| {
            child.interrupt();
            drop(silent.take());
            Ok(readable(&another, 5000).map(drop)?)
        })?;
    }
    drop(silent.take_if(|_| refuses));
    let said = child.said()?;
    let mistake = match said.kind() {
        _ if said.calls("connect") > 1 => CONNECTS_AGAIN,
        _ if said.result.as_ref().is_err_and(|e| e.errno.is_none()) => NO_ERRNO,
        // On a busy machine the kernel may have given up before the signals came.
        _ if said.text() == expected && !(early && refuses) => "",
        "Interrupted" if came > 2 => {
            if early {
                OFTEN
            } else {
                STALE
            }
        }
        "Interrupted" => IN_POLL,
        "" if early => TOO_SOON,
        "" => {
            "poll says that it is decided, not how: SO_ERROR has the outcome, once, for reading it \
             takes it away"
        }
        _ if said.result.as_ref().is_err_and(|e| e.errno == Some(0)) => {
            "reading SO_ERROR takes it away: asked again, it says 0"
        }
        _ if refuses => "the connection was refused, and that did not reach the caller",
        _ => {
            "it failed otherwise than by a refusal, and that did not reach the caller: ask SO_ERROR"
        }
    };
    said.judged(mistake, expected)
}
