//! Asks an echo server, in whatever language, what every echo server is asked.

use std::error::Error;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use indicatif::{ProgressBar, ProgressStyle};
use servers::conformance::checks::CHECKS;
use servers::conformance::expected::{BUILT_IN, Expected};
use servers::conformance::report::say;
use servers::conformance::server::{Recipe, end_server_on_signals};
use servers::conformance::suite::{Findings, PATIENCE, Plan, allow_many_descriptors, run};
use servers::conformance::{matrix, report};
use servers::usage;

/// Starts an echo server and checks that it serves good clients, whatever bad ones do.
///
/// In the command, {addr} and {port} become 127.0.0.1 and a free port. A command without {port}
/// must print a line `[listen-ok] ADDRESS:PORT`.
///
/// Exit code 0 if all is as expected, 1 if not, 2 for the command line.
#[derive(Parser)]
#[command(name = "conformance", verbatim_doc_comment)]
struct Options {
    /// The server speaks TLS 1.3. Its certificate is not checked.
    #[arg(long)]
    tls: bool,

    /// One frame a connection is the server's protocol (otherwise found out, and a failed check).
    #[arg(long)]
    one_frame: bool,

    /// The server promises to drop a client stuck inside a frame after so many seconds, 1 to 5.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=5))]
    deadline: Option<u64>,

    /// How long a client waits for an answer before it calls itself unserved [default: 2].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    patience: Option<u64>,

    /// Only these checks, besides `echo` and `many`: --only silent,stalled.
    #[arg(long, value_name = "CHECKS", value_delimiter = ',', value_parser = check_name)]
    only: Vec<String>,

    /// Writes every row, tab-separated: server, check, result, expected, observed, ms.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Failures that must happen, tab-separated: server, check, why. With
    /// --matrix the default is the list that comes with the suite.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,

    /// The server's name in the report and the list [default: the file name of the program].
    #[arg(long)]
    name: Option<String>,

    /// Runs every server there is: the rungs, echo, tokio's, Python's.
    #[arg(long, conflicts_with_all = ["tls", "one_frame", "deadline", "name", "command"])]
    matrix: bool,

    /// With --matrix: only servers whose names begin so.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "matrix")]
    servers: Vec<String>,

    /// Lists the checks.
    #[arg(long)]
    list: bool,

    /// The server: a program and its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

fn check_name(text: &str) -> Result<String, String> {
    let known = CHECKS.iter().any(|check| check.id == text);
    if known { Ok(text.into()) } else { Err("no such check; --list names them".into()) }
}

fn main() -> ExitCode {
    let options: Options = match usage::parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if !options.list && !options.matrix && options.command.is_empty() {
        let missing = "which server? give its command, or --matrix for all of ours";
        Options::command().error(ErrorKind::MissingRequiredArgument, missing).exit();
    }
    match start(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "conformance: {e}");
            ExitCode::from(1)
        }
    }
}

/// Returns whether all was as expected.
fn start(options: &Options) -> Result<bool, Box<dyn Error>> {
    if options.list {
        for check in &CHECKS {
            say(format_args!("{:<14}  {}", check.id, check.sentence))?;
        }
        return Ok(true);
    }
    let expected = match &options.expect {
        Some(path) => Expected::read(path).map_err(|e| format!("{}: {e}", path.display()))?,
        None if options.matrix => Expected::parse(BUILT_IN)?,
        None => Expected::default(),
    };
    end_server_on_signals()?;
    allow_many_descriptors()?;
    if options.matrix { run_all(options, &expected) } else { run_command(options, &expected) }
}

fn run_command(options: &Options, expected: &Expected) -> Result<bool, Box<dyn Error>> {
    let program = PathBuf::from(&options.command[0]);
    let file_name = || program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let plan = Plan {
        name: options.name.clone().unwrap_or_else(file_name),
        recipe: Recipe { words: options.command.clone() },
        tls: options.tls,
        one_frame: options.one_frame,
        deadline: options.deadline.map(Duration::from_secs),
    };
    let from = Instant::now();
    let findings = run_with_progress(&plan, options)?;
    let ok = report::print(&plan, &findings, expected, from.elapsed())?;
    write_report(options, &report_lines(&plan, &findings))?;
    Ok(ok)
}

fn run_all(options: &Options, expected: &Expected) -> Result<bool, Box<dyn Error>> {
    let (mut plans, missing) = matrix::servers()?;
    let wanted = &options.servers;
    plans.retain(|p| wanted.is_empty() || wanted.iter().any(|w| p.name.starts_with(w.as_str())));
    if plans.is_empty() {
        return Err("no server has such a name".into());
    }
    for why in missing {
        say(format_args!("not there: {why}"))?;
    }
    let (mut columns, mut news, mut lines) = (Vec::new(), Vec::new(), String::new());
    for plan in &plans {
        if let Some(why) = expected.not_run(&plan.name) {
            say(format_args!("{:<26}not run: {why}", plan.name))?;
            continue;
        }
        let from = Instant::now();
        let column = (plan, run_with_progress(plan, options));
        news.extend(matrix::sum_up(&column, expected, from)?);
        if let Ok(findings) = &column.1 {
            lines += &report_lines(plan, findings);
        }
        columns.push(column);
    }
    matrix::print(&columns, expected)?;
    for what in &news {
        say(format_args!("\nunexpected: {what}"))?;
    }
    write_report(options, &lines)?;
    Ok(news.is_empty())
}

/// A line on the terminal of what is going on. Nothing where there is no terminal.
fn run_with_progress(plan: &Plan, options: &Options) -> Result<Findings, String> {
    let bar = ProgressBar::new(CHECKS.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix}  {pos}/{len}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.set_prefix(plan.name.clone());
    let findings = run(plan, &options.only, |check| {
        bar.set_message(format!("{}: {}", check.id, check.sentence));
        bar.inc(1);
        options.patience.map_or(PATIENCE, Duration::from_secs)
    });
    bar.finish_and_clear();
    findings
}

fn report_lines(plan: &Plan, findings: &Findings) -> String {
    findings.rows.iter().map(|row| report::report_line(&plan.name, row)).collect()
}

fn write_report(options: &Options, lines: &str) -> Result<(), String> {
    let Some(path) = &options.report else { return Ok(()) };
    report::write(path, lines).map_err(|e| format!("{}: {e}", path.display()))
}
