//! Exercise `eintr`: a call to make again, one to wait for, one to leave alone. Article 10.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, getpeername, socket};
use say::say;
use serde::{Deserialize, Serialize};

use crate::calls;
use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show, unasked_settings};
use crate::peer::{Heard, listener, pair};
use crate::refusal::{Refusal, UNFOUNDED};

/// One call, on the last of the given descriptors.
#[derive(Serialize, Deserialize)]
enum Ask {
    Accept,
    /// Connect it to this port.
    Connect {
        port: u16,
    },
    Close {
        fd: Option<RawFd>,
        interrupted: bool,
    },
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    /// The port at the other end of what was accepted or connected.
    peer: Option<u16>,
    /// Calls of `close`, and of `connect`.
    closes: usize,
    connects: usize,
    /// `close` was asked for, and the descriptor is closed.
    closed: bool,
    after: After,
}

type Accept = fn(RawFd) -> io::Result<RawFd>;
type Connect = fn(RawFd, &libc::sockaddr_in) -> io::Result<()>;
type Close = fn(RawFd) -> io::Result<()>;

/// Grades the answer.
pub fn grade(accept_one: Accept, connect_once: Connect, close_once: Close) -> ExitCode {
    grading::grade_raw("eintr", CASES, |ask: Ask, given| {
        let fd = given.fds.last().copied().unwrap_or(-1);
        let (mut closed, mut counted) = (false, calls::Calls::default());
        let mut other_end = None;
        let (result, after) = match ask {
            Ask::Accept => {
                let (result, mut after) = observe(&given.fds, || accept_one(fd));
                if let Ok(conn) = result {
                    let mine = format!("fd {conn} (");
                    after.opened.retain(|opened| !opened.starts_with(&mine));
                    other_end = peer_port(conn);
                    after.changed.extend(unasked_settings(conn));
                    if !given.fds.contains(&conn) && other_end.is_some() {
                        // SAFETY:
                        // - it was accepted a moment ago, and the answer has given it away.
                        drop(unsafe { OwnedFd::from_raw_fd(conn) });
                    }
                }
                (result.map(drop), after)
            }
            Ask::Connect { port } => {
                let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
                let to: &libc::sockaddr_in = to.as_ref();
                let seen = observe(&given.fds, || {
                    calls::start();
                    let result = connect_once(fd, to);
                    counted = calls::counted();
                    result
                });
                other_end = peer_port(fd);
                seen
            }
            Ask::Close { fd: other, interrupted } => {
                let fd = other.unwrap_or(fd);
                let (result, mut after) = observe(&given.fds, || {
                    calls::start();
                    if interrupted {
                        calls::interrupt_next_close();
                    }
                    let result = close_once(fd);
                    counted = calls::counted();
                    result
                });
                closed = after.closed.contains(&fd);
                after.closed.retain(|&other| other != fd);
                (result, after)
            }
        };
        let calls::Calls { closes, connects, .. } = counted;
        let result = portable(result);
        (Said { result, peer: other_end, closes, connects, closed, after }, Vec::new())
    })
}

fn peer_port(fd: RawFd) -> Option<u16> {
    getpeername::<SockaddrIn>(fd).ok().map(|at| at.port())
}

const CASES: &[Case] = &[
    Case { name: "accept: signals come while it waits, then a client", run: accepts },
    Case { name: "accept: other errors are returned as they come", run: accept_errors },
    Case { name: "connect: no signal comes", run: connects },
    Case { name: "connect: a signal comes, and then the connection stands", run: connects_later },
    Case { name: "connect: signals come, and then the peer refuses", run: refused_later },
    Case { name: "close: it closes, once, and says what close says", run: closes },
    Case {
        name: "close: EINTR, and the descriptor is closed all the same",
        run: close_interrupted,
    },
];

const TOO_SOON: &str =
    "it returned Ok right after EINTR: nothing is decided yet, poll waits until it is";
const RETURNED: &str = "EINTR was returned as an error: the call was only interrupted";

fn accepts(child: &mut Child) -> Result<(), Refusal> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    let (_bystander, theirs) = pair()?;
    child.ask(Ask::Accept, &[], vec![theirs, listener.into()])?;
    child.scene("before the first client", "signals have come", "");
    for _ in 0..3 {
        if child.until_blocked()? {
            child.interrupt();
        }
    }
    let mut client = None;
    if child.until_blocked()? {
        client = Some(TcpStream::connect(at)?);
    }
    child.scene("with a client in the queue", "a client has connected", "");
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    let peer = "SIGUSR1 came three times while accept waited, then a client connected";
    let port = client.as_ref().and_then(|c| c.local_addr().ok()).map(|at| at.port());
    let mistake = match &said.result {
        Ok(()) if said.peer.is_some() && said.peer == port => return Ok(()),
        Ok(()) => "what it returned is not the accepted connection",
        Err(e) if e.kind == "Interrupted" => {
            "EINTR ended accept: nobody has connected yet, and it is right to call it again"
        }
        Err(_) => UNFOUNDED,
    };
    Err(Refusal::new(mistake).peer(peer).but("Ok(the connection)", show(&said.result)))
}

