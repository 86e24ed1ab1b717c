//! A trace without what differs from run to run, for the docs.
//!
//! - The order is that of cause and effect, not of the clock: states and segments stand right
//!   below what caused them, and each program runs on until it has to wait for the other. The
//!   server begins.
//! - Segments are in packetdrill's notation, `P. 1:6(5)`, numbers relative. Only SYN segments show
//!   options. What a data segment acknowledges depends on the moment and is left out; so are bare
//!   acknowledgements, but for the handshake's third and the last of a connection. Whether the
//!   first FIN is acknowledged alone or together with the second is chance: FIN_WAIT2 is there
//!   where the peer still sends data in between and is not reset for it.
//! - Data segments in a row are one, with `...` behind it: how many they are is chance. So is a
//!   segment that was sent again although it had arrived, and what came of that; and whether a
//!   FIN travels with the last data.
//! - How much fits into a send buffer is chance. Where a `send` took less than it was given, all
//!   sends in a row are one line, and `...` stands for the amounts of that direction.
//! - The first of many sends in a row leaves at once. How the rest is cut into segments is chance:
//!   of three sends and more, one segment stands for it.
//! - Where each side ends a connection without having heard of the other's end, which FIN is first
//!   is chance, and so are the states from there on: they are left out. Where one of the two ends
//!   is a reset, the other's FIN may leave or not: it is left out, too.
//! - Of the resets of one direction only the first is there.
//! - What repeats itself is there twice; `⋮` stands for the rest.
//! - A call stands where its effect is: one that sends where it began, one that waits where it
//!   returned. A `connect` that waits stands in both places. Reads in a row of one descriptor are
//!   one line, for how many they are is chance. What found nothing to do (EAGAIN) is left out, and
//!   so is waiting for events, unless it timed out.
//! - What is left to chance after all this, the example leaves to chance: how many bytes
//!   a deadline lets pass. Such a ladder differs from run to run.
//! - Descriptors are numbered from 3 a process, in the order in which they appear. Addresses are
//!   "server" and "client". `...` stands for arguments that teach nothing, and for data that is no
//!   text: a port, a sequence number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::output::causes::{self, Crossing, Step, Way};
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
    let crossing = causes::crossing(trace, &steps);
    let mut order = order(trace, &steps);
    order.retain(|place| !follows(trace, &steps[*place], &crossing));
    let names = Names::new(trace, order.iter().map(|place| steps[*place].event));
    let mut lines: Vec<Line> = Vec::new();
    for place in order {
        let line = names.line(trace, &steps[place]);
        match lines.iter().rposition(|earlier| !earlier.lets_pass(&line)) {
            Some(last) if lines[last].takes(&line) => lines[last].append(line),
            _ => lines.push(line),
        }
    }
    let lines = without_repetition(without_cuts(lines));
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
        What::Segment(segment) if segment.flags.contains('R') => {
            let way = (segment.source, segment.destination);
            !trace.events[..index].iter().any(|earlier| resets(earlier, way))
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

/// Whether the peer still sends data, when it knows of the FIN from `local`, and is not reset.
fn goes_on(trace: &Trace, local: SocketAddr, peer: SocketAddr) -> bool {
    let Some(end) = fin(trace, local, peer).map(end) else { return false };
    trace.events.iter().any(|event| match &event.what {
        What::Segment(segment) => {
            let fits = (segment.source, segment.destination) == (peer, local);
            fits && segment.len > 0 && segment.ack == Some(end)
        }
        _ => false,
    }) && !trace.events.iter().any(|event| resets(event, (local, peer)))
}

fn resets(event: &Event, way: Way) -> bool {
    matches!(&event.what, What::Segment(segment)
        if segment.flags.contains('R') && (segment.source, segment.destination) == way)
}

/// Whether an event is only what follows from the end of a connection whose FINs cross.
fn follows(trace: &Trace, step: &Step, crossing: &Crossing) -> bool {
    match &trace.events[step.event].what {
        What::State(change) => {
            let opens = ["SYN_SENT", "SYN_RECV", "ESTABLISHED"].contains(&change.now.as_str());
            !opens && change.peer.is_some_and(|peer| crossing.all.contains(&(change.local, peer)))
        }
        What::Segment(segment) => {
            let way = (segment.source, segment.destination);
            let bare = segment.len == 0 && segment.flags == ".";
            let fin = segment.flags.contains('F') && (segment.len == 0 || step.second);
            (bare && segment.ack != Some(1) && crossing.all.contains(&way))
                || (fin && crossing.reset.contains(&way))
        }
        _ => false,
    }
}

/// Lines in which three sends in a row and more have two data segments: the first goes at once,
/// how the rest is cut into segments is chance.
fn without_cuts(lines: Vec<Line>) -> Vec<Line> {
    let way = |line: &Line| match line.more {
        More::Sends(way, false) | More::Data(_, way, _, _, false) => Some(way),
        _ => None,
    };
    let is_data = |line: &Line| matches!(line.more, More::Data(..));
    let mut kept = Vec::new();
    let mut lines = lines.into_iter().peekable();
    while let Some(first) = lines.next() {
        let row = way(&first);
        let mut row_lines = vec![first];
        while row.is_some() && lines.peek().is_some_and(|next| way(next) == row) {
            row_lines.extend(lines.next());
        }
        if row_lines.iter().filter(|line| !is_data(line)).count() < 3 {
            kept.extend(row_lines);
            continue;
        }
        let (data, sends): (Vec<_>, Vec<_>) = row_lines.into_iter().partition(is_data);
        let (mut sends, mut data) = (sends.into_iter(), data.into_iter());
        kept.extend(sends.next().into_iter().chain(data.next()).chain(sends));
        if let Some(mut rest) = data.next() {
            data.for_each(|more| rest.append(more));
            rest.stands_for_several();
            kept.push(rest);
        }
    }
    kept
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

/// The directions in which a `send` took less than it was given.
fn filled(trace: &Trace) -> BTreeSet<Way> {
    let sends = trace.events.iter().filter_map(|event| match &event.what {
        What::Call(call) if call.name.starts_with("send") || call.name.starts_with("write") => {
            let result = call.result.as_deref()?;
            let given = call.args.rsplit('"').next()?.split(", ").nth(1);
            let given = given.and_then(|given| given.parse::<u64>().ok());
            let taken = result.parse().ok().or_else(|| result.contains("EAGAIN").then_some(0))?;
            call.conn.filter(|_| given.map_or(taken == 0, |given| taken < given))
        }
        _ => None,
    });
    sends.collect()
}

/// What stands for descriptors, addresses, and amounts that are chance.
struct Names {
    fds: BTreeMap<(i32, i32), i32>,
    filled: BTreeSet<Way>,
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
    /// A state.
    State,
    /// Reads of one descriptor: the begin of the line, the data, and how many bytes, if that is
    /// not chance.
    Reads(String, Vec<u8>, Option<u64>),
    /// What went into the send buffer; whether that was filled, and all sends in a row are one.
    Sends(Way, bool),
    /// Data under way: from which byte on, up to which; whether that is chance.
    Data(Host, Way, u32, u32, bool),
}

impl Names {
    fn new(trace: &Trace, shown: impl Iterator<Item = usize>) -> Names {
        let mut names =
            Names { fds: BTreeMap::new(), filled: filled(trace), server: None, client: None };
        let mut next: BTreeMap<i32, i32> = BTreeMap::new();
        for event in shown.map(|index| &trace.events[index]) {
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
                self.segment(&half)
            }
            What::Segment(segment) => self.segment(segment),
            What::State(change) => {
                Line { side: Some(change.host), text: change.now.clone(), more: More::State }
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
            let chance = call.conn.is_some_and(|(to, from)| self.filled.contains(&(from, to)));
            let more = match moved {
                Ok(moved) if moved > 0 => {
                    More::Reads(begin, call.data.clone(), (!chance).then_some(moved))
                }
                _ => More::None,
            };
            return Line { side, text, more };
        }
        // Data speaks for its own length.
        if call.name.starts_with("send") || call.name.starts_with("write") {
            args.truncate(if is_text(&call.data) { 2 } else { 1 });
            args.push("...".to_owned());
        }
        let sends = call.name.starts_with("send") || call.name.starts_with("write");
        let way = call.conn.filter(|_| sends && moved.is_ok());
        let filled = way.is_some_and(|way| self.filled.contains(&way));
        let blocks = call.name == "connect" && result == "0";
        let result = match (blocks, filled) {
            (true, _) => " ...".to_owned(),
            (_, true) => " = ...".to_owned(),
            _ => format!(" = {result}"),
        };
        let room = SIDE.saturating_sub(call.name.chars().count() + 2 + result.chars().count());
        let args = words::fit(args, room);
        let more = way.map_or(More::None, |way| More::Sends(way, filled));
        Line { side, text: format!("{}({args}){result}", call.name), more }
    }

    /// `P. 1:6(5) ─────►`.
    fn segment(&self, segment: &Segment) -> Line {
        let way = (segment.source, segment.destination);
        let (out, back) = (self.filled.contains(&way), self.filled.contains(&(way.1, way.0)));
        let end = segment.seq.wrapping_add(segment.len);
        let mut text = match segment.flags.as_str() {
            "." if segment.len == 0 => {
                format!(". ack {}", number(segment.ack.unwrap_or(0), back))
            }
            flags => bytes(flags, segment.seq, end, out),
        };
        if let Some(mss) = segment.options.strip_prefix("mss ") {
            let mss = mss.split(',').next().unwrap_or(mss);
            text += &format!(" <mss {mss},...>");
        }
        if segment.again {
            text += " again";
        }
        let flagged = segment.flags.contains(['S', 'F', 'R']);
        let plain = segment.len > 0 && !segment.again && segment.arrived.is_some();
        let more = match plain && !flagged {
            true => More::Data(segment.from, way, segment.seq, end, out),
            false => More::None,
        };
        Line { side: None, text: drawn(segment.from, &text, segment.arrived.is_none()), more }
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

/// Whether data is worth showing: a number in binary is so only by chance.
fn is_text(data: &[u8]) -> bool {
    data.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
}

/// The descriptor that a call has made.
fn made(call: &Call) -> Option<i32> {
    let makes = matches!(call.name.as_str(), "socket" | "accept" | "accept4");
    call.result.as_deref().filter(|_| makes)?.parse().ok().filter(|fd| *fd >= 0)
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
    /// Whether this line stands between two parts of what is more of the same: what fills a buffer
    /// goes into it, out of it, and changes the peer's state meanwhile.
    fn lets_pass(&self, next: &Line) -> bool {
        let way = match next.more {
            More::Sends(way, true) | More::Data(_, way, _, _, true) => way,
            _ => return false,
        };
        match self.more {
            More::State => true,
            More::Sends(mine, _) => mine == way && matches!(next.more, More::Data(..)),
            More::Data(_, mine, ..) => mine == way && matches!(next.more, More::Sends(..)),
            _ => false,
        }
    }

    /// Whether the next line is more of the same.
    fn takes(&self, next: &Line) -> bool {
        match (&self.more, &next.more) {
            (More::Reads(mine, ..), More::Reads(other, ..)) => {
                self.side == next.side && mine == other
            }
            (More::Data(_, mine, _, end, _), More::Data(_, other, begin, ..)) => {
                mine == other && end == begin
            }
            (More::Sends(mine, true), More::Sends(other, _)) => {
                mine == other && self.side == next.side
            }
            _ => false,
        }
    }

    fn append(&mut self, next: Line) {
        match (&mut self.more, next.more) {
            (More::Reads(_, data, moved), More::Reads(_, other, further)) => {
                // Data is kept only so far: behind a gap there is none.
                if moved.is_some_and(|moved| data.len() as u64 == moved) {
                    data.extend(other);
                }
                *moved = moved.and_then(|moved| Some(moved + further?));
            }
            (More::Data(_, _, _, end, _), More::Data(_, _, _, further, _)) => {
                *end = further;
                self.stands_for_several();
            }
            _ => {}
        }
    }

    fn stands_for_several(&mut self) {
        if let More::Data(from, _, begin, end, chance) = self.more {
            self.text = drawn(from, &(bytes(".", begin, end, chance) + " ..."), false);
        }
    }

    fn text(&self) -> String {
        let text = match &self.more {
            More::Reads(begin, data, moved) => {
                let moved = moved.map_or("...".to_owned(), |moved| moved.to_string());
                let result = format!(") = {moved}");
                let data = match is_text(data) {
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
