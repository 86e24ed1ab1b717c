//! `lab trace`: two programs, a link between them, everything that happens on one timeline.

mod chosen;
mod household;
mod live;
mod output;
mod plain;

use std::collections::BTreeMap;
use std::io::PipeReader;
use std::net::{IpAddr, SocketAddr};
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
use crate::link::{self, Ends, LATE, Lateness, LinkConfig};
use crate::output as files;
use crate::record::{About, Event, Host, Nanos, Trace, What};
use crate::rules;
use crate::say;
use crate::states::{Full, Samples, States};
use crate::tracer::{self, Limits, Outcome, Program, Watch};
use crate::values::{self, whole};
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

    /// The server's command line; {server} is its address, {port} its port, {{name}} the text
    /// {name}. A shell runs it if it has any character that means something to the shell
    #[arg(long, value_name = "CMD")]
    server: Option<String>,

    /// The client's command line: likewise. It starts when the server listens
    #[arg(long, value_name = "CMD")]
    client: Option<String>,

    /// The port that {port} stands for
    #[arg(long, default_value_t = PORT, value_parser = whole::<u16>(1..=65535))]
    port: u16,

    /// Where to write the trace [default: target/lab/NAME: the example's name, or the client's]
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    out: Option<PathBuf>,

    /// End both programs after so long
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    #[arg(value_parser = whole::<u32>(1..=100_000))]
    time_limit: u32,

    /// Leave the system calls out: the programs run as fast as they would alone
    #[arg(long)]
    no_calls: bool,

    /// Print the lines of source that led to each call below it, if the program has debug information
    #[arg(long, conflicts_with = "no_calls")]
    lines: bool,

    #[command(flatten)]
    choice: live::Choice,

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
        return Err(Usage(format!(
            "{name} is not of two hosts, so nothing goes over the link: `make run EX={name}` runs it"
        ))
        .into());
    }
    // Before the first thread: they all have to leave these signals to the tracer.
    tracer::awaited_signals().thread_block()?;
    let world = World::new(&args.link)?;
    let (server, client) = args.commands(world.server.ip())?;
    let mut about = About {
        title: args.title(),
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

    let (events, live) = live::start(&about, args.lines, args.choice)?;
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
    let mut samples = sources.stop(&world)?;
    let live::Seen { events, left_out, only, others } = live.join().unwrap_or_default();
    let mut outcome = outcome?;
    if interrupted {
        outcome.notes.push("interrupted before TCP had sent its last segments".to_owned());
    }
    if left_out > 0 {
        let which = if args.choice.keep == live::Keep::Ends { "the middle" } else { "the end" };
        about.missing.push(format!("{which}: {left_out} events more than a trace keeps"));
    }
    if let Some(nth) = args.choice.connection {
        about.missing.push(match only {
            Some(_) => format!("all connections but number {nth}: {others} events"),
            None => format!("all connections, {others} events: there is no number {nth}"),
        });
        samples.kept.retain(|sample| {
            let ends = sample.peer.map(|peer| (sample.local.min(peer), sample.local.max(peer)));
            ends.is_none() || ends == only
        });
    }
    if samples.left_out > 0 {
        let changes = samples.left_out;
        about.missing.push(format!("the tracks' end: {changes} changes more than a trace keeps"));
    }

    if outcome.price.calls > 0 {
        about.cost = format!("{}, {}", about.cost, outcome.price);
    }
    about.late = lateness(&world.link.lateness(), &events);
    let births = std::mem::take(&mut outcome.births);
    let mut trace = Trace { about, births, sources: Vec::new(), events, samples: samples.kept };
    trace.read_sources();
    trace.about.broken = rules::check(&trace);
    if traced && left_out == 0 {
        trace.about.missing.extend(rules::uncovered(&trace, &outcome.unseen));
    }
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
    trace.about.notes =
        full.chain(hints::hints(&trace, args.choice.connection.is_none())).collect();
    outcome.notes.extend(trace.about.notes.clone());
    let dir = args.dir();
    files::write_files(&trace, &dir)?;
    report(&trace, &outcome, &dir);
    let good = outcome.server.is_good() && outcome.client.is_some_and(tracer::Ending::is_good);
    let broken = args.strict && !trace.about.broken.is_empty();
    Ok(ExitCode::from(u8::from(!good || outcome.cut_short || broken)))
}

/// The last lines: what has to be known about this trace, and where it is.
fn report(trace: &Trace, outcome: &Outcome, dir: &Path) {
    for note in &outcome.notes {
        say::line(format_args!("note: {note}"));
    }
    say_what_is_wrong("", &trace.about);
    let client = outcome.client.map_or("never started".to_owned(), |client| client.to_string());
    say::line(format_args!("server {}, client {client}", outcome.server));
    say::line(format_args!("tracing cost {}", trace.about.cost));
    if !trace.about.late.is_empty() {
        say::line(format_args!("the link: {}", trace.about.late));
    }
    say::line(format_args!("written to {}: open trace.html", dir.display()));
}

