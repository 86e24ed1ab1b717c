//! Exercise `graceful_end`: stop accepting, finish what is open, return. Article 5 and 7.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, setsockopt, socket, sockopt,
};
use say::say;
use serde::{Deserialize, Serialize};

use crate::about::HANG;
use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::kernel;
use crate::peer::{Peer, acknowledged, arrived, holds_back, listener, pair, pattern};
use crate::refusal::Refusal;

/// Serve: the given descriptors are the listener and stop.
#[derive(Serialize, Deserialize)]
struct Ask;

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<usize, Failure>,
    /// The listener has been closed.
    closed: bool,
    after: After,
}

/// Grades the answer.
pub fn grade(answer: fn(OwnedFd, RawFd) -> io::Result<usize>) -> ExitCode {
    grading::grade_raw("graceful_end", CASES, |_: Ask, given| {
        let [listener, stop] = [given.fds[0], given.fds[1]];
        let (result, mut after) = observe(&given.fds, || {
            // SAFETY:
            // - the descriptor came for this call; who lent it closes it only if it is still there.
            answer(unsafe { OwnedFd::from_raw_fd(listener) }, stop)
        });
        let open = after.closed.len();
        after.closed.retain(|&fd| fd != listener);
        let closed = after.closed.len() < open;
        (Said { result: portable(result), closed, after }, Vec::new())
    })
}

const CASES: &[Case] = &[
    Case { name: "three clients, one after the other; then it is asked to stop", run: idle },
    Case { name: "it is asked to stop while a client is connected", run: busy },
    Case { name: "it is asked to stop before it begins", run: at_once },
    Case { name: "signals come while it waits", run: signals },
    Case { name: "clients reset their connections", run: resets },
    Case { name: "a client ends and resets while the echo is on its way", run: ends_and_resets },
    Case { name: "a client comes, and it is asked to stop, at the same time", run: together },
    Case { name: "it is asked to stop while a client does not read", run: deaf },
    Case { name: "another client waits in the queue when it is asked to stop", run: queue },
];

struct Stage {
    at: SocketAddr,
    stop: Peer,
    /// Nobody else is given the port.
    _held: OwnedFd,
}

fn begin(child: &mut Child, stopped: bool) -> Result<Stage, Refusal> {
    let (listener, held) = listener(128)?;
    setsockopt(&listener, sockopt::SndBuf, &4096).map_err(io::Error::from)?; // inherited
    let at = listener.local_addr()?;
    let (stop, theirs) = pair()?;
    if stopped {
        stop.send(b"stop");
        arrived(&theirs, 4)?;
    }
    child.ask(Ask, &[], vec![listener.into(), theirs])?;
    Ok(Stage { at, stop, _held: held })
}

/// Sleeps in a call; where it has returned instead, that was too early.
fn waits(child: &mut Child, what: &str, mistake: &str) -> Result<(), Refusal> {
    child.scene("with nothing to do", what, mistake);
    if child.until_blocked()? {
        return Ok(());
    }
    let (said, _) = child.said_as::<Said>()?;
    let why = match &said.result {
        Err(e) if e.kind == "Interrupted" => {
            "EINTR was returned as an error: nothing is broken, call again"
        }
        Err(e) if e.kind == "ConnectionReset" => RESET,
        Err(e) if e.kind == "BrokenPipe" => {
            "the reset of a client that had ended its stream has ended the server: send says EPIPE"
        }
        _ => EARLY,
    };
    Err(Refusal::new(why).peer(what).but("a server that waits", seen(&said)))
}

fn seen(said: &Said) -> String {
    match &said.result {
        Ok(count) => format!("Ok({count})"),
        Err(_) => show(&said.result),
    }
}

fn connect(at: SocketAddr) -> io::Result<TcpStream> {
    let client = TcpStream::connect_timeout(&at, HANG)?;
    client.set_read_timeout(Some(HANG))?;
    client.set_write_timeout(Some(HANG))?;
    client.set_nodelay(true)?;
    Ok(client)
}

/// Another client; where it is refused, the answer has closed the listener, or has returned.
fn joins(child: &mut Child, at: SocketAddr) -> Result<TcpStream, Refusal> {
    connect(at).or_else(|_| {
        let seen = stands(child)?;
        Err(Refusal::new(EARLY).peer(say!("connects")).but("a server that takes clients", seen))
    })
}

/// Where the answer stands, for a message.
fn stands(child: &mut Child) -> Result<String, Refusal> {
    let look = child.at_rest()?;
    if look.state == 'R' {
        return Ok("it runs".into());
    }
    if look.answer_waits() {
        return Ok(say!("it is blocked in {}", look.place()));
    }
    let (said, _) = child.said_as::<Said>()?;
    Ok(say!("it has returned {}", seen(&said)))
}

