//! `lab trace`: two programs, a link between them, everything that happens on one timeline.

mod household;
mod live;
mod output;
mod plain;

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::Usage;
use crate::capture::Capture;
use crate::clock;
use crate::hints;
use crate::link::LinkConfig;
use crate::output as files;
use crate::record::{About, Event, Host, Nanos, Trace, What};
use crate::rules;
use crate::states::{Full, States};
use crate::tracer::{self, Limits, Outcome, Program, Watch};
use crate::world::World;

const PORT: u16 = 9000;

/// When the programs have ended, TCP may have to send its last segments again: so long at most.
const SETTLE: Duration = Duration::from_secs(4);

/// How often to look for Ctrl-C meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// The command line.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct TraceArgs {
    /// An example of this project, as `cargo build --examples` has built it: s05_half_close
    #[arg(conflicts_with_all = ["server", "client"])]
    example: Option<String>,

    /// The server's command line; {server} is its address, {port} its port. A shell runs it if it
    /// has any character that means something to the shell
    #[arg(long, value_name = "CMD")]
    server: Option<String>,

    /// The client's command line: likewise. It starts when the server listens
    #[arg(long, value_name = "CMD")]
    client: Option<String>,

    /// The port that {port} stands for
    #[arg(long, default_value_t = PORT, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,

    /// Where to write the trace [default: target/lab/NAME: the example's name, or the client's]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// End both programs after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    time_limit: u32,

    /// Leave the system calls out: the programs run as fast as they would alone
    #[arg(long)]
    no_calls: bool,

    /// Print the lines of source that led to each call below it, if the program has debug information
    #[arg(long, conflicts_with = "no_calls")]
    lines: bool,

    /// Fail if the trace breaks a rule of order: an effect above its cause
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    link: LinkConfig,
}

const EXAMPLES: &str = "\
Examples:
  lab trace s05_half_close
  lab trace s05_half_close --delay 20ms --drop 1
  lab trace s05_half_close --lines
  lab trace --server 'python3 -m http.server {port}' --client 'curl -s http://{server}:{port}/'
  lab trace --server 'socat TCP-LISTEN:{port} EXEC:cat' \\
            --client 'echo hello | socat -t 5 - TCP:{server}:{port}'

Calls on TCP sockets are shown, those of threads and children included. io_uring makes no calls,
and shows as segments and states alone. A setuid program runs without its rights.";

