//! A trace without what differs from run to run, for the docs.
//!
//! - The order is that of cause and effect, not of the clock: states and segments stand right
//!   below what caused them, and each program runs on until it has to wait for the other. The
//!   server begins.
//! - Segments are in packetdrill's notation, `P. 1:6(5)`, numbers relative. Only SYN segments show
//!   options. What a data segment acknowledges depends on the moment and is left out; so are bare
//!   acknowledgements, but for the handshake's third and the last of a connection. Whether the
//!   first FIN is acknowledged alone or together with the second is chance: FIN_WAIT2 is there
//!   where the peer still sends data in between.
//! - Data segments in a row are one, with `...` behind it: how many they are is chance. So is a
//!   segment that was sent again although it had arrived, and what came of that; and whether a
//!   FIN travels with the last data.
//! - What repeats itself is there twice; `⋮` stands for the rest.
//! - A call stands where its effect is: one that sends where it began, one that waits where it
//!   returned. A `connect` that waits stands in both places. Reads in a row of one descriptor are
//!   one line, for how many they are is chance. What found nothing to do (EAGAIN) is left out, and
//!   so is waiting for events, unless it timed out.
//! - What is left to chance after all this, the example leaves to chance: how much fits into a
//!   send buffer, which of two closes is first. Such a ladder differs from run to run.
//! - Descriptors are numbered from 3 a process, in the order in which they appear. Addresses are
//!   "server" and "client". `...` stands for arguments that teach nothing, and for data that is no
//!   ASCII: a port, a sequence number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::output::causes::{self, Step};
use crate::output::{args, words};
use crate::record::{Call, Event, Host, Segment, Trace, What};

/// The widths of a host's column and of the wire's: 100 in all.
const SIDE: usize = 32;
const WIRE: usize = 30;
/// A ladder of more events than this teaches nothing.
const MOST: usize = 5000;
/// What repeats itself is looked for in blocks of up to so many lines.
const LONGEST_BLOCK: usize = 12;

/// The ladder, a line a step, with a heading; of a long trace only a line that says so.
pub fn draw(trace: &Trace) -> String {
    if trace.events.len() > MOST {
        return format!("{} events are too many for a ladder\n", trace.events.len());
    }
    let steps = causes::steps(trace, |index| counts(trace, index));
    let names = Names::new(trace);
    let mut lines: Vec<Line> = Vec::new();
    for place in order(trace, &steps) {
        let line = names.line(trace, &steps[place]);
        match lines.last_mut() {
            Some(last) if last.takes(&line) => last.append(line),
            _ => lines.push(line),
        }
    }
    let lines = without_repetition(lines);
    let heading = format!("{:SIDE$} │ {:^WIRE$} │ server\n", "client", "");
    heading + &lines.iter().map(Line::text).collect::<String>()
}

/// Whether an event is part of the ladder.
fn counts(trace: &Trace, index: usize) -> bool {
    match &trace.events[index].what {
        What::Process(_) => false,
        What::State(change) if change.now == "FIN_WAIT2" => {
            change.peer.is_some_and(|peer| goes_on(trace, change.local, peer))
        }
        What::State(_) => true,
        What::Segment(segment) if segment.again => {
            let mut earlier = same_bytes(&trace.events[..index], segment);
            earlier.any(|before| before.arrived.is_none())
        }
        What::Segment(segment) => {
            segment.len > 0 || segment.flags != "." || changes_a_state(trace, index, segment)
        }
        What::Call(call) => {
            let result = call.result.as_deref().unwrap_or_default();
            let waits = ["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"];
            let quiet = ["getsockname", "getpeername", "fcntl", "ioctl", "epoll_ctl"];
            match call.name.as_str() {
                name if quiet.contains(&name) => false,
                "getsockopt" => call.args.contains("SO_ERROR"),
                name if waits.contains(&name) => result.starts_with("0 "),
                _ => !result.contains("EAGAIN"),
            }
        }
    }
}

