//! A trace without what differs from run to run, for the docs.
//!
//! What each thread asked for, what each direction of a connection carried and which states each
//! socket went through are lists of their own (`calls`, `wire`, `causes`). What is chance in a list
//! is left out of it. Then comes what had to come before what, as far as the trace proves it
//! (`calls`, `causes`), and of the orders that this allows the same one is drawn every time
//! (`order`).
//!
//! The order is that of cause and effect, not of the clock:
//! - A segment stands below the call that sent it, a state below the segment or the call that
//!   brought it about. Each thread runs on until it has to wait for something. The server begins.
//! - A call stands where its effect is: one that sends where it began, one that waits where it
//!   returned. A `connect` that waits stands in both places.
//! - What a thread does comes after what its maker did before it made the thread. A maker that goes
//!   on only when the thread has ended has waited for it.
//!
//! Drawn as one, because it is chance how many they are:
//! - Reads of one descriptor in a row.
//! - The data of sends. A send leaves at once, as a segment of its own, where it is sure that the
//!   receiver has taken all that was sent before, and the kernel was not told to wait for more. How
//!   the data of further sends is cut is chance, and so is whether a FIN travels with it. `...`
//!   behind an arrow: it may be several segments.
//! - What fills a send buffer. Where a `send` took less than it was given, all sends in a row are
//!   one line, and `...` stands for the amounts of that direction. What is sent when the buffer is
//!   full leaves for sure only if the receiver takes all of it.
//! - What repeats itself is there twice; `⋮` stands for the rest.
//!
//! Left out, because it is chance whether it is there:
//! - Acknowledgements without data, but for the handshake's third and the last of a connection; the
//!   number that data acknowledges.
//! - A segment that was sent again although it had arrived. One that was lost although the link was
//!   not told to lose it, which a busy machine may do: what was sent again is then the first.
//! - Resets of one direction behind the first, and one that only answers a late acknowledgement.
//! - FIN_WAIT2, unless the peer answers the FIN with data that leaves at once.
//! - What follows where each side ends a connection and it is not sure that one had heard of the
//!   other's end: which FIN is first is chance, and with it the states from there on. If one of the
//!   ends is a reset, the other's FIN may not leave at all.
//! - The end of TIME_WAIT.
//! - Calls that found nothing to do (EAGAIN), and waiting for events, unless it timed out.
//!
//! Descriptors are numbered from 3 in each process, in the order in which they appear. Addresses
//! are "server" and "client". `...` stands for arguments that teach nothing, and for data that is
//! no text: a port, a sequence number. Only SYN segments show options. Segments are in
//! packetdrill's notation, `P. 1:6(5)`, numbers relative.
//!
//! An example may still leave to chance what it asks for, such as how many bytes a deadline lets
//! pass. It has no outline.

mod calls;
mod causes;
mod order;
mod ways;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use calls::{Calls, Part};
use causes::{Act, Step};
use ways::{Ways, back};
use wire::Wire;

use crate::output::{args, words};
use crate::record::{Call, Host, Segment, Trace, What};

/// The widths of a host's column and of the wire's: 100 in all.
const SIDE: usize = 32;
const WIRE: usize = 30;
/// What repeats itself is looked for in blocks of up to so many lines.
const LONGEST_BLOCK: usize = 12;
/// So many bytes of what was read are looked at: as many as a trace keeps of one call.
const DATA: usize = 64;

/// The outline, a line a step, with a heading.
pub fn draw(trace: &Trace) -> String {
    let heading = format!("{:SIDE$} │ {:^WIRE$} │ server\n", "client", "");
    heading + &lines(trace).iter().map(Line::text).collect::<String>()
}

/// The lines of the file `named` that led to each line of the outline, its heading not counted. A
/// call has its own; of sends that fill a buffer the first, for how many more there are is chance.
/// What is no call has those of the last of the steps that had to come before it.
pub fn led(trace: &Trace, named: &str) -> Vec<BTreeSet<usize>> {
    let of_file = |line: &String| {
        let (file, number) = line.rsplit_once(':')?;
        let it = file.strip_suffix(named)?;
        (it.is_empty() || it.ends_with('/')).then(|| number.parse().ok()).flatten()
    };
    lines(trace).iter().map(|line| line.led.iter().filter_map(of_file).collect()).collect()
}

