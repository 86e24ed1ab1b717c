//! `lab compare`: two recorded traces side by side, what differs marked.
//!
//! Alike are two events that say the same: the call with its arguments and result, the segment with
//! its numbers, the state. Times, processes and the client's ports are left out of that.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result};
use clap::Args;
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::output::{text, words};
use crate::record::{Call, Host, Nanos, Trace, What};
use crate::show;

/// The command line.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lab compare target/lab/s11_1_two_sends target/lab/s11_3_nodelay
  lab compare a/trace.jsonl b/trace.jsonl --differences

In the middle: < only in A, > only in B, ~ alike, but one came later after the line above: how much
later stands below it.")]
pub struct CompareArgs {
    /// A trace.jsonl, or the directory that holds it
    a: PathBuf,
    /// Another
    b: PathBuf,
    /// Leave out what is alike
    #[arg(long)]
    differences: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// A file that is no trace.
pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    let (a, b) = (show::read(&args.a)?, show::read(&args.b)?);
    let mut out = anstream::stdout().lock();
    let width = text::terminal_width();
    match write(&a, &b, width, args.differences, &mut out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the output")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// A wait that is longer by so much, and twice as long, is a difference.
const LONGER: Nanos = 5_000_000;

/// The time and two blanks.
const TIME: usize = 11;

/// One event, as it is compared.
struct Row {
    /// What has to be alike.
    key: String,
    /// The same in as little room as there is.
    text: String,
    /// When all of it was known.
    at: Nanos,
    /// Since the event above.
    wait: Nanos,
}

/// A pair of rows, by their places: one of them may be missing.
type Pair = (Option<usize>, Option<usize>);

const ONLY_A: Style = AnsiColor::Red.on_default();
const ONLY_B: Style = AnsiColor::Green.on_default();
const LATER: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();

/// Writes the two traces in lines of `width` columns.
pub fn write(
    a: &Trace,
    b: &Trace,
    width: usize,
    differences: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    // A column, its time and two blanks; three for the mark, each side of it a line.
    let side = (width.max(60) - 7) / 2;
    let names = [("A", a), ("B", b)].map(|(name, trace)| {
        words::cut(&format!("{name}: {}", trace.about.title), side).into_owned()
    });
    writeln!(out, "{FAINT}{:side$} │   │ {}{FAINT:#}", names[0], names[1])?;
    let (rows_a, rows_b) = (rows(a, side - TIME), rows(b, side - TIME));
    let (mut alike, mut apart) = (0, 0);
    for (one, other) in pairs(&rows_a, &rows_b) {
        let (left, right) = (one.map(|row| &rows_a[row]), other.map(|row| &rows_b[row]));
        let later = match (left, right) {
            (Some(left), Some(right)) => {
                longer(left.wait, right.wait).map(|(in_a, by)| (in_a, by, " longer"))
            }
            (one, other) => one.or(other).and_then(|row| {
                (row.wait >= LONGER).then_some((one.is_some(), row.wait, " of waiting"))
            }),
        };
        let (style, mark) = match (left, right) {
            (Some(_), None) => (ONLY_A, "<"),
            (None, Some(_)) => (ONLY_B, ">"),
            _ if later.is_some() => (LATER, "~"),
            _ => (Style::new(), " "),
        };
        if differences && mark == " " {
            alike += 1;
            continue;
        }
        skipped(&mut alike, side, out)?;
        apart += 1;
        let left = left.map_or(String::new(), |row| row.text(side));
        let right = right.map_or(String::new(), |row| row.text(side));
        writeln!(out, "{style}{left:side$} │ {mark} │ {right}{style:#}")?;
        if let Some((in_a, by, what)) = later {
            let text = format!("{:TIME$}{}{what}", "", words::duration(by));
            let (left, right) = if in_a { (&*text, "") } else { ("", &*text) };
            writeln!(out, "{style}{left:side$} │   │ {right}{style:#}")?;
        }
    }
    skipped(&mut alike, side, out)?;
    if differences && apart == 0 {
        writeln!(out, "no difference")?;
    }
    summary(a, b, out)
}

fn skipped(alike: &mut usize, side: usize, out: &mut impl Write) -> io::Result<()> {
    if *alike > 0 {
        let text = format!("⋮ {alike} alike");
        writeln!(out, "{FAINT}{text:side$} │   │{FAINT:#}")?;
    }
    *alike = 0;
    Ok(())
}

impl Row {
    fn text(&self, width: usize) -> String {
        let time = format!("{:>9}  ", words::since(0, self.at));
        words::cut(&(time + &self.text), width).into_owned()
    }
}

/// What A waited longer than B (`true`), or B longer than A.
fn longer(a: Nanos, b: Nanos) -> Option<(bool, Nanos)> {
    let (more, less) = (a.max(b), a.min(b));
    (more - less >= LONGER && more >= 2 * less).then_some((a > b, more - less))
}

/// The events of a trace in the order in which they were complete, each in `room` characters.
fn rows(trace: &Trace, room: usize) -> Vec<Row> {
    let start = trace.events.first().map_or(0, |event| event.at);
    let ports: BTreeSet<u16> = trace.events.iter().filter_map(words::client_port).collect();
    let mut connections: BTreeMap<u16, usize> = BTreeMap::new();
    for port in trace.events.iter().filter_map(words::client_port) {
        let next = connections.len() + 1;
        connections.entry(port).or_insert(next);
    }
    let mut events: Vec<_> = trace.events.iter().collect();
    events.sort_by_key(|event| event.order());
    let mut before = start;
    let rows = events.into_iter().filter_map(|event| {
        let number = words::client_port(event)
            .and_then(|port| connections.get(&port))
            .filter(|_| connections.len() > 1)
            .map_or(String::new(), |number| format!(" #{number}"));
        let said = |room: usize| -> Option<String> {
            Some(match &event.what {
                What::Call(call) => {
                    let mut text = words::call_within(call, room - "client ".len());
                    for port in &ports {
                        text = text.replace(&format!(":{port}"), ":…");
                    }
                    format!("{} {text}", words::host(call.host))
                }
                What::Segment(segment) => {
                    let fate = words::fate(segment);
                    let comma = if fate.is_empty() { "" } else { ", " };
                    let noted = number.len() + comma.len() + fate.chars().count() + 4;
                    let text = words::segment_within(segment, room.saturating_sub(noted));
                    let text = format!("{text}{number}{comma}{fate}");
                    match (segment.from, segment.arrived.is_some()) {
                        (Host::Client, true) => format!("{text} ──►"),
                        (Host::Client, false) => format!("{text} ──✗"),
                        (Host::Server, true) => format!("◄── {text}"),
                        (Host::Server, false) => format!("✗── {text}"),
                    }
                }
                What::State(change) => {
                    format!("{} {}{number}", words::host(change.host), words::state(change))
                }
                // How a program is called is no part of what it did.
                What::Process(process) if process.text.starts_with("runs ") => return None,
                What::Process(process) => {
                    format!("{} {}", words::host(process.host), process.text)
                }
            })
        };
        // Which option it is says more than at which level.
        let text = said(room)?;
        let text = match &event.what {
            What::Call(call) if call.name.ends_with("sockopt") => {
                let args: Vec<&str> = call.args.splitn(3, ", ").collect();
                let args = [args.first(), args.get(2)].into_iter().flatten().copied();
                let call = Call { args: args.collect::<Vec<_>>().join(", "), ..call.clone() };
                let room = room - "client ".len();
                format!("{} {}", words::host(call.host), words::call_within(&call, room))
            }
            _ => text,
        };
        let key = said(200)?;
        let at = event.complete() - start;
        let wait = event.complete().saturating_sub(before);
        before = event.complete();
        Some(Row { key, text, at, wait })
    });
    rows.collect()
}

/// Which row stands beside which.
fn pairs(a: &[Row], b: &[Row]) -> Vec<Pair> {
    let keys = |rows: &[Row]| -> Vec<String> { rows.iter().map(|row| row.key.clone()).collect() };
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &keys(a), &keys(b)) {
        let (old, new) = (op.old_range(), op.new_range());
        match op.tag() {
            DiffTag::Equal => {
                pairs.extend(old.zip(new).map(|(one, other)| (Some(one), Some(other))));
            }
            _ => {
                pairs.extend(old.map(|one| (Some(one), None)));
                pairs.extend(new.map(|other| (None, Some(other))));
            }
        }
    }
    pairs
}

/// Both in figures; what differs is marked.
fn summary(a: &Trace, b: &Trace, out: &mut impl Write) -> io::Result<()> {
    let (a, b) = (figures(a), figures(b));
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    let mut text = format!("\n{FAINT}{:>32} {:>12} {:>12}{FAINT:#}\n", "", "A", "B");
    for name in names {
        let value = |of: &BTreeMap<String, String>| of.get(name).map_or("0".into(), String::clone);
        let (one, other) = (value(&a), value(&b));
        let (style, mark) = if one == other { (Style::new(), "") } else { (LATER, "  differs") };
        // The digit before a name is its place.
        let name = &name[1..];
        let _ = writeln!(text, "{style}{name:>32} {one:>12} {other:>12}{mark}{style:#}");
    }
    out.write_all(text.as_bytes())
}

fn figures(trace: &Trace) -> BTreeMap<String, String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut add = |name: &str, count: u64| *counts.entry(name.to_owned()).or_default() += count;
    let mut longest: Nanos = 0;
    let mut wire: Option<(Nanos, Nanos)> = None;
    for event in &trace.events {
        match &event.what {
            What::Call(call) => {
                add(&format!("3{} {}", words::host(call.host), call.name), 1);
                if call.host == Host::Client {
                    longest = longest.max(call.returned.unwrap_or(event.at) - event.at);
                }
            }
            What::Segment(segment) => {
                add("1segments", 1);
                add("1segments with data", u64::from(segment.len > 0));
                add("1bytes", u64::from(segment.len));
                add("1sent again", u64::from(segment.again));
                add("1bare acknowledgements", u64::from(segment.flags == "." && segment.len == 0));
                let (first, last) = wire.unwrap_or((event.at, event.at));
                wire = Some((first, last.max(event.complete())));
            }
            What::State(_) | What::Process(_) => {}
        }
    }
    let mut figures: BTreeMap<String, String> =
        counts.into_iter().map(|(name, count)| (name, count.to_string())).collect();
    if let Some((first, last)) = wire {
        figures.insert("2first segment to last".into(), words::duration(last - first));
    }
    figures.insert("2longest call of the client".into(), words::duration(longest));
    figures
}