/// What the trace lacks, and which rules of order it breaks.
pub fn say_what_is_wrong(begin: &str, about: &About) {
    for missing in &about.missing {
        say::line(format_args!("{begin}missing: {missing}"));
    }
    for broken in &about.broken {
        say::line(format_args!("{begin}broken: {broken}"));
    }
}

/// How late the link was, in words; empty where it carried nothing.
fn lateness(link: &Lateness, events: &[Event]) -> String {
    if link.packets() == 0 {
        return String::new();
    }
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let is_late = |event: &&Event| matches!(&event.what, What::Segment(one) if one.late > 0);
    let marked = match events.iter().filter(is_late).count() {
        0 => format!("no segment more than {} ms", ms(LATE)),
        late => format!("{late} of the segments more than {} ms: each says so", ms(LATE)),
    };
    let (median, worst) = (ms(link.median()), ms(link.worst()));
    format!("median {median:.2} ms late, worst {worst:.2} ms; {marked}")
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
            (Some(name), ..) => {
                example(name)?;
                return files::check_dir(&self.dir(), None);
            }
            _ if self.link.ipv6 && self.link.mtu() < 1280 => {
                "--ipv6 takes an --mtu of 1280 at least: RFC 8200, section 5"
            }
            _ if empty(&self.server) => "--server is empty: write the command that runs the server",
            _ if empty(&self.client) => "--client is empty: write the command that runs the client",
            (_, Some(server), Some(client)) => {
                for (option, command) in [("--server", server), ("--client", client)] {
                    fill_in(command, "", "")
                        .map_err(|unknown| Usage(format!("{option}: {unknown}")))?;
                }
                return files::check_dir(&self.dir(), None);
            }
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
    fn commands(&self, address: IpAddr) -> Result<(Command, Command)> {
        if let (Some(server), Some(client)) = (&self.server, &self.client) {
            let command = |text: &str| {
                let text = fill_in(text, &address.to_string(), &self.port.to_string());
                let text = text.map_err(Usage)?;
                let words = tracer::words(&text);
                Ok::<_, anyhow::Error>((say::on_one_line(&text), words))
            };
            return Ok((command(server)?, command(client)?));
        }
        let name = self.example.as_deref().unwrap_or_default();
        let path = example(name)?;
        let command = |role: &str| {
            let addr = SocketAddr::new(address, self.port).to_string();
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
        let name = if kept.is_empty() { "trace".to_owned() } else { kept };
        // What stands on the command line has no name of its own.
        let mut words = client.split_whitespace();
        match is_interpreter(first) && words.any(|word| RUNS_ITS_ARGUMENT.contains(&word)) {
            true => format!("{name}-{:08x}", digest(client)),
            false => name,
        }
    }

    /// Where the trace goes.
    fn dir(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| Path::new("target/lab").join(self.title()))
    }
}

/// What an interpreter runs: `client.py` of `python3 -u client.py`.
fn script(command: &str) -> Option<&str> {
    let mut words = command.split_whitespace();
    let interpreter = is_interpreter(words.next()?);
    let mut script = words.take_while(|word| !RUNS_ITS_ARGUMENT.contains(word));
    script.find(|word| interpreter && !word.starts_with('-'))
}

/// The options after which an interpreter is given what to run.
const RUNS_ITS_ARGUMENT: [&str; 2] = ["-c", "-e"];

fn is_interpreter(program: &str) -> bool {
    let name = Path::new(program).file_name().unwrap_or_default().to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let interpreters = ["python", "perl", "ruby", "node", "php", "lua", "sh", "bash", "dash"];
    interpreters.contains(&name)
}