/// The client sends, and has to get the same back.
fn echoes(
    child: &mut Child,
    mut client: &TcpStream,
    bytes: &[u8],
    did: &str,
    mistake: &str,
) -> Result<(), Refusal> {
    let (mut got, mut buf) = (Vec::<u8>::new(), [0; 65536]);
    let seen = thread::scope(|scope| {
        scope.spawn(move || {
            let _ = (&*client).write_all(bytes);
        });
        let mut read = || -> Result<String, Refusal> {
            while got.len() < bytes.len() && child.brings(client)? {
                match client.read(&mut buf) {
                    Ok(n @ 1..) => got.extend(&buf[..n]),
                    _ => break,
                }
            }
            let count = say!("{} of {} bytes", got.len(), bytes.len());
            if got == bytes { Ok(count) } else { Ok(format!("{count}; {}", stands(child)?)) }
        };
        let seen = read();
        if got.len() < bytes.len() {
            let _ = client.shutdown(Shutdown::Write); // nobody takes the rest
        }
        seen
    })?;
    if got == bytes {
        return Ok(());
    }
    Err(Refusal::new(mistake).peer(did).but("the same bytes back", seen))
}

/// The client ends its stream, and has to see the connection closed.
fn leaves(child: &mut Child, mut client: TcpStream) -> Result<(), Refusal> {
    client.shutdown(Shutdown::Write)?;
    if child.brings(&client)? && matches!(client.read(&mut [0; 16]), Ok(0)) {
        return Ok(());
    }
    let what = stands(child)?;
    Err(Refusal::new("a client that has ended its stream is not let go: close its connection")
        .peer("ended its stream")
        .but("the end of the connection", what))
}

/// It has to return this count.
fn done(child: &mut Child, count: usize, did: &str, mistake: &str) -> Result<(), Refusal> {
    child.scene("after the request to stop", did, mistake);
    let (said, _) = child.said_as::<Said>()?;
    child.left_as_it_was(&said.after)?;
    if !said.closed {
        return Err(Refusal::new("the listener is still open after the return: it was yours")
            .peer(did)
            .but(say!("closed"), "still open"));
    }
    let (unread, ended) = (said.after.unread.last(), said.after.ended.last());
    if unread == Some(&0) && ended == Some(&false) {
        return Err(Refusal::new("it read from stop, which is lent: others wait for it, too")
            .but("stop as readable as it was", "nothing left to read"));
    }
    let why = match &said.result {
        Ok(found) if *found == count => return Ok(()),
        Ok(_) => "it returned another count than there were clients",
        Err(e) if e.kind == "Interrupted" => {
            "EINTR was returned as an error: nothing is broken, call again"
        }
        Err(_) => {
            "what happens to one client is no error of the server, nor is the request to stop"
        }
    };
    Err(Refusal::new(why).peer(did).but(format!("Ok({count})"), seen(&said)))
}

const EARLY: &str = "it returned although nobody had asked it to stop";
const SERVES: &str = "a client is not served: what it sends has to come back, all of it";
const DEAF: &str = "it waits for a client and does not see the request to stop: poll for both";
const SPINS: &str = "stop stays readable: once it has been seen, poll must not ask for it again";
const CUT: &str = "the client that was connected is cut off: finish what is open, then return";
const RESET: &str = "a client that reset its connection has ended the server for all others";
const AWAKE: &str = "it does not sleep where there is nothing to do";

fn idle(child: &mut Child) -> Result<(), Refusal> {
    let Stage { at, stop, _held } = begin(child, false)?;
    waits(child, "nobody has connected", AWAKE)?;
    let large = pattern(300_000);
    for message in [&b"hello"[..], &large, b"\0"] {
        let client = joins(child, at)?;
        echoes(child, &client, message, "connected and sent", SERVES)?;
        leaves(child, client)?;
    }
    // One that ends its stream before the echo has come: it still gets all of it.
    let mut client = joins(child, at)?;
    client.write_all(&large[..50_000])?;
    client.shutdown(Shutdown::Write)?;
    let mut got: Vec<u8> = Vec::new();
    while child.brings(&client)? {
        let mut buf = [0; 65536];
        match client.read(&mut buf) {
            Ok(n @ 1..) => got.extend(&buf[..n]),
            _ => break,
        }
    }
    if got != large[..50_000] {
        let look = child.at_rest()?;
        let why = if look.state != 'R' && !look.answer_waits() {
            EARLY
        } else {
            "a client that has ended its own stream still reads: it gets all of the echo first"
        };
        return Err(Refusal::new(why)
            .peer("sent 50000 bytes, ended its stream, and read")
            .but("50000 bytes", format!("{}; {}", got.len(), stands(child)?)));
    }
    for _ in 0..300 {
        let client = joins(child, at)?;
        leaves(child, client)?;
    }
    waits(child, "all clients have left", AWAKE)?;
    stop.send(b"stop");
    done(child, 304, "nobody is connected, and stop is readable", DEAF)?;
    refused(child, at)
}

