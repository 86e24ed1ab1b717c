//! The process that the answer runs in, seen from the parent.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use say::say;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::about::{About, CHILD, HANG, Rule};
use crate::alloc::{self, TOO_MUCH};
use crate::calls::{FLAGS, MOMENT, NAPPED, Seldom};
use crate::denied::NO_FILTER;
use crate::inside::{After, Event, Question, THREADS};
use crate::kernel::{self, Look};
use crate::language::told;
use crate::peer::readable;
use crate::refusal::{HELD, Refusal, Verdict, first, judge, refuse};
use crate::said::Said;
use crate::wire;

/// A call that only the peer can end, and a peer that has done all it will do: after looks for so
/// many milliseconds that have found no change at all, it is blocked for good. They are counted in
/// looks, for a clock would run on while a busy machine lets nobody look.
const QUIET: u32 = 1000;

/// The longest time of its own, in milliseconds, that an answer is left alone for.
const LONGEST: i32 = 40_000;

/// The same for many waits that it comes back to, each of so many milliseconds: by their sum.
const PATIENCE: i32 = 5_000;

/// The milliseconds of those waits so far, in all cases.
static WAITED: AtomicI32 = AtomicI32::new(0);

/// Who wakes more often in that time, for nothing, does not sleep but looks.
const MOST_WAKES: u32 = 60;

/// The same for a `poll` or a `connect`: it may wait for a handshake that the kernel tries anew.
const QUIET_POLL: u32 = 4000;

/// Memory that a process may keep for all calls together, in bytes.
const KEPT: usize = 1 << 16;

/// Processor time, in ticks of 10 ms, after which a call is a loop without an end.
pub const SPIN: u64 = 100;

/// Who has taken so many pages more was in no circle: a MiB, and there is a limit to memory.
const TAKES: u64 = 256;

const WAITS_ON: &str = "a call that waits, however long";

/// Who has worked for so many ticks, or has woken so often, where nothing was to do, does not rest.
const AWAKE_TICKS: u64 = 30;
const AWAKE_SLEEPS: u64 = 200;

/// Who has woken so often, and brings nothing, or waits on, only looks.
const MOST_SLEEPS: u64 = 1000;

/// It works without an end, where its work began at this look for all that is known. To take memory
/// may cost any processor time, and has an end; so has the kernel's work to take it back from who
/// has ended, and has none.
fn circles(begin: &mut Look, look: &Look) -> bool {
    if look.pages >= begin.pages + TAKES {
        *begin = look.clone();
    }
    look.pages > 0 && look.ticks >= begin.ticks + SPIN
}

/// The child. Dropping it kills it.
pub struct Child {
    process: process::Child,
    /// What passes on its output.
    output: Vec<JoinHandle<()>>,
    control: UnixStream,
    about: &'static About,
    /// How far the transfer is, what the peer has done, and what a hang then means.
    scene: [String; 3],
    sleeps: u64,
    /// It wakes by itself, and waits on.
    patient: bool,
    /// Nothing has to wake it: where the time of a wait is over and the next one begins, it looks.
    pub tickless: bool,
    /// What it may have meant, where it only lets time pass.
    pub nap: &'static str,
    /// In the next call 0 is the next descriptor, as where stdin has been closed.
    pub zero: bool,
    /// In the next call the last descriptor that it is given is 0.
    pub lent_zero: bool,
    /// What happens in the next call.
    pub seldom: Seldom,
    arrived: Option<(Event, Vec<u8>)>,
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        end_all_descendants();
        for reader in self.output.drain(..) {
            let _ = reader.join(); // whoever could write has ended
        }
    }
}

/// The children of a process, of each of its threads: proc(5).
fn children(process: &str) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let numbers = |list: String| list.split_whitespace().map(str::parse).collect::<Vec<_>>();
    lists.flat_map(numbers).filter_map(Result::ok).collect()
}

/// What an answer starts becomes a child of ours once its own parent has ended, whatever it does.
fn end_all_descendants() {
    while let [first, ..] = children("self")[..] {
        let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(Pid::from_raw(first), None);
    }
}

/// Bytes of each stream of output that reach the terminal.
const SHOWN: u64 = 16 << 10;

