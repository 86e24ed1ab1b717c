//! Runs all tests, four programs or more at a time, and says what came of it: for `make test`.

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, thread};

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

const USAGE: &str = "\
usage: run-tests [--skipped WHAT ...]

Builds the tests of all packages, and runs them; then the examples in the documentation; then every
example and every experiment, by `claims --check`. `make test` builds what else it takes. All that
was printed goes to target/test.log. WHAT was skipped before is counted, too.

Ends with the five slowest tests, with what was skipped and what failed, and with the line
`N passed, N failed, N skipped`. Exit code 0 if nothing failed, 1 if something did, 2 for the
command line.";

/// What cargo is told to test. It builds the programs anyway, and none of them has tests in it.
const TESTS: &[&str] = &["test", "--workspace", "--exclude", "classroom", "--lib", "--test", "*"];
const DOCTESTS: &[&str] = &["test", "--workspace", "--exclude", "classroom", "--doc"];

/// What takes longest is begun first, so that nothing is waited for alone at the end.
const FIRST: &[&str] =
    &["proof proof", "servers conformance", "servers rungs", "tcp-stream-io faults"];

/// So many of the slowest are told.
const SLOWEST: usize = 5;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run(&[]),
        ["--skipped", ..] => run(&args[1..]),
        ["-h" | "--help"] => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        ["--note", list, program, ..] => note(Path::new(list), Path::new(program)).map(|()| true),
        _ => {
            eprintln!("run-tests: it takes --skipped WHAT, or nothing; see --help");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("run-tests: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is well.
fn run(skipped: &[String]) -> Result<bool, Box<dyn Error>> {
    let here = env::current_exe()?;
    let log = here.with_file_name("../test.log");
    let mut log = File::create(&log).map_err(|e| format!("{}: {e}", log.display()))?;
    let mut total = Total { skipped: skipped.to_vec(), ..Total::default() };
    let mut programs = programs(&here)?;
    programs.sort_by_key(|job| !FIRST.contains(&&*job.name)); // stable
    let timed = programs.first().is_some_and(Job::tells_time);
    let jobs: VecDeque<Job> = programs.into_iter().map(|job| job.timed(timed)).collect();
    // Most of them wait most of the time: for a clock, a peer, a signal.
    let at_once = thread::available_parallelism().map_or(2, NonZero::get) + 2;
    total.add_all(jobs, at_once, &mut log)?;

    say("the examples in the documentation");
    let doctests = Job { name: "documentation".into(), command: cargo(DOCTESTS) };
    let mut claims = Command::new(here.with_file_name("claims"));
    claims.arg("--check");
    let claims = Job { name: "claims --check".into(), command: claims };
    total.add_all([doctests].into(), 1, &mut log)?;
    say("every example and every experiment");
    total.add_all([claims].into(), 1, &mut log)?;
    total.print(timed);
    Ok(total.failed.is_empty())
}

fn cargo(args: &[&str]) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args);
    cargo
}

/// The programs that cargo has built of the tests. Cargo itself tells them, and where each of them
/// is to run: it is given this program for a runner, which notes them and runs nothing.
fn programs(here: &Path) -> Result<Vec<Job>, Box<dyn Error>> {
    let list = here.with_file_name("tests.list");
    File::create(&list)?;
    let quoted = |part: &str| format!("\"{}\"", part.replace('\\', "\\\\").replace('"', "\\\""));
    let parts = [here, Path::new("--note"), &list].map(Path::to_string_lossy);
    let runner = parts.map(|part| quoted(&part)).join(", "); // as TOML has it
    let mut cargo = cargo(TESTS);
    cargo.arg("--config").arg(format!("target.\"cfg(all())\".runner = [{runner}]"));
    say("the tests are being built");
    let output = cargo.arg("-q").stdout(Stdio::null()).status()?;
    if !output.success() {
        return Err("the tests cannot be built".into());
    }
    let text = fs::read_to_string(&list)?;
    let test = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [package, dir, libraries, program] => {
            let mut job = Job::test(package, Path::new(dir), Path::new(program));
            job.command.env("LD_LIBRARY_PATH", libraries); // a macro's crate is linked with some
            Some(job)
        }
        _ => None,
    };
    Ok(text.lines().filter_map(test).collect())
}

