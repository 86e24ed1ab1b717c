//! Runs each rung against a short load, and prints what it adds and what it costs.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use servers::conformance::expected::{BUILT_IN, Expected};
use servers::load::Load;
use servers::process::Server;
use servers::rungs::{RUNGS, Rung, lines_of_code, not_here};
use servers::{start, usage};

const ROUNDS: usize = 5;

/// Runs each rung of the echo server against a short load, and prints a table.
///
/// The load: one thread, so many clients, 64-byte frames, each sent when the answer to the one
/// before has come. Processor time is that of the server's process, the median of five rounds.
/// Memory is what a client adds that has had an answer and says no more; the kernel's is not in it.
#[derive(Parser)]
struct Options {
    /// Rungs to run, by the beginning of their names (r06, r14); all, if none is named.
    rungs: Vec<String>,
    /// How many clients at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    clients: u64,
    /// How many requests in each of the five rounds.
    #[arg(long, default_value_t = 10_000,
        value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    requests: u64,
}

struct Figures {
    clients: usize,
    cpu: Duration,
    memory: Option<f64>,
}

fn main() -> ExitCode {
    let options: Options = match usage::parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if let Some(none) = options.rungs.iter().find(|name| !RUNGS.iter().any(|r| begins(r, name))) {
        let names: Vec<&str> = RUNGS.iter().map(|rung| rung.name).collect();
        let there = names.join(" ");
        return usage::failed(2, format_args!("no rung begins with {none:?}: there are {there}"));
    }
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => usage::failed(1, format_args!("servers: {e}")),
    }
}

fn begins(rung: &Rung, name: &str) -> bool {
    rung.name.starts_with(name)
}

fn run(options: &Options) -> Result<(), String> {
    let wanted = |rung: &&Rung| {
        options.rungs.is_empty() || options.rungs.iter().any(|name| begins(rung, name))
    };
    let rungs: Vec<&Rung> = RUNGS.iter().filter(wanted).collect();
    start::all_descriptors().map_err(|e| format!("setrlimit: {e}"))?;

    let expected = Expected::parse(BUILT_IN)?;

    let bar = ProgressBar::with_draw_target(Some(rungs.len() as u64), draw_target());
    bar.set_style(ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}").expect("a template"));
    let name = rungs.iter().map(|rung| rung.name.len()).max().unwrap_or(0);
    let adds = rungs.iter().map(|rung| rung.adds().chars().count()).max().unwrap_or(0);
    bar.suspend(|| {
        say(format_args!(
            "{:name$}  {:adds$}  lines  clients  us/request  KiB/client  survives",
            "rung", "adds"
        ))
    })?;
    for rung in rungs {
        bar.set_message(rung.name);
        if let Some(why) = not_here(rung.name) {
            bar.suspend(|| say(format_args!("not run: {why}")))?;
            continue;
        }
        let figures = measure(rung, options).map_err(|e| format!("{}: {e}", rung.name))?;
        let memory = figures.memory.map_or("-".into(), |bytes| format!("{:.2}", bytes / 1024.0));
        let (clients, cpu) = (figures.clients, figures.cpu.as_secs_f64() * 1e6);
        bar.suspend(|| {
            say(format_args!(
                "{:name$}  {:adds$}  {:>5}  {clients:>7}  {cpu:>10.2}  {memory:>10}  {}",
                rung.name,
                rung.adds(),
                rung.lines_of_code(),
                survives(&expected, rung.name),
            ))
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let shared = [include_str!("../conn.rs"), include_str!("../epoll.rs")].map(lines_of_code);
    say(format_args!(
        "r06 to r09 also use src/conn.rs ({} lines) and src/epoll.rs ({}).",
        shared[0], shared[1]
    ))?;
    say("us/request: the server's processor time. KiB/client: without the kernel's.")?;
    say("clients: fewer than asked for where a rung cannot serve more at once.")?;
    say("survives: the checks of `make conformance`, which says why one fails.")
}

fn say(text: impl Display) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|e| format!("stdout: {e}"))
}

/// As the suite finds it: a failure that is not on its list, or does not come, is an error there.
fn survives(expected: &Expected, rung: &str) -> String {
    let failures: Vec<&str> = expected.failures(rung).collect();
    match failures.is_empty() {
        true => "all".into(),
        false => format!("all but {}", failures.join(", ")),
    }
}

fn draw_target() -> ProgressDrawTarget {
    let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    match io::stderr().is_terminal() && !plain {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    }
}

fn measure(rung: &Rung, options: &Options) -> io::Result<Figures> {
    let mut server = Server::start(&program(rung.name)?)?;
    let certificate =
        rung.tls.then(|| server.read_until("-----END CERTIFICATE-----\n")).transpose()?;
    let mut load = Load::new(server.addr, certificate.as_deref())?;
    let clients = rung.at_once.min(options.clients as usize);
    let memory = if rung.single_shot {
        None
    } else {
        load.connect(1)?; // its memory is not counted: it touches what the program needs anyway
        let before = server.memory()?;
        load.connect(clients - 1)?;
        let more = server.memory()?.saturating_sub(before);
        (clients > 1).then(|| more as f64 / (clients - 1) as f64)
    };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = server.cpu_time()?;
        let requests = if rung.single_shot {
            load.single_shots(options.requests.div_ceil(10) as usize)?
        } else {
            load.run(options.requests.div_ceil(clients as u64) as usize)?
        };
        rounds.push(server.cpu_time()?.saturating_sub(before) / requests as u32);
    }
    drop(load); // before the server, so that TIME_WAIT stays with the clients' ports
    rounds.sort();
    match server.stop()? {
        status if status.success() => {}
        status => return Err(io::Error::other(format!("ended with {status}"))),
    }
    Ok(Figures { clients, cpu: rounds[ROUNDS / 2], memory })
}

/// The rungs lie beside this program.
fn program(name: &str) -> io::Result<PathBuf> {
    let path = env::current_exe()?.with_file_name(name);
    match fs::exists(&path)? {
        true => Ok(path),
        false => Err(io::Error::other("it has not been built: `make servers` does both")),
    }
}