/// Passes on the beginning of what the answer prints; the rest is read and dropped.
fn pass_on<F: Read + Send + 'static>(
    mut from: F,
    mut to: impl Write + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let _ = io::copy(&mut (&mut from).take(SHOWN), &mut to);
        let dropped = io::copy(&mut from, &mut io::sink()).unwrap_or(0);
        if dropped > 0 {
            let _ = writeln!(to, "\n{}", say!("… and {dropped} bytes more that it printed"));
        }
        let _ = to.flush();
    })
}

impl Child {
    pub(crate) fn start(about: &'static About) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        nix::sys::prctl::set_child_subreaper(true)?;
        let mut process = Command::new(env::current_exe()?)
            .args(env::args_os().skip(1))
            .env(CHILD, "1")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (out, err) = (process.stdout.take(), process.stderr.take());
        let output = out.map(|out| pass_on(out, io::stdout())).into_iter();
        let output = output.chain(err.map(|err| pass_on(err, io::stderr()))).collect();
        Ok(Child {
            process,
            output,
            control,
            about,
            scene: Default::default(),
            sleeps: 0,
            patient: false,
            tickless: false,
            nap: "",
            zero: false,
            lent_zero: false,
            seldom: Seldom::default(),
            arrived: None,
        })
    }

    /// Has the answer called. New descriptors replace those of the call before; with none, those
    /// stay. They are the child's alone from here on.
    pub fn ask(&mut self, ask: impl Serialize, bytes: &[u8], fds: Vec<OwnedFd>) -> Verdict {
        self.arrived = None;
        if let Ok(look) = kernel::look(self.pid()) {
            self.sleeps = look.sleeps;
        }
        let lent: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let zero = [mem::take(&mut self.zero), mem::take(&mut self.lent_zero)];
        let question = Question::Ask(ask, zero, mem::take(&mut self.seldom));
        let asked = wire::send(&self.control, &question, bytes, &lent);
        asked.map_err(|_| self.ended()) // it is gone, and can say why
    }

    /// Closes, in the child, what was given to it.
    pub fn close_fds(&mut self) -> Verdict {
        wire::send(&self.control, &Question::<()>::Close, &[], &[]).map_err(|_| self.ended())
    }

    /// What to say should the call hang: how far it is (`after 3 of 8 bytes`), what the peer has
    /// done (`the peer has closed`), and the likely mistake (may be empty).
    pub fn scene(&mut self, progress: &str, peer: &str, mistake: &str) {
        self.scene = [progress, peer, mistake].map(|text| told(text).into());
    }

    /// Waits until the call sleeps in the kernel, anew since this was last asked. `false`: it has
    /// returned instead. Where it would wake by itself, it is left alone for `PATIENCE`: who
    /// returns then gives up after a time of its own.
    pub fn until_blocked(&mut self) -> Result<bool, Refusal> {
        let Some(mut look) = self.wait(true, false)? else { return Ok(false) };
        let mut wakes = 0;
        loop {
            let alone = self.patient || !self.about.keeps(Rule::OwnTime);
            let Some(ms) = look.timeout.filter(|ms| !alone && (0..=LONGEST).contains(ms)) else {
                return Ok(true);
            };
            // Either it returns, or it is seen asleep anew: because its time was over, or because
            // something came that was still on its way.
            let begin = Instant::now();
            let Some(next) = self.wait(true, false)? else {
                let seen = "a wait with a timeout, and then a return";
                return refuse(self.gives_up(), WAITS_ON, seen);
            };
            look = next;
            if begin.elapsed().as_millis() + 5 < ms as u128 {
                continue;
            }
            wakes += 1;
            if wakes > MOST_WAKES || self.tickless && ticks(ms) {
                return Err(looks_every(ms));
            }
            // Once it has been waited for so long in one case, once is enough in the others.
            let before = WAITED.fetch_add(ms, Relaxed);
            if before + ms >= PATIENCE {
                self.patient = true;
                self.sleeps = self.sleeps.saturating_sub(1);
            }
        }
    }

    /// What the scene says of the peer, after the label that says so.
    pub(crate) fn peer_did(&self) -> &str {
        self.scene[1].strip_prefix(told("the peer ")).unwrap_or(&self.scene[1])
    }

