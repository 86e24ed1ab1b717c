//! The process that the answer runs in, seen from the parent.

use std::env;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Serialize, de::DeserializeOwned};

use crate::grading::{About, CHILD, HANG};
use crate::inside::{After, CONTROL, Event, Question};
use crate::kernel::{self, Look};
use crate::refusal::Refusal;
use crate::wire;

/// A call that only the peer can end, and a peer that has done all it will do: after looks for so
/// many milliseconds that have found no change at all, it is blocked for good. They are counted in
/// looks, for a clock would run on while a busy machine lets nobody look.
const QUIET: u32 = 1000;

/// The same for a `poll`, which may wait for a handshake that the kernel tries anew.
const QUIET_POLL: u32 = 4000;

/// Looks for so many milliseconds that have found it asleep by itself, of which nothing comes.
const NAPS: u32 = 2000;

/// Processor time, in ticks of 10 ms, after which a call is a loop without an end.
const SPIN: u64 = 200;

/// The child. Dropping it kills it.
pub struct Child<A, S> {
    process: process::Child,
    control: UnixStream,
    about: &'static About,
    /// How far the transfer is, what the peer has done, and what a hang then means.
    scene: [String; 3],
    sleeps: u64,
    ticks: u64,
    arrived: Option<(Event<S>, Vec<u8>)>,
    asks: PhantomData<fn(A)>,
}

impl<A, S> Drop for Child<A, S> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl<A: Serialize, S: DeserializeOwned> Child<A, S> {
    pub(crate) fn start(about: &'static About) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let process = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env(CHILD, "1")
            .stdin(OwnedFd::from(theirs))
            .spawn()?;
        Ok(Child {
            process,
            control,
            about,
            scene: Default::default(),
            sleeps: 0,
            ticks: 0,
            arrived: None,
            asks: PhantomData,
        })
    }

    /// Has the answer called. New descriptors replace those of the call before; with none, those
    /// stay. They are the child's alone from here on.
    pub fn ask(&mut self, ask: A, bytes: &[u8], fds: Vec<OwnedFd>) -> Result<(), Refusal> {
        self.arrived = None;
        if let Ok(look) = kernel::look(self.pid()) {
            (self.sleeps, self.ticks) = (look.sleeps, look.ticks);
        }
        let lent: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        match wire::send(&self.control, &Question::Ask(ask), bytes, &lent) {
            Ok(()) => Ok(()),
            Err(_) => Err(self.ended()), // it is gone, and can say why
        }
    }

    /// Closes, in the child, what was given to it.
    pub fn close_fds(&mut self) -> Result<(), Refusal> {
        wire::send(&self.control, &Question::<A>::Close, &[], &[]).map_err(|_| self.ended())
    }

    /// What to say should the call hang: how far it is (`after 3 of 8 bytes`), what the peer has
    /// done (`the peer has closed`), and the likely mistake (may be empty).
    pub fn scene(&mut self, progress: &str, peer: &str, mistake: &str) {
        self.scene = [progress, peer, mistake].map(String::from);
    }

    /// Waits until the call sleeps in the kernel, anew since this was last asked. `false`: it has
    /// returned instead.
    pub fn until_blocked(&mut self) -> Result<bool, Refusal> {
        self.wait(true, false)
    }

    /// The peer is silent for as long as the answer's own timeout, if it has one. `false`: it has
    /// returned. To be called where [`until_blocked`](Child::until_blocked) was true.
    pub fn is_patient(&mut self) -> Result<bool, Refusal> {
        let before = kernel::look(self.pid())?;
        let Some(ms) = before.timeout.filter(|ms| (0..=2000).contains(ms)) else {
            return Ok(true);
        };
        let end = Instant::now() + Duration::from_millis(ms as u64 + 100);
        let hangs = Instant::now() + HANG;
        loop {
            if readable(&self.control, 20)? {
                return Ok(false);
            }
            let now = kernel::look(self.pid())?;
            let sleeps_again = now.blocked() && now.sleeps > before.sleeps;
            if Instant::now() > end && sleeps_again || Instant::now() > hangs {
                self.sleeps = now.sleeps.saturating_sub(1); // it may be seen to sleep once more
                return Ok(true);
            }
        }
    }

    /// Waits until something comes to the peer from the answer, or its stream ends. `false`: the
    /// answer sleeps on, look after look, or has returned, or works and brings nothing.
    pub fn brings(&self, to: impl AsFd) -> Result<bool, Refusal> {
        let hangs = Instant::now() + HANG;
        let mut quiet = 0;
        while quiet < QUIET && Instant::now() < hangs {
            if readable(&to, 5)? {
                return Ok(true);
            }
            let look = kernel::look(self.pid())?;
            quiet = if look.state == 'R' { 0 } else { quiet + 5 };
            if look.ticks.saturating_sub(self.ticks) >= SPIN {
                break;
            }
        }
        Ok(readable(&to, 0)?)
    }