/// As cargo's runner: appends the package, where the program is to run, where it finds libraries,
/// and the program.
fn note(list: &Path, program: &Path) -> Result<(), Box<dyn Error>> {
    let mut list = File::options().append(true).open(list)?;
    let (package, dir) = (env::var("CARGO_PKG_NAME")?, env::current_dir()?);
    let program = dir.join(program);
    let libraries = env::var("LD_LIBRARY_PATH").unwrap_or_default();
    Ok(writeln!(list, "{package}\t{}\t{libraries}\t{}", dir.display(), program.display())?)
}

/// A program that runs tests, and how it is called in what is printed.
struct Job {
    name: String,
    command: Command,
}

impl Job {
    fn test(package: &str, dir: &Path, program: &Path) -> Job {
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        let test = file.rsplit_once('-').map_or(&*file, |(name, _hash)| name);
        let mut command = Command::new(program);
        command.current_dir(dir);
        Job { name: format!("{package} {test}"), command }
    }

    /// Whether the harness tells how long each test took. Stable Rust does so only where it is told
    /// that it is not stable.
    fn tells_time(&self) -> bool {
        let mut list = Command::new(self.command.get_program());
        list.args(["-Zunstable-options", "--report-time", "--list"]).env("RUSTC_BOOTSTRAP", "1");
        list.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
    }

    fn timed(mut self, timed: bool) -> Job {
        if timed {
            self.command.args(["-Zunstable-options", "--report-time"]).env("RUSTC_BOOTSTRAP", "1");
        }
        self
    }

    fn run(mut self) -> io::Result<Run> {
        let start = Instant::now();
        let command = self.command.stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        // Apart, or a word on one would stand in the middle of a line on the other.
        let (out, err) = thread::scope(|scope| {
            let err = scope.spawn(|| lines(err));
            (lines(out), err.join().unwrap_or_default())
        });
        let status = child.wait()?;
        Ok(Run { name: self.name, status, out, err, time: start.elapsed() })
    }
}

fn lines(pipe: Option<impl Read>) -> Vec<String> {
    let lines = pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n'));
    let text = |line: Vec<u8>| {
        let line = String::from_utf8_lossy(&line).into_owned();
        // Told at once: it may be one that never ends.
        if line.ends_with(" has been running for over 60 seconds") {
            say(&line);
        }
        line
    };
    lines.map_while(Result::ok).map(text).collect()
}

/// A program that has ended.
struct Run {
    name: String,
    status: ExitStatus,
    out: Vec<String>,
    err: Vec<String>,
    time: Duration,
}

impl Run {
    /// Every test and how it ended: `test NAME ... ok <1.234s>`, or without the time.
    fn tests(&self) -> impl Iterator<Item = (&str, &str, Option<f64>)> {
        self.out.iter().filter_map(|line| {
            let (name, result) = line.strip_prefix("test ")?.split_once(" ... ")?;
            let (word, time) = result.split_once(' ').unwrap_or((result, ""));
            let time = time.strip_prefix('<').and_then(|time| time.strip_suffix("s>"));
            Some((name, word, time.and_then(|time| time.parse().ok())))
        })
    }

    /// `test result: ok. 12 passed; 0 failed; …`, once for each crate. What a test has printed may
    /// stand in the middle of its own line.
    fn passed(&self) -> usize {
        let results = self.out.iter().filter_map(|line| line.strip_prefix("test result: "));
        let counts = results.filter_map(|result| {
            let (before, _) = result.split_once(" passed")?;
            before.rsplit(' ').next()?.parse::<usize>().ok()
        });
        counts.sum()
    }