    fn gives_up(&self) -> String {
        let name = self.about.name;
        say!("your {name} gives up after a time of its own: nobody set a deadline")
    }

    /// Waits until something comes to the peer from the answer, or its stream ends. `false`: the
    /// answer sleeps on, look after look, or has returned, or works and brings nothing.
    pub fn brings(&self, to: impl AsFd) -> Result<bool, Refusal> {
        let (hangs, begin) = (Instant::now() + HANG, kernel::look(self.pid())?);
        let (mut work, mut quiet) = (begin.clone(), 0);
        while quiet < QUIET && Instant::now() < hangs {
            if readable(&to, 5)? {
                return Ok(true);
            }
            let look = kernel::look(self.pid())?;
            quiet = if look.state == 'R' { 0 } else { quiet + 5 };
            // It may have been in a loop before, and bring this all the same.
            if circles(&mut work, &look) || look.sleeps >= begin.sleeps + MOST_SLEEPS {
                break;
            }
        }
        Ok(readable(&to, 0)?)
    }

    /// What it is doing, once it is not on its way any more: asleep, stopped, ended, or in a loop.
    pub fn at_rest(&self) -> Result<Look, Refusal> {
        let (hangs, begin) = (Instant::now() + HANG, kernel::look(self.pid())?);
        let mut look = begin.clone();
        while look.state == 'R' && look.ticks < begin.ticks + AWAKE_TICKS && Instant::now() < hangs
        {
            let _ = readable(&self.control, 1)?;
            look = kernel::look(self.pid())?;
        }
        Ok(look)
    }

    /// Where the answer stands, for a message.
    pub fn stands(&mut self) -> Result<String, Refusal> {
        let look = self.at_rest()?;
        if look.state == 'R' {
            return Ok("it runs".into());
        }
        if look.answer_waits() {
            return Ok(say!("it is blocked in {}", look.place()));
        }
        let said = self.unchecked::<Value>()?;
        Ok(say!("it has returned {}", said.shown()))
    }

    /// Sends SIGUSR1, whose handler does nothing and interrupts a call that sleeps.
    pub fn interrupt(&self) {
        let _ = kill(Pid::from_raw(self.pid()), Signal::SIGUSR1);
    }

    /// So many times, each while it sleeps anew; says how often it did.
    pub fn interrupts(&mut self, times: usize) -> Result<usize, Refusal> {
        let mut came = 0;
        while came < times && self.until_blocked()? {
            self.interrupt();
            came += 1;
        }
        Ok(came)
    }

    /// Waits until nothing changes any more: it sleeps, and has not woken for fifty looks. `false`:
    /// it has returned, or it does not come to rest.
    pub fn settles(&self) -> Result<bool, Refusal> {
        Ok(self.rests(AWAKE_TICKS, AWAKE_SLEEPS, || true)?.is_some())
    }

    /// Waits until this is so and it sleeps on, for fifty looks; or has returned, or hangs.
    pub fn until_so(&mut self, is_so: impl Fn() -> bool) -> Verdict {
        self.sleeps = self.rests(SPIN, MOST_SLEEPS, is_so)?.unwrap_or(self.sleeps);
        Ok(())
    }

    /// It sleeps on for fifty looks, while this is so; says which of its sleeps that is. Nothing
    /// where it returns, or works so much before, or wakes so often while it is so. That is counted
    /// in its own time and its own sleeps: a busy machine is slow to show them.
    fn rests(
        &self,
        ticks: u64,
        sleeps: u64,
        is_so: impl Fn() -> bool,
    ) -> Result<Option<u64>, Refusal> {
        let (hangs, begin) = (Instant::now() + HANG, kernel::look(self.pid())?);
        let (mut last, mut since) = (begin.sleeps, begin.sleeps);
        let (mut same, mut still) = (0, 0);
        while same < 50 {
            let (look, so) = (kernel::look(self.pid())?, is_so());
            since = if so { since } else { look.sleeps };
            let awake = look.ticks >= begin.ticks + ticks || look.sleeps >= since + sleeps;
            if awake || still >= QUIET_POLL || readable(&self.control, 1)? || Instant::now() > hangs
            {
                return Ok(None);
            }
            still = if look.answer_waits() && look.sleeps == last { still + 1 } else { 0 };
            same = if so { still.min(same + 1) } else { 0 };
            last = look.sleeps;
        }
        Ok(Some(last))
    }