/// The segments among `events` that carry what `segment` carries.
fn same_bytes<'a>(events: &'a [Event], segment: &'a Segment) -> impl Iterator<Item = &'a Segment> {
    events.iter().filter_map(move |event| match &event.what {
        What::Segment(other) => {
            let same = (other.source, other.seq) == (segment.source, segment.seq)
                && other.destination == segment.destination
                && (other.len > 0 || other.flags.contains(['S', 'F']));
            same.then_some(other)
        }
        _ => None,
    })
}

/// The FIN of a direction.
fn fin(trace: &Trace, from: SocketAddr, to: SocketAddr) -> Option<&Segment> {
    trace.events.iter().find_map(|event| match &event.what {
        What::Segment(segment) => {
            let fits = (segment.source, segment.destination) == (from, to);
            (fits && segment.flags.contains('F')).then_some(segment)
        }
        _ => None,
    })
}

/// The number that acknowledges a FIN.
fn end(fin: &Segment) -> u32 {
    fin.seq.wrapping_add(fin.len).wrapping_add(1)
}

/// Whether the peer still sends data when it knows of the FIN from `local`.
fn goes_on(trace: &Trace, local: SocketAddr, peer: SocketAddr) -> bool {
    let Some(end) = fin(trace, local, peer).map(end) else { return false };
    trace.events.iter().any(|event| match &event.what {
        What::Segment(segment) => {
            let fits = (segment.source, segment.destination) == (peer, local);
            fits && segment.len > 0 && segment.ack == Some(end)
        }
        _ => false,
    })
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
            kept.push(Line { side: last.side, text: "⋮".to_owned(), more: More::None });
        }
        place += length + skipped;
    }
    kept
}

/// Whether a bare acknowledgement is the handshake's third, or the one that ends the connection.
fn changes_a_state(trace: &Trace, index: usize, ack: &Segment) -> bool {
    let (from, to) = (ack.source, ack.destination);
    let first = |fits: &dyn Fn(&Segment) -> bool| {
        !trace.events[..index].iter().any(|event| match &event.what {
            What::Segment(segment) => {
                (segment.source, segment.destination) == (from, to) && fits(segment)
            }
            _ => false,
        })
    };
    let opens = || {
        trace.events[..index].iter().any(|event| match &event.what {
            What::Segment(segment) => {
                segment.flags == "S" && (segment.source, segment.destination) == (from, to)
            }
            _ => false,
        })
    };
    if first(&|segment| !segment.flags.starts_with('S')) {
        return opens();
    }
    // The second FIN acknowledges the first. Its own acknowledgement is the last segment.
    let (Some(theirs), Some(ours)) = (fin(trace, to, from), fin(trace, from, to)) else {
        return false;
    };
    let last = Some(end(theirs));
    theirs.ack == Some(end(ours)) && ack.ack == last && first(&|segment| segment.ack == last)
}

/// The order: effects at once, then the program that ran last, as long as it can.
fn order(trace: &Trace, steps: &[Step]) -> Vec<usize> {
    let mut waiting: BTreeSet<usize> = (0..steps.len()).collect();
    let mut running = Host::Server;
    let mut order = Vec::new();
    while let Some(next) = waiting
        .iter()
        .copied()
        .filter(|place| steps[*place].after.iter().all(|cause| !waiting.contains(cause)))
        .min_by_key(|place| rank(&trace.events[steps[*place].event], running, *place))
        // Causes in a circle would be an error of ours: go on with what came first.
        .or(waiting.first().copied())
    {
        if let What::Call(call) = &trace.events[steps[next].event].what {
            running = call.host;
        }
        waiting.remove(&next);
        order.push(next);
    }
    order
}

fn rank(event: &Event, running: Host, place: usize) -> (u8, bool, usize) {
    match &event.what {
        What::State(change) => (0, change.host == Host::Server, place),
        What::Segment(segment) => (1, segment.from == Host::Server, place),
        What::Call(call) => (2, call.host != running, place),
        What::Process(_) => (3, false, place),
    }
}