fn accept_errors(child: &mut Child) -> Result<(), Refusal> {
    const LOOP: &str = "it calls accept again after errors that do not go away: only EINTR does";
    const SPINS: &str = "EAGAIN of a non-blocking listener goes to the caller: calling accept again \
                         at once only spins";
    let (_peer, conn) = pair()?;
    child.scene("", "the socket does not listen: accept says EINVAL", LOOP);
    let (said, _) = child.call_as::<Said>(Ask::Accept, &[], vec![conn])?;
    if !said.result.as_ref().is_err_and(|e| e.errno == Some(libc::EINVAL)) {
        return Err(Refusal::new("accept said EINVAL, and that did not reach the caller")
            .but("Err(EINVAL), as the socket does not listen", show(&said.result)));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    child.scene("", "the listener is non-blocking, and nobody comes: accept says EAGAIN", SPINS);
    child.ask(Ask::Accept, &[], vec![listener.into()])?;
    if child.until_blocked()? {
        return Err(Refusal::new(
            "it waits by itself after EAGAIN: the caller wanted a listener that does not wait",
        )
        .but("Err(WouldBlock) at once", "it waits"));
    }
    let (said, _) = child.said_as::<Said>()?;
    match &said.result {
        Err(e) if e.errno == Some(libc::EAGAIN) => Ok(()),
        _ => Err(Refusal::new("accept said EAGAIN, and that did not reach the caller")
            .but("Err(WouldBlock), as the listener is non-blocking", show(&said.result))),
    }
}

fn tcp_socket() -> Result<OwnedFd, Refusal> {
    let made = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    Ok(made.map_err(io::Error::from)?)
}

fn connects(child: &mut Child) -> Result<(), Refusal> {
    let (listener, _held) = listener(128)?;
    let port = listener.local_addr()?.port();
    child.scene("", "the peer listens", "");
    let (_bystander, theirs) = pair()?;
    let ask = Ask::Connect { port };
    let (said, _) = child.call_as::<Said>(ask, &[], vec![theirs, tcp_socket()?])?;
    child.left_as_it_was(&said.after)?;
    if said.result.is_err() || said.peer != Some(port) {
        return Err(Refusal::new("a connection that could be made was not made")
            .peer(say!("listens"))
            .but("Ok, and a connection", show(&said.result)));
    }
    drop(listener);
    child.scene("", "nobody listens", "it calls connect again after it was refused");
    let ask = Ask::Connect { port };
    let (said, _) = child.call_as::<Said>(ask, &[], vec![tcp_socket()?])?;
    match &said.result {
        Err(e) if e.errno == Some(libc::ECONNREFUSED) => {}
        _ => {
            return Err(Refusal::new(
                "connect said ECONNREFUSED, and that did not reach the caller",
            )
            .but("Err(ConnectionRefused)", show(&said.result)));
        }
    }
    // A socket that does not wait: its owner does.
    let (listener, port, filler, _held) = full()?;
    let conn = tcp_socket()?;
    fcntl(&conn, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(io::Error::from)?;
    const WAITS: &str = "it waits after EINPROGRESS: who made the socket non-blocking does not \
                         want to wait, EINTR alone is yours to wait for";
    child.scene("", "the socket is non-blocking: connect says EINPROGRESS", WAITS);
    let (said, _) = child.call_as::<Said>(Ask::Connect { port }, &[], vec![conn])?;
    drop((listener, filler));
    match &said.result {
        Err(e) if e.errno == Some(libc::EINPROGRESS) => Ok(()),
        _ => {
            Err(Refusal::new("an error other than EINTR goes to the caller as it is: EINPROGRESS")
                .but("Err(EINPROGRESS), as the socket is non-blocking", show(&said.result)))
        }
    }
}

/// A listener whose queue is full: the next `connect` has to wait. The one that fills it; and the
/// socket that keeps the port.
fn full() -> Result<(TcpListener, u16, TcpStream, OwnedFd), Refusal> {
    let (listener, held) = listener(0)?; // the queue holds one
    let at = listener.local_addr()?;
    Ok((listener, at.port(), TcpStream::connect(at)?, held))
}

fn connects_later(child: &mut Child) -> Result<(), Refusal> {
    const AGAIN: &str =
        "connect was called again after EINTR: the first goes on by itself, wait for it in poll";
    let (listener, port, _filler, _held) = full()?;
    let (_bystander, theirs) = pair()?;
    child.ask(Ask::Connect { port }, &[], vec![theirs, tcp_socket()?])?;
    child.scene("", "the peer's queue is full", "");
    if child.until_blocked()? {
        child.interrupt();
    }
    let mut room = None;
    if child.until_blocked()? {
        room = Some(listener.accept()?); // its kernel tries again within a second
    }
    const MISSED: &str = "after EINTR it does not see that the connection stands: poll for POLLOUT, \
                          as POLLIN waits for bytes; a second connect is no way to wait";
    child.scene("after EINTR", "there is room in the queue", MISSED);
    let (said, _) = child.said_as::<Said>()?;
    drop(room);
    let peer = "let the first try wait; a signal came; then it took the connection";
    let mistake = match &said.result {
        _ if said.connects > 1 => AGAIN,
        Ok(()) if said.peer == Some(port) => return child.left_as_it_was(&said.after),
        Ok(()) => TOO_SOON,
        Err(e) if e.kind == "Interrupted" => {
            "EINTR ended connect: the kernel goes on with it, and that was not waited for"
        }
        Err(_) => "the connection stands, and an error was returned",
    };
    Err(Refusal::new(mistake).peer(peer).but("Ok", show(&said.result)))
}

fn refused_later(child: &mut Child) -> Result<(), Refusal> {
    let (listener, port, filler, _held) = full()?;
    let (_bystander, theirs) = pair()?;
    child.ask(Ask::Connect { port }, &[], vec![theirs, tcp_socket()?])?;
    child.scene("after EINTR", "the peer's queue is full", "");
    for _ in 0..2 {
        if child.until_blocked()? {
            child.interrupt(); // the second one interrupts the wait for the first
        }
    }
    let early = !child.until_blocked()?;
    drop((listener, filler)); // its kernel answers the next try with a reset
    child.scene("after EINTR", "the peer has refused the connection", "");
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    verdict(&said, early)
}

fn verdict(said: &Said, early: bool) -> Result<(), Refusal> {
    let peer = "let the first try wait, then refused the connection; two signals came meanwhile";
    let mistake = match &said.result {
        Err(e) if e.errno == Some(libc::ECONNREFUSED) && !early => return Ok(()),
        Err(e) if e.kind == "Interrupted" => RETURNED,
        Ok(()) if early => TOO_SOON,
        Ok(()) => "poll says that it is decided, not how: SO_ERROR has the outcome",
        Err(_) => "the connection was refused, and that did not reach the caller",
    };
    Err(Refusal::new(mistake).peer(peer).but("Err(ConnectionRefused)", show(&said.result)))
}

fn closes(child: &mut Child) -> Result<(), Refusal> {
    let (peer, conn) = pair()?;
    let (_bystander, theirs) = pair()?;
    let ask = Ask::Close { fd: None, interrupted: false };
    let (said, _) = child.call_as::<Said>(ask, &[], vec![theirs, conn])?;
    child.left_as_it_was(&said.after)?;
    if !said.closed || said.result.is_err() || peer.read(1) != b"" {
        return Err(Refusal::new("close_once has to close what it is given")
            .but("Ok, and fd closed", show(&said.result)));
    }
    if peer.read_waiting()? != Heard::End || said.closes > 1 {
        return Err(Refusal::new("close was called more than once though the first had closed")
            .but("one call", say!("{} calls", said.closes)));
    }
    const LOOP: &str = "close is called again after an error";
    child.scene("", "there is no such descriptor: close says EBADF", LOOP);
    let (said, _) =
        child.call_as::<Said>(Ask::Close { fd: Some(150), interrupted: false }, &[], vec![])?;
    match &said.result {
        Err(e) if e.errno == Some(libc::EBADF) && said.closes <= 1 => Ok(()),
        Err(e) if e.errno == Some(libc::EBADF) => Err(Refusal::new(LOOP)),
        _ => Err(Refusal::new("close said EBADF, and that did not reach the caller")
            .but("Err(EBADF), as fd 150 is not open", show(&said.result))),
    }
}

fn close_interrupted(child: &mut Child) -> Result<(), Refusal> {
    const TWICE: &str = "close was called again after EINTR: on Linux the descriptor is gone, and \
                         its number may be another's by now";
    let (_peer, conn) = pair()?;
    child.scene("", "the first close has closed it, and said EINTR", TWICE);
    let ask = Ask::Close { fd: None, interrupted: true };
    let (said, _) = child.call_as::<Said>(ask, &[], vec![conn])?;
    let mistake = match &said.result {
        _ if said.closes > 1 => TWICE,
        Ok(()) => return child.left_as_it_was(&said.after),
        Err(_) => "EINTR from close is no failure: the descriptor is closed, nothing is left to do",
    };
    Err(Refusal::new(mistake)
        .but("one call, Ok", say!("{} calls, {}", said.closes, show(&said.result))))
}
