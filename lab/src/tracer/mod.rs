//! Runs the two programs and sees each of their system calls on TCP sockets: ptrace(2), with a
//! filter (seccomp(2)) that stops them at these calls alone.
//!
//! One thread starts both programs and waits for both, so calls of the two come in one order.
//! Threads and children are followed. A descriptor is looked up at each call (`sockets`); calls
//! on files, pipes, UDP and Unix sockets pass unseen. So does io_uring, which makes no calls.
//! Both programs and the tracer share one processor, which is the fastest way to trace them.
//! A program with more rights than its caller (setuid) runs without them: PR_SET_NO_NEW_PRIVS.

mod cost;
mod decode;
mod image;
mod kernel;
mod memory;
mod names;
mod own;
mod sockets;
mod spawn;
mod stack;
mod table;
mod tail;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io::{self, PipeReader};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
pub use cost::{Cost, cost};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getcpu, sched_setaffinity};
use nix::sys::ptrace;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;
use seccompiler::BpfProgram;

use crate::clock::now;
use crate::record::{Birth, Call, Event, Host, Nanos, Process, What};
use crate::say;
use decode::Text;
use kernel::{Stop, Until};
use sockets::{Ends, Sockets};
use spawn::Started;
pub use stack::Price;
use stack::Stacks;
use table::{Arg, Spec, Subject};

/// How long a program that was told to end (SIGTERM) may take, before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// What a shell exits with whose command was ended by SIGTERM: 128 + 15.
const TERMINATED: i32 = 143;

/// How long the server's connections may stay open after the client has ended.
pub const LINGER: Duration = Duration::from_secs(3);

/// A program to run.
pub struct Program {
    /// Where.
    pub host: Host,
    /// Its command line, for the reader.
    pub command: String,
    /// The same in words: what execvp(3) takes.
    pub words: Vec<String>,
    /// Moves the calling process to its host. Called between fork and exec: it may make system
    /// calls, and nothing else.
    pub enter: Box<dyn Fn() -> io::Result<()> + Send + Sync>,
}

/// The words of a command line: what stands between blanks. If it holds any character that means
/// something to the shell, the shell runs it: `sh -c COMMAND`.
pub fn words(command: &str) -> Vec<String> {
    if command.contains(|c: char| "|&;<>()$`\\\"'*?[]#~={}!\n".contains(c)) {
        return vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()];
    }
    command.split_whitespace().map(str::to_owned).collect()
}

/// When a run is over.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long both programs together may take.
    pub total: Duration,
    /// The server is told to end when the client has ended and nothing has happened for so long.
    pub quiet: Duration,
}

/// What else watches the run.
pub trait Watch {
    /// A call on this host, or a process's end, may have changed a TCP state by then: that of this
    /// connection, or (`None`) of any.
    fn changed(&mut self, host: Host, at: Nanos, conn: Option<Ends>);
    /// What waited in a listener's accept queue when a program was about to take from it, and the
    /// backlog.
    fn accept_queue(&mut self, host: Host, at: Nanos, queue: (SocketAddr, u32, u32));
    /// Whether this host has a connection that is not over yet.
    fn connected(&mut self, host: Host) -> bool;
    /// Whether the server listens. Only asked where the tracer cannot see it.
    fn listening(&mut self) -> bool;
    /// A program's standard output and error, for a thread to read.
    fn output(&mut self, host: Host, pipes: [PipeReader; 2]);
}

/// How a program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit status.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
    /// It was told to end, and did.
    Told,
}

impl Ending {
    /// Whether nothing went wrong.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Exited(0) | Self::Told)
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "exited with {status}"),
            Self::Killed(signal) => write!(f, "was killed by {}", kernel::signal_name(*signal)),
            Self::Told => write!(f, "ended when told to"),
        }
    }
}

/// How a run has ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The server's end.
    pub server: Ending,
    /// The client's end; `None`: it was never started.
    pub client: Option<Ending>,
    /// What had to be done about it, in words, a line each.
    pub notes: Vec<String>,
    /// Whether the user, or the time limit, ended it.
    pub cut_short: bool,
    /// The threads that the programs made.
    pub births: Vec<Birth>,
    /// Calls that move bytes and are not drawn, and who makes them.
    pub unseen: BTreeSet<(Host, &'static str)>,
    /// What the calls' lines of source have cost.
    pub price: Price,
}

