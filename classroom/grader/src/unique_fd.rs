//! Exercise `unique_fd`: a descriptor that closes itself, once. Article 7.1.

use std::mem::ManuallyDrop;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd};
use std::panic;

use crate::beside::QUESTION;
use crate::calls::{self, Seldom};
use crate::inside::unread;
use crate::prelude::*;
use crate::refusal::DRAINED;

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
        let (fd, second) = match given.fds[..] {
            [second, 0] => (0, second), // the last one is, where it is lent 0
            [fd, second] => (fd, second),
            _ => unreachable!("two are given"),
        };
        let mut number = -1;
        let keep = |played| {
            number = played;
            ok(())
        };
        let said = given.call(|| play::<T>(&ask, fd, second), keep);
        // Which of the given it is, or that it is none.
        said.with([fd, second].iter().position(|&fd| fd == number))
    })
}

/// Plays, and says the number that comes out.
fn play<T: Owner>(ask: &str, fd: RawFd, second: RawFd) -> io::Result<RawFd> {
    let mut owner = T::new(fd);
    match ask {
        "move" => drop(Box::new(owner)),
        "in_vec" => drop(vec![owner, T::new(second)]),
        "panic" => {
            let _ = panic::catch_unwind(panic::AssertUnwindSafe(move || {
                let _owner = owner;
                panic::resume_unwind(Box::new(())); // without the hook
            }));
        }
        "get" => return Ok(ManuallyDrop::new(owner).get()),
        "into_raw" => return Ok(owner.into_raw()),
        "close" => owner.close()?,
        "close_fails" => {
            // SAFETY: the number is the owner's; that nothing is open under it is what is tried.
            drop(unsafe { TcpStream::from_raw_fd(fd) });
            calls::start_with(Seldom::Nothing);
            owner.close()?;
        }
        "reset" => {
            owner.reset(second);
            return Ok(ManuallyDrop::new(owner).get());
        }
        _ => drop(owner),
    }
    Ok(-1)
}

const CASES: &[Case] = &[
    ("dropping it closes the descriptor, once", |c| {
        const AGAIN: &str = "the second one with the same number stays open: it is another \
                             descriptor, which nobody has closed yet";
        plays(c, "drop", 1, DROP)?;
        plays(c, "drop", 1, [AGAIN, DROP[1]])
    }),
    ("get gives the number and closes nothing", |c| {
        plays(c, "get", 0, ["", "get only tells the number: it must not close"])
    }),
    ("a move closes nothing; the last owner does", |c| plays(c, "move", 1, DROP)),
    ("a vector of them, and a panic, close each once", |c| {
        const UNWINDS: &str = "it stays open where a panic unwinds: Drop has to close then, too";
        plays(c, "in_vec", 2, DROP)?;
        plays(c, "panic", 1, [UNWINDS, DROP[1]])
    }),
    ("into_raw leaves the descriptor open", |c| {
        let mistake =
            "into_raw gives the descriptor away, but Drop still ran and closed it: mem::forget";
        plays(c, "into_raw", 0, ["", mistake])
    }),
    ("close closes once, and reports what close said", |c| {
        let twice = "close closes, and then Drop closes once more: a double close";
        plays(c, "close", 1, [CLOSE, twice])?;
        let again = "a close that failed is not called again: the number is free";
        plays(c, "close_fails", 1, [CLOSE, again])
    }),
    ("close says EINTR, and has closed", |c| {
        let again = "after EINTR close is not called again: on Linux the descriptor is gone";
        c.seldom = Seldom::CloseSaysEintr;
        plays(c, "close", 1, [CLOSE, again])?;
        let again = "drop calls close again because it said EINTR: the number is gone";
        c.seldom = Seldom::CloseSaysEintr;
        plays(c, "drop", 1, [DROP[0], again])
    }),
    ("another descriptor of the same connection stays usable", shared),
    ("reset closes the old one and owns the new one", |c| {
        let mistakes = [
            "reset overwrote the number of a descriptor that was open: it leaks",
            "reset closed what it should own from now on, or closed twice",
        ];
        plays(c, "reset", 1, mistakes)?;
        c.seldom = Seldom::CloseSaysEintr;
        plays(c, "reset", 1, mistakes)?;
        let file = std::fs::File::open("/dev/null")?.into();
        let said = c.call_unchecked::<Value>("reset", vec![file, pair()?.1])?;
        let mistake = "reset leaves open what is no socket: fd may be any descriptor";
        said.ensure(said.after.closed.len() == 1, mistake, "a file closed, as a socket is")
    }),
    ("0 is a descriptor, too", |c| {
        ["drop", "close", "reset"].iter().try_for_each(|ask| {
            c.lent_zero = true; // a copy: its peer sees no end
            plays(c, ask, 0, DROP)
        })
    }),
];