    /// Does something while the process is stopped: it sees all of it at once.
    pub fn while_stopped(&self, act: impl FnOnce() -> Verdict) -> Verdict {
        let pid = Pid::from_raw(self.pid());
        let _ = kill(pid, Signal::SIGSTOP);
        let hangs = Instant::now() + HANG;
        while !matches!(kernel::look(self.pid())?.state, 'T' | 'Z') && Instant::now() < hangs {
            thread::yield_now();
        }
        let done = act();
        let _ = kill(pid, Signal::SIGCONT);
        done
    }

    /// The same of one that sleeps now, with a time after which it would wake for nothing.
    pub fn no_tick(&mut self, look: &Look) -> Verdict {
        if look.polls_for_a_time() && look.timeout.is_some_and(ticks) {
            self.until_blocked()?;
        }
        Ok(())
    }

    /// Refuses an answer that sleeps on, in whatever call, before it returns: nothing is to be waited
    /// for.
    pub fn never_sleeps(&mut self) -> Verdict {
        self.wait(false, true).map(drop)
    }

    /// Waits for the answer to return, and refuses it where the process is not as it was.
    pub fn said(&mut self) -> Result<Said, Refusal> {
        self.said_more()
    }

    /// The same, with what else the exercise looks at.
    pub fn said_more<X: DeserializeOwned>(&mut self) -> Result<Said<X>, Refusal> {
        let said = self.unchecked()?;
        self.left_as_it_was(&said.after)?;
        Ok(said)
    }

    /// What it said, however it left the process.
    pub fn unchecked<X: DeserializeOwned>(&mut self) -> Result<Said<X>, Refusal> {
        self.wait(false, false)?;
        let name = self.about.name;
        let (said, kept, bytes) = match self.arrived.take() {
            Some((Event::Said(said, kept), bytes)) => (said, kept, bytes),
            Some((Event::NotStarted, _)) => {
                let refusal = Refusal::new("nothing has been written yet");
                return Err(Refusal { not_started: true, ..refusal });
            }
            Some((Event::Panicked { message, place }, _)) => {
                let panicked = say!("your {name} panicked at {place}: {message}");
                return Err(Refusal::new(panicked).peer(self.peer_did()));
            }
            None => return Err(self.ended()),
        };
        if kept > KEPT && self.about.keeps(Rule::Memory) {
            let mistake =
                say!("your {name} keeps memory that nobody can free: it grows with every call");
            let expected = "no memory after the call, but for what it returned";
            return refuse(mistake, expected, say!("{kept} bytes"));
        }
        let said: Said<X> = serde_json::from_str(said.get()).map_err(io::Error::from)?;
        if said.after.calls.too_long > 0 {
            let mistake = "an address was said to be longer than it is: what lies after it may \
                           be read, too";
            let seen = say!("{} bytes", said.after.calls.too_long);
            return refuse(mistake, "16 bytes for IPv4, 28 for IPv6", seen);
        }
        Ok(Said { bytes, ..said })
    }

