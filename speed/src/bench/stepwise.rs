//! What each step buys: its samples, and the table of a series.

use std::fmt::Write;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::cost;
use crate::measure::{Case, Measured, Sample};
use crate::steps::{STEPS, Step};
use crate::threads::two_cores;
use crate::units::digits;

pub const RATE: &str = "a second";
/// Of both sides together.
pub const CPU: &str = "ns of CPU";
pub const CALLS: &str = "calls a 1000";
pub const SEGMENTS: &str = "segments a 1000";
pub const INSTRUCTIONS: &str = "instructions";
const METRICS: [&str; 5] = [RATE, CPU, CALLS, SEGMENTS, INSTRUCTIONS];

pub fn cases(program: &Path, cores: [usize; 2], notes: &mut Vec<String>) -> Vec<Case> {
    let counts = cost::has_valgrind();
    if !counts {
        notes.push("instructions of the steps: there is no valgrind; `make setup`".into());
    }
    let mut cases = Vec::new();
    for step in STEPS {
        let case = |rounds, run| {
            let (section, peer) = (step.series, step.name.into());
            Case { section, peer, x: 0, rounds, run }
        };
        cases.push(case(u32::MAX, Box::new(move |time| sample(&step, cores, time))));
        let beside = program.with_file_name("speed-calls");
        cases.push(case(1, Box::new(move |time| calls(&step, &beside, time))));
        // On two cores a step runs the same instructions.
        if counts && step.is_steady() && step.series != crate::steps::TWO_CORES {
            let program = program.to_owned();
            cases.push(case(1, Box::new(move |_| instructions(&step, &program))));
        }
    }
    cases
}

fn sample(step: &Step, cores: [usize; 2], time: Duration) -> io::Result<Sample> {
    // The article's takes 88 ms: a few of them, or there is nothing to divide by.
    let time = if step.is_slow() { time.max(Duration::from_millis(250)) } else { time };
    let ran = step.run(cores, time)?;
    let messages = ran.messages as f64;
    let values = vec![
        (RATE, messages / ran.took.wall.as_secs_f64()),
        (CPU, ran.took.cpu_both.as_nanos() as f64 / messages),
        (SEGMENTS, 1000.0 * ran.segments as f64 / messages),
    ];
    // It sleeps nearly all of the time: that its core does not work says nothing.
    Ok(Sample { values, contended: ran.took.contended && !step.is_slow() })
}

/// Asks the program that counts them.
fn calls(step: &Step, program: &Path, time: Duration) -> io::Result<Sample> {
    let time = if step.is_slow() { time.max(Duration::from_millis(500)) } else { time };
    let output = Command::new(program)
        .args([step.series, step.name, &time.as_millis().to_string()])
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers = text.trim().split_once(' ').map(|(a, b)| (a.parse::<f64>(), b.parse::<f64>()));
    match numbers {
        Some((Ok(calls), Ok(messages))) => {
            Ok(Sample { values: vec![(CALLS, 1000.0 * calls / messages)], contended: false })
        }
        _ => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

fn instructions(step: &Step, program: &Path) -> io::Result<Sample> {
    let n = match step.name {
        _ if step.is_slow() => 5,
        "1 byte by byte" => 200,
        _ => 1000,
    };
    let name = format!("step {}: {}", step.series, step.name);
    let value = cost::instructions(program, &name, n)?;
    Ok(Sample { values: vec![(INSTRUCTIONS, value)], contended: false })
}

/// What runs under callgrind; `None`: it is no step's name.
pub fn repeat(name: &str, n: u64) -> Option<io::Result<()>> {
    let is_it = |step: &&Step| name == format!("step {}: {}", step.series, step.name);
    let step = STEPS.iter().find(is_it)?;
    Some(two_cores().and_then(|[core, _]| step.repeat(core, n)))
}

/// The steps of a series: a line each, a column a metric, and how often the first one's rate it has.
pub fn rows(measured: &Measured, series: &str) -> Vec<[String; 8]> {
    let of = |name: &str, metric| measured.median(series, name, 0, metric);
    let steps: Vec<&Step> = STEPS.iter().filter(|step| step.series == series).collect();
    let first = steps.first().and_then(|step| of(step.name, RATE));
    let row = |step: &&Step| {
        let mut row: [String; 8] = Default::default();
        row[0] = step.name.into();
        for (cell, metric) in row[1..].iter_mut().zip(METRICS) {
            *cell = of(step.name, metric).map_or("-".into(), digits);
        }
        let times = of(step.name, RATE).zip(first).map(|(rate, first)| rate / first);
        row[6] = times.map_or("-".into(), digits);
        row[7] = step.news.into();
        row
    };
    if first.is_none() { Vec::new() } else { steps.iter().map(row).collect() }
}

pub const HEAD: [&str; 8] = [
    "step",
    "a second",
    "ns of CPU",
    "calls",
    "segments",
    "instructions",
    "times the first",
    "what is new",
];

/// The same as text.
pub fn table(measured: &Measured, series: &str) -> String {
    let rows = rows(measured, series);
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "{series}, by step; calls and segments are those of 1000, both sides together"
    );
    for row in std::iter::once(HEAD.map(str::to_owned)).chain(rows) {
        let [name, rate, cpu, calls, segments, instructions, times, news] = row;
        let _ = write!(text, "  {name:<18}{rate:>10}{cpu:>11}{calls:>9}{segments:>10}");
        let _ = writeln!(text, "{instructions:>14}{times:>17}  {news}");
    }
    text + "\n"
}