fn lines(trace: &Trace) -> Vec<Line> {
    let ways = Ways::new(trace);
    let wire = Wire::new(trace, &ways);
    let calls = Calls::new(trace, &ways, &wire);
    let steps = causes::steps(trace, &ways, &wire, &calls);
    let mut order = order::order(&calls, &steps);
    order.retain(|step| !is_a_wait(&calls, &steps[*step]));
    let drawing = Drawing {
        trace,
        calls: &calls,
        wire: &wire,
        fds: fds(&calls, order.iter().map(|step| &steps[*step])),
        hosts: hosts(trace),
    };
    let mut lines: Vec<Line> = Vec::new();
    let mut drawn: BTreeMap<usize, usize> = BTreeMap::new();
    for (place, step) in order.iter().enumerate() {
        let mut line = drawing.line(&steps[*step]);
        let after = steps[*step].after.iter();
        let cause: Option<&usize> = after.filter_map(|before| drawn.get(before)).max();
        line.led = match (steps[*step].what, cause) {
            (Act::Call(row), _) => {
                let one = calls::sends(calls.call(row));
                let all = calls.all(row).take(if one { 1 } else { usize::MAX });
                all.flat_map(|call| call.lines.clone()).collect()
            }
            (_, Some(&cause)) => lines[cause].led.clone(),
            (_, None) => BTreeSet::new(),
        };
        lines.push(line);
        drawn.insert(*step, place);
    }
    without_repetition(lines)
}

fn is_a_wait(calls: &Calls, step: &Step) -> bool {
    matches!(step.what, Act::Call(row) if calls.rows[row].part == Part::Wait)
}

/// Lines without what repeats itself: of three blocks of the same shape and more, two are left.
fn without_repetition(lines: Vec<Line>) -> Vec<Line> {
    let shape = |line: &Line| line.text().replace(|c: char| c.is_ascii_digit() || c == '─', "");
    let shapes: Vec<String> = lines.iter().map(shape).collect();
    let mut kept = Vec::new();
    let mut place = 0;
    let mut lines: Vec<Option<Line>> = lines.into_iter().map(Some).collect();
    while place < lines.len() {
        let times = |length: usize| {
            let block = &shapes[place..place + length];
            shapes[place..].chunks_exact(length).take_while(|other| other == &block).count()
        };
        let longest = (lines.len() - place) / 3;
        let block = (1..=longest.min(LONGEST_BLOCK)).find(|length| times(*length) >= 3);
        let (length, skipped) = match block {
            Some(length) => (2 * length, (times(length) - 2) * length),
            None => (1, 0),
        };
        kept.extend(lines[place..place + length].iter_mut().filter_map(Option::take));
        if let Some(last) = kept.last().filter(|_| skipped > 0) {
            let rest = lines[place + length..place + length + skipped].iter().flatten();
            let led = rest.flat_map(|line| line.led.clone()).collect();
            kept.push(Line { side: last.side, text: "⋮".to_owned(), led });
        }
        place += length + skipped;
    }
    kept
}

/// The numbers of descriptors: from 3 in each process, in the order in which they are drawn.
fn fds<'a>(calls: &Calls, steps: impl Iterator<Item = &'a Step>) -> BTreeMap<(i32, i32), i32> {
    let mut fds = BTreeMap::new();
    let mut next: BTreeMap<i32, i32> = BTreeMap::new();
    for step in steps {
        let Act::Call(row) = step.what else { continue };
        let call = calls.call(row);
        for fd in call.fd.into_iter().chain(made(call)) {
            fds.entry((call.pid, fd)).or_insert_with(|| {
                let next = next.entry(call.pid).or_insert(3);
                *next += 1;
                *next - 1
            });
        }
    }
    fds
}

/// The addresses on the wire, and whose they are.
fn hosts(trace: &Trace) -> BTreeMap<IpAddr, &'static str> {
    let segments = trace.events.iter().filter_map(|event| match &event.what {
        What::Segment(segment) => Some((segment.source.ip(), words::host(segment.from))),
        _ => None,
    });
    segments.collect()
}