/// The signals that the tracer waits for: to be blocked in every thread of the process.
pub fn awaited_signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect()
}

/// Runs the server, then the client once the server listens, until both have ended.
///
/// # Errors
///
/// ptrace or the filter is not allowed; a program cannot be run; the server ended before it
/// listened. The [`awaited_signals`] have to be blocked.
pub fn run(
    server: Program,
    client: Program,
    limits: Limits,
    watch: &mut dyn Watch,
    events: Sender<Event>,
) -> Result<Outcome> {
    let mut run = Run::new([server, client], limits, watch, events)?;
    let outcome = run.whole();
    run.clear_away();
    outcome
}

struct Run<'a> {
    limits: Limits,
    watch: &'a mut dyn Watch,
    events: Sender<Event>,
    filter: BpfProgram,
    signals: SignalFd,
    threads: HashMap<i32, Thread>,
    births: Vec<Birth>,
    /// The processes that have a call to show. Of the others only the two first ones are told:
    /// a program may well be a script that starts fifty helpers.
    seen: HashSet<i32>,
    /// Calls that move bytes and are not drawn.
    unseen: BTreeSet<(Host, &'static str)>,
    sockets: Sockets,
    /// `None`: nobody asks for lines.
    stacks: Option<Stacks>,
    /// The server's, the client's.
    programs: [Main; 2],
    begun: Instant,
    /// When a tracee last did something other than wait for nothing.
    last: Instant,
    client_ended: Option<Instant>,
    /// Since when everything has been told to end.
    ending: Option<Instant>,
    listening: bool,
    /// The server's first process has ended, and another serves.
    is_daemon: bool,
    notes: Vec<String>,
    cut_short: bool,
}

/// One of the two programs: its first process.
struct Main {
    program: Program,
    /// Forked, and not yet become its program by execve(2).
    started: Option<Started>,
    pid: i32,
    told: bool,
    ended: Option<Ending>,
}

impl Main {
    fn new(program: Program) -> Self {
        Self { program, started: None, pid: 0, told: false, ended: None }
    }
}

/// A traced thread.
struct Thread {
    host: Host,
    pid: i32,
    tid: i32,
    /// The call that it is in.
    inside: Option<Open>,
    /// Calls that a signal has interrupted, and of which it is not yet known how they go on. More
    /// than one: a signal in a signal's handler.
    interrupted: Vec<Open>,
    /// It is in rt_sigreturn(2).
    returning: bool,
}

/// A call that has begun.
struct Open {
    at: Nanos,
    spec: &'static Spec,
    raw: [u64; 6],
    /// Where it was made: the instruction and the stack.
    place: (u64, u64),
    text: Text,
    lines: Vec<String>,
    fd: Option<i32>,
    ends: Option<Ends>,
    restarts: u32,
    interrupted_at: Nanos,
}

impl<'a> Run<'a> {
    fn new(
        programs: [Program; 2],
        limits: Limits,
        watch: &'a mut dyn Watch,
        events: Sender<Event>,
    ) -> Result<Self> {
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        stay_on_one_cpu()?;
        Ok(Run {
            limits,
            watch,
            events,
            filter: spawn::filter()?,
            signals: SignalFd::with_flags(&awaited_signals(), flags)?,
            threads: HashMap::new(),
            births: Vec::new(),
            seen: HashSet::new(),
            unseen: BTreeSet::new(),
            sockets: Sockets::default(),
            stacks: Some(Stacks::new()),
            programs: programs.map(Main::new),
            begun: Instant::now(),
            last: Instant::now(),
            client_ended: None,
            ending: None,
            listening: false,
            is_daemon: false,
            notes: Vec::new(),
            cut_short: false,
        })
    }

    fn whole(&mut self) -> Result<Outcome> {
        self.start(Host::Server)?;
        loop {
            self.drain()?;
            if self.listening && self.main(Host::Client).pid == 0 && self.ending.is_none() {
                self.start(Host::Client)?;
            }
            if self.threads.is_empty() {
                break;
            }
            let wait = self.decide()?;
            self.sleep(wait)?;
        }
        let server = self.main(Host::Server).ended;
        let Some(server) = server else { bail!("the server was lost from sight") };
        let client = self.main(Host::Client).ended;
        if client.is_none() && !self.cut_short {
            bail!("the server {server} before it listened");
        }
        let mut notes = std::mem::take(&mut self.notes);
        if self.is_daemon {
            notes.push("the server went on as a daemon: its first process exited with 0".into());
        }
        let births = std::mem::take(&mut self.births);
        let unseen = std::mem::take(&mut self.unseen);
        let price = self.stacks.as_ref().map(|stacks| stacks.price).unwrap_or_default();
        Ok(Outcome { server, client, notes, cut_short: self.cut_short, births, unseen, price })
    }