    /// Sends SIGUSR1, whose handler does nothing and interrupts a call that sleeps.
    pub fn interrupt(&self) {
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGUSR1);
    }

    /// Waits for the answer to return.
    pub fn said(&mut self) -> Result<(S, Vec<u8>), Refusal> {
        self.wait(false, false)?;
        self.event()
    }

    /// The same where nothing is left to wait for: whatever it sleeps in, it hangs.
    pub fn said_without_sleep(&mut self) -> Result<(S, Vec<u8>), Refusal> {
        self.wait(false, true)?;
        self.event()
    }

    fn event(&mut self) -> Result<(S, Vec<u8>), Refusal> {
        match self.arrived.take() {
            Some((Event::Said(said), bytes)) => Ok((said, bytes)),
            Some((Event::NotStarted, _)) => {
                Err(Refusal { not_started: true, ..Refusal::new("nothing has been written yet") })
            }
            Some((Event::Panicked { message, place }, _)) => Err(Refusal::new(format!(
                "your {} panicked at {place}: {message}",
                self.about.name
            ))),
            None => Err(self.ended()),
        }
    }

    /// [`ask`](Child::ask), then [`said`](Child::said).
    pub fn call(
        &mut self,
        ask: A,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<(S, Vec<u8>), Refusal> {
        self.ask(ask, bytes, fds)?;
        self.said()
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Refuses an answer that leaves the process otherwise than it was, whatever it returned.
    pub fn left_as_it_was(&self, after: &After) -> Result<(), Refusal> {
        let name = self.about.name;
        let list = |items: &[String]| items.join(", ");
        if let Some(fd) = after.closed.first() {
            return Err(Refusal::new(format!(
                "your {name} closed fd {fd}, which was only lent to it: its owner closes it"
            ))
            .but(format!("fd {fd} open after the call"), "closed"));
        }
        if !after.opened.is_empty() {
            return Err(Refusal::new(format!(
                "your {name} leaks a descriptor: what it opens it has to close"
            ))
            .but("no new descriptor after the call", list(&after.opened)));
        }
        if !after.changed.is_empty() {
            return Err(Refusal::new(format!(
                "your {name} changed a setting of the socket and left it so for all who use it"
            ))
            .but("the settings as they were", list(&after.changed)));
        }
        if !after.process.is_empty() {
            return Err(Refusal::new(format!(
                "your {name} changed something for the whole process: that is for main to decide"
            ))
            .but("the process as it was", list(&after.process)));
        }
        Ok(())
    }

    /// Waits for an event of the child; with `for_block`, also for its next sleep (`true`). With
    /// `at_once` any long sleep hangs.
    fn wait(&mut self, for_block: bool, at_once: bool) -> Result<bool, Refusal> {
        let hangs = Instant::now() + HANG;
        let (mut last, mut quiet, mut naps): (Option<Look>, u32, u32) = (None, 0, 0);
        loop {
            if self.arrived.is_some() {
                return Ok(false);
            }
            let tick = if for_block { 1 } else { 5 };
            if readable(&self.control, tick)? {
                match wire::receive::<Event<S>>(&self.control)? {
                    Some((event, bytes, _)) => self.arrived = Some((event, bytes)),
                    None => return Err(self.ended()),
                }
                continue;
            }
            let look = kernel::look(self.pid())?;
            let outside = look.call.is_none_or(|(_, fd)| fd == CONTROL); // between two calls
            if for_block && look.blocked() && !outside && look.sleeps > self.sleeps {
                self.sleeps = look.sleeps;
                return Ok(true);
            }
            quiet = if last.as_ref() == Some(&look) { quiet + u32::from(tick) } else { 0 };
            naps += if look.naps() { u32::from(tick) } else { 0 };
            let for_nothing = look.waits_for_the_peer() || at_once && look.blocked();
            let stuck = for_nothing && quiet >= QUIET
                || look.polls_for_ever() && quiet >= QUIET_POLL
                || naps >= NAPS;
            let spins = look.ticks.saturating_sub(self.ticks) >= SPIN;
            if stuck && !outside || spins || Instant::now() >= hangs {
                return Err(self.hangs(&look));
            }
            last = Some(look);
        }
    }

    fn hangs(&self, look: &Look) -> Refusal {
        let name = self.about.name;
        let [progress, peer, mistake] = &self.scene;
        let space = if progress.is_empty() { "" } else { " " };
        let what = if look.blocked() {
            format!("your {name} is blocked in {}{space}{progress}", look.place())
        } else {
            format!("your {name} runs in circles and does not return{space}{progress}")
        };
        let colon = if peer.is_empty() { "" } else { ": " };
        let full = format!("{what}{colon}{peer}");
        if mistake.is_empty() {
            return Refusal::new(full);
        }
        Refusal::new(mistake.clone()).but("a return", full)
    }

    /// The child has ended before it could say anything.
    fn ended(&mut self) -> Refusal {
        match self.process.wait() {
            Ok(status) => ended(self.about.name, status),
            Err(e) => e.into(),
        }
    }
}

fn ended(name: &str, status: ExitStatus) -> Refusal {
    let signal = status.signal().and_then(|s| Signal::try_from(s).ok());
    match signal {
        Some(Signal::SIGPIPE) => Refusal::new(format!(
            "SIGPIPE killed the process in your {name}: the peer was gone; MSG_NOSIGNAL makes it EPIPE"
        )),
        Some(signal @ (Signal::SIGSEGV | Signal::SIGBUS)) => Refusal::new(format!(
            "{signal} killed the process in your {name}: a pointer or a length is wrong"
        )),
        Some(Signal::SIGABRT) => {
            Refusal::new(format!("your {name} made the process abort: the lines above say why"))
        }
        Some(signal) => Refusal::new(format!("{signal} killed the process in your {name}")),
        None => Refusal::new(format!(
            "your {name} ended the whole process with exit code {}: it has to return",
            status.code().unwrap_or(-1)
        )),
    }
}

fn readable(fd: impl AsFd, milliseconds: u8) -> io::Result<bool> {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, PollTimeout::from(milliseconds))? > 0)
}

/// The grader's own trouble, not the learner's.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::new(format!("the grader could not do its part: {error}"))
    }
}