/// A client that takes little at a time.
fn small(at: SocketAddr) -> Result<TcpStream, Refusal> {
    let client = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
        .map_err(io::Error::from)?;
    setsockopt(&client, sockopt::RcvBuf, &4096).map_err(io::Error::from)?;
    let SocketAddr::V4(at) = at else { unreachable!("bound to IPv4") };
    nix::sys::socket::connect(client.as_raw_fd(), &SockaddrIn::from(at))
        .map_err(io::Error::from)?;
    let client = TcpStream::from(client);
    client.set_read_timeout(Some(HANG))?;
    client.set_write_timeout(Some(HANG))?;
    Ok(client)
}

fn ends_and_resets(child: &mut Child) -> Result<(), Refusal> {
    let Stage { at, stop, _held } = begin(child, false)?;
    for bytes in [60_000, 5] {
        let mut client = small(at)?;
        echoes(child, &client, b"first", "connected and sent", SERVES)?;
        if bytes > 5 {
            client.write_all(&pattern(bytes))?;
            child.scene("with a client", "it sends, and does not read", AWAKE);
            child.until_so(|| holds_back(&client))?;
        } else {
            child.until_settled()?;
        }
        child.while_stopped(|| {
            if bytes == 5 {
                client.write_all(b"hello")?;
            }
            client.shutdown(Shutdown::Write)?;
            acknowledged(&client)?;
            Ok(setsockopt(&client, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })
                .map(|()| drop(client))
                .map_err(io::Error::from)?)
        })?;
        waits(child, "a client has ended its stream and reset the connection", AWAKE)?;
    }
    let client = joins(child, at)?;
    echoes(child, &client, b"hello", "connected after two that have gone", RESET)?;
    leaves(child, client)?;
    stop.send(b"stop");
    done(child, 3, "stop is readable", DEAF)
}

fn deaf(child: &mut Child) -> Result<(), Refusal> {
    const HELD: &str = "with a client that does not read it waits in send, and does not see the \
                        request to stop: poll for room and for stop";
    let Stage { at, stop, _held } = begin(child, false)?;
    let client = small(at)?;
    let message = pattern(60_000);
    echoes(child, &client, b"first", "connected and sent", SERVES)?;
    (&client).write_all(&message)?;
    child.scene("with a client", "it sends, and does not read", AWAKE);
    child.until_so(|| holds_back(&client))?;
    stop.send(b"stop");
    refused(child, at).map_err(|refusal| {
        if refusal.mistake.contains("get in") {
            Refusal { mistake: HELD.into(), ..refusal }
        } else {
            refusal
        }
    })?;
    let mut got: Vec<u8> = Vec::new();
    while got.len() < message.len() && child.brings(&client)? {
        let mut buf = [0; 4096];
        match (&client).read(&mut buf) {
            Ok(n @ 1..) => got.extend(&buf[..n]),
            _ => break,
        }
    }
    if got != message {
        return Err(Refusal::new(CUT)
            .peer("read only after stop was readable")
            .but("60000 bytes back", format!("{}; {}", got.len(), stands(child)?)));
    }
    leaves(child, client)?;
    done(child, 1, "the last client has left", "the last client has left, and it still waits")
}

fn together(child: &mut Child) -> Result<(), Refusal> {
    const FIRST: &str =
        "a client was accepted though stop was readable already: look at stop first";
    let (listener, _held) = listener(128)?;
    let mut queued = connect(listener.local_addr()?)?;
    queued.write_all(b"hello")?;
    let (stop, theirs) = pair()?;
    stop.send(b"stop");
    arrived(&theirs, 4)?;
    child.ask(Ask, &[], vec![listener.into(), theirs])?;
    let did = "a client waits in the queue, and stop is readable, before it begins";
    child.scene("at its first look", did, FIRST);
    if child.until_blocked()? || matches!(queued.read(&mut [0; 16]), Ok(1..)) {
        return Err(Refusal::new(FIRST).peer(did).but("Ok(0)", stands(child)?));
    }
    done(child, 0, did, FIRST)
}

