//! Exercise `unique_fd`: a descriptor that closes itself, once. Article 7.1.

use std::mem;
use std::net::TcpStream;
use std::os::fd::FromRawFd;
use std::panic;

use crate::calls::{self, Seldom};
use crate::prelude::*;

/// The one owner of a descriptor. What drops it closes the descriptor.
pub trait Owner: Sized {
    /// Takes over an open descriptor.
    fn new(fd: RawFd) -> Self;
    /// The number, for a system call. It stays ours.
    fn get(&self) -> RawFd;
    /// Gives the descriptor away, open.
    fn into_raw(self) -> RawFd;
    /// Closes now, and says what `close` said.
    fn close(self) -> io::Result<()>;
    /// Closes what it has, and takes over another.
    fn reset(&mut self, fd: RawFd);
}

/// Grades the answer: what is played is asked for by name.
pub fn grade<T: Owner>() -> ExitCode {
    grading::grade("unique_fd", CASES, |ask: String, given| {
        let &[fd, second] = &given.fds[..] else { unreachable!("two are given") };
        let mut number = -1;
        let call = || {
            calls::start_with(Seldom::Nothing);
            number = play::<T>(&ask, fd, second)?;
            Ok(())
        };
        let said = given.call(call, ok);
        // Which of the given it is, or that it is none.
        let which = given.fds.iter().position(|&fd| fd == number);
        said.with(if ask == "drop_zero" { (number == 0).then_some(0) } else { which })
    })
}

/// Plays, and says the number that comes out.
fn play<T: Owner>(ask: &str, fd: RawFd, second: RawFd) -> io::Result<RawFd> {
    let mut owner = T::new(fd);
    match ask {
        "move" => drop(Box::new(owner)),
        "in_vec" => drop(vec![owner, T::new(second)]),
        "panic" => {
            let hook = panic::take_hook();
            panic::set_hook(Box::new(|_| {})); // this one is the grader's
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(move || {
                let _owner = owner;
                panic::panic_any(());
            }));
            panic::set_hook(hook);
        }
        "get" => {
            let number = owner.get();
            mem::forget(owner);
            return Ok(number);
        }
        "into_raw" => return Ok(owner.into_raw()),
        "close" => owner.close()?,
        "close_fails" => {
            // SAFETY: the number is the owner's; that nothing is open under it is what is tried.
            drop(unsafe { TcpStream::from_raw_fd(fd) });
            calls::start_with(Seldom::Nothing);
            owner.close()?;
        }
        "close_eintr" => {
            calls::start_with(Seldom::CloseSaysEintr);
            owner.close()?;
        }
        "drop_eintr" => {
            calls::start_with(Seldom::CloseSaysEintr);
            drop(owner);
        }
        "drop_zero" => {
            // Where stdin has been closed, 0 is what the next `socket` returns.
            mem::forget(owner);
            // SAFETY:
            // - the calls take numbers; nobody uses fd 0 in this process, and it becomes again
            //   what it was.
            unsafe {
                let kept = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 100);
                libc::dup2(fd, 0);
                drop(T::new(0));
                let closed = libc::fcntl(0, libc::F_GETFD) < 0;
                libc::dup2(kept, 0);
                libc::syscall(libc::SYS_close, kept);
                return Ok(if closed { 0 } else { -1 });
            }
        }
        "reset" => {
            owner.reset(second);
            let number = owner.get();
            mem::forget(owner);
            return Ok(number);
        }
        _ => drop(owner),
    }
    Ok(-1)
}

const CASES: &[Case] = &[
    ("dropping it closes the descriptor, once", dropped),
    ("get gives the number and closes nothing", get),
    ("a move closes nothing; the last owner does", moved),
    ("a vector of them, and a panic, close each once", by_others),
    ("into_raw leaves the descriptor open", into_raw),
    ("close closes once, and reports what close said", close),
    ("close says EINTR, and has closed", interrupted),
    ("0 is a descriptor, too", zero),
    ("another descriptor of the same connection stays usable", shared),
    ("reset closes the old one and owns the new one", reset),
];

/// Which of the given descriptors came out.
type Which = Said<Option<usize>>;

/// Plays with two connections.
fn play_with(child: &mut Child, ask: &str) -> Result<([Peer; 2], Which), Refusal> {
    let [(first, a), (second, b)] = [pair()?, pair()?];
    child.scene("", "waits for the end of the stream", "");
    Ok(([first, second], child.call_unchecked(ask, vec![a, b])?))
}

