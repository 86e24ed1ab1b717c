//! `lab show`: draws a recorded trace again.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::output::{self, jsonl, outline, text};
use crate::record::Trace;
use crate::trace::say_what_is_wrong;
use crate::{say, values};

/// The command line.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lab show target/lab/s05_half_close
  lab show trace.jsonl --out pictures       # trace.html, .svg, .pcapng
  lab show trace.jsonl --lines              # the lines of source below each call
  lab show trace.jsonl --outline            # without times and numbers: the same on every run")]
pub struct ShowArgs {
    /// A trace.jsonl, or the directory that holds it
    file: PathBuf,
    /// Write the files into this directory instead of printing
    #[arg(long, value_name = "DIR", value_parser = values::path)]
    out: Option<PathBuf>,
    /// Print the outline, as in docs/traces
    #[arg(long, conflicts_with = "out")]
    outline: bool,
    /// Print the lines of source that led to each call below it
    #[arg(long, conflicts_with_all = ["out", "outline"])]
    lines: bool,
}

/// Reads a recorded trace: a trace.jsonl, or the directory that holds it.
///
/// # Errors
/// No such file, or none of a trace.
pub fn read(path: &Path) -> Result<Trace> {
    let path = if path.is_dir() { path.join("trace.jsonl") } else { path.to_owned() };
    let name = path.display();
    let file = File::open(&path).with_context(|| format!("cannot open {name}"))?;
    jsonl::read(BufReader::new(file)).with_context(|| format!("in {name}"))
}

/// Runs the subcommand.
pub fn run(args: &ShowArgs) -> Result<ExitCode> {
    if let Some(dir) = &args.out {
        output::check_dir(dir, None)?;
    }
    let trace = read(&args.file)?;
    let done = match &args.out {
        Some(dir) => {
            for path in output::write_files(&trace, dir)? {
                say::line(format_args!("{}", path.display()));
            }
            Ok(())
        }
        None if args.outline => {
            io::Write::write_all(&mut io::stdout(), outline::draw(&trace).as_bytes())
        }
        None => text::Printer::to_stdout().with_lines(args.lines).trace(&trace),
    };
    say::note(done);
    if !args.outline {
        for note in &trace.about.notes {
            say::line(format_args!("note: {note}"));
        }
        say_what_is_wrong("", &trace.about);
    }
    Ok(ExitCode::SUCCESS)
}