    /// [`ask`](Child::ask), then [`said`](Child::said).
    pub fn call(
        &mut self,
        ask: impl Serialize,
        bytes: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<Said, Refusal> {
        self.ask(ask, bytes, fds)?;
        self.said()
    }

    /// The same, however it leaves the process, and with what else the exercise looks at.
    pub fn call_unchecked<X: DeserializeOwned>(
        &mut self,
        ask: impl Serialize,
        fds: Vec<OwnedFd>,
    ) -> Result<Said<X>, Refusal> {
        self.ask(ask, &[], fds)?;
        self.unchecked()
    }

    /// The same of a function that makes a descriptor: what it closes has to be open.
    pub fn makes<X: DeserializeOwned>(
        &mut self,
        ask: impl Serialize,
        fds: Vec<OwnedFd>,
    ) -> Result<Said<X>, Refusal> {
        let said = self.call_unchecked::<X>(ask, fds)?;
        if said.after.calls.closed_nothing > 0 {
            let mistake = "close was called for a number under which nothing was open";
            return refuse(mistake, "one close for each socket that cannot be used", "EBADF");
        }
        Ok(said)
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Refuses an answer that leaves the process otherwise than it was, whatever it returned.
    pub fn left_as_it_was(&self, after: &After) -> Verdict {
        let (name, calls) = (self.about.name, &after.calls);
        let keeps = |rule| self.about.keeps(rule);
        let processes = children("self").len() + children(&self.pid().to_string()).len();
        let fd = after.closed.first().map_or(-1, |fd| *fd);
        let open = say!("fd {fd} open after the call");
        let mut touched = calls.touched.iter().map(String::as_str);
        let touched = touched.find(|&what| what != FLAGS || keeps(Rule::NonBlocking)).unwrap_or("");
        let signal = calls
            .actions
            .first()
            .map_or("", |signal| Signal::try_from(*signal).map_or("a signal", Signal::as_str));
        let (mistake, expected, seen): (String, &str, String) = first! {
            after.outside => (
                "recv was told of more room than there is: after n bytes, len - n are left".into(),
                "nothing written outside the buffer",
                "bytes after its end have changed".into()
            ),
            fd >= 0 => (
                say!("your {name} closed fd {fd}, which was only lent to it: its owner closes it"),
                &open,
                say!("closed")
            ),
            !after.opened.is_empty() => (
                say!("your {name} leaks a descriptor: what it opens it has to close"),
                "no new descriptor after the call",
                after.opened.join(", ")
            ),
            !after.changed.is_empty() => (
                say!("your {name} changed a setting of the socket and left it so for all who use it"),
                "the settings as they were",
                after.changed.join(", ")
            ),
            !touched.is_empty() => (
                say!("it changes {touched} while it runs: all who use the socket get that, too"),
                "settings that stay as they are, all the time",
                touched.into()
            ),
            after.process.first().is_some_and(|first| first.starts_with(THREADS)) => (
                say!("your {name} has left a thread behind: it goes on with what was lent"),
                "the process as it was",
                after.process[0].clone()
            ),
            !after.process.is_empty() => (
                say!("your {name} changed something for the whole process: that is for main to decide"),
                "the process as it was",
                after.process.join(", ")
            ),
            processes > 1 => (
                say!("your {name} has started a process that is still there after the return"),
                "no process but its own",
                say!("{} more", processes - 1)
            ),
            !signal.is_empty() => (
                say!("it changes what {signal} does while it runs, in every thread: for one send there \
                      is MSG_NOSIGNAL"),
                "actions of signals that stay as they are, all the time",
                "another one".into()
            ),
            calls.masks > 0 => (
                "it blocks signals while it runs: other code waits for them".into(),
                "the same set of blocked signals, all the time",
                "another one".into()
            ),
            calls.holds_back() => (
                HELD.into(),
                "nothing held back",
                "bytes held back".into()
            ),
            calls.timeouts > 0 && keeps(Rule::OwnTime) => (
                self.gives_up(),
                WAITS_ON,
                "SO_RCVTIMEO or SO_SNDTIMEO, set on a socket".into()
            ),
        };
        judge(mistake, expected, seen)
    }

    /// Waits for an event of the child; with `for_block`, also for its next sleep, which it gives. With
    /// `at_once` any long sleep hangs.
    fn wait(&mut self, for_block: bool, at_once: bool) -> Result<Option<Look>, Refusal> {
        let hangs = Instant::now() + HANG;
        let (mut last, mut quiet, mut looks): (Option<Look>, u32, u32) = (None, 0, 0);
        let mut work: Option<Look> = None;
        if self.arrived.is_some() {
            return Ok(None);
        }
        loop {
            let tick = if for_block { 1 } else { 5 };
            if readable(&self.control, tick)? {
                let Some((event, bytes, _)) = wire::receive(&self.control)? else {
                    return Err(self.ended());
                };
                self.arrived = Some((event, bytes));
                return Ok(None);
            }
            let look = kernel::look(self.pid())?;
            let outside = !look.answering || look.call.is_none(); // before, between, after
            if for_block && look.answer_waits() && look.sleeps > self.sleeps {
                self.sleeps = look.sleeps;
                return Ok(Some(look));
            }
            quiet = if last.as_ref() == Some(&look) { quiet + u32::from(tick) } else { 0 };
            // A wait that it comes back to, for a handshake may be, or one for nothing.
            let again = !for_block && self.about.keeps(Rule::OwnTime) && look.polls_for_a_time();
            looks += u32::from(tick) * u32::from(again);
            let for_nothing = look.waits_for_the_peer() || at_once && look.blocked();
            let stuck = (for_nothing || look.stopped()) && quiet >= QUIET
                || look.polls_for_ever() && quiet >= QUIET_POLL
                || looks >= QUIET_POLL;
            // It may have worked long before, and come to an end all the same.
            let spins = circles(work.get_or_insert_with(|| look.clone()), &look);
            if stuck && !outside || spins || Instant::now() >= hangs {
                return Err(self.hangs(&look));
            }
            last = Some(look);
        }
    }

    fn hangs(&self, look: &Look) -> Refusal {
        let name = self.about.name;
        let [progress, _, mistake] = &self.scene;
        let space = if progress.is_empty() { "" } else { " " };
        let what = if look.blocked() {
            say!("your {name} is blocked in {}{space}{progress}", look.place())
        } else if look.stopped() {
            return Refusal::new(say!("the process was stopped in your {name}: a signal did that"))
                .but("a process that runs", "stopped, as by SIGSTOP");
        } else {
            say!("your {name} runs in circles and does not return{space}{progress}")
        };
        if mistake.is_empty() {
            return Refusal::new(what);
        }
        Refusal::new(mistake.clone()).but("a return", what)
    }

    /// The child has ended before it could say anything.
    fn ended(&mut self) -> Refusal {
        let status = match self.process.wait() {
            Ok(status) => status,
            Err(e) => return e.into(),
        };
        let name = self.about.name;
        let mut refusal = match status.signal().and_then(|s| Signal::try_from(s).ok()) {
            Some(Signal::SIGPIPE) => Refusal::new(say!(
                "SIGPIPE killed the process in your {name}: the peer was gone; send says EPIPE \
                 instead with MSG_NOSIGNAL, and write has no such flag"
            )),
            Some(signal @ (Signal::SIGSEGV | Signal::SIGBUS)) => Refusal::new(say!(
                "{signal} killed the process in your {name}: a pointer or a length is wrong"
            )),
            Some(Signal::SIGABRT) => {
                Refusal::new(say!("your {name} made the process abort: the lines above say why"))
            }
            Some(signal) => Refusal::new(say!("{signal} killed the process in your {name}")),
            None if status.code() == Some(TOO_MUCH) => Refusal::new(say!(
                "your {name} takes more than {} MiB of memory: somebody else decides how much it \
                 needs",
                alloc::LIMIT >> 20
            )),
            None if status.code() == Some(NO_FILTER) => Refusal {
                skipped: true,
                ..Refusal::new(say!("the kernel takes no filter for this process: seccomp(2)"))
            },
            None if status.code() == Some(NAPPED) => Refusal::new(say!(
                "your {name} sleeps: a sleep brings no byte sooner, and the time is lost"
            ))
            .but("no sleep", "a call that only lets time pass"),
            None => Refusal::new(say!(
                "your {name} ended the whole process with exit code {}: it has to return",
                status.code().unwrap_or(-1)
            )),
        };
        if status.code() == Some(NAPPED) && !self.nap.is_empty() {
            refusal.mistake += &format!("; {}", told(self.nap));
        }
        refusal.peer(self.peer_did())
    }
}

/// Whether a wait of so many milliseconds would be seen to end: not where it is a hastened one.
fn ticks(ms: i32) -> bool {
    (1..PATIENCE).contains(&ms) && ms != MOMENT
}

/// It wakes after so many milliseconds, again and again, where nothing has come.
pub fn looks_every(ms: i32) -> Refusal {
    Refusal::new(say!(
        "it looks every {ms} ms: without a timeout poll wakes when there is something"
    ))
    .but("one sleep, however long", say!("sleeps of {ms} ms"))
}

/// The grader's own trouble, not the learner's.
impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::new(say!("the grader could not do its part: {error}"))
    }
}