/// One line: of a host, or of the wire.
struct Line {
    side: Option<Host>,
    text: String,
    /// The lines of source that led to it.
    led: BTreeSet<String>,
}

/// What lines are drawn from.
struct Drawing<'a> {
    trace: &'a Trace,
    calls: &'a Calls<'a>,
    wire: &'a Wire<'a>,
    fds: BTreeMap<(i32, i32), i32>,
    hosts: BTreeMap<IpAddr, &'static str>,
}

impl Drawing<'_> {
    fn line(&self, step: &Step) -> Line {
        // How much fits into a send buffer is chance.
        let chance = step.way.is_some_and(|way| self.calls.filled.contains_key(&way));
        let chance_back = step.way.is_some_and(|way| self.calls.filled.contains_key(&back(way)));
        let (side, text) = match step.what {
            Act::Call(row) if self.calls.rows[row].part == Part::Return => {
                let call = self.calls.call(row);
                (Some(step.host), format!("... {} = {}", call.name, self.result(call)))
            }
            Act::Call(row) if calls::reads(self.calls.call(row)) => {
                (Some(step.host), self.read(row, chance_back))
            }
            Act::Call(row) => (Some(step.host), self.call(row, chance)),
            Act::State(event) => match &self.trace.events[event].what {
                What::State(change) => (Some(step.host), change.now.clone()),
                _ => unreachable!("not a state"),
            },
            Act::Segment(event) | Act::Fin(event) => {
                let segment = self.wire.segment(event);
                let end = segment.seq.wrapping_add(segment.len);
                let mut text = match step.what {
                    Act::Fin(_) => bytes("F.", end, end, chance),
                    _ => segment_text(segment, chance, chance_back),
                };
                let direction = step.way.and_then(|way| self.wire.direction(way));
                if direction.is_some_and(|direction| direction.again.contains(&event)) {
                    text += " again";
                }
                (None, arrow(step.host, &text, wire::is_lost(segment)))
            }
            Act::Data(from, to, false) => {
                (None, arrow(step.host, &bytes("P.", from, to, chance), false))
            }
            Act::Data(from, to, true) => {
                (None, arrow(step.host, &(bytes(".", from, to, chance) + " ..."), false))
            }
        };
        Line { side, text, led: BTreeSet::new() }
    }

    fn call(&self, row: usize, chance: bool) -> String {
        let call = self.calls.call(row);
        let sends = calls::sends(call);
        let result = match (self.calls.rows[row].part, self.result(call)) {
            (Part::Begin, _) => " ...".to_owned(),
            (_, result) if sends && chance && result.parse::<u64>().is_ok_and(|n| n > 0) => {
                " = ...".to_owned()
            }
            (_, result) => format!(" = {result}"),
        };
        let mut args = args::brief(&call.name, &call.args);
        for arg in &mut args {
            if let Ok(address) = arg.parse::<SocketAddr>() {
                *arg = self.host(address).to_owned();
            } else if arg == "…" {
                *arg = "...".to_owned();
            }
        }
        if let (Some(fd), Some(first)) = (call.fd, args.first_mut())
            && first.parse() == Ok(fd)
        {
            *first = self.fd(call, fd).to_string();
        }
        // Data speaks for its own length.
        if sends {
            args.truncate(if is_text(&call.data) { 2 } else { 1 });
            args.push("...".to_owned());
        }
        let room = SIDE.saturating_sub(call.name.chars().count() + 2 + result.chars().count());
        format!("{}({}){result}", call.name, words::fit(args, room))
    }

    /// A read, or several in a row: how many is chance.
    fn read(&self, row: usize, chance: bool) -> String {
        let first = self.calls.call(row);
        let fd = first.fd.map_or("...".to_owned(), |fd| self.fd(first, fd).to_string());
        let (mut data, mut all): (Vec<u8>, _) = (Vec::new(), true);
        let mut moved = 0;
        for call in self.calls.all(row) {
            // Data is kept only so far: behind a gap there is none.
            let count: u64 = call.result.as_deref().and_then(|n| n.parse().ok()).unwrap_or(0);
            data.extend(call.data.iter().filter(|_| all));
            all &= call.data.len() as u64 == count;
            moved += count;
        }
        data.truncate(DATA);
        let result = match (moved, chance) {
            (0, _) => self.result(first),
            (_, true) => "...".to_owned(),
            (_, false) => moved.to_string(),
        };
        let data = match moved > 0 && is_text(&data) {
            true => words::quoted(&data),
            false => "...".to_owned(),
        };
        let begin = format!("{}({fd}, ", first.name);
        let end = match calls::how_it_takes(first).as_str() {
            "" => format!(") = {result}"),
            how => format!(", {how}) = {result}"),
        };
        let room = SIDE.saturating_sub(begin.chars().count() + end.chars().count()).max(1);
        begin + &words::fit(vec![data], room) + &end
    }

    fn result(&self, call: &Call) -> String {
        let result = call.result.as_deref().unwrap_or("?");
        let result = result.strip_prefix("-1 ").unwrap_or(result);
        match made(call) {
            Some(fd) => self.fd(call, fd).to_string(),
            None => result.split(' ').next().unwrap_or(result).to_owned(),
        }
    }

    fn fd(&self, call: &Call, fd: i32) -> i32 {
        self.fds.get(&(call.pid, fd)).copied().unwrap_or(fd)
    }

    fn host(&self, address: SocketAddr) -> &'static str {
        match self.hosts.get(&address.ip()) {
            Some(host) => host,
            None if address.ip().is_unspecified() => "any",
            None => "other",
        }
    }
}