/// Plays, and checks how many `close` calls there were and which are open.
fn check(
    child: &mut Child,
    ask: &str,
    closed: [bool; 2],
    [forgotten, too_many]: [&str; 2],
) -> Result<Which, Refusal> {
    let (peers, said) = play_with(child, ask)?;
    for ((peer, closed), which) in
        peers.iter().zip(closed).zip(["the first descriptor", "the second descriptor"])
    {
        let heard = peer.read_waiting()?;
        if closed && heard != Heard::End {
            let expected = say!("{which} closed: the peer sees a FIN");
            return refuse(forgotten, expected, "it is still open");
        }
        if !closed && heard != Heard::Nothing {
            let seen = "the peer saw a FIN: it was closed";
            return refuse(too_many, say!("{which} still open"), seen);
        }
    }
    let expected = closed.iter().filter(|c| **c).count();
    let (closes, nothing) = (said.calls("close"), said.after.calls.closed_nothing);
    if said.after.closed.len() < expected {
        let wanted = say!("{expected} descriptor(s) closed");
        return refuse(forgotten, wanted, "the number is still in use");
    }
    if closes > expected || nothing > 0 {
        let seen = say!("{closes}, of which {nothing} failed with EBADF");
        return refuse(too_many, say!("{expected} call(s) of close"), seen);
    }
    if !said.after.opened.is_empty() {
        let mistake = "a new descriptor is open: an owner does not duplicate";
        return refuse(mistake, "no new descriptor", said.after.opened.join(", "));
    }
    Ok(said)
}

/// `close` has to have been called once.
fn closed_once(said: &Which, mistake: &str) -> Verdict {
    let closes = said.calls("close");
    if closes == 1 {
        return Ok(());
    }
    refuse(mistake, "1 call of close", closes.to_string())
}

/// The number that came out has to be that of this one.
fn is_given(what: &str, said: &Which, which: usize) -> Verdict {
    if said.more == Some(which) {
        return Ok(());
    }
    Err(Refusal::new(say!("{what} returned another number than the one it was given")))
}

const DROP: [&str; 2] = [
    "drop does not close the descriptor: the peer waits for a FIN that never comes",
    "drop closes more than once: the second close may hit somebody else's descriptor",
];

fn dropped(child: &mut Child) -> Verdict {
    check(child, "drop", [true, false], DROP).map(drop)
}

fn get(child: &mut Child) -> Verdict {
    let mistakes = ["", "get only tells the number: it must not close"];
    is_given("get", &check(child, "get", [false, false], mistakes)?, 0)
}

fn moved(child: &mut Child) -> Verdict {
    check(child, "move", [true, false], DROP).map(drop)
}

fn by_others(child: &mut Child) -> Verdict {
    const UNWINDS: &str = "it stays open where a panic unwinds: Drop has to close then, too";
    check(child, "in_vec", [true, true], DROP)?;
    check(child, "panic", [true, false], [UNWINDS, DROP[1]]).map(drop)
}

fn into_raw(child: &mut Child) -> Verdict {
    let mistake =
        "into_raw gives the descriptor away, but Drop still ran and closed it: mem::forget";
    is_given("into_raw", &check(child, "into_raw", [false, false], ["", mistake])?, 0)
}

fn close(child: &mut Child) -> Verdict {
    let mistakes = [
        "close does not close: it has to call libc::close itself, to see what that says",
        "close closes, and then Drop closes once more: a double close",
    ];
    let said = check(child, "close", [true, false], mistakes)?;
    let mistake = "close succeeded, and your close returned an error";
    said.ensure(said.result.is_ok(), mistake, "Ok")?;
    let (_peers, said) = play_with(child, "close_fails")?;
    closed_once(&said, "a close that failed is not called again: the number is free")?;
    let mistake = "close failed, and your close did not say so";
    let told = said.errno() == libc::EBADF;
    said.ensure(told, mistake, "Err(EBADF), as nothing was open under the number")
}

fn interrupted(child: &mut Child) -> Verdict {
    let (_peers, said) = play_with(child, "close_eintr")?;
    let mistake = "after EINTR close is not called again: on Linux the descriptor is gone";
    closed_once(&said, mistake)?;
    let mistake = "close said EINTR, and your close said something else";
    let told = said.errno() == libc::EINTR;
    let expected = "Err(Interrupted), and the caller decides";
    said.ensure(told, mistake, expected)?;
    let (_peers, said) = play_with(child, "drop_eintr")?;
    closed_once(&said, "drop calls close again because it said EINTR: the number is gone")
}

fn zero(child: &mut Child) -> Verdict {
    let (_peers, said) = play_with(child, "drop_zero")?;
    if said.more == Some(0) {
        return Ok(());
    }
    let mistake = "a descriptor of a small number stays open: 0 is one like any other, -1 is none";
    refuse(mistake, "fd 0 closed", "still open")
}

fn shared(child: &mut Child) -> Verdict {
    let [(first, a), (_second, b)] = [pair()?, pair()?];
    let _another = a.try_clone()?;
    child.scene("", "looks whether the stream has ended; another descriptor is open", "");
    let said = child.call_unchecked::<Value>("drop", vec![a, b])?;
    if first.read_waiting()? == Heard::Nothing && said.after.closed.len() == 1 {
        return Ok(());
    }
    let mistake = "shutdown ends the connection for every descriptor of it: close ends this one";
    refuse(mistake, "no FIN", "a FIN")
}

fn reset(child: &mut Child) -> Verdict {
    let mistakes = [
        "reset overwrote the number of a descriptor that was open: it leaks",
        "reset closed what it should own from now on, or closed twice",
    ];
    let said = check(child, "reset", [true, false], mistakes)?;
    if said.more == Some(0) {
        let mistake = "after reset it still has the number of the old descriptor";
        return refuse(mistake, "the number of the new one", "another one");
    }
    is_given("reset, then get,", &said, 1)
}
