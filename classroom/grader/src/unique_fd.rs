//! Exercise `unique_fd`: a descriptor that closes itself, once. Article 7.1.

use std::io;
use std::mem;
use std::net::TcpStream;
use std::os::fd::{FromRawFd, RawFd};
use std::process::ExitCode;

use say::say;
use serde::{Deserialize, Serialize};

use crate::calls::{self, Calls, Seldom};
use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, Failure, observe, portable, show};
use crate::peer::{Heard, pair};
use crate::refusal::Refusal;

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

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Ask {
    Drop,
    Move,
    InVec,
    Panic,
    Get,
    IntoRaw,
    Close,
    CloseFails,
    CloseInterrupted,
    DropInterrupted,
    DropZero,
    Reset,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<(), Failure>,
    /// A number that came out.
    number: RawFd,
    /// The numbers that were given.
    given: [RawFd; 2],
    calls: Calls,
    after: After,
}

/// Grades the answer.
pub fn grade<T: Owner>() -> ExitCode {
    grading::grade_raw("unique_fd", CASES, |ask: Ask, given| {
        let &[fd, second] = &given.fds[..] else { unreachable!("two are given") };
        let ((result, number, calls), after) = observe(&given.fds, || {
            calls::start();
            let (result, number) = play::<T>(ask, fd, second);
            (result, number, calls::counted())
        });
        let given = [fd, second];
        (Said { result: portable(result), number, given, calls, after }, Vec::new())
    })
}

fn play<T: Owner>(ask: Ask, fd: RawFd, second: RawFd) -> (io::Result<()>, RawFd) {
    let mut owner = T::new(fd);
    match ask {
        Ask::Drop => drop(owner),
        Ask::Move => {
            let moved = owner;
            let moved_again = Box::new(moved);
            drop(moved_again);
        }
        Ask::InVec => drop(vec![owner, T::new(second)]),
        Ask::Panic => {
            let hook = std::panic::take_hook();
            std::panic::set_hook(Box::new(|_| {})); // this one is the grader's
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _owner = owner;
                std::panic::panic_any(());
            }));
            std::panic::set_hook(hook);
        }
        Ask::Get => {
            let number = owner.get();
            mem::forget(owner);
            return (Ok(()), number);
        }
        Ask::IntoRaw => return (Ok(()), owner.into_raw()),
        Ask::Close => return (owner.close(), -1),
        Ask::CloseFails => {
            // SAFETY:
            // - the number is the owner's; that nothing is open under it is what is tried.
            drop(unsafe { TcpStream::from_raw_fd(fd) });
            calls::start();
            return (owner.close(), -1);
        }
        Ask::CloseInterrupted => {
            calls::start_with(Seldom::CloseSaysEintr);
            return (owner.close(), -1);
        }
        Ask::DropInterrupted => {
            calls::start_with(Seldom::CloseSaysEintr);
            drop(owner);
        }
        Ask::DropZero => {
            // Where stdin has been closed, 0 is what the next `socket` returns.
            mem::forget(owner);
            let dev_null = zero_becomes(fd);
            drop(T::new(0));
            // SAFETY:
            // - the calls take numbers; 0 becomes again what it was.
            let closed = unsafe {
                let closed = libc::fcntl(0, libc::F_GETFD) < 0;
                libc::dup2(dev_null, 0);
                libc::syscall(libc::SYS_close, dev_null);
                closed
            };
            return (Ok(()), if closed { 0 } else { -1 });
        }
        Ask::Reset => {
            owner.reset(second);
            let number = owner.get();
            mem::forget(owner);
            return (Ok(()), number);
        }
    }
    (Ok(()), -1)
}

/// Makes 0 another number of `fd`, and keeps what was there under the number it returns.
fn zero_becomes(fd: RawFd) -> RawFd {
    // SAFETY:
    // - these take numbers; nobody uses fd 0 in this process.
    unsafe {
        let kept = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, 100);
        libc::dup2(fd, 0);
        kept
    }
}