/// A number by which one text is told from another: FNV-1a, 32 bits.
fn digest(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The command with `{server}` and `{port}` filled in. `{{name}}` is `{name}`; what the shell or a
/// program takes for its own (`${name}`, `%{name}`) stays. Another `{name}` is an error, in words.
fn fill_in(command: &str, server: &str, port: &str) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = command;
    while let Some(at) = rest.find('{') {
        let (before, inside) = (&rest[..at], &rest[at + 1..]);
        filled += before;
        let word = |text: &str| {
            let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"_-".contains(c));
            end.filter(|end| *end > 0 && text[*end..].starts_with('}'))
        };
        let doubled = inside.strip_prefix('{').and_then(|inside| {
            let end = word(inside)?;
            let rest = inside[end..].strip_prefix("}}")?;
            Some((&inside[..end], rest))
        });
        let own = before.ends_with(['$', '%']);
        rest = match (doubled, word(inside)) {
            (Some((name, rest)), _) => {
                filled += &format!("{{{name}}}");
                rest
            }
            (None, Some(end)) if !own => {
                filled += match &inside[..end] {
                    "server" => server,
                    "port" => port,
                    name => {
                        return Err(format!(
                            "{{{name}}} is none of {{server}} and {{port}}; \
                             {{{{{name}}}}} stands for the text {{{name}}}"
                        ));
                    }
                };
                &inside[end + 1..]
            }
            _ => {
                filled.push('{');
                inside
            }
        };
    }
    Ok(filled + rest)
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
        world.link.on_taken(move |from, connections| {
            for ends in connections {
                ask_about(taken.as_ref(), from, clock::now(), *ends);
            }
        });
        world.link.on_delivery(move |packet| {
            if let Some((peer, local)) = link::ends(packet.packet) {
                ask_about(hook.as_ref(), packet.to, packet.at, (local, peer));
            }
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

    /// Ends the sources: with them goes the last sender of events. Gives the sockets' figures.
    fn stop(self, world: &World) -> Result<Samples> {
        ask(self.states.as_ref(), Host::Client, clock::now());
        ask(self.states.as_ref(), Host::Server, clock::now());
        world.link.on_taken(|_, _| {});
        world.link.on_delivery(|_| {});
        let samples = self
            .states
            .map(|states| states.lock().unwrap_or_else(PoisonError::into_inner).take_samples());
        let samples = samples.unwrap_or_default();
        if let Some((capture, forward)) = self.capture {
            capture.finish();
            let _ = forward.join();
        }
        self.readers.into_iter().for_each(|reader| drop(reader.join()));
        match world.link.failed() {
            Some(why) => bail!("the link has failed: {why}"),
            None => Ok(samples),
        }
    }
}

/// Asks, where there is somebody to ask; an answer that does not come is seen by the next one.
fn ask(states: Option<&Arc<Mutex<States>>>, host: Host, at: Nanos) {
    if let Some(states) = states {
        let _ = states.lock().unwrap_or_else(PoisonError::into_inner).ask(host, at);
    }
}

/// The same about one connection.
fn ask_about(states: Option<&Arc<Mutex<States>>>, host: Host, at: Nanos, ends: Ends) {
    if let Some(states) = states {
        let mut states = states.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = states.ask_about(host, at, ends);
    }
}

impl Watch for Sources {
    fn changed(&mut self, host: Host, at: Nanos, conn: Option<Ends>) {
        match conn {
            Some(ends) => ask_about(self.states.as_ref(), host, at, ends),
            None => ask(self.states.as_ref(), host, at),
        }
    }

    fn accept_queue(&mut self, host: Host, at: Nanos, queue: (SocketAddr, u32, u32)) {
        if let Some(states) = &self.states {
            states.lock().unwrap_or_else(PoisonError::into_inner).note_queue(host, at, queue);
        }
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
    use clap::FromArgMatches;

    use super::*;

    #[test]
    fn a_script_gives_the_name() {
        assert_eq!(script("python3 -u ./client.py {port}"), Some("./client.py"));
        assert_eq!(script("/usr/bin/python3.12 -m http.server"), Some("http.server"));
        assert_eq!(script("python3 -c 'print(1)'"), None);
        assert_eq!(script("curl -s http://{server}/"), None);
    }

    #[test]
    fn what_has_no_name_of_its_own_gets_one() {
        let title = |client: &str| {
            let words = ["trace", "--server", "x", "--client", client];
            let command = TraceArgs::augment_args(clap::Command::new("trace"));
            let found = command.try_get_matches_from(words).expect("a command line");
            TraceArgs::from_arg_matches(&found).expect("a command line").title()
        };
        let (one, other) = (title("sh -c 'echo 1 | nc'"), title("sh -c 'echo 2 | nc'"));
        assert!(
            one.starts_with("sh-") && other.starts_with("sh-") && one != other,
            "{one} {other}"
        );
        assert_eq!(one, title("sh -c 'echo 1 | nc'"));
        assert_eq!(title("curl -e x {server}"), "curl");
        assert_eq!(title("python3 client.py -c 1"), "client.py");
    }

    #[test]
    fn only_what_is_meant_is_filled_in() {
        let filled = |command: &str| fill_in(command, "S", "7");
        assert_eq!(filled("nc {server} {port}").as_deref(), Ok("nc S 7"));
        for text in ["f() { x; }", "echo {1,2} {a b}", "a ${port} %{port} {}", "{", "x {port"] {
            assert_eq!(filled(text).as_deref(), Ok(text));
        }
        assert_eq!(filled("awk '{{print}}' {port}").as_deref(), Ok("awk '{print}' 7"));
        for name in ["portt", "Port", "host", "print"] {
            let error = filled(&format!("x {{{name}}}")).expect_err("no such name");
            assert!(error.starts_with(&format!("{{{name}}} is none of")), "{error}");
        }
    }
}
