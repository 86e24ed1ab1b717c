//! The live form: one event a line, client to the left, server to the right, the wire between.
//!
//! ```text
//!    0.412  sendto(4, "hello", 5, MSG_NOSIGNAL) = 5 │                          │
//!    0.437                                          │ PSH 1:6 (5 bytes) ─────► │
//!    0.461                                          │                          │ recvfrom …
//! ```
//!
//! A line comes when its event is complete, and has the time of that: a call when it returned, a
//! segment when it arrived. Where there are several connections, the client's port tells them apart.
//! Times are milliseconds since the first event began. On request the lines of source that led to a
//! call stand below it.

use std::collections::BTreeSet;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::output::words;
use crate::record::{Call, Event, Host, Nanos, Trace, What};

/// Below this width the two sides do not fit beside each other.
const TWO_COLUMNS: usize = 80;
/// The time, its unit left out, and two blanks.
const TIME: usize = 10;

const CLIENT: Style = AnsiColor::Cyan.on_default();
const SERVER: Style = AnsiColor::Magenta.on_default();
const STATE: Style = AnsiColor::Green.on_default().bold();
const FAILED: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();

/// Writes events, one by one, as they come. Give it an `anstream` stream: that one takes the
/// colours out where they are not wanted.
pub struct Printer<W> {
    out: W,
    width: usize,
    start: Option<Nanos>,
    /// The client's ports so far: from the second one on, each line says which.
    ports: BTreeSet<u16>,
    /// Whether a call is followed by the lines of source that led to it.
    lines: bool,
}

/// The width of standard output in columns: of a terminal its own, else 100.
pub fn terminal_width() -> usize {
    console::Term::stdout().size_checked().map_or(100, |(_, columns)| columns.into())
}

/// Who says what, in which colour.
struct Line {
    side: Option<Host>,
    text: String,
    style: Style,
}

impl<W: Write> Printer<W> {
    /// `width` is that of the terminal in columns; 100 where there is none.
    pub fn new(out: W, width: usize) -> Self {
        Printer {
            out,
            width: width.clamp(40, 200),
            start: None,
            ports: BTreeSet::new(),
            lines: false,
        }
    }

    /// The same, with the lines of source that led to each call below it.
    pub fn with_lines(self, lines: bool) -> Self {
        Printer { lines, ..self }
    }

    /// The names of the columns.
    pub fn heading(&mut self) -> io::Result<()> {
        let (side, wire) = self.columns();
        if self.width < TWO_COLUMNS {
            return Ok(());
        }
        let line = format!("{:>8}  {:side$} │ {:^wire$} │ server", "ms", "client", "wire");
        writeln!(self.out, "{FAINT}{line}{FAINT:#}")
    }