const CASES: &[Case] = &[
    Case { name: "dropping it closes the descriptor, once", run: dropped },
    Case { name: "get gives the number and closes nothing", run: get },
    Case { name: "a move closes nothing; the last owner does", run: moved },
    Case { name: "a vector of them, and a panic, close each once", run: by_others },
    Case { name: "into_raw leaves the descriptor open", run: into_raw },
    Case { name: "close closes once, and reports what close said", run: close },
    Case { name: "close says EINTR, and has closed", run: interrupted },
    Case { name: "0 is a descriptor, too", run: zero },
    Case { name: "another descriptor of the same connection stays usable", run: shared },
    Case { name: "reset closes the old one and owns the new one", run: reset },
];

/// Two connections; plays, and checks how many `close` calls there were and which are open.
fn play_and_check(
    child: &mut Child,
    ask: Ask,
    closed: [bool; 2],
    mistakes: [&str; 2],
) -> Result<Said, Refusal> {
    let [(first, a), (second, b)] = [pair()?, pair()?];
    let (said, _) = child.call_as::<Said>(ask, &[], vec![a, b])?;
    let [forgotten, too_many] = mistakes;
    for (fd, (peer, closed)) in [first, second].iter().zip(closed).enumerate() {
        let which = ["the first descriptor", "the second descriptor"][fd];
        match (peer.read_waiting()?, closed) {
            (Heard::End, true) | (Heard::Nothing, false) => {}
            (_, true) => {
                return Err(Refusal::new(forgotten)
                    .peer("waits for the end of the stream")
                    .but(say!("{which} closed: the peer sees a FIN"), "it is still open"));
            }
            (_, false) => {
                return Err(Refusal::new(too_many)
                    .peer("looks whether the stream has ended")
                    .but(say!("{which} still open"), "the peer saw a FIN: it was closed"));
            }
        }
    }
    let expected = closed.iter().filter(|c| **c).count();
    let closes = said.calls.closes;
    if said.after.closed.len() < expected {
        return Err(Refusal::new(forgotten)
            .but(say!("{expected} descriptor(s) closed"), "the number is still in use"));
    }
    if closes > expected || said.calls.closed_nothing > 0 {
        return Err(Refusal::new(too_many).but(
            say!("{expected} call(s) of close"),
            say!("{closes}, of which {} failed with EBADF", said.calls.closed_nothing),
        ));
    }
    if !said.after.opened.is_empty() {
        return Err(Refusal::new("a new descriptor is open: an owner does not duplicate")
            .but("no new descriptor", said.after.opened.join(", ")));
    }
    Ok(said)
}

fn the_given(what: &str, number: RawFd, given: RawFd) -> Result<(), Refusal> {
    if number == given {
        return Ok(());
    }
    Err(Refusal::new(say!("{what} returned another number than the one it was given"))
        .but(given.to_string(), number.to_string()))
}

fn get(child: &mut Child) -> Result<(), Refusal> {
    let said = play_and_check(
        child,
        Ask::Get,
        [false, false],
        ["", "get only tells the number: it must not close"],
    )?;
    the_given("get", said.number, said.given[0])
}

const DROP: [&str; 2] = [
    "drop does not close the descriptor: the peer waits for a FIN that never comes",
    "drop closes more than once: the second close may hit somebody else's descriptor",
];

fn dropped(child: &mut Child) -> Result<(), Refusal> {
    play_and_check(child, Ask::Drop, [true, false], DROP).map(drop)
}

fn moved(child: &mut Child) -> Result<(), Refusal> {
    play_and_check(child, Ask::Move, [true, false], DROP).map(drop)
}

fn by_others(child: &mut Child) -> Result<(), Refusal> {
    play_and_check(child, Ask::InVec, [true, true], DROP)?;
    const UNWINDS: &str = "it stays open where a panic unwinds: Drop has to close then, too";
    play_and_check(child, Ask::Panic, [true, false], [UNWINDS, DROP[1]]).map(drop)
}

fn into_raw(child: &mut Child) -> Result<(), Refusal> {
    let mistake =
        "into_raw gives the descriptor away, but Drop still ran and closed it: mem::forget";
    let said = play_and_check(child, Ask::IntoRaw, [false, false], ["", mistake])?;
    the_given("into_raw", said.number, said.given[0])
}

