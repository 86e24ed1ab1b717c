//! Grades every exercise as it stands: a table, and in `target` the same for others to read:
//! `grade.json`, `grade.xml` (JUnit), `grade-github.json` (GitHub Classroom's autograding).
//!
//! Each is built by itself: one that does not compile is reported so, and the others are graded.
//! `solutions` grades the solutions instead; `--skip tlv,lines` leaves these out. The exit code is 0
//! if every exercise passed that was not left out, 1 if not, 2 where nothing was graded.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, fs, io};

use anstyle::{AnsiColor, Style};
use grader::about::About;
use grader::grading::{LONGEST, Report, judge};
use grader::{course, language};
use say::say;

/// What the command line asks for.
#[derive(Default)]
struct Asked {
    solutions: bool,
    skip: Vec<String>,
}

const USAGE: &str = "grade [solutions] [--skip EXERCISE,EXERCISE]";

fn main() -> io::Result<ExitCode> {
    // This program stands in target/debug, where cargo puts the others.
    let debug = env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
    let [json, xml, github] =
        ["grade.json", "grade.xml", "grade-github.json"].map(|name| debug.with_file_name(name));
    for old in [&json, &xml, &github] {
        let _ = fs::remove_file(old);
    }
    let asked = match asked() {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("{why}");
            return Ok(ExitCode::from(2));
        }
    };
    let mut reports = Vec::new();
    let mut printed = Ok(());
    for about in grader::ALL {
        let report = if asked.skip.iter().any(|name| name == about.name) {
            Report { skipped: true, of: 0, ..Report::none(about, "left out") }
        } else {
            let bin = format!("{}{}", about.name, if asked.solutions { "_sol" } else { "" });
            grade(about, &bin, &debug)?
        };
        printed = printed.and_then(|()| print(&report));
        reports.push(report);
    }
    fs::write(&json, serde_json::to_string_pretty(&reports)?)?;
    fs::write(xml, course::junit(&reports))?;
    fs::write(github, serde_json::to_string(&course::autograding(&reports))?)?;
    let done = reports.iter().filter(|one| one.passed()).count();
    let of = reports.iter().filter(|one| !one.skipped).count();
    let file = json.display();
    let all = say!("{done} of {of} exercises pass; {file} has it all");
    if let Err(e) = printed.and_then(|()| writeln!(anstream::stdout(), "{all}")) {
        // Standard error may be as full.
        let _ = writeln!(io::stderr(), "{}", say!("the table could not be printed ({e}): {all}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(if done == of { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn asked() -> Result<Asked, String> {
    let mut asked = Asked::default();
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "solutions" => asked.solutions = true,
            "--skip" => {
                let names = args.next().ok_or(USAGE)?;
                let names = names.split([',', ' ']).filter(|name| !name.is_empty());
                asked.skip.extend(names.map(String::from));
            }
            "--only" => {
                let name = args.next().ok_or(USAGE)?;
                return Err(say!("this grades all of them; one alone: make exercise EX={name}"));
            }
            _ => return Err(USAGE.into()),
        }
    }
    let is_known = |name: &&String| grader::ALL.iter().any(|about| about.name == **name);
    let is_left = |about: &About| !asked.skip.iter().any(|name| name == about.name);
    match asked.skip.iter().find(|name| !is_known(name)) {
        Some(name) => Err(say!("there is no exercise {name}")),
        None if !grader::ALL.iter().any(is_left) => {
            Err(say!("every exercise is left out: there is nothing to grade"))
        }
        None => Ok(asked),
    }
}

fn grade(about: &About, bin: &str, debug: &Path) -> io::Result<Report> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "-q", "-p", "classroom", "--bin", bin]).stderr(Stdio::null());
    if !build.status()?.success() {
        let why = || say!("it does not compile: make exercise EX={} says why", about.name);
        let classroom = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        return Ok(Report::none(about, about.missing(classroom).unwrap_or_else(why)));
    }
    judge(about, &debug.join(bin), LONGEST)
}

fn print(report: &Report) -> io::Result<()> {
    let Report { exercise, points, of, reason, skipped } = report;
    let color = match report.passed() {
        _ if *skipped => Style::new().dimmed(),
        true => AnsiColor::Green.on_default(),
        false => AnsiColor::Red.on_default(),
    };
    let count = if *skipped { "-".into() } else { say!("{points:>2} of {of:<2}") };
    writeln!(anstream::stdout(), "{exercise:<16} {color}{count:<8}{color:#}  {reason}")
}
