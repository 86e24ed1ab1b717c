//! Runs every example in order, with a line each and a summary; or those that are named.

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use anstyle::{AnsiColor, Style};
use stage::runner;

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

const USAGE: &str = "\
usage: run-examples [NAME ...]

Runs every example in the order of the article, or those whose names begin with NAME (s05,
s05_half). They must have been built: `make run-examples` does both.

Exit code 0 if all expectations were met, 1 if not, 2 for the command line.";

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
    let names = names(wanted)?;
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let (mut checks, mut failed) = (0, Vec::new());
    let start = Instant::now();
    for (i, name) in names.iter().enumerate() {
        let outcome = runner::run(name)?;
        checks += outcome.checks;
        let label = format!("{:>3}/{}  {name:width$}", i + 1, names.len());
        if outcome.output.status.success() {
            let (done, time) = (outcome.checks, outcome.time.as_secs_f64());
            let claims: Vec<String> =
                outcome.answers.iter().map(|a| format!("{} {}", a.id, a.verdict)).collect();
            let claims = claims.join(", ");
            say(format_args!("{label}  {GOOD}ok{GOOD:#} {done:>3} checks {time:>5.2} s  {claims}"));
        } else {
            say(format_args!("{label}  {BAD}FAILED{BAD:#}: {}", outcome.output.status));
            let _ = io::stdout().write_all(&outcome.output.stdout);
            let _ = io::stdout().write_all(&outcome.output.stderr);
            failed.push(name.as_str());
        }
    }
    let (count, time) = (names.len(), start.elapsed().as_secs_f64());
    let (style, n, list) =
        (if failed.is_empty() { GOOD } else { BAD }, failed.len(), failed.join(" "));
    say(format_args!(
        "{count} examples, {checks} checks, {style}{n} failed{style:#} in {time:.1} s  {list}"
    ));
    Ok(failed.len())
}

fn names(wanted: &[String]) -> Result<Vec<String>, Box<dyn Error>> {
    let mut names: Vec<String> = runner::all()?.into_iter().map(|example| example.name).collect();
    if let Some(none) = wanted.iter().find(|w| !names.iter().any(|n| n.starts_with(w.as_str()))) {
        let list = names.join(" ");
        return Err(format!("no example begins with {none:?}; there are: {list}").into());
    }
    names.retain(|name| wanted.is_empty() || wanted.iter().any(|w| name.starts_with(w.as_str())));
    Ok(names)
}

fn say(text: impl Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}