/// Nobody can connect any more.
fn refused(child: &Child, at: SocketAddr) -> Result<(), Refusal> {
    // It may not have seen the request yet: then the next attempt tells. Seen asleep so often, it
    // has.
    let mut asleep = 0;
    while asleep < 50 {
        match TcpStream::connect_timeout(&at, HANG) {
            Err(e) if e.kind() == ErrorKind::ConnectionRefused => return Ok(()),
            _ => thread::sleep(Duration::from_millis(5)),
        }
        asleep += u32::from(kernel::look(child.pid())?.state != 'R');
    }
    Err(Refusal::new("after the request to stop clients still get in: close the listener at once")
        .peer("connected after stop was readable")
        .but("ECONNREFUSED", "a connection"))
}

fn busy(child: &mut Child) -> Result<(), Refusal> {
    for by_end in [false, true] {
        let Stage { at, stop, _held } = begin(child, false)?;
        let client = joins(child, at)?;
        echoes(child, &client, b"before", "connected and sent", SERVES)?;
        waits(child, "a client is connected, and silent", AWAKE)?;
        if by_end {
            stop.end(); // a stream that has ended is readable, too
        } else {
            stop.send(b"stop");
        }
        refused(child, at)?;
        let did = "is connected, and stop is readable";
        child.scene("with a client", "stop is readable, the client is silent", SPINS);
        child.until_blocked()?;
        echoes(child, &client, b"after", did, CUT)?;
        echoes(child, &client, &pattern(200_000), did, CUT)?;
        child.scene("with a client", "stop is readable, the client is silent", SPINS);
        child.until_blocked()?;
        leaves(child, client)?;
        done(child, 1, "the last client has left", "the last client has left, and it still waits")?;
    }
    Ok(())
}

fn at_once(child: &mut Child) -> Result<(), Refusal> {
    let Stage { at, stop, _held } = begin(child, true)?;
    done(child, 0, "stop is readable from the start", DEAF)?;
    drop(stop);
    refused(child, at)
}

fn signals(child: &mut Child) -> Result<(), Refusal> {
    let Stage { at, stop, _held } = begin(child, false)?;
    waits(child, "nobody has connected", AWAKE)?;
    child.interrupt();
    waits(child, "a signal came while it waited for a client", AWAKE)?;
    let client = joins(child, at)?;
    echoes(child, &client, b"hello", "connected and sent", SERVES)?;
    waits(child, "a client is connected, and silent", AWAKE)?;
    child.interrupt();
    let did = "a signal came while it waited for the client to send";
    waits(child, did, AWAKE)?;
    echoes(child, &client, b"again", did, "a signal cost a client its connection")?;
    stop.send(b"stop");
    leaves(child, client)?;
    done(child, 1, "the last client has left", "the last client has left, and it still waits")
}

fn resets(child: &mut Child) -> Result<(), Refusal> {
    let Stage { at, stop, _held } = begin(child, false)?;
    waits(child, "nobody has connected", AWAKE)?;
    for sends in [true, false] {
        let mut client = joins(child, at)?;
        if sends {
            client.write_all(b"and gone")?;
        }
        waits(child, "a client is connected", AWAKE)?;
        setsockopt(&client.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })
            .map_err(io::Error::from)?;
        drop(client);
        waits(child, "a client has reset its connection", AWAKE)?;
    }
    let client = joins(child, at)?;
    let did = "connected after two that reset their connections";
    echoes(child, &client, b"hello", did, RESET)?;
    leaves(child, client)?;
    stop.send(b"stop");
    done(child, 3, "stop is readable", DEAF)
}

fn queue(child: &mut Child) -> Result<(), Refusal> {
    let Stage { at, stop, _held } = begin(child, false)?;
    let client = joins(child, at)?;
    echoes(child, &client, b"first", "connected and sent", SERVES)?;
    let mut queued = joins(child, at)?;
    queued.write_all(b"second")?;
    waits(child, "a client is connected, another one waits in the queue", AWAKE)?;
    stop.send(b"stop");
    refused(child, at)?;
    echoes(child, &client, b"more", "is connected, and stop is readable", CUT)?;
    leaves(child, client)?;
    let did = "stop was readable before the client in the queue was accepted";
    done(child, 1, did, "after the request to stop it still serves the queue")?;
    if matches!(queued.read(&mut [0; 16]), Ok(1..)) {
        return Err(Refusal::new("after the request to stop it still serves the queue"));
    }
    Ok(())
}