/// Runs the subcommand. Exit code 0: both programs ended well, or when told to. 2: an example that
/// has no peer.
///
/// # Errors
/// [`crate::NotPossible`] without namespaces; a program that cannot be run.
pub fn run(args: &TraceArgs) -> Result<ExitCode> {
    if let Some(name) = &args.example
        && !has_roles(&example(name)?)?
    {
        anstream::eprintln!(
            "lab: {name} has no peer, so nothing goes over a wire: `make run EX={name}` runs it"
        );
        return Ok(ExitCode::from(2));
    }
    // Before the first thread: they all have to leave these signals to the tracer.
    tracer::awaited_signals().thread_block()?;
    let world = World::new(&args.link)?;
    let (server, client) = args.commands(world.server.address)?;
    let title = args.title();
    let mut about = About {
        title: title.clone(),
        server: server.0.clone(),
        client: client.0.clone(),
        link: args.link.to_string(),
        ..About::default()
    };
    let traced = match (args.no_calls, world.client.run(tracer::cost)) {
        (true, _) => {
            about.missing.push("system calls: left out (--no-calls)".to_owned());
            about.cost = "nothing: no call was traced".to_owned();
            false
        }
        (false, Ok(cost)) => {
            about.cost = cost.to_string();
            true
        }
        (false, Err(error)) => {
            about.missing.push(format!("system calls: {error:#}; `lab doctor` says more"));
            about.cost = "nothing: no call was traced".to_owned();
            false
        }
    };

    let (events, live) = live::start(&about, args.lines)?;
    let program = |host, (command, words): (String, Vec<String>)| -> Result<Program> {
        let netns = world.node(host).netns().try_clone_to_owned()?;
        let enter =
            Box::new(move || Ok(nix::sched::setns(&netns, nix::sched::CloneFlags::CLONE_NEWNET)?));
        Ok(Program { host, command, words, enter })
    };
    let mut sources = Sources::start(&world, events.clone(), &mut about)?;
    let server = program(Host::Server, server)?;
    let client = program(Host::Client, client)?;
    let round_trip = 2 * args.link.delay;
    let limits = Limits {
        total: Duration::from_secs(args.time_limit.into()),
        quiet: round_trip + Duration::from_millis(200),
    };
    let outcome = match traced {
        true => tracer::run(server, client, limits, &mut sources, events),
        false => {
            drop(events); // with the last sender of them, the list of events ends
            plain::run(server, client, limits, &mut sources)
        }
    };
    let quiet = round_trip + Duration::from_millis(50);
    let interrupted = outcome.is_ok() && sources.settle(quiet)?;
    // From here on Ctrl-C just ends it all.
    tracer::awaited_signals().thread_unblock()?;
    let full = sources.full();
    sources.stop(&world)?;
    let live::Seen { events, left_out } = live.join().unwrap_or_default();
    let mut outcome = outcome?;
    if interrupted {
        outcome.notes.push("interrupted before TCP had sent its last segments".to_owned());
    }
    if left_out > 0 {
        about.missing.push(format!("the end: {left_out} events more than a trace keeps"));
    }

    if outcome.price.calls > 0 {
        about.cost = format!("{}, {}", about.cost, outcome.price);
    }
    let births = std::mem::take(&mut outcome.births);
    let mut trace = Trace { about, births, sources: Vec::new(), events };
    trace.read_sources();
    trace.about.broken = rules::check(&trace);
    if left_out == 0 {
        let idle = idle_rules(&args.link, &trace).into_iter();
        outcome.notes.extend(idle.map(|rule| format!("rule {rule} met no segment")));
    }
    let start = trace.events.first().map_or(0, |event| event.at);
    let full = full.into_iter().map(|((_, local), full)| {
        let Full { at, waiting, backlog } = full;
        let at = at.saturating_sub(start) as f64 / 1e6;
        format!(
            "the accept queue of {local} was full at {at:.3} ms: {waiting} waited in \
             it, for a backlog of {backlog}; a SYN that comes then is not answered, and is sent again"
        )
    });
    trace.about.notes = full.chain(hints::hints(&trace)).collect();
    outcome.notes.extend(trace.about.notes.clone());
    let dir = args.out.clone().unwrap_or_else(|| Path::new("target/lab").join(&title));
    files::write_files(&trace, &dir)?;
    report(&trace, &outcome, &dir);
    let good = outcome.server.is_good() && outcome.client.is_some_and(tracer::Ending::is_good);
    let broken = args.strict && !trace.about.broken.is_empty();
    Ok(ExitCode::from(u8::from(!good || outcome.cut_short || broken)))
}

/// The last lines: what has to be known about this trace, and where it is.
fn report(trace: &Trace, outcome: &Outcome, dir: &Path) {
    for note in &outcome.notes {
        anstream::println!("note: {note}");
    }
    for missing in &trace.about.missing {
        anstream::println!("missing: {missing}");
    }
    for broken in &trace.about.broken {
        anstream::println!("broken: {broken}");
    }
    let client = outcome.client.map_or("never started".to_owned(), |client| client.to_string());
    anstream::println!("server {}, client {client}", outcome.server);
    anstream::println!("tracing cost {}", trace.about.cost);
    anstream::println!("written to {}: open trace.html", dir.display());
}

/// The rules that no segment of the trace was the n-th for. Without segments nobody knows.
fn idle_rules(link: &LinkConfig, trace: &Trace) -> Vec<String> {
    let segments = trace.events.iter().filter_map(|event| match &event.what {
        What::Segment(segment) => Some(segment),
        _ => None,
    });
    let fates: Vec<&str> = segments.map(|segment| segment.fate.as_str()).collect();
    let met = |rule: &String| fates.iter().any(|fate| fate.contains(&format!("(rule: {rule})")));
    let rules = if fates.is_empty() { Vec::new() } else { link.rules() };
    rules.into_iter().filter(|rule| !met(rule)).collect()
}

type Command = (String, Vec<String>);

