//! The cases of an exercise one by one, and what is printed.

use std::env;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{self, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use say::say;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::about::{ALL, About, CHILD, Rule};
use crate::calls;
use crate::child::Child;
use crate::inside::{self, Given};
use crate::language::{column, told};
use crate::refusal::{Refusal, Verdict};
use crate::said::Said;
use crate::verdict;

/// A file for the [`Report`], if set.
pub const REPORT: &str = "GRADER_REPORT";

/// One thing that the peer does, as a sentence; and what plays the peer.
pub type Case = (&'static str, fn(&mut Child) -> Verdict);

/// The outcome in a form for a table.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The exercise's name.
    pub exercise: String,
    /// Cases that passed.
    pub points: usize,
    /// Cases there are.
    pub of: usize,
    /// Why it went no further. Empty if all passed.
    pub reason: String,
    /// The teacher has left it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

impl Report {
    /// Of a program that has not come to a verdict.
    pub fn none(about: &About, reason: impl Into<String>) -> Report {
        let (exercise, reason) = (about.name.into(), told(&reason.into()).into());
        Report { exercise, of: about.cases, reason, ..Report::default() }
    }

    /// Whether every case passed.
    pub fn passed(&self) -> bool {
        !self.skipped && self.points == self.of
    }
}

/// So long a program may take: every call in it has its own limit, so only a `main` that does not
/// return takes longer.
pub const LONGEST: Duration = Duration::from_secs(900);

/// Runs an exercise's program, and says how it was graded. One that has not ended after `longest` is
/// killed.
pub fn judge(about: &About, program: &Path, longest: Duration) -> io::Result<Report> {
    let file = program.with_extension("report.json");
    let _ = fs::remove_file(&file); // one of an earlier run
    let mut run = Command::new(program);
    run.env(REPORT, &file).stdout(Stdio::null()).stderr(Stdio::null());
    let mut ran = run.spawn()?;
    let pid = Pid::from_raw(ran.id() as i32);
    let (tell, told) = mpsc::channel();
    let waits = thread::spawn(move || tell.send(ran.wait()));
    let status = told.recv_timeout(longest).map(|ended| ended.is_ok_and(|status| status.success()));
    if status.is_err() {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let _ = waits.join();
    let mut report = match fs::read(&file) {
        Ok(json) => serde_json::from_slice(&json)?,
        Err(_) => Report::none(about, "it ended before it was graded: is main as it was?"),
    };
    match status {
        Err(_) => {
            let minutes = longest.as_secs() / 60;
            report.points = 0;
            report.reason = say!("its main had not returned after {minutes} minutes");
        }
        Ok(false) if report.points == report.of => {
            (report.points, report.reason) = (0, say!("it passed, and its exit code is a failure"));
        }
        Ok(_) => {}
    }
    let _ = fs::remove_file(&file);
    Ok(report)
}

/// Prints a line. A verdict that nobody can read is none: the program ends, with a line on standard
/// error, and as a failure.
fn print(text: fmt::Arguments) {
    if let Err(e) = writeln!(anstream::stdout(), "{text}") {
        // Standard error may be as full.
        let _ = writeln!(io::stderr(), "{}", say!("the verdict could not be printed ({e})"));
        process::exit(1);
    }
}

macro_rules! line {
    ($($text:tt)*) => {
        print(format_args!($($text)*))
    };
}

/// Grades an answer: `serve` calls it, in the child; the cases play the peer, in the parent.
///
/// The exit code is success if every case passed.
pub fn grade<A: DeserializeOwned, X: Serialize>(
    name: &str,
    cases: &[(&'static str, impl Fn(&mut Child) -> Verdict)],
    mut serve: impl FnMut(A, Given) -> Said<X>,
) -> ExitCode {
    let about = ALL.iter().find(|about| about.name == name).expect("an exercise's name");
    if env::var_os(CHILD).is_some() {
        if about.keeps(Rule::OwnTime) {
            calls::hasten();
        }
        let serve = |ask, given| {
            let said = serve(ask, given);
            Ok((serde_json::value::to_raw_value(&said)?, said.bytes))
        };
        return match inside::serve(serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    verdict::told(false);
    if let Some(own) = verdict::exercise().filter(|own| *own != about.name) {
        eprintln!("{}", say!("main asks for a verdict on {name}, and this is {own}"));
        return ExitCode::FAILURE;
    }
    let (green, bold) = (AnsiColor::Green.on_default().bold(), Style::new().bold());
    let mut report = Report { exercise: about.name.into(), of: cases.len(), ..Report::default() };
    for (case, run) in cases {
        // Each in a process of its own: one mistake does not spoil the next case.
        let outcome = Child::start(about).map_err(Refusal::from).and_then(|mut child| {
            run(&mut child).map_err(|refusal| match refusal.peer.is_empty() {
                true => refusal.peer(child.peer_did()),
                false => refusal,
            })
        });
        match outcome {
            Ok(()) => {
                line!("  {green}{}{green:#} {}", column(&say!("ok")), told(case));
                report.points += 1;
            }
            Err(refusal) if refusal.skipped => {
                let (skipped, case) = (column(&say!("skipped")), told(case));
                line!("  {green}{skipped}{green:#} {case}: {}", refusal.mistake);
                report.of -= 1;
            }
            Err(refusal) => {
                print_refusal(about, case, &refusal);
                report.reason = refusal.mistake;
                break;
            }
        }
    }
    if let Some(file) = env::var_os(REPORT) {
        let json = serde_json::to_vec(&report).expect("plain data");
        if let Err(e) = fs::write(&file, json) {
            eprintln!("{}: {e}", file.display());
        }
    }
    if report.points < report.of {
        return ExitCode::FAILURE;
    }
    verdict::told(true);
    let all = say!("all {} cases pass", report.of);
    line!("{bold}{name}{bold:#}  {green}{all}{green:#}");
    ExitCode::SUCCESS
}

fn print_refusal(about: &About, case: &str, refusal: &Refusal) {
    let About { name, dir, section, man, example, .. } = about;
    let (bold, dim) = (Style::new().bold(), Style::new().dimmed());
    if refusal.not_started {
        let yellow = AnsiColor::Yellow.on_default().bold();
        let yours = say!("not started yet: this is yours to do");
        line!("{bold}{name}{bold:#}  {yellow}{yours}{yellow:#}");
        let file = say!("exercises/{dir}/{name}.rs, look for TODO");
        line!("  {dim}{}{dim:#} {file}", column(&say!("open")));
    } else {
        let red = AnsiColor::Red.on_default().bold();
        line!("  {red}{}{red:#} {}", column(&say!("refused")), told(case));
        line!("{}", refusal.to_string().trim_end());
    }
    let more = say!("article {section}, man {man}; in the repository: make run EX={example}");
    line!("  {dim}{}{dim:#} {more}", column(&say!("read")));
}