/// Whether data is worth showing: a number in binary is so only by chance.
fn is_text(data: &[u8]) -> bool {
    data.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
}

/// The descriptor that a call has made.
fn made(call: &Call) -> Option<i32> {
    let makes = matches!(call.name.as_str(), "socket" | "accept" | "accept4");
    call.result.as_deref().filter(|_| makes)?.parse().ok().filter(|fd| *fd >= 0)
}

/// `P. 1:6(5)`, `S 0:0(0) <mss 1460,...>`.
fn segment_text(segment: &Segment, chance: bool, chance_back: bool) -> String {
    let end = segment.seq.wrapping_add(segment.len);
    let mut text = match segment.flags.as_str() {
        "." if segment.len == 0 => {
            format!(". ack {}", number(segment.ack.unwrap_or(0), chance_back))
        }
        flags => bytes(flags, segment.seq, end, chance),
    };
    if let Some(mss) = segment.options.strip_prefix("mss ") {
        let mss = mss.split(',').next().unwrap_or(mss);
        text += &format!(" <mss {mss},...>");
    }
    text
}

/// `P. 1:6(5)`; amounts that are chance are left out.
fn bytes(flags: &str, begin: u32, end: u32, chance: bool) -> String {
    let length = match chance && end != begin {
        true => "...".to_owned(),
        false => end.wrapping_sub(begin).to_string(),
    };
    format!("{flags} {}:{}({length})", number(begin, chance), number(end, chance))
}

/// A sequence number; behind the first byte it may be chance.
fn number(seq: u32, chance: bool) -> String {
    if chance && seq > 1 { "...".to_owned() } else { seq.to_string() }
}

/// The arrow behind or before the words.
fn arrow(from: Host, text: &str, lost: bool) -> String {
    let text = words::cut(text, WIRE - 4);
    let line = "─".repeat(WIRE - text.chars().count() - 2);
    match (from, lost) {
        (Host::Client, false) => format!("{text} {line}►"),
        (Host::Client, true) => format!("{text} {line}✗"),
        (Host::Server, false) => format!("◄{line} {text}"),
        (Host::Server, true) => format!("✗{line} {text}"),
    }
}

impl Line {
    fn text(&self) -> String {
        let text = words::cut(&self.text, if self.side.is_some() { SIDE } else { WIRE });
        let blank = "";
        let line = match self.side {
            Some(Host::Client) => format!("{text:SIDE$} │ {blank:WIRE$} │"),
            None => format!("{blank:SIDE$} │ {text:WIRE$} │"),
            Some(Host::Server) => format!("{blank:SIDE$} │ {blank:WIRE$} │ {text}"),
        };
        line + "\n"
    }
}
