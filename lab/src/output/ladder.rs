//! A trace without what differs from run to run, for the docs.
//!
//! - The order is that of cause and effect, not of the clock: states and segments stand right
//!   below what caused them, and each program runs on until it has to wait for the other. The
//!   server begins.
//! - Segments are in packetdrill's notation, `P. 1:6(5)`, numbers relative. Only SYN segments show
//!   options. What a data segment acknowledges depends on the moment and is left out; so are bare
//!   acknowledgements, but for those that change a state: the handshake's third and that of a FIN.
//! - A call stands where its effect is: one that sends where it began, one that waits where it
//!   returned. A `connect` that waits stands in both places. Reads in a row of one descriptor are
//!   one line, for how many they are is chance. What found nothing to do (EAGAIN) is left out, and
//!   so is waiting for events, unless it timed out.
//! - Descriptors are numbered from 3 a process, in the order in which they appear. Addresses are
//!   "server" and "client". `...` stands for arguments that teach nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use crate::output::causes::{self, Step};
use crate::output::{args, words};
use crate::record::{Call, Event, Host, Segment, Trace, What};

/// The widths of a host's column and of the wire's: 100 in all.
const SIDE: usize = 32;
const WIRE: usize = 30;

/// The ladder, a line a step, with a heading.
pub fn draw(trace: &Trace) -> String {
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
    let heading = format!("{:SIDE$} │ {:^WIRE$} │ server\n", "client", "");
    heading + &lines.iter().map(Line::text).collect::<String>()
}

/// Whether an event is part of the ladder.
fn counts(trace: &Trace, index: usize) -> bool {
    match &trace.events[index].what {
        What::Process(_) => false,
        What::State(_) => true,
        What::Segment(segment) => {
            segment.len > 0 || segment.flags != "." || changes_a_state(trace, index, segment)
        }
        What::Call(call) => {
            let result = call.result.as_deref().unwrap_or_default();
            let waits = ["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"];
            let quiet = ["getsockname", "getpeername", "fcntl", "ioctl", "epoll_ctl"];
            match call.name.as_str() {
                name if quiet.contains(&name) => false,
                name if waits.contains(&name) => result.starts_with("0 "),
                _ => !result.contains("EAGAIN"),
            }
        }
    }
}

/// Whether a bare acknowledgement is the handshake's third, or the first of a FIN.
fn changes_a_state(trace: &Trace, index: usize, ack: &Segment) -> bool {
    let first = |fits: &dyn Fn(&Segment) -> bool| {
        trace.events.iter().position(|event| match &event.what {
            What::Segment(segment) => {
                (segment.source, segment.destination) == (ack.source, ack.destination)
                    && fits(segment)
            }
            _ => false,
        }) == Some(index)
    };
    let opened = trace.events[..index].iter().any(|event| match &event.what {
        What::Segment(segment) => segment.flags == "S" && segment.source == ack.source,
        _ => false,
    });
    let end = trace.events.iter().find_map(|event| match &event.what {
        What::Segment(segment)
            if segment.flags.contains('F') && segment.source == ack.destination =>
        {
            Some(segment.seq + segment.len + 1)
        }
        _ => None,
    });
    (opened && first(&|segment| !segment.flags.starts_with('S')))
        || (end.is_some() && ack.ack == end && first(&|segment| segment.ack == end))
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
    /// Reads of one descriptor: the begin of the line, the data, and how many bytes.
    reads: Option<(String, Vec<u8>, u64)>,
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
            What::Call(call) => self.call(call, step.returns),
            What::Segment(segment) => Line { side: None, text: arrow(segment), reads: None },
            What::State(change) => {
                Line { side: Some(change.host), text: change.now.clone(), reads: None }
            }
            What::Process(process) => {
                Line { side: Some(process.host), text: process.text.clone(), reads: None }
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
            return Line { side, text: format!("... {} = {result}", call.name), reads: None };
        }
        let mut args = args::brief(&call.name, &call.args);
        for arg in &mut args {
            if let Ok(address) = arg.parse::<SocketAddr>() {
                *arg = self.host(address).to_owned();
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
            let reads = moved.ok().filter(|moved| *moved > 0);
            return Line {
                side,
                text,
                reads: reads.map(|moved| (begin, call.data.clone(), moved)),
            };
        }
        // Data speaks for its own length.
        if call.name.starts_with("send") || call.name.starts_with("write") {
            args.truncate(2);
            args.push("...".to_owned());
        }
        let blocks = call.name == "connect" && result == "0";
        let result = if blocks { " ...".to_owned() } else { format!(" = {result}") };
        let room = SIDE.saturating_sub(call.name.chars().count() + 2 + result.chars().count());
        let args = words::fit(args, room);
        Line { side, text: format!("{}({args}){result}", call.name), reads: None }
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
    let lost = segment.arrived.is_none();
    let text = words::cut(&text, WIRE - 4);
    let line = "─".repeat(WIRE - text.chars().count() - 2);
    match (segment.from, lost) {
        (Host::Client, false) => format!("{text} {line}►"),
        (Host::Client, true) => format!("{text} {line}✗"),
        (Host::Server, false) => format!("◄{line} {text}"),
        (Host::Server, true) => format!("✗{line} {text}"),
    }
}

impl Line {
    /// Whether the next line is more of the same read.
    fn takes(&self, next: &Line) -> bool {
        match (&self.reads, &next.reads) {
            (Some(mine), Some(other)) => self.side == next.side && mine.0 == other.0,
            _ => false,
        }
    }

    fn append(&mut self, next: Line) {
        if let (Some(mine), Some(other)) = (&mut self.reads, next.reads) {
            // Data is kept only so far: behind a gap there is none.
            if mine.1.len() as u64 == mine.2 {
                mine.1.extend(other.1);
            }
            mine.2 += other.2;
        }
    }

    fn text(&self) -> String {
        let text = match &self.reads {
            Some((begin, data, moved)) => {
                let result = format!(") = {moved}");
                let data = vec![words::quoted(data)];
                let room = SIDE.saturating_sub(begin.chars().count() + 2 + result.len());
                format!("{begin}, {}{result}", words::fit(data, room))
            }
            None => self.text.clone(),
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