    fn skipped(&self) -> impl Iterator<Item = &str> {
        self.out.iter().chain(&self.err).filter_map(|line| line.strip_prefix("skipped: "))
    }
}

/// What has come of all of them.
#[derive(Default)]
struct Total {
    passed: usize,
    /// Of the tests that passed, those that said that they could not run here.
    not_run: usize,
    skipped: Vec<String>,
    failed: Vec<String>,
    times: Vec<(f64, String)>,
}

impl Total {
    /// Runs them, so many at a time, and says of each how it ended.
    fn add_all(
        &mut self,
        jobs: VecDeque<Job>,
        at_once: usize,
        log: &mut File,
    ) -> Result<(), Box<dyn Error>> {
        let width = jobs.iter().map(|job| job.name.len()).max().unwrap_or(0);
        let (jobs, all) = (Mutex::new(jobs), Mutex::new((self, log)));
        let work = || -> io::Result<()> {
            loop {
                let Some(job) = jobs.lock().expect("nobody panics").pop_front() else {
                    return Ok(());
                };
                progress(&job.name);
                let run = job.run()?;
                let (total, log) = &mut *all.lock().expect("nobody panics");
                for line in run.out.iter().chain(&run.err) {
                    writeln!(log, "{line}")?;
                }
                total.add(run, width);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("nobody panics"))
        })?;
        Ok(())
    }

    fn add(&mut self, run: Run, width: usize) {
        let Run { name, time, .. } = &run;
        let (ok, time) = (run.passed(), time.as_secs_f64());
        let skipped: Vec<String> = run.skipped().map(str::to_owned).collect();
        self.passed += ok;
        self.not_run += ok.min(skipped.len());
        self.skipped.extend(skipped);
        self.times.extend(
            run.tests().filter_map(|(test, _, time)| Some((time?, format!("{name}  {test}")))),
        );
        let failed = run.tests().filter(|(_, word, _)| *word == "FAILED");
        let failed: Vec<String> = failed.map(|(test, ..)| format!("{name}  {test}")).collect();
        let none = ok == 0 && run.out.iter().any(|line| line == "running 0 tests");
        if none && run.status.success() {
            return; // a library whose tests are elsewhere
        }
        if run.status.success() {
            let tests = if ok > 0 { format!("{ok:>3} tests") } else { String::new() };
            say(format_args!("{name:<width$}  {GOOD}ok{GOOD:#} {tests:<9}  {time:>5.1} s"));
            return;
        }
        say(format_args!("{name:<width$}  {BAD}FAILED{BAD:#}: {}", run.status));
        // The harness repeats what the tests that failed have printed; of others the end tells most.
        let end = run.out.len().saturating_sub(20);
        let from = run.out.iter().position(|line| line == "failures:").unwrap_or(end);
        run.out[from..].iter().chain(&run.err).for_each(say);
        if failed.is_empty() {
            self.failed.push(format!("{name}  {}", run.status));
        }
        self.failed.extend(failed);
    }

    fn print(&mut self, timed: bool) {
        self.times.sort_by(|a, b| b.0.total_cmp(&a.0));
        if timed {
            say("\nslowest");
        } else {
            say("\nthis harness does not tell how long a test takes: no list of the slowest");
        }
        for (time, test) in self.times.iter().take(SLOWEST) {
            say(format_args!("{time:>6.1} s  {test}"));
        }
        for why in &self.skipped {
            say(format_args!("{DIM}skipped{DIM:#}   {why}"));
        }
        for test in &self.failed {
            say(format_args!("{BAD}FAILED{BAD:#}    {test}"));
        }
        let (passed, failed) = (self.passed - self.not_run, self.failed.len());
        say(format_args!("\n{passed} passed, {failed} failed, {} skipped", self.skipped.len()));
    }
}

/// On a terminal: what has been begun.
fn progress(name: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r{name:<40}\r");
    }
}

fn say(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}
