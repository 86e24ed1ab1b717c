//! Runs every example in order, with a line each and a summary; or those that are named.
//!
//! The examples must have been built: `make run-examples` does both.

use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs, process};

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

const USAGE: &str = "\
usage: run-examples [NAME ...]

Runs every example in order, or those whose names begin with NAME (s05, s05_half).
Ends with exit code 0 if all expectations were met, 1 if not, 2 for the command line.";

fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if wanted.iter().any(|arg| arg == "-h" || arg == "--help") {
        say(USAGE);
        return ExitCode::SUCCESS;
    }
    match run(&wanted) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("run-examples: {e}");
            ExitCode::from(2)
        }
    }
}

/// Returns how many failed.
fn run(wanted: &[String]) -> Result<usize, Box<dyn Error>> {
    let built = env::current_exe()?.with_file_name("examples");
    let names = names(wanted)?;
    let report = built.join(format!("run-examples-{}.report", process::id()));
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let (mut checks, mut failed) = (0, Vec::new());
    let start = Instant::now();
    for (i, name) in names.iter().enumerate() {
        let label = format!("{:>3}/{}  {name:width$}", i + 1, names.len());
        let started = Instant::now();
        let output = Command::new(built.join(name)).arg("--report").arg(&report).output();
        let output =
            output.map_err(|e| format!("{name}: {e}; build it with `make run-examples`"))?;
        let (done, verdicts) = read_report(&report).unwrap_or_default();
        checks += done;
        let time = started.elapsed().as_secs_f64();
        if output.status.success() {
            let claims = verdicts.join(", ");
            say(format_args!("{label}  {GOOD}ok{GOOD:#} {done:>3} checks {time:>5.2} s  {claims}"));
        } else {
            say(format_args!("{label}  {BAD}FAILED{BAD:#}: {}", output.status));
            let _ = io::stdout().write_all(&output.stdout);
            let _ = io::stdout().write_all(&output.stderr);
            failed.push(name.as_str());
        }
    }
    let count = names.len();
    let time = start.elapsed().as_secs_f64();
    if failed.is_empty() {
        let style = GOOD;
        say(format_args!(
            "{style}{count} examples, {checks} checks, 0 failed{style:#} in {time:.1} s"
        ));
    } else {
        let (style, n, list) = (BAD, failed.len(), failed.join(", "));
        say(format_args!("{count} examples, {checks} checks, {style}{n} failed{style:#}: {list}"));
    }
    Ok(failed.len())
}

/// The examples there are, in section order, as far as they are wanted.
fn names(wanted: &[String]) -> Result<Vec<String>, Box<dyn Error>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut names = Vec::new();
    for entry in fs::read_dir(sources)? {
        let path: PathBuf = entry?.path();
        if path.extension().is_some_and(|ext| ext == "rs")
            && let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
        {
            names.push((section(&fs::read_to_string(&path)?), name.to_owned()));
        }
    }
    names.sort();
    let mut names: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
    if let Some(none) = wanted.iter().find(|w| !names.iter().any(|n| n.starts_with(w.as_str()))) {
        return Err(
            format!("no example begins with {none:?}; there are: {}", names.join(" ")).into()
        );
    }
    names.retain(|name| wanted.is_empty() || wanted.iter().any(|w| name.starts_with(w.as_str())));
    Ok(names)
}

/// The section of the article that an example belongs to: the first number after "Article".
fn section(source: &str) -> Vec<u32> {
    let after = source.split_once("Article ").map_or("", |(_, after)| after);
    let number = after.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
    number.split('.').filter_map(|part| part.parse().ok()).collect()
}

/// How many checks were made, and the claims answered. The file is gone afterwards.
fn read_report(path: &Path) -> io::Result<(usize, Vec<String>)> {
    let text = fs::read_to_string(path)?;
    fs::remove_file(path)?;
    let (mut checks, mut claims) = (0, Vec::new());
    for line in text.lines() {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["checks", n, _] => checks = n.parse().unwrap_or(0),
            ["claim", id, verdict, _] => claims.push(format!("{id} {verdict}")),
            _ => {}
        }
    }
    Ok((checks, claims))
}

fn say(text: impl std::fmt::Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}
