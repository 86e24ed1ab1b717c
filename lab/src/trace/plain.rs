//! The two programs without a tracer: segments and states alone.

use std::collections::BTreeSet;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use super::household::Household;
use crate::record::Host;
use crate::tracer::{Ending, LINGER, Limits, Outcome, Price, Program, Watch, awaited_signals};

/// How often to look: nobody tells when a server begins to listen.
const TICK: Duration = Duration::from_millis(5);

/// How long a program that was told to end (SIGTERM) may take, before it is killed.
const GRACE: Duration = Duration::from_secs(1);

/// As `tracer::run`, for programs that nobody looks into.
pub fn run(
    server: Program,
    client: Program,
    limits: Limits,
    watch: &mut dyn Watch,
) -> Result<Outcome> {
    let begun = Instant::now();
    let over = |begun: Instant| begun.elapsed() >= limits.total;
    let interrupted = Interrupted::new()?;
    let mut notes = Vec::new();

    let household = Household::new()?;
    let mut server = Running::start(server, &household, watch)?;
    while !watch.listening() && !over(begun) && !interrupted.look() {
        if let Some(ending) = server.ending()?
            && !(ending == Ending::Exited(0) && household.has_orphans())
        {
            bail!("the server {ending} before it listened");
        }
        thread::sleep(TICK);
    }
    if !watch.listening() {
        let ending = server.end()?;
        notes.push("the server never listened, so the client was not started".to_owned());
        return Ok(outcome(ending, None, notes, true));
    }

    let mut client = Running::start(client, &household, watch)?;
    let mut cut_short = false;
    while client.ending()?.is_none() && !cut_short {
        cut_short = over(begun) || interrupted.look();
        thread::sleep(TICK);
    }
    if cut_short {
        notes.push("time limit, or interrupted: both programs were told to end".to_owned());
    }
    let client = client.end()?;

    let ended = Instant::now();
    let mut busy = ended;
    let serves = |server: &mut Running| -> Result<bool> {
        Ok(server.ending()?.is_none() || household.has_orphans())
    };
    while serves(&mut server)? && !cut_short && busy.elapsed() < limits.quiet {
        if watch.connected(Host::Server) && ended.elapsed() < LINGER {
            busy = Instant::now();
        }
        cut_short = over(begun) || interrupted.look();
        thread::sleep(TICK);
    }
    if server.ending()?.is_none() && !cut_short {
        notes.push("the server served on when the client had ended: sent it SIGTERM".to_owned());
    }
    if server.ending()?.is_some() && household.has_orphans() {
        notes.push("the server went on as a daemon, and was killed at the end".to_owned());
    }
    let server = server.end()?;
    Ok(outcome(server, Some(client), notes, cut_short))
}

/// Nobody has looked into the programs.
fn outcome(server: Ending, client: Option<Ending>, notes: Vec<String>, cut_short: bool) -> Outcome {
    let (births, unseen, price) = (Vec::new(), BTreeSet::new(), Price::default());
    Outcome { server, client, notes, cut_short, births, unseen, price }
}

struct Running {
    command: String,
    child: Child,
    ending: Option<Ending>,
}

impl Running {
    fn start(program: Program, home: &Household, watch: &mut dyn Watch) -> Result<Self> {
        let (out, out_end) = std::io::pipe()?;
        let (err, err_end) = std::io::pipe()?;
        let mut command = Command::new(&program.words[0]);
        command.args(&program.words[1..]).stdout(out_end).stderr(err_end);
        if program.host == Host::Server {
            command.stdin(Stdio::null());
        }
        let enter = program.enter;
        // SAFETY:
        // - what runs between fork and exec makes system calls only
        unsafe {
            command.pre_exec(move || {
                enter()?;
                Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
            });
        }
        let child = home.start(&mut command);
        let child = child.with_context(|| format!("cannot run `{}`", program.command))?;
        watch.output(program.host, [out, err]);
        Ok(Self { command: program.command, child, ending: None })
    }

    fn ending(&mut self) -> Result<Option<Ending>> {
        if self.ending.is_none() {
            let status = self.child.try_wait().with_context(|| self.command.clone())?;
            self.ending = status.map(|status| match (status.code(), status.signal()) {
                (Some(code), _) => Ending::Exited(code),
                (None, signal) => Ending::Killed(signal.unwrap_or(0)),
            });
        }
        Ok(self.ending)
    }

    /// Its end; it is told to end if it has not yet.
    fn end(&mut self) -> Result<Ending> {
        if let Some(ending) = self.ending()? {
            return Ok(ending);
        }
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let begun = Instant::now();
        while self.ending()?.is_none() {
            if begun.elapsed() > GRACE {
                self.child.kill()?;
            }
            thread::sleep(TICK);
        }
        Ok(Ending::Told)
    }
}

/// On the way out of an error it may still run.
impl Drop for Running {
    fn drop(&mut self) {
        if self.ending.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Ctrl-C and its kind.
pub struct Interrupted(SignalFd);

impl Interrupted {
    /// The [`awaited_signals`] have to be blocked.
    pub fn new() -> Result<Self> {
        let mut signals = awaited_signals();
        signals.remove(Signal::SIGCHLD);
        Ok(Self(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Whether one has come since the last look.
    pub fn look(&self) -> bool {
        matches!(self.0.read_signal(), Ok(Some(_)))
    }
}