/// What it is called where a descriptor stays open, and where it is closed too often.
const DROP: [&str; 2] = [
    "drop does not close the descriptor: the peer waits for a FIN that never comes",
    "drop closes more than once: the second close may hit somebody else's descriptor",
];
const CLOSE: &str =
    "close does not close: it has to call libc::close itself, to see what that says";

/// Plays with two connections, of which so many have to be closed, from the first on.
fn plays(child: &mut Child, ask: &str, closed: usize, [open, too_many]: [&str; 2]) -> Verdict {
    let [(first, a), (second, b)] = [pair()?, pair()?];
    let (zero, interrupted) = (child.lent_zero, child.seldom == Seldom::CloseSaysEintr);
    let fds = if zero { vec![b, a] } else { vec![a, b] };
    child.scene("", "waits for the end of the stream", "");
    let said: Said<Option<usize>> = child.call_unchecked(ask, fds)?;
    let ends = [first.read_waiting()? == Heard::End, second.read_waiting()? == Heard::End];
    let (closes, nothing) = (said.calls("close"), said.after.calls.closed_nothing);
    let which = match ask {
        "get" | "into_raw" => Some(0),
        "reset" => Some(1),
        _ => None,
    };
    let (changed, touched) = (&said.after.changed, &said.after.calls.touched);
    let changed = changed.iter().chain(touched).map(String::as_str).collect::<Vec<_>>().join(", ");
    let mistake = first! {
        zero && said.after.closed != [0] =>
            "a descriptor of a small number stays open: 0 is one like any other, -1 is none".into(),
        ends[..closed].contains(&false) || said.after.closed.len() < closed => open.into(),
        ends[closed..].contains(&true) || closes > closed.max(1) => too_many.into(),
        nothing > 0 && ask != "close_fails" => too_many.into(),
        !said.after.opened.is_empty() =>
            "a new descriptor is open: an owner does not duplicate".into(),
        ask == "close_fails" && said.result.is_err() && said.errno() == 0 =>
            "close failed, and your close says so without its errno: last_os_error".into(),
        ask == "close_fails" && said.result.is_ok() =>
            "close failed, and your close did not say so".into(),
        ask == "close_fails" && said.errno() != libc::EBADF =>
            "close failed, and your close told another errno: last_os_error has the right one".into(),
        ask == "close" && interrupted && said.errno() != libc::EINTR =>
            "close said EINTR, and your close said something else".into(),
        ask == "close" && !interrupted && said.result.is_err() =>
            "close succeeded, and your close returned an error".into(),
        ask == "reset" && said.more == Some(0) =>
            "after reset it still has the number of the old descriptor".into(),
        !changed.is_empty() =>
            say!("a setting of the descriptor was changed, and an owner hands on what it was given: \
                  {changed}"),
        said.more != which =>
            say!("{ask} returned another number than the one it was given"),
    };
    let number = |of: Option<usize>| match of {
        _ if which.is_none() || zero => String::new(),
        Some(at) => say!("; the number of descriptor {} of the two", at + 1),
        None => say!("; another number"),
    };
    let says = first! {
        ask == "close_fails" => "Err(EBADF), ",
        ask == "close" && interrupted => "Err(EINTR), ",
    };
    let seen = say!(
        "{}, {closes} call(s) of close, of which {nothing} failed; the ends that the peers saw: {}",
        said.shown(),
        ends.iter().filter(|end| **end).count()
    );
    let once = say!("{closed} descriptor(s) closed, each once");
    let expected = if zero { say!("descriptor 0 closed, once") } else { once };
    judge(mistake, says.to_owned() + &expected + &number(which), seen + &number(said.more))
}

fn shared(child: &mut Child) -> Verdict {
    for ask in ["drop", "close", "reset"] {
        let [(first, a), (_second, b)] = [pair()?, pair()?];
        let another = a.try_clone()?;
        first.send(QUESTION);
        arrived(&another, QUESTION.len())?;
        child.scene("", "looks whether the stream has ended; another descriptor is open", "");
        let said = child.call_unchecked::<Value>(ask, vec![a, b])?;
        let mistake = first! {
            first.read_waiting()? != Heard::Nothing =>
                "shutdown ends the connection for every descriptor of it: close ends this one",
            unread(another.as_raw_fd()) != QUESTION.len() => DRAINED,
        };
        judge(mistake, say!("no FIN after {ask}"), said.shown())?;
    }
    Ok(())
}
