//! Grades every exercise as it stands: a table, and `target/grade.json`.
//!
//! Each is built by itself: one that does not compile is reported so, and the others are graded.
//! With `solutions` as its argument it grades the solutions instead.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs, io};

use anstyle::AnsiColor;
use grader::about::About;
use grader::grading::{Report, judge};
use grader::language;
use say::say;

fn main() -> io::Result<ExitCode> {
    let solutions = env::args().nth(1).is_some_and(|arg| arg == "solutions");
    // This program stands in target/debug, where cargo puts the others.
    let debug = env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
    let mut reports = Vec::new();
    for about in grader::ALL {
        let bin = format!("{}{}", about.name, if solutions { "_sol" } else { "" });
        let report = grade(about, &bin, &debug)?;
        print(&report);
        reports.push(report);
    }
    let file = debug.with_file_name("grade.json");
    fs::write(&file, serde_json::to_string_pretty(&reports)?)?;
    let done = reports.iter().filter(|r| r.points == r.of).count();
    let file = file.display();
    let done_of = say!("{done} of {} exercises pass; {file} has it all", reports.len());
    anstream::println!("{done_of}");
    Ok(if done == reports.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn grade(about: &About, bin: &str, debug: &Path) -> io::Result<Report> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "-q", "-p", "classroom", "--bin", bin]).output()?;
    if !built.status.success() {
        let reason = say!("it does not compile: make exercise EX={} says why", about.name);
        return Ok(Report::none(about, reason));
    }
    judge(about, &debug.join(bin))
}

fn print(report: &Report) {
    let Report { exercise, points, of, reason } = report;
    let color = if points == of { AnsiColor::Green } else { AnsiColor::Red }.on_default();
    let count = say!("{points:>2} of {of:<2}");
    anstream::println!("{exercise:<16} {color}{count}{color:#}  {reason}");
}