/// What stands for descriptors and addresses.
struct Names {
    fds: BTreeMap<(i32, i32), i32>,
    server: Option<IpAddr>,
    client: Option<IpAddr>,
}

/// One line: of a host, or of the wire.
struct Line {
    side: Option<Host>,
    text: String,
    more: More,
}

/// What lets the next line become part of this one.
enum More {
    None,
    /// Reads of one descriptor: the begin of the line, the data, and how many bytes.
    Reads(String, Vec<u8>, u64),
    /// Data under way: from which byte on, up to which.
    Data(Host, SocketAddr, u32, u32),
}

impl Names {
    fn new(trace: &Trace) -> Names {
        let mut names = Names { fds: BTreeMap::new(), server: None, client: None };
        let mut next: BTreeMap<i32, i32> = BTreeMap::new();
        for event in &trace.events {
            match &event.what {
                What::Call(call) => {
                    for fd in call.fd.into_iter().chain(made(call)) {
                        names.fds.entry((call.pid, fd)).or_insert_with(|| {
                            let next = next.entry(call.pid).or_insert(3);
                            *next += 1;
                            *next - 1
                        });
                    }
                }
                What::Segment(segment) => {
                    let (client, server) = match segment.from {
                        Host::Client => (segment.source, segment.destination),
                        Host::Server => (segment.destination, segment.source),
                    };
                    names.server = Some(server.ip());
                    names.client = Some(client.ip());
                }
                _ => {}
            }
        }
        names
    }

    fn line(&self, trace: &Trace, step: &Step) -> Line {
        match &trace.events[step.event].what {
            What::Call(call) => self.call(call, step.second),
            What::Segment(segment) if causes::ends_with_data(segment) => {
                let mut half = segment.clone();
                if step.second {
                    half.flags = "F.".to_owned();
                    half.seq = segment.seq.wrapping_add(segment.len);
                    half.len = 0;
                } else {
                    half.flags.retain(|flag| flag != 'F');
                }
                segment_line(&half)
            }
            What::Segment(segment) => segment_line(segment),
            What::State(change) => {
                Line { side: Some(change.host), text: change.now.clone(), more: More::None }
            }
            What::Process(process) => {
                Line { side: Some(process.host), text: process.text.clone(), more: More::None }
            }
        }
    }

    fn call(&self, call: &Call, returns: bool) -> Line {
        let side = Some(call.host);
        let result = call.result.as_deref().unwrap_or("?");
        let result = result.strip_prefix("-1 ").unwrap_or(result);
        let result = result.split(' ').next().unwrap_or(result);
        let result = match made(call) {
            Some(fd) => self.fd(call, fd).to_string(),
            None => result.to_owned(),
        };
        if returns {
            return Line { side, text: format!("... {} = {result}", call.name), more: More::None };
        }
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
        let moved = result.parse::<u64>();
        if call.name.starts_with("recv") || call.name.starts_with("read") {
            let begin = format!("{}({}", call.name, args.first().map_or("", String::as_str));
            let text = format!("{begin}, ...) = {result}");
            let more = match moved {
                Ok(moved) if moved > 0 => More::Reads(begin, call.data.clone(), moved),
                _ => More::None,
            };
            return Line { side, text, more };
        }
        // Data speaks for its own length.
        if call.name.starts_with("send") || call.name.starts_with("write") {
            args.truncate(if call.data.is_ascii() { 2 } else { 1 });
            args.push("...".to_owned());
        }
        let blocks = call.name == "connect" && result == "0";
        let result = if blocks { " ...".to_owned() } else { format!(" = {result}") };
        let room = SIDE.saturating_sub(call.name.chars().count() + 2 + result.chars().count());
        let args = words::fit(args, room);
        Line { side, text: format!("{}({args}){result}", call.name), more: More::None }
    }

