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

/// Writes events, one by one, as they come.
pub struct Printer<W> {
    out: W,
    width: usize,
    colours: bool,
    start: Option<Nanos>,
    /// The client's ports so far: from the second one on, each line says which.
    ports: BTreeSet<u16>,
    /// Whether a call is followed by the lines of source that led to it.
    lines: bool,
}

/// The width of standard output in columns: of a terminal its own, else what COLUMNS says, else 100.
pub fn terminal_width() -> usize {
    let said = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    let own = console::Term::stdout().size_checked().map(|(_, columns)| columns.into());
    own.or_else(said).unwrap_or(100)
}

/// Who says what, in which colour.
struct Line {
    side: Option<Host>,
    text: String,
    style: Style,
}

impl Printer<io::Stdout> {
    /// To standard output: as wide as that is, and in colours where they are wanted.
    pub fn to_stdout() -> Self {
        let out = io::stdout();
        let colours = anstream::AutoStream::choice(&out) != anstream::ColorChoice::Never;
        Printer { colours, ..Printer::new(out, terminal_width()) }
    }
}

impl<W: Write> Printer<W> {
    /// Without colours. `width` is that of the terminal in columns.
    pub fn new(out: W, width: usize) -> Self {
        let (width, ports) = (width.max(40), BTreeSet::new());
        Printer { out, width, colours: false, start: None, ports, lines: false }
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
        let faint = self.painted(FAINT);
        writeln!(self.out, "{faint}{line}{faint:#}")
    }

    /// One event, one line. The first one's begin is the time zero.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        let start = *self.start.get_or_insert(event.at);
        let time = format!("{:>8}", words::since(start, event.complete()));
        self.ports.extend(words::client_port(event));
        let line = self.line(event);
        let text = &line.text;
        let (style, faint) = (self.painted(line.style), self.painted(FAINT));
        let (side, wire) = self.columns();
        let blank = "";
        write!(self.out, "{faint}{time}{faint:#}  ")?;
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
        let (blank, faint) = ("", self.painted(FAINT));
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
            writeln!(self.out, "{blank:TIME$}  {blank:pad$}{faint}{row}{faint:#}")?;
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

    fn painted(&self, style: Style) -> Style {
        if self.colours { style } else { Style::new() }
    }

    /// The widths of one side's column and of the wire's.
    fn columns(&self) -> (usize, usize) {
        let room = self.width - TIME - 6;
        let side = room * 35 / 100;
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
                // What became of it is said first, as far as there is room; "again" always.
                let least = words::segment_least(segment) + port.len();
                let fates = [words::fate(segment), words::fate_short(segment).to_owned()];
                let fits = |note: &String| least + 2 + length(note) + 4 <= room;
                let note = fates.iter().find(|note| fits(note)).unwrap_or(&fates[1]).clone();
                let noted = if note.is_empty() { 0 } else { 2 + length(&note) };
                let left = room.saturating_sub(4 + port.len() + noted);
                let words = words::segment_within(segment, left) + &port;
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

fn length(text: &str) -> usize {
    text.chars().count()
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