impl TraceArgs {
    /// Whether this can be run at all.
    ///
    /// # Errors
    /// [`crate::Usage`], with what to write instead.
    pub fn check(&self) -> Result<()> {
        let empty =
            |command: &Option<String>| command.as_ref().is_some_and(|c| c.trim().is_empty());
        let wrong = match (&self.example, &self.server, &self.client) {
            (Some(name), ..) => return example(name).map(drop),
            _ if empty(&self.server) => "--server is empty: write the command that runs the server",
            _ if empty(&self.client) => "--client is empty: write the command that runs the client",
            (_, Some(_), Some(_)) => return Ok(()),
            (_, Some(_), None) => "--server needs --client 'CMD', too: a trace takes both programs",
            (_, None, Some(_)) => "--client needs --server 'CMD', too: a trace takes both programs",
            (_, None, None) => {
                "what to trace? An example: lab trace s05_half_close; or two programs: \
                 lab trace --server 'CMD' --client 'CMD'"
            }
        };
        Err(Usage(wrong.to_owned()).into())
    }

    /// The server's and the client's command lines, and their words.
    fn commands(&self, address: Ipv4Addr) -> Result<(Command, Command)> {
        if let (Some(server), Some(client)) = (&self.server, &self.client) {
            let command = |text: &str| {
                let text = text.replace("{server}", &address.to_string());
                let text = text.replace("{port}", &self.port.to_string());
                let words = tracer::words(&text);
                (text, words)
            };
            return Ok((command(server), command(client)));
        }
        let name = self.example.as_deref().unwrap_or_default();
        let path = example(name)?;
        let command = |role: &str| {
            let addr = format!("{address}:{}", self.port);
            let words = [&*path.to_string_lossy(), "--role", role, "--addr", &addr];
            let text = format!("{name} --role {role} --addr {addr}");
            (text, words.map(str::to_owned).to_vec())
        };
        Ok((command("server"), command("client")))
    }

    /// What the trace is called.
    fn title(&self) -> String {
        if let Some(example) = &self.example {
            return example.clone();
        }
        let client = self.client.as_deref().unwrap_or_default();
        let first = script(client).or(client.split_whitespace().next()).unwrap_or("trace");
        let file = Path::new(first).file_name().unwrap_or_default().to_string_lossy();
        let kept: String =
            file.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        if kept.is_empty() { "trace".to_owned() } else { kept }
    }
}

/// What an interpreter runs: `client.py` of `python3 -u client.py`.
fn script(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    let program = Path::new(words.next()?).file_name()?.to_str()?;
    let program = program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let interpreters = ["python", "perl", "ruby", "node", "php", "lua", "sh", "bash"];
    let script = words.take_while(|word| !["-c", "-e"].contains(word));
    interpreters.contains(&program).then_some(())?;
    script.into_iter().find(|word| !word.starts_with('-'))
}

/// Where cargo has put an example: beside this program.
fn example(name: &str) -> Result<PathBuf> {
    if name.contains('/') {
        let text = format!(
            "{name}: an example's name, not a path; a program of yours: --server and --client"
        );
        return Err(Usage(text).into());
    }
    let program = std::env::current_exe()?;
    let target = program.parent().unwrap_or(Path::new("target/debug"));
    let dirs = [target.join("examples"), PathBuf::from("target/debug/examples")];
    let path = dirs.iter().map(|dir| dir.join(name)).find(|path| path.is_file());
    let path = path.ok_or_else(|| {
        Usage(format!(
            "no example {name} in {}: `make run` lists them, `cargo build --examples` builds them",
            dirs[0].display()
        ))
    })?;
    Ok(path.canonicalize()?)
}

/// Whether an example has two roles, each a program of its own: its help says so.
fn has_roles(example: &Path) -> Result<bool> {
    let help = std::process::Command::new(example).arg("--help").stdin(Stdio::null()).output();
    let help = help.with_context(|| format!("cannot run {}", example.display()))?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--role"))
}

/// What watches beside the tracer.
struct Sources {
    states: Option<Arc<Mutex<States>>>,
    capture: Option<(Capture, JoinHandle<()>)>,
    /// A word for each packet delivered.
    deliveries: Receiver<()>,
    readers: Vec<JoinHandle<()>>,
}