    fn fd(&self, call: &Call, fd: i32) -> i32 {
        self.fds.get(&(call.pid, fd)).copied().unwrap_or(fd)
    }

    fn host(&self, address: SocketAddr) -> &'static str {
        match Some(address.ip()) {
            ip if ip == self.server => "server",
            ip if ip == self.client => "client",
            _ if address.ip().is_unspecified() => "any",
            _ => "other",
        }
    }
}

/// The descriptor that a call has made.
fn made(call: &Call) -> Option<i32> {
    let makes = matches!(call.name.as_str(), "socket" | "accept" | "accept4");
    call.result.as_deref().filter(|_| makes)?.parse().ok().filter(|fd| *fd >= 0)
}

fn segment_line(segment: &Segment) -> Line {
    let flagged = segment.flags.contains(['S', 'F', 'R']);
    let plain = segment.len > 0 && !segment.again && segment.arrived.is_some();
    let end = segment.seq.wrapping_add(segment.len);
    let more = match plain && !flagged {
        true => More::Data(segment.from, segment.source, segment.seq, end),
        false => More::None,
    };
    Line { side: None, text: arrow(segment), more }
}

/// `P. 1:6(5) ─────►`.
fn arrow(segment: &Segment) -> String {
    let (first, last) = (segment.seq, segment.seq.wrapping_add(segment.len));
    let mut text = match segment.flags.as_str() {
        "." if segment.len == 0 => format!(". ack {}", segment.ack.unwrap_or(0)),
        flags => format!("{flags} {first}:{last}({})", segment.len),
    };
    if let Some(mss) = segment.options.strip_prefix("mss ") {
        let mss = mss.split(',').next().unwrap_or(mss);
        text += &format!(" <mss {mss},...>");
    }
    if segment.again {
        text += " again";
    }
    drawn(segment.from, &text, segment.arrived.is_none())
}

/// The arrow behind or before the words.
fn drawn(from: Host, text: &str, lost: bool) -> String {
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
    /// Whether the next line is more of the same.
    fn takes(&self, next: &Line) -> bool {
        match (&self.more, &next.more) {
            (More::Reads(mine, ..), More::Reads(other, ..)) => {
                self.side == next.side && mine == other
            }
            (More::Data(_, mine, _, end), More::Data(_, other, begin, _)) => {
                mine == other && end == begin
            }
            _ => false,
        }
    }

    fn append(&mut self, next: Line) {
        match (&mut self.more, next.more) {
            (More::Reads(_, data, moved), More::Reads(_, other, further)) => {
                // Data is kept only so far: behind a gap there is none.
                if data.len() as u64 == *moved {
                    data.extend(other);
                }
                *moved += further;
            }
            (More::Data(from, _, begin, end), More::Data(_, _, _, further)) => {
                *end = further;
                let text = format!(". {begin}:{end}({}) ...", end.wrapping_sub(*begin));
                self.text = drawn(*from, &text, false);
            }
            _ => {}
        }
    }

    fn text(&self) -> String {
        let text = match &self.more {
            More::Reads(begin, data, moved) => {
                let result = format!(") = {moved}");
                let data = match data.is_ascii() {
                    true => vec![words::quoted(data)],
                    false => vec!["...".to_owned()],
                };
                let room = SIDE.saturating_sub(begin.chars().count() + 2 + result.len());
                format!("{begin}, {}{result}", words::fit(data, room))
            }
            _ => self.text.clone(),
        };
        let text = words::cut(&text, if self.side.is_some() { SIDE } else { WIRE });
        let blank = "";
        let line = match self.side {
            Some(Host::Client) => format!("{text:SIDE$} │ {blank:WIRE$} │"),
            None => format!("{blank:SIDE$} │ {text:WIRE$} │"),
            Some(Host::Server) => format!("{blank:SIDE$} │ {blank:WIRE$} │ {text}"),
        };
        line + "\n"
    }
}
