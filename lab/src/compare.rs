//! `lab compare`: two recorded traces side by side, what differs marked.
//!
//! Alike are two events that say the same: the call with its arguments and result, the segment with
//! its numbers, the state. Times, processes and the client's ports are left out of that.

mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::{fs, iter};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use clap::Args;
use similar::{Algorithm, DiffTag, capture_diff_slices};

use crate::output::{check_file, text, words};
use crate::record::{Call, Host, Nanos, Trace, What};
use crate::trace::say_what_is_wrong;
use crate::{Usage, say, show, values};

pub use page::page;

/// The command line.
#[derive(Args)]
#[command(after_help = "\
Examples:
  lab compare target/lab/s11_1_two_sends target/lab/s11_3_nodelay
  lab compare a/trace.jsonl b/trace.jsonl --differences
  lab compare a b --page both.html          # side by side in a browser

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
    /// Write one page into this file instead of printing
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    page: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// A file that is no trace; [`crate::Usage`] for a page that cannot be written.
pub fn run(args: &CompareArgs) -> Result<ExitCode> {
    if let Some(file) = &args.page {
        check_file(file)?;
    }
    let (a, b) = (show::read(&args.a)?, show::read(&args.b)?);
    if let Some(file) = &args.page {
        let name = file.display();
        fs::write(file, page(&a, &b, args.differences))
            .map_err(|error| Usage(format!("cannot write {name}: {error}")))?;
        say::line(format_args!("{name}"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = anstream::stdout().lock();
    let width = text::terminal_width();
    say::note(write(&a, &b, width, args.differences, &mut out));
    drop(out);
    for (name, trace) in [("A: ", &a), ("B: ", &b)] {
        say_what_is_wrong(name, &trace.about);
    }
    Ok(ExitCode::SUCCESS)
}

/// A wait that is longer by so much, and twice as long, is a difference.
const LONGER: Nanos = 5_000_000;

/// The time and two blanks.
const TIME: usize = 11;

/// One event, as it is compared.
struct Row {
    /// Its place in the trace.
    event: usize,
    /// What has to be alike.
    key: String,
    /// The same in as little room as there is.
    text: String,
    /// When all of it was known.
    at: Nanos,
    /// Since the event above.
    wait: Nanos,
}

/// What stands beside each other: a row of A and one of B, or one of them alone.
struct Line<'r> {
    rows: [Option<&'r Row>; 2],
    mark: Mark,
    /// A wait that one of them has: in A (0) or in B (1), and how long.
    wait: Option<(usize, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Alike,
    OnlyA,
    OnlyB,
    Later,
}

impl Mark {
    fn sign(self) -> &'static str {
        match self {
            Mark::Alike => " ",
            Mark::OnlyA => "<",
            Mark::OnlyB => ">",
            Mark::Later => "~",
        }
    }

    fn style(self) -> Style {
        match self {
            Mark::Alike => Style::new(),
            Mark::OnlyA => ONLY_A,
            Mark::OnlyB => ONLY_B,
            Mark::Later => LATER,
        }
    }
}

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
    let rows = [a, b].map(|trace| rows(trace, side - TIME));
    let (mut alike, mut apart) = (0, 0);
    for Line { rows, mark, wait } in lines(&rows) {
        if differences && mark == Mark::Alike {
            alike += 1;
            continue;
        }
        skipped(&mut alike, side, out)?;
        apart += 1;
        let (style, mark) = (mark.style(), mark.sign());
        let [left, right] = rows.map(|row| row.map_or(String::new(), |row| row.text(side)));
        writeln!(out, "{style}{left:side$} │ {mark} │ {right}{style:#}")?;
        if let Some((column, wait)) = wait {
            let text = format!("{:TIME$}{wait}", "");
            let (left, right) = if column == 0 { (&*text, "") } else { ("", &*text) };
            writeln!(out, "{style}{left:side$} │   │ {right}{style:#}")?;
        }
    }
    skipped(&mut alike, side, out)?;
    if differences && apart == 0 {
        writeln!(out, "no difference")?;
    }
    let mut text = format!("\n{FAINT}{:>32} {:>12} {:>12}{FAINT:#}\n", "", "A", "B");
    for (name, [one, other]) in summary(a, b) {
        let (style, mark) = if one == other { (Style::new(), "") } else { (LATER, "  differs") };
        let _ = writeln!(text, "{style}{name:>32} {one:>12} {other:>12}{mark}{style:#}");
    }
    out.write_all(text.as_bytes())
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

/// What A waited longer than B (0), or B longer than A (1).
fn longer(a: Nanos, b: Nanos) -> Option<(usize, Nanos)> {
    let (more, less) = (a.max(b), a.min(b));
    (more - less >= LONGER && more >= 2 * less).then_some((usize::from(b > a), more - less))
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
    let mut events: Vec<_> = trace.events.iter().enumerate().collect();
    events.sort_by_key(|(_, event)| event.order());
    let mut before = start;
    let rows = events.into_iter().filter_map(|(place, event)| {
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
        Some(Row { event: place, key, text, at, wait })
    });
    rows.collect()
}

/// Which row stands beside which, and what differs.
fn lines([a, b]: &[Vec<Row>; 2]) -> Vec<Line<'_>> {
    let keys = |rows: &[Row]| -> Vec<String> { rows.iter().map(|row| row.key.clone()).collect() };
    let both = |(one, other): (&'_ Row, &'_ Row)| longer(one.wait, other.wait);
    let mut lines = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &keys(a), &keys(b)) {
        let (old, new) = (&a[op.old_range()], &b[op.new_range()]);
        if op.tag() == DiffTag::Equal {
            lines.extend(iter::zip(old, new).map(|pair| {
                let wait = both(pair).map(|(column, by)| (column, by, "longer"));
                let mark = if wait.is_some() { Mark::Later } else { Mark::Alike };
                ([Some(pair.0), Some(pair.1)], mark, wait)
            }));
            continue;
        }
        let alone =
            |row: &Row, column| (row.wait >= LONGER).then_some((column, row.wait, "of waiting"));
        lines.extend(old.iter().map(|row| ([Some(row), None], Mark::OnlyA, alone(row, 0))));
        lines.extend(new.iter().map(|row| ([None, Some(row)], Mark::OnlyB, alone(row, 1))));
    }
    let said = |(column, by, what)| (column, format!("{} {what}", words::duration(by)));
    lines.into_iter().map(|(rows, mark, wait)| Line { rows, mark, wait: wait.map(said) }).collect()
}

/// Both in figures, each with its name.
fn summary(a: &Trace, b: &Trace) -> Vec<(String, [String; 2])> {
    let both = [figures(a), figures(b)];
    let names: BTreeSet<&String> = both.iter().flat_map(BTreeMap::keys).collect();
    let value = |of: &BTreeMap<String, String>, name: &String| {
        of.get(name).map_or("0".to_owned(), String::clone)
    };
    // The digit before a name is its place.
    let named = |name: &String| (name[1..].to_owned(), both.each_ref().map(|of| value(of, name)));
    names.into_iter().map(named).collect()
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