impl Sources {
    /// Starts all there can be; what cannot is said in `about`.
    fn start(world: &World, events: Sender<Event>, about: &mut About) -> Result<Self> {
        let states = match States::open(world, events.clone()) {
            Ok(states) => Some(Arc::new(Mutex::new(states))),
            Err(error) => {
                about.missing.push(format!("TCP states: no sock_diag in this kernel: {error}"));
                None
            }
        };
        let capture = match Capture::start(world) {
            Ok(mut capture) => {
                let live = capture.live();
                let forward = thread::spawn(move || {
                    live.into_iter().flatten().for_each(|event| drop(events.send(event)));
                });
                Some((capture, forward))
            }
            Err(error) => {
                about.missing.push(format!("segments: {error:#}"));
                None
            }
        };
        let (delivered, deliveries) = mpsc::channel();
        let hook = states.clone();
        // The sender was in its state before it sent: a call that has not returned yet (connect,
        // close) may have brought it there.
        let taken = states.clone();
        world.link.on_taken(move |from| ask(taken.as_ref(), from, clock::now()));
        world.link.on_delivery(move |packet| {
            ask(hook.as_ref(), packet.to, packet.at);
            let _ = delivered.send(());
        });
        Ok(Self { states, capture, deliveries, readers: Vec::new() })
    }

    /// Waits until TCP has said its last word: nothing under way, no connection half closed.
    /// `true`: the user would not wait so long.
    fn settle(&self, quiet: Duration) -> Result<bool> {
        let interrupted = plain::Interrupted::new()?;
        let until = Instant::now() + SETTLE;
        let mut last = Instant::now();
        while Instant::now() < until {
            if interrupted.look() {
                return Ok(true);
            }
            match self.deliveries.recv_timeout(LOOK) {
                Ok(()) => last = Instant::now(),
                Err(RecvTimeoutError::Timeout) if last.elapsed() < quiet => {}
                Err(RecvTimeoutError::Timeout) if self.is_connected() => {}
                Err(_) => break,
            }
        }
        Ok(false)
    }

    /// The accept queues that were full.
    fn full(&self) -> BTreeMap<(Host, SocketAddr), Full> {
        let Some(states) = &self.states else { return BTreeMap::new() };
        states.lock().unwrap_or_else(PoisonError::into_inner).full().clone()
    }

    fn is_connected(&self) -> bool {
        let Some(states) = &self.states else { return false };
        let states = states.lock().unwrap_or_else(PoisonError::into_inner);
        states.connected(Host::Server) || states.connected(Host::Client)
    }

    /// Ends the sources: with them goes the last sender of events.
    fn stop(self, world: &World) -> Result<()> {
        ask(self.states.as_ref(), Host::Client, clock::now());
        ask(self.states.as_ref(), Host::Server, clock::now());
        world.link.on_taken(|_| {});
        world.link.on_delivery(|_| {});
        if let Some((capture, forward)) = self.capture {
            capture.finish();
            let _ = forward.join();
        }
        self.readers.into_iter().for_each(|reader| drop(reader.join()));
        match world.link.failed() {
            Some(why) => bail!("the link has failed: {why}"),
            None => Ok(()),
        }
    }
}

/// Asks, where there is somebody to ask; an answer that does not come is seen by the next one.
fn ask(states: Option<&Arc<Mutex<States>>>, host: Host, at: Nanos) {
    if let Some(states) = states {
        let _ = states.lock().unwrap_or_else(PoisonError::into_inner).ask(host, at);
    }
}

impl Watch for Sources {
    fn changed(&mut self, host: Host, at: Nanos) {
        ask(self.states.as_ref(), host, at);
    }

    fn connected(&mut self, host: Host) -> bool {
        ask(self.states.as_ref(), host, clock::now());
        self.states.as_ref().is_some_and(|states| {
            states.lock().unwrap_or_else(PoisonError::into_inner).connected(host)
        })
    }

    fn listening(&mut self) -> bool {
        ask(self.states.as_ref(), Host::Server, clock::now());
        self.states.as_ref().is_some_and(|states| {
            states.lock().unwrap_or_else(PoisonError::into_inner).listening(Host::Server)
        })
    }

    fn output(&mut self, host: Host, pipes: [PipeReader; 2]) {
        self.readers.extend(pipes.map(|pipe| thread::spawn(move || output::pass_on(host, pipe))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_gives_the_name() {
        assert_eq!(script("python3 -u ./client.py {port}"), Some("./client.py"));
        assert_eq!(script("/usr/bin/python3.12 -m http.server"), Some("http.server"));
        assert_eq!(script("python3 -c 'print(1)'"), None);
        assert_eq!(script("curl -s http://{server}/"), None);
    }
}