    /// One event, one line. The first one's begin is the time zero.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        let start = *self.start.get_or_insert(event.at);
        let time = format!("{:>8}", words::since(start, event.complete()));
        self.ports.extend(words::client_port(event));
        let line = self.line(event);
        let Line { text, style, .. } = &line;
        let (side, wire) = self.columns();
        let blank = "";
        write!(self.out, "{FAINT}{time}{FAINT:#}  ")?;
        match line.side {
            _ if self.width < TWO_COLUMNS => writeln!(self.out, "{style}{text}{style:#}"),
            Some(Host::Client) => {
                let pad = side.saturating_sub(text.chars().count());
                writeln!(self.out, "{style}{text}{style:#}{blank:pad$} │ {blank:wire$} │")
            }
            Some(Host::Server) => {
                writeln!(self.out, "{blank:side$} │ {blank:wire$} │ {style}{text}{style:#}")
            }
            None => writeln!(self.out, "{blank:side$} │ {style}{text}{style:#} │"),
        }?;
        match &event.what {
            What::Call(call) if self.lines => self.source(call),
            _ => Ok(()),
        }
    }

    /// The lines that led to a call, below it: on its side, over the columns, as many as fit.
    fn source(&mut self, call: &Call) -> io::Result<()> {
        let room = self.width - TIME - 2;
        let mut rows: Vec<String> = Vec::new();
        for (place, line) in call.lines.iter().enumerate() {
            let line = if place == 0 { line.clone() } else { format!("→ {line}") };
            match rows.last_mut() {
                Some(row) if row.chars().count() + 1 + line.chars().count() <= room => {
                    *row += &format!(" {line}");
                }
                _ => rows.push(line),
            }
        }
        let blank = "";
        for row in rows {
            // The end of a long path says more than its beginning.
            let over = row.chars().count().saturating_sub(room);
            let row: String = match over {
                0 => row,
                _ => "…".chars().chain(row.chars().skip(over + 1)).collect(),
            };
            let pad = match call.host {
                Host::Server if self.width >= TWO_COLUMNS => room - row.chars().count(),
                _ => 0,
            };
            writeln!(self.out, "{blank:TIME$}  {blank:pad$}{FAINT}{row}{FAINT:#}")?;
        }
        Ok(())
    }

    /// A whole trace, in the order in which its events were complete.
    pub fn trace(&mut self, trace: &Trace) -> io::Result<()> {
        self.start = trace.events.first().map(|event| event.at);
        self.ports.extend(trace.events.iter().filter_map(words::client_port));
        let mut events: Vec<&Event> = trace.events.iter().collect();
        events.sort_by_key(|event| event.order());
        self.heading()?;
        events.into_iter().try_for_each(|event| self.event(event))
    }

    /// The stream, when all is written.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// The widths of one side's column and of the wire's.
    fn columns(&self) -> (usize, usize) {
        let room = self.width - TIME - 6;
        let side = (room * 35 / 100).min(60);
        (side, room - 2 * side)
    }

    fn line(&self, event: &Event) -> Line {
        let (side, wire) = self.columns();
        let narrow = self.width < TWO_COLUMNS;
        let room = if narrow { self.width - TIME } else { side };
        let named = |host: Host, text: String| {
            let text = if narrow { format!("{}  {text}", words::host(host)) } else { text };
            words::cut(&text, room).into_owned()
        };
        let port = match words::client_port(event) {
            Some(port) if self.ports.len() > 1 => format!(" :{port}"),
            _ => String::new(),
        };
        match &event.what {
            What::Call(call) => {
                let waited = call.returned.map_or(0, |end| end.saturating_sub(event.at));
                let after = match waited {
                    1_000_000.. => format!(" ({})", words::duration(waited)),
                    _ => String::new(),
                };
                let room = room.saturating_sub(if narrow { 8 } else { 0 });
                let text = words::call_within(call, room);
                // How long it took, if the arguments alone make way for that.
                let least = words::least(call) + after.chars().count();
                let text = match least <= room {
                    true => words::call_within(call, room - after.chars().count()) + &after,
                    false => text,
                };
                let style = if call.failed() { FAILED } else { colour(call.host) };
                Line { side: Some(call.host), text: named(call.host, text), style }
            }
            What::Segment(segment) => {
                let room = if narrow { room } else { wire };
                let note = words::fate(segment);
                let words = words::segment_within(segment, room - 4 - port.len()) + &port;
                let style = if segment.arrived.is_none() { FAILED } else { colour(segment.from) };
                let text = arrow(segment.from, &words, segment.arrived.is_none(), &note, room);
                Line { side: None, text, style }
            }
            What::State(change) => {
                let text = words::state(change) + &port;
                Line { side: Some(change.host), text: named(change.host, text), style: STATE }
            }
            What::Process(process) => {
                let text = words::process(process);
                Line { side: Some(process.host), text: named(process.host, text), style: FAINT }
            }
        }
    }
}

/// The host's own colour.
fn colour(host: Host) -> Style {
    match host {
        Host::Client => CLIENT,
        Host::Server => SERVER,
    }
}

/// `SYN ─────►` or `◄───── SYN-ACK`, exactly `width` characters; a lost one ends in `✗`.
fn arrow(from: Host, words: &str, lost: bool, note: &str, width: usize) -> String {
    let both = format!("{words}, {note}");
    let words = if note.is_empty() || both.chars().count() + 4 > width { words } else { &both };
    let words = words::cut(words, width.saturating_sub(4));
    let line = "─".repeat(width.saturating_sub(words.chars().count() + 2));
    match (from, lost) {
        (Host::Client, false) => format!("{words} {line}►"),
        (Host::Client, true) => format!("{words} {line}✗"),
        (Host::Server, false) => format!("◄{line} {words}"),
        (Host::Server, true) => format!("✗{line} {words}"),
    }
}