fn close(child: &mut Child) -> Result<(), Refusal> {
    let said = play_and_check(
        child,
        Ask::Close,
        [true, false],
        [
            "close does not close: it has to call libc::close itself, to see what that says",
            "close closes, and then Drop closes once more: a double close",
        ],
    )?;
    if said.result.is_err() {
        return Err(Refusal::new("close succeeded, and your close returned an error")
            .but("Ok", show(&said.result)));
    }
    let [(_first, a), (_second, b)] = [pair()?, pair()?];
    let (said, _) = child.call_as::<Said>(Ask::CloseFails, &[], vec![a, b])?;
    if said.calls.closes != 1 {
        return Err(Refusal::new("a close that failed is not called again: the number is free")
            .but("1 call of close", said.calls.closes.to_string()));
    }
    match &said.result {
        Err(e) if e.errno == Some(libc::EBADF) => Ok(()),
        result => Err(Refusal::new("close failed, and your close did not say so")
            .but("Err(EBADF), as nothing was open under the number", show(result))),
    }
}

fn interrupted(child: &mut Child) -> Result<(), Refusal> {
    const SAYS: &str = "close has closed, and says EINTR, as close(2) allows";
    let [(_first, a), (_second, b)] = [pair()?, pair()?];
    let (said, _) = child.call_as::<Said>(Ask::CloseInterrupted, &[], vec![a, b])?;
    if said.calls.closes != 1 {
        return Err(Refusal::new(
            "after EINTR close is not called again: on Linux the descriptor is gone",
        )
        .peer(SAYS)
        .but("1 call of close", said.calls.closes.to_string()));
    }
    if said.result.as_ref().err().and_then(|e| e.errno) != Some(libc::EINTR) {
        return Err(Refusal::new("close said EINTR, and your close said something else")
            .but("Err(Interrupted), and the caller decides", show(&said.result)));
    }
    let [(_first, a), (_second, b)] = [pair()?, pair()?];
    let (said, _) = child.call_as::<Said>(Ask::DropInterrupted, &[], vec![a, b])?;
    if said.calls.closes != 1 {
        return Err(Refusal::new(
            "drop calls close again because it said EINTR: the number is gone",
        )
        .peer(SAYS)
        .but("1 call of close", said.calls.closes.to_string()));
    }
    Ok(())
}

fn zero(child: &mut Child) -> Result<(), Refusal> {
    let [(_first, a), (_second, b)] = [pair()?, pair()?];
    let (said, _) = child.call_as::<Said>(Ask::DropZero, &[], vec![a, b])?;
    if said.number != 0 {
        return Err(Refusal::new(
            "a descriptor of a small number stays open: 0 is one like any other, -1 is none",
        )
        .but("fd 0 closed", "still open"));
    }
    Ok(())
}

fn shared(child: &mut Child) -> Result<(), Refusal> {
    let [(first, a), (_second, b)] = [pair()?, pair()?];
    let _another = a.try_clone()?;
    let (said, _) = child.call_as::<Said>(Ask::Drop, &[], vec![a, b])?;
    if first.read_waiting()? == Heard::Nothing && said.after.closed.len() == 1 {
        return Ok(());
    }
    Err(Refusal::new(
        "shutdown ends the connection for every descriptor of it: close ends this one",
    )
    .peer("looks whether the stream has ended; another descriptor is open")
    .but("no FIN", "a FIN"))
}

fn reset(child: &mut Child) -> Result<(), Refusal> {
    let said = play_and_check(
        child,
        Ask::Reset,
        [true, false],
        [
            "reset overwrote the number of a descriptor that was open: it leaks",
            "reset closed what it should own from now on, or closed twice",
        ],
    )?;
    if said.after.closed.contains(&said.number) {
        return Err(Refusal::new("after reset it still has the number of the old descriptor")
            .but("the number of the new one", said.number.to_string()));
    }
    the_given("reset, then get,", said.number, said.given[1])
}