    fn main(&mut self, host: Host) -> &mut Main {
        &mut self.programs[host as usize]
    }

    fn start(&mut self, host: Host) -> Result<()> {
        let program = &self.programs[host as usize].program;
        let started = spawn::spawn(program, &self.filter)?;
        let pid = started.pid;
        let main = self.main(host);
        main.pid = pid;
        main.started = Some(started);
        self.threads.insert(pid, Thread::new(host, pid, pid));
        Ok(())
    }

    /// Handles all that the tracees have done by now.
    fn drain(&mut self) -> Result<()> {
        loop {
            match kernel::next() {
                Ok(Some((tid, stop))) => self.handle(tid, stop)?,
                Ok(None) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                    self.threads.clear(); // none is left to wait for
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sleeps until a tracee or the user does something, or `wait` is over.
    fn sleep(&mut self, wait: Duration) -> Result<()> {
        let millis = wait.as_nanos().div_ceil(1_000_000).min(60_000) as u16;
        let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::from(millis)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let signal = self.signals.read_signal()?;
        if signal.is_some_and(|signal| signal.ssi_signo != Signal::SIGCHLD as u32) {
            let again = std::mem::replace(&mut self.cut_short, true);
            self.end_all(if again { None } else { Some("interrupted") });
        }
        Ok(())
    }

    /// Ends what has to end; gives how long to wait for the next decision. The first that fits:
    ///
    /// | case | what is done |
    /// | --- | --- |
    /// | all were told to end | after GRACE they are killed |
    /// | the time limit is over | all are told to end |
    /// | the server ended, the client never started | its children are told to end |
    /// | the client runs | nothing |
    /// | both have ended | children of theirs are told to end |
    /// | something happened just now | nothing |
    /// | the server has open connections | nothing, LINGER long |
    /// | otherwise | the server is told to end |
    fn decide(&mut self) -> Result<Duration> {
        if let Some(since) = self.ending {
            if since.elapsed() >= GRACE {
                self.signal_all(Signal::SIGKILL);
                return Ok(GRACE);
            }
            return Ok(GRACE.saturating_sub(since.elapsed()));
        }
        let left = self.limits.total.saturating_sub(self.begun.elapsed());
        if left.is_zero() {
            self.cut_short = true;
            let where_ = self.where_it_hangs();
            let seconds = self.limits.total.as_secs_f64();
            self.end_all(Some(&format!("time limit of {seconds} s: {where_}")));
            return Ok(GRACE);
        }
        let server_ended = self.main(Host::Server).ended.is_some();
        let Some(since) = self.client_ended else {
            if server_ended && self.main(Host::Client).pid == 0 {
                self.end_all(None); // it left children behind that never listened
            }
            return Ok(left);
        };
        if server_ended {
            self.end_all(None); // children of the two that outlived them
            return Ok(GRACE);
        }
        let quiet = self.limits.quiet.saturating_sub(self.last.elapsed());
        if !quiet.is_zero() {
            return Ok(quiet.min(left));
        }
        if since.elapsed() < LINGER && self.watch.connected(Host::Server) {
            return Ok(self.limits.quiet.min(left));
        }
        self.end_all(Some("the server served on when the client had ended: sent it SIGTERM"));
        Ok(GRACE)
    }

    /// Tells every process to end.
    fn end_all(&mut self, why: Option<&str>) {
        if self.ending.is_some() {
            return self.signal_all(Signal::SIGKILL);
        }
        self.ending = Some(Instant::now());
        self.notes.extend(why.map(str::to_owned));
        for main in &mut self.programs {
            main.told = main.pid != 0 && main.ended.is_none();
        }
        self.signal_all(Signal::SIGTERM);
    }

    /// Kills what an error has left, and waits until all of it is gone. Who stands at a stop, the
    /// last one before its end included, has to be let go, or it stands there for good.
    fn clear_away(&mut self) {
        self.signal_all(Signal::SIGKILL);
        loop {
            match kernel::next() {
                Ok(Some((_, Stop::Exited(_) | Stop::Killed(_)))) => {}
                Ok(Some((tid, _))) => {
                    let _ = kill(Pid::from_raw(tid), Signal::SIGKILL); // new, perhaps
                    kernel::resume(tid, Until::NextEntry, 0);
                }
                Ok(None) if self.sleep(GRACE).is_ok() => {}
                Ok(None) | Err(_) => return, // ECHILD: none is left
            }
        }
    }

    fn signal_all(&self, signal: Signal) {
        for (tid, thread) in &self.threads {
            if *tid == thread.pid {
                let _ = kill(Pid::from_raw(*tid), signal); // it may have ended meanwhile
            }
        }
    }

    /// "server: recvfrom on fd 4; client: in no call on a socket"
    fn where_it_hangs(&self) -> String {
        let mut parts = Vec::new();
        for (host, name) in [(Host::Server, "server"), (Host::Client, "client")] {
            let threads = self.threads.values().filter(|thread| thread.host == host);
            let calls = threads.filter_map(|thread| thread.inside.as_ref());
            let calls: Vec<String> = calls
                .map(|open| match open.fd {
                    Some(fd) => format!("blocked in {} on fd {fd}", open.spec.name),
                    None => format!("blocked in {}", open.spec.name),
                })
                .collect();
            let main = &self.programs[host as usize];
            parts.push(match (main.pid, main.ended, calls.is_empty()) {
                (0, _, _) => format!("{name}: not started, for the server never listened"),
                (_, Some(ending), _) => format!("{name} {ending}"),
                (_, _, true) => format!("{name}: in no call on a TCP socket"),
                (_, _, false) => format!("{name}: {}", calls.join(", ")),
            });
        }
        parts.join("; ")
    }

    fn handle(&mut self, tid: i32, stop: Stop) -> Result<()> {
        if !matches!(stop, Stop::Entry | Stop::Exit) {
            self.last = Instant::now();
        }
        self.meet(tid);
        match stop {
            Stop::Entry => {
                let until = self.entry(tid).unwrap_or(Until::NextEntry);
                kernel::resume(tid, until, 0);
            }
            Stop::Exit => {
                self.exit(tid);
                kernel::resume(tid, Until::NextEntry, 0);
            }
            Stop::Exec => {
                self.exec(tid);
                kernel::resume(tid, Until::NextEntry, 0);
            }
            Stop::Child => {
                if let Ok(child) = ptrace::getevent(Pid::from_raw(tid)) {
                    self.child(tid, child as i32);
                }
                kernel::resume(tid, Until::NextEntry, 0);
            }
            Stop::Leaving => {
                // It may close its sockets by ending: the last look before that.
                if let Some(thread) = self.threads.get(&tid)
                    && self.seen.contains(&thread.pid)
                {
                    self.watch.changed(thread.host, now(), None);
                }
                kernel::resume(tid, Until::NextEntry, 0);
            }
            Stop::Begin => kernel::resume(tid, Until::NextEntry, 0),
            Stop::Group => kernel::resume(tid, Until::Continued, 0),
            Stop::Signal(signal) => {
                self.tell(tid, format!("gets {}", kernel::signal_name(signal)));
                kernel::resume(tid, Until::NextEntry, signal);
            }
            Stop::Exited(status) => self.ended(tid, Ending::Exited(status))?,
            Stop::Killed(signal) => self.ended(tid, Ending::Killed(signal))?,
        }
        Ok(())
    }

    /// Makes sure that the thread is known: a child may be heard of before its parent tells.
    fn meet(&mut self, tid: i32) {
        if !self.threads.contains_key(&tid) {
            let [pid, parent] = status(tid, ["Tgid:", "PPid:"]);
            let kin = self.threads.get(&pid).or_else(|| self.threads.get(&parent));
            if let Some(host) = kin.map(|kin| kin.host) {
                self.threads.insert(tid, Thread::new(host, pid, tid));
            }
        }
    }

    fn child(&mut self, parent: i32, child: i32) {
        let Some(host) = self.threads.get(&parent).map(|thread| thread.host) else { return };
        self.births.push(Birth { at: now(), tid: child, by: parent });
        let [pid] = status(child, ["Tgid:"]);
        if pid == 0 {
            return; // it has ended, and been waited for, before its parent's event came
        }
        self.threads.entry(child).or_insert_with(|| Thread::new(host, pid, child));
        if pid == child {
            self.tell(parent, format!("makes process {child}"));
        }
    }

    fn exec(&mut self, tid: i32) {
        self.forget_code(tid);
        // The other threads are gone, and this one has the process's number now.
        self.threads.retain(|other, thread| thread.pid != tid || *other == tid);
        if let Some(thread) = self.threads.get_mut(&tid) {
            *thread = Thread::new(thread.host, tid, tid);
        }
        for main in &mut self.programs {
            if main.pid == tid
                && let Some(started) = main.started.take()
            {
                self.watch.output(main.program.host, started.output);
                let (host, text) = (main.program.host, format!("runs {}", main.program.command));
                let what = What::Process(Process { host, pid: tid, text });
                let _ = self.events.send(Event { at: now(), what });
                return;
            }
        }
        let words = fs::read(format!("/proc/{tid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        self.tell(tid, format!("runs {}", say::on_one_line(words.trim_end())));
    }

    fn ended(&mut self, tid: i32, ending: Ending) -> Result<()> {
        let Some(mut thread) = self.threads.remove(&tid) else { return Ok(()) };
        let unfinished = std::mem::take(&mut thread.interrupted);
        for open in unfinished.into_iter().chain(thread.inside.take()) {
            self.emit(&thread, open, None);
        }
        if tid != thread.pid {
            return Ok(());
        }
        self.sockets.forget(tid);
        self.forget_code(tid);
        let at = now();
        let text = match ending {
            Ending::Killed(signal) => format!("is killed by {}", kernel::signal_name(signal)),
            Ending::Exited(status) => format!("exits with {status}"),
            Ending::Told => unreachable!("made below only"),
        };
        self.watch.changed(thread.host, at, None);
        let is_main = self.main(thread.host).pid == tid;
        if self.seen.remove(&tid) || is_main {
            let what = What::Process(Process { host: thread.host, pid: tid, text });
            let _ = self.events.send(Event { at, what });
        }
        let heir = if is_main { self.heir(thread.host, ending) } else { None };
        let main = self.main(thread.host);
        if let Some(heir) = heir {
            main.pid = heir;
            self.is_daemon = true;
            return Ok(());
        }
        if main.pid == tid {
            let told =
                main.told && matches!(ending, Ending::Killed(_) | Ending::Exited(0 | TERMINATED));
            main.ended = Some(if told { Ending::Told } else { ending });
            if let Some(started) = main.started.take() {
                let command = main.program.command.clone();
                return Err(started.error()).with_context(|| format!("cannot run `{command}`"));
            }
            if thread.host == Host::Client {
                self.client_ended = Some(Instant::now());
            }
        }
        Ok(())
    }

    /// Who goes on where the server's process has ended well: a daemon's child. It listens, may do
    /// so yet, or has a connection.
    fn heir(&mut self, host: Host, ending: Ending) -> Option<i32> {
        let well = host == Host::Server && ending == Ending::Exited(0) && self.ending.is_none();
        if !well || self.programs[host as usize].started.is_some() {
            return None;
        }
        let listens = !self.listening || self.watch.listening();
        let is_process = |tid: &i32| {
            let thread = self.threads.get(tid);
            thread.is_some_and(|thread| thread.host == host && thread.pid == *tid)
        };
        let serves = |pid: &i32| listens || self.seen.contains(pid);
        let mut born = self.births.iter().rev().map(|birth| birth.tid);
        born.find(|pid| is_process(pid) && serves(pid))
    }

    /// The process's code is not what it was.
    fn forget_code(&mut self, pid: i32) {
        if let Some(stacks) = &mut self.stacks {
            stacks.forget(pid);
        }
    }

    /// A process event of this thread's process, if that has a call to show.
    fn tell(&self, tid: i32, text: String) {
        if let Some(thread) = self.threads.get(&tid)
            && self.seen.contains(&thread.pid)
        {
            let what = What::Process(Process { host: thread.host, pid: thread.pid, text });
            let _ = self.events.send(Event { at: now(), what });
        }
    }

    /// At a call's entry. `None`: it is not one to show.
    fn entry(&mut self, tid: i32) -> Option<Until> {
        let info = ptrace::syscall_info(Pid::from_raw(tid)).ok()?;
        // SAFETY: at a seccomp stop the kernel fills this member; any bits are valid integers.
        let (number, raw) = unsafe { (info.u.seccomp.nr, info.u.seccomp.args) };
        let place = (info.instruction_pointer, info.stack_pointer);
        let spec = table::find(number)?;
        let thread = self.threads.get_mut(&tid)?;

        // The same call at the same place: what a signal has interrupted begins anew.
        let same = |open: &Open| {
            open.place == place
                && (open.spec.number == spec.number || spec.about == Subject::Restart)
        };
        if thread.interrupted.last().is_some_and(same) {
            let mut open = thread.interrupted.pop()?;
            open.restarts += 1;
            thread.inside = Some(open);
            return Some(Until::Exit);
        }
        if spec.about == Subject::Sigreturn {
            thread.returning = true;
            return Some(Until::Exit);
        }
        let (host, pid) = (thread.host, thread.pid);
        if spec.about == Subject::Unseen {
            self.unseen.insert((host, spec.name));
        }
        let (fd, ends) = self.subject(spec, pid, &raw)?;
        let text = Text::at_entry(spec, pid, raw);
        let lines = self.stacks.as_mut().map(|stacks| stacks.lines(pid, tid)).unwrap_or_default();
        // It has stood still so far: what took that long is not its own time.
        let at = now();
        if !matches!(spec.about, Subject::Poll | Subject::Select | Subject::Epoll) {
            self.last = Instant::now();
        }
        // What `accept` and `connect` are about to open is not there yet.
        if spec.changes && (ends.is_some() || !opens(spec)) {
            self.watch.changed(host, at, ends);
        }
        let accepts = spec.name.starts_with("accept");
        if accepts {
            self.look_at_queue(host, pid, fd);
        }
        self.listening |= host == Host::Server && accepts;
        let (restarts, interrupted_at) = (0, 0);
        let open = Open { at, spec, raw, place, text, lines, fd, ends, restarts, interrupted_at };
        self.threads.get_mut(&tid)?.inside = Some(open);
        Some(Until::Exit)
    }

    /// The TCP socket that a call is about (none: it is not there yet), and what that is connected
    /// to. `None`: the call is about no such thing.
    fn subject(
        &mut self,
        spec: &Spec,
        pid: i32,
        raw: &[u64; 6],
    ) -> Option<(Option<i32>, Option<Ends>)> {
        let mut tcp = |fd: i32| self.sockets.tcp(pid, fd).map(|tcp| (Some(fd), tcp.ends));
        let first = raw[0] as i32;
        match spec.about {
            Subject::NewSocket => {
                let stream = raw[1] as i32 & 0xf == libc::SOCK_STREAM;
                (stream && matches!(first, libc::AF_INET | libc::AF_INET6)).then_some((None, None))
            }
            Subject::Sockets(which) => which.iter().find_map(|index| tcp(raw[*index] as i32)),
            Subject::Command => {
                let named = match spec.args {
                    [_, Arg::Command, ..] => names::command(raw[1]),
                    _ => names::request(raw[1]),
                };
                named.and_then(|_| tcp(first))
            }
            Subject::Poll | Subject::Select => {
                Text::polled(spec, pid, raw).into_iter().find_map(tcp)
            }
            Subject::Epoll => self.sockets.watches_tcp(pid, first).then_some((Some(first), None)),
            Subject::Range => self.sockets.first_in(pid, raw[0], raw[1]),
            Subject::Unseen | Subject::Sigreturn | Subject::Restart => None,
        }
    }

    /// At a call's exit.
    fn exit(&mut self, tid: i32) {
        let Ok(info) = ptrace::syscall_info(Pid::from_raw(tid)) else { return };
        // SAFETY: at an exit stop the kernel fills this member; any bits are valid integers.
        let (value, failed) = unsafe { (info.u.exit.sval, info.u.exit.is_error != 0) };
        let Some(mut thread) = self.threads.remove(&tid) else { return };
        if std::mem::take(&mut thread.returning) {
            // The handler is left. Either the call fails now, or it is about to begin anew.
            if value == -i64::from(libc::EINTR)
                && let Some(open) = thread.interrupted.pop()
            {
                let at = open.interrupted_at;
                self.emit(&thread, open, Some((at, value)));
            }
        } else if let Some(mut open) = thread.inside.take() {
            if failed && is_restart(value) {
                open.interrupted_at = now();
                thread.interrupted.push(open);
            } else {
                let at = now();
                let given = (!failed).then_some(value as u64);
                open.ends = self.ends(&thread, &open, given);
                let fruitless = failed && open.spec.name.starts_with("accept");
                if open.spec.changes && !fruitless {
                    self.watch.changed(thread.host, at, open.ends);
                }
                // It has taken one.
                if given.is_some() && open.spec.name.starts_with("accept") {
                    self.look_at_queue(thread.host, thread.pid, open.fd);
                }
                self.emit(&thread, open, Some((at, value)));
            }
        }
        self.threads.insert(tid, thread);
    }

    /// What waits in the accept queue of this listener.
    fn look_at_queue(&mut self, host: Host, pid: i32, fd: Option<i32>) {
        if let Some(queue) = fd.and_then(|fd| self.sockets.accept_queue(pid, fd)) {
            self.watch.accept_queue(host, now(), queue);
        }
    }

    /// What the socket of this call is connected to, now that it has returned (`None`: failed): it
    /// has both ends only once `connect` or `accept` is over.
    fn ends(&mut self, thread: &Thread, open: &Open, value: Option<u64>) -> Option<Ends> {
        let accepts = open.spec.name.starts_with("accept");
        let fresh = if accepts { value.map(|v| v as i32) } else { open.fd };
        if open.ends.is_some() || open.spec.name.starts_with("close") {
            return open.ends;
        }
        self.sockets.tcp(thread.pid, fresh?)?.ends
    }

    /// A call is over, or (`None`) never will be.
    fn emit(&mut self, thread: &Thread, mut open: Open, over: Option<(Nanos, i64)>) {
        let failed = over.is_none_or(|(_, value)| (-4095..0).contains(&value));
        let value = over.map(|(_, value)| value as u64).filter(|_| !failed);
        if waited_for_nothing(&open, value) {
            return;
        }
        open.text.at_exit(value);
        let result = over.map(|(_, value)| match failed {
            true => decode::failure(value.unsigned_abs() as i32),
            false => open.text.result(value as u64),
        });
        open.ends = self.ends(thread, &open, value);
        self.listening |=
            thread.host == Host::Server && open.spec.name == "listen" && value == Some(0);
        let call = Call {
            host: thread.host,
            pid: thread.pid,
            tid: thread.tid,
            name: open.spec.name.to_owned(),
            args: open.text.joined(),
            fd: open.fd,
            conn: open.ends,
            returned: over.map(|(at, _)| at),
            cut_off: over.is_none().then(now),
            result,
            data: open.text.data,
            restarts: open.restarts,
            count: 1,
            lines: open.lines,
        };
        if !call.found_nothing() {
            self.last = Instant::now();
        }
        self.seen.insert(thread.pid);
        let _ = self.events.send(Event { at: open.at, what: What::Call(call) });
    }
}

/// Keeps this thread, and what it starts, on the processor on which it is now. A call passes from
/// the program to the tracer and back twice; between two processors that takes three times as long.
fn stay_on_one_cpu() -> Result<()> {
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &one)?)
}

impl Thread {
    fn new(host: Host, pid: i32, tid: i32) -> Self {
        Self { host, pid, tid, inside: None, interrupted: Vec::new(), returning: false }
    }
}

/// ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK: only a tracer sees these.
fn is_restart(value: i64) -> bool {
    matches!(value, -512 | -513 | -514 | -516)
}

/// Whether a call gives a connection.
fn opens(spec: &Spec) -> bool {
    spec.name.starts_with("accept") || spec.name == "connect"
}

/// A look at descriptors that found nothing and was not to wait: not worth a line.
fn waited_for_nothing(open: &Open, value: Option<u64>) -> bool {
    let timeout = match open.spec.args {
        [Arg::Pollfds, _, Arg::Int, ..] => open.raw[2],
        [Arg::Fd, Arg::EpollOut, _, Arg::Int, ..] => open.raw[3],
        _ => return false,
    };
    value == Some(0) && timeout as i32 == 0
}

/// Numbers out of /proc/TID/status; 0 where there is none.
fn status<const N: usize>(tid: i32, keys: [&str; N]) -> [i32; N] {
    let text = fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    keys.map(|key| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    })
}
