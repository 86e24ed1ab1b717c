//! The reference beside the article's design, and beside what a reader would otherwise use.
//!
//! Everything is measured in one run, interleaved, several rounds of it: times drift with the
//! machine, ratios hold. `targets` lists the ratios that the reference has to reach.

mod cost;
mod frames;
mod hostile;
mod lines;
mod measure;
mod page;
mod picture;
mod report;
mod roundtrip;
mod servers;
mod steps;
mod stepwise;
mod targets;
mod threads;
mod tokio_peer;
mod units;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use measure::{Case, Plan};

/// Measures the reference beside the article's design and the crates a reader would otherwise use.
#[derive(Parser)]
#[command(name = "speed", version)]
struct Options {
    /// Fewer and shorter samples: about a minute in all
    #[arg(long)]
    quick: bool,

    /// Only these, separated by commas
    #[arg(long, value_enum, value_delimiter = ',', value_name = "SECTION,…")]
    only: Vec<Section>,

    /// Rounds; each round measures everything once [default: 9, quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,

    /// Where the rows and pictures go [default: "bench" in the target directory]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Write the page of this run, too: what `make bench` does with docs/speed.md
    #[arg(long, value_name = "FILE")]
    page: Option<PathBuf>,

    /// End with exit code 1 where a ratio falls short
    #[arg(long)]
    strict: bool,

    /// Do N times what is to be counted, and nothing else: what callgrind is given to run
    #[arg(long, hide = true, num_args = 2, value_names = ["PEER", "N"])]
    repeat: Option<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Section {
    /// What each step of frames, lines and requests buys
    Steps,
    /// Frames one way, 16 B to 1 MiB
    Frames,
    /// Request and response of 64 B, on one core and on two
    Roundtrip,
    /// Lines of 80 bytes
    Lines,
    /// Echo servers at 1 to 10,000 connections (quick: 1 and 1000)
    Echo,
    /// User instructions of a wrapper and of a frame
    Cost,
    /// Memory for headers that claim a MiB which never comes
    Hostile,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = match &options.repeat {
        Some(args) => repeat(&args[0], &args[1]).map(|()| true),
        None => run(&options),
    };
    match result {
        Ok(good) if good || !options.strict => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        // Whoever read our output has gone: nobody is left to be told.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            let _ = writeln!(io::stderr(), "speed: {e}");
            ExitCode::FAILURE
        }
    }
}

/// What runs under callgrind.
fn repeat(name: &str, n: &str) -> io::Result<()> {
    let n = n.parse().map_err(|_| io::Error::other(format!("no number: {n:?}")))?;
    stepwise::repeat(name, n).unwrap_or_else(|| cost::repeat(name, n))
}

/// `false`: a ratio fell short.
fn run(options: &Options) -> io::Result<bool> {
    let here = std::env::current_exe()?;
    let beside = here.parent().unwrap_or(Path::new("."));
    let out = options.out.clone().unwrap_or_else(|| beside.with_file_name("bench"));
    std::fs::create_dir_all(&out)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", out.display())))?;

    let wanted = |section| options.only.is_empty() || options.only.contains(&section);
    let cores = threads::two_cores()?;
    let descriptors = servers::allow_descriptors();
    let mut notes = Vec::new();
    let mut cases: Vec<Case> = Vec::new();
    if wanted(Section::Steps) {
        cases.extend(stepwise::cases(&here, cores, &mut notes));
    }
    if wanted(Section::Frames) {
        cases.extend(frames::cases(cores));
    }
    if wanted(Section::Roundtrip) {
        cases.extend(roundtrip::cases(cores));
    }
    if wanted(Section::Lines) {
        cases.extend(lines::cases(cores));
    }
    if wanted(Section::Echo) {
        cases.extend(servers::cases(cores, [beside, &out], options.quick, descriptors, &mut notes));
    }
    if wanted(Section::Cost) {
        cases.extend(cost::cases(&here, &mut notes));
    }
    if wanted(Section::Hostile) {
        cases.extend(hostile::cases()?);
    }
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 9 });
    let sample = Duration::from_millis(if options.quick { 25 } else { 100 });
    let measured = measure::measure(cases, &Plan { rounds, sample }, &mut notes)?;

    let verdicts = targets::judge(&measured);
    report::write_rows(&out.join("rows.csv"), &measured)?;
    let pictures = picture::draw_all(&out, &measured)?;
    if let Some(path) = &options.page {
        page::write(path, &measured)?;
    }
    let text = report::text(&measured, &verdicts, &notes, &out, &pictures);
    io::stdout().write_all(text.as_bytes())?;
    Ok(verdicts.iter().all(|verdict| verdict.reached()))
}
