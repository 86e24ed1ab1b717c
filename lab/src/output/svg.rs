//! The diagram diagram. Client to the left, server to the right, time downwards.
//!
//! - A segment is a slanted arrow from where it left to where it arrived; thick with data, thin
//!   without, dashed if sent again, red with a cross if it was lost.
//! - A system call is a bar, as long as the call took. One that waited says its result below.
//! - A TCP state is a strip beside the host's line, and a name where it begins.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::net::SocketAddr;

use crate::output::layout::{self, Label, Lane, Layout, Moment, ROW};
use crate::output::words;
use crate::record::{Call, Host, Nanos, Segment, StateChange, Trace, What};

/// More events than this make no picture: the first three quarters are drawn, and the last.
pub const MOST: usize = 400;

/// The column of times.
const TIMES: f64 = 76.0;
/// Where a time ends.
const TIME_END: f64 = TIMES - 10.0;
/// A host's labels: 35 characters.
const LABELS: f64 = 238.0;
/// Between the host lines.
const WIRE: f64 = 420.0;
/// A strip or a bar, and the space after it.
const STRIP: f64 = 11.0;
const BAR: f64 = 9.0;
/// At most so many of either beside each other.
const LANES: usize = 4;
/// One character of a label.
const CHAR: f64 = 6.62;

/// The file: heading, diagram and footer.
pub fn draw(trace: &Trace) -> String {
    Drawing::new(trace, 96.0, false).finish(true).0
}

/// What the signs mean.
pub const LEGEND: &str = "Time runs downwards, not to scale. Thick arrow: data. Dashed: sent \
                          again. Cross: lost. Bar: a system call. Strip: a TCP state.";

/// The diagram alone, for a page that says the rest, and [`Heads`]. Every event is a `<g id="eN">`;
/// with time to scale, a `<g id="tN">`.
pub fn diagram(trace: &Trace, to_scale: bool) -> (String, Heads) {
    Drawing::new(trace, 22.0, to_scale).finish(false)
}

/// The names above the two lines, and where they stand: percent of the width.
pub type Heads = [(Host, String, f64); 2];

/// Whether event `index` of `count` is drawn.
pub fn is_drawn(index: usize, count: usize) -> bool {
    count <= MOST || index < MOST * 3 / 4 || index >= count - MOST / 4
}

/// Text made safe for SVG and HTML. What cannot stand in XML at all becomes "\u{fffd}".
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            '\t' | '\n' => safe.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

/// A socket's own address, and its peer's.
type Socket = (SocketAddr, Option<SocketAddr>);

/// A socket's strip.
struct Strip<'a> {
    /// In which lane it is.
    lane: usize,
    changes: Vec<(Nanos, &'a StateChange)>,
}

/// One host's side of the picture.
struct Side<'a> {
    /// Its line.
    line: f64,
    /// -1 to the left, 1 to the right: away from the wire.
    out: f64,
    /// The sockets, and how each changed.
    strips: BTreeMap<Socket, Strip<'a>>,
    /// Which lane the bar of a call is in.
    bars: BTreeMap<usize, usize>,
    strip_lanes: usize,
    bar_lanes: usize,
}

impl<'a> Side<'a> {
    fn new(trace: &'a Trace, host: Host) -> Side<'a> {
        let (strips, strip_lanes) = strips(trace, host);
        let (bars, bar_lanes) = bars(trace, host);
        let out = if host == Host::Client { -1.0 } else { 1.0 };
        Side { line: 0.0, out, strips, bars, strip_lanes, bar_lanes }
    }

    /// Whether it has more than one connection: then the client's port tells them apart.
    fn many(&self) -> bool {
        self.strips.keys().filter(|(_, peer)| peer.is_some()).count() > 1
    }

    /// From the line to the labels.
    fn lanes(&self) -> f64 {
        6.0 + STRIP * self.strip_lanes as f64 + BAR * self.bar_lanes as f64 + 5.0
    }

    fn labels(&self) -> f64 {
        self.line + self.out * self.lanes()
    }

    /// The left edge of something `width` wide that begins `offset` away from the line.
    fn left(&self, offset: f64, width: f64) -> f64 {
        if self.out < 0.0 { self.line - offset - width } else { self.line + offset }
    }

    fn anchor(&self) -> &'static str {
        if self.out < 0.0 { "end" } else { "start" }
    }
}

/// The first lane that is free at `from`, taken until `until`; the last one if none is.
fn lane(taken: &mut Vec<Nanos>, from: Nanos, until: Nanos) -> usize {
    let free = taken.iter().position(|end| *end <= from);
    let lane = free.unwrap_or_else(|| (taken.len()).min(LANES - 1));
    if lane == taken.len() {
        taken.push(0);
    }
    taken[lane] = taken[lane].max(until);
    lane
}

fn strips(trace: &Trace, host: Host) -> (BTreeMap<Socket, Strip<'_>>, usize) {
    let mut strips: BTreeMap<Socket, Strip> = BTreeMap::new();
    let mut begun = Vec::new();
    for (at, change) in changes(trace, host) {
        let socket = (change.local, change.peer);
        let strip = strips.entry(socket).or_insert_with(|| {
            begun.push(socket);
            Strip { lane: 0, changes: Vec::new() }
        });
        strip.changes.push((at, change));
    }
    let mut taken = Vec::new();
    for socket in begun {
        let Some(strip) = strips.get_mut(&socket) else { continue };
        let from = strip.changes[0].0;
        let until = match &strip.changes[..] {
            [_, .., (at, change)] if change.now == "CLOSED" => *at,
            _ => Nanos::MAX,
        };
        strip.lane = lane(&mut taken, from, until);
    }
    (strips, taken.len())
}

fn bars(trace: &Trace, host: Host) -> (BTreeMap<usize, usize>, usize) {
    let mut taken = Vec::new();
    let mut lanes = BTreeMap::new();
    for (index, event) in trace.events.iter().enumerate() {
        if let What::Call(call) = &event.what
            && call.host == host
            && is_drawn(index, trace.events.len())
        {
            let until = call.returned.unwrap_or(Nanos::MAX);
            lanes.insert(index, lane(&mut taken, event.at, until));
        }
    }
    (lanes, taken.len())
}

fn changes(trace: &Trace, host: Host) -> impl Iterator<Item = (Nanos, &StateChange)> {
    trace.events.iter().filter_map(move |event| match &event.what {
        What::State(change) if change.host == host => Some((event.at, change)),
        _ => None,
    })
}

struct Drawing<'a> {
    trace: &'a Trace,
    client: Side<'a>,
    server: Side<'a>,
    /// Which calls waited.
    waited: Vec<bool>,
    layout: Layout,
    width: f64,
    top: f64,
    /// Before an event's number.
    id: char,
    out: String,
}

impl<'a> Drawing<'a> {
    fn new(trace: &'a Trace, top: f64, to_scale: bool) -> Self {
        let count = trace.events.len();
        let waited: Vec<bool> = (0..count)
            .map(|index| is_drawn(index, count) && layout::waited(trace, index))
            .collect();
        let layout = Layout::new(
            trace,
            top + 6.0,
            |index| is_drawn(index, count),
            |moment| label(trace, &waited, moment),
        );
        let (id, layout) = match to_scale {
            true => ('t', layout.to_scale(top + 6.0, |moment| label(trace, &waited, moment))),
            false => ('e', layout),
        };
        let mut client = Side::new(trace, Host::Client);
        let mut server = Side::new(trace, Host::Server);
        client.line = TIMES + LABELS + client.lanes();
        server.line = client.line + WIRE;
        let width = server.labels() + LABELS + 8.0;
        Drawing { trace, client, server, waited, layout, width, top, id, out: String::new() }
    }

    fn side(&self, host: Host) -> &Side<'a> {
        match host {
            Host::Client => &self.client,
            Host::Server => &self.server,
        }
    }

    fn finish(mut self, whole: bool) -> (String, Heads) {
        let bottom = self.layout.height + 4.0;
        let height = bottom + if whole { 30.0 } else { 6.0 };
        let (width, title) = (self.width, escape(&self.trace.about.title));
        put(
            &mut self.out,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"diagram\" role=\"img\" \
                 viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
                 aria-label=\"Diagram: {title}\">"
            ),
        );
        put(&mut self.out, style());
        if whole {
            put(&mut self.out, format_args!("<title>{title}</title>"));
            put(
                &mut self.out,
                format_args!(
                    "<rect class=\"ground\" width=\"{width:.0}\" height=\"{height:.0}\"/>"
                ),
            );
            self.heading();
        }
        self.times();
        self.hosts(bottom, whole);
        self.strips(bottom, whole);
        self.events();
        if whole {
            self.footer(bottom);
        }
        self.out += "</svg>\n";
        let heads = [Host::Client, Host::Server]
            .map(|host| (host, self.address(host), 100.0 * self.side(host).line / width));
        (self.out, heads)
    }

    fn heading(&mut self) {
        let about = &self.trace.about;
        let text = format!(
            "<text class=\"title\" x=\"16\" y=\"26\">{}</text>\
             <text class=\"note\" x=\"16\" y=\"43\">{}</text>\
             <text class=\"note\" x=\"16\" y=\"60\">{LEGEND}</text>",
            escape(&about.title),
            escape(&words::cut(&about.link, 140)),
        );
        put(&mut self.out, text);
    }

    fn footer(&mut self, bottom: f64) {
        let about = &self.trace.about;
        let mut notes = Vec::new();
        if !about.cost.is_empty() {
            notes.push(format!("Tracing costs {}.", about.cost));
        }
        if let Some(broken) = about.broken.first() {
            notes.push(format!("{} rules of order are broken: {broken}.", about.broken.len()));
        }
        notes.extend(about.missing.iter().map(|missing| format!("Missing: {missing}.")));
        let (y, text) = (bottom + 18.0, escape(&words::cut(&notes.join(" "), 150)));
        put(
            &mut self.out,
            format_args!("<text class=\"note\" x=\"16\" y=\"{y:.1}\">{text}</text>"),
        );
    }

    /// Times to the left, a faint rule for each, and the pauses in between.
    fn times(&mut self) {
        let right = self.width - 8.0;
        put(
            &mut self.out,
            format_args!(
                "<text class=\"time\" x=\"{TIME_END}\" y=\"{:.1}\">ms</text>",
                self.top - 8.0
            ),
        );
        for (y, text) in layout::marks(&self.layout) {
            put(
                &mut self.out,
                format_args!(
                    "<path class=\"rule\" d=\"M{TIMES} {y:.1}H{right:.1}\"/>\
                     <text class=\"time\" x=\"{TIME_END}\" y=\"{:.1}\">{text}</text>",
                    y + 3.5
                ),
            );
        }
        for (from, to, nanos) in layout::pauses(&self.layout) {
            let (y, text) = ((from + to) / 2.0 + 3.5, words::duration(nanos));
            put(
                &mut self.out,
                format_args!("<text class=\"pause\" x=\"{TIME_END}\" y=\"{y:.1}\">⋮ {text}</text>"),
            );
        }
    }

    fn hosts(&mut self, bottom: f64, named: bool) {
        for host in [Host::Client, Host::Server] {
            let side = self.side(host);
            let (line, top, name) = (side.line, self.top, words::host(host));
            put(
                &mut self.out,
                format_args!("<path class=\"host {name}\" d=\"M{line:.1} {top:.1}V{bottom:.1}\"/>"),
            );
            if !named {
                continue;
            }
            let address = self.address(host);
            let text = format!(
                "<text class=\"name {name}\" text-anchor=\"middle\" x=\"{line:.1}\" y=\"{:.1}\">\
                 {name} <tspan class=\"note\">{}</tspan></text>",
                top - 8.0,
                escape(&address)
            );
            put(&mut self.out, text);
        }
    }

    /// The host's address, as its first segment has it.
    fn address(&self, host: Host) -> String {
        let ip = self.trace.events.iter().find_map(|event| match &event.what {
            What::Segment(segment) if segment.from == host => Some(segment.source.ip()),
            What::Segment(segment) => Some(segment.destination.ip()),
            _ => None,
        });
        ip.map(|ip| ip.to_string()).unwrap_or_default()
    }

    fn strips(&mut self, bottom: f64, whole: bool) {
        for host in [Host::Client, Host::Server] {
            let side = self.side(host);
            let mut text = String::new();
            for (&(local, peer), Strip { lane, changes: own }) in &side.strips {
                for (index, (at, change)) in own.iter().enumerate() {
                    if change.now == "CLOSED" {
                        continue;
                    }
                    let from = self.layout.at(*at) + 1.0;
                    let to = own.get(index + 1).map_or(bottom, |(at, _)| self.layout.at(*at));
                    let x = side.left(6.0 + STRIP * *lane as f64, STRIP - 3.0);
                    // A page that shows one connection hides the strips of the others.
                    let conn = match (whole, peer, host) {
                        (true, ..) => String::new(),
                        (_, None, _) => " data-conn=\"\"".to_owned(),
                        (_, Some(_), Host::Client) => format!(" data-conn=\"{}\"", local.port()),
                        (_, Some(peer), Host::Server) => {
                            format!(" data-conn=\"{}\"", peer.port())
                        }
                    };
                    put(
                        &mut text,
                        format_args!(
                            "<rect{conn} class=\"{}\" x=\"{x:.1}\" y=\"{from:.1}\" width=\"{:.1}\" \
                             height=\"{:.1}\"/>",
                            phase(&change.now),
                            STRIP - 3.0,
                            (to - from).max(2.0)
                        ),
                    );
                }
            }
            self.out += &text;
        }
    }

    fn events(&mut self) {
        let count = self.trace.events.len();
        let mut left_out = count > MOST;
        for (index, event) in self.trace.events.iter().enumerate() {
            let Some(y) = self.layout.begin(index) else { continue };
            if left_out && index >= MOST * 3 / 4 {
                left_out = false;
                self.gap(y - ROW, count - MOST);
            }
            let what = match &event.what {
                What::Call(call) => self.call(index, call, y),
                What::Segment(segment) => self.segment(index, segment, y),
                What::State(change) => self.room(index, false, self.state(change, y)),
                What::Process(process) => {
                    let side = self.side(process.host);
                    let text = words::process(process);
                    let line = self.line(side, y, "process", &words::cut(&text, 35));
                    self.room(index, false, line)
                }
            };
            let id = self.id;
            put(&mut self.out, format_args!("<g class=\"event\" id=\"{id}{index}\">{what}</g>\n"));
        }
    }

    fn gap(&mut self, y: f64, events: usize) {
        let (middle, right) = ((self.client.line + self.server.line) / 2.0, self.width - 8.0);
        put(
            &mut self.out,
            format_args!(
                "<path class=\"gap\" d=\"M{TIMES} {y:.1}H{right:.1}\"/>\
                 <text class=\"gap\" text-anchor=\"middle\" x=\"{middle:.1}\" y=\"{:.1}\">\
                 {events} events are not drawn</text>",
                y - 4.0
            ),
        );
    }

    /// A label, marked where it has no room: the page shows it when its event is chosen.
    fn room(&self, index: usize, end: bool, label: String) -> String {
        match self.layout.is_crowded(index, end) {
            true => format!("<g class=\"crowded\">{label}</g>"),
            false => label,
        }
    }

    /// A label of a host, and the area that reacts.
    fn line(&self, side: &Side, y: f64, class: &str, text: &str) -> String {
        let x = side.labels();
        let hit = side.left(side.lanes() - 4.0, LABELS);
        format!(
            "<rect class=\"hit\" x=\"{hit:.1}\" y=\"{:.1}\" width=\"{LABELS}\" height=\"{ROW}\" \
             rx=\"3\"/><text class=\"{class}\" text-anchor=\"{}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            y - ROW / 2.0,
            side.anchor(),
            y + 3.5,
            escape(text)
        )
    }

    fn call(&self, index: usize, call: &Call, y: f64) -> String {
        let side = self.side(call.host);
        let lane = side.bars.get(&index).copied().unwrap_or_default();
        let x = side.left(6.0 + STRIP * side.strip_lanes as f64 + BAR * lane as f64, BAR - 2.0);
        let class = if call.failed() { "failed" } else { words::host(call.host) };
        // One that never returned stands open until the end.
        let end = match call.cut_off {
            Some(at) => self.layout.at(at),
            None => self.layout.end(index).unwrap_or(self.layout.height),
        };
        let mut text = if self.waited[index] || call.returned.is_none() {
            self.line(side, y, "", &words::call_begins(call, 35))
        } else {
            self.line(side, y, class_of(call), &words::call_within(call, 35))
        };
        text = self.room(index, false, text);
        if self.waited[index] {
            let line = self.line(side, end, class_of(call), &words::call_returns(call, 35));
            text += &self.room(index, true, line);
        }
        let open = if call.returned.is_none() { " open" } else { "" };
        put(
            &mut text,
            format_args!(
                "<rect class=\"bar {class}{open}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\" rx=\"2\"/>",
                y - 1.5,
                BAR - 2.0,
                (end - y + 3.0).max(6.0)
            ),
        );
        text
    }

    fn state(&self, change: &StateChange, y: f64) -> String {
        let side = self.side(change.host);
        let mut name = change.now.clone();
        if side.many()
            && let Some(peer) = change.peer
        {
            let port = if change.host == Host::Server { peer.port() } else { change.local.port() };
            name = format!("{name} :{port}");
        }
        let width = name.chars().count() as f64 * CHAR + 12.0;
        let x = side.left(side.lanes() - 2.0, width);
        format!(
            "<rect class=\"hit\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{ROW}\" rx=\"8\"/>\
             <rect class=\"pill {}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"15\" \
             rx=\"7.5\"/><text class=\"state {}\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">\
             {}</text>",
            x - 2.0,
            y - ROW / 2.0,
            width + 4.0,
            phase(&change.now),
            y - 7.5,
            if change.now == "CLOSED" { "closed" } else { "" },
            x + width / 2.0,
            y + 3.5,
            escape(&name)
        )
    }

    fn segment(&self, index: usize, segment: &Segment, y: f64) -> String {
        let other = if segment.from == Host::Client { Host::Server } else { Host::Client };
        let (from, to) = (self.side(segment.from), self.side(other));
        let inward = -from.out;
        let start = from.line + inward * 2.0;
        let end = self.layout.end(index);
        let (x, down) = match end {
            Some(end) => (to.line - inward * 3.0, end),
            None => (from.line + inward * WIRE * 0.55, y + ROW * 0.8),
        };
        let mut class = format!("arrow {}", words::host(segment.from));
        for (is, name) in [
            (segment.len > 0, " data"),
            (segment.again, " again"),
            (end.is_none(), " lost"),
            (segment.flags.contains('R'), " lost"),
        ] {
            class += if is { name } else { "" };
        }
        let mut text = format!(
            "<path class=\"touch\" d=\"M{start:.1} {y:.1}L{x:.1} {down:.1}\"/>\
             <path class=\"{class}\" d=\"M{start:.1} {y:.1}L{x:.1} {down:.1}\"/>"
        );
        text += &match end {
            Some(_) => head(start, y, x, down, &class),
            None => format!(
                "<path class=\"cross\" d=\"M{:.1} {:.1}l10 10m0 -10l-10 10\"/>",
                x - 5.0,
                down - 5.0
            ),
        };
        let label = |class: &str, row: f64, words: &str| {
            format!(
                "<text class=\"{class}\" text-anchor=\"{}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                if inward > 0.0 { "start" } else { "end" },
                from.line + inward * 9.0,
                y - 4.0 - row * 13.0,
                escape(&words::cut(words, 31))
            )
        };
        let mut words = words::segment_within(segment, 31);
        if self.client.many() {
            let port = match segment.from {
                Host::Client => segment.source.port(),
                Host::Server => segment.destination.port(),
            };
            words = format!("{} :{port}", words::segment_within(segment, 24));
        }
        let mut said = label("segment", 0.0, &words);
        let fate = words::fate(segment);
        if !fate.is_empty() {
            said += &label("fate", 1.0, &fate);
        }
        text + &self.room(index, false, said)
    }
}

/// What stands at an edge, and how much room it needs.
fn label(trace: &Trace, waited: &[bool], moment: &Moment) -> Option<Label> {
    let count = trace.events.len();
    let after_gap = count > MOST && moment.event == count - MOST / 4 && !moment.end;
    let gap = if after_gap { 3.0 * ROW } else { 0.0 };
    let on_host = |host| Label { lane: Lane::Host(host), above: ROW / 2.0 + gap, below: ROW / 2.0 };
    match &trace.events[moment.event].what {
        What::Call(call) => (!moment.end || waited[moment.event]).then(|| on_host(call.host)),
        What::State(change) => Some(on_host(change.host)),
        What::Process(process) => Some(on_host(process.host)),
        What::Segment(segment) => {
            let other = if segment.from == Host::Client { Host::Server } else { Host::Client };
            let rows = if words::fate(segment).is_empty() { 1.0 } else { 2.0 };
            Some(match moment.end {
                true => Label { lane: Lane::Wire(other), above: 4.0, below: 4.0 },
                false => {
                    let above = 14.0 * rows + gap;
                    Label { lane: Lane::Wire(segment.from), above, below: 5.0 }
                }
            })
        }
    }
}

fn class_of(call: &Call) -> &'static str {
    if call.failed() { "failed" } else { "" }
}

/// The colour of a state: opening, open, closing first, closing second, waiting.
fn phase(state: &str) -> &'static str {
    match state {
        "LISTEN" => "listen",
        "SYN_SENT" | "SYN_RECV" | "NEW_SYN_RECV" => "opening",
        "ESTABLISHED" => "established",
        "FIN_WAIT1" | "FIN_WAIT2" | "FIN_WAIT_1" | "FIN_WAIT_2" | "CLOSING" => "active",
        "CLOSE_WAIT" | "LAST_ACK" => "passive",
        "TIME_WAIT" => "waiting",
        _ => "none",
    }
}

/// The head of an arrow from one point to another.
fn head(x0: f64, y0: f64, x1: f64, y1: f64, class: &str) -> String {
    let (dx, dy) = (x1 - x0, y1 - y0);
    let length = dx.hypot(dy).max(1.0);
    let (ux, uy) = (dx / length * 9.0, dy / length * 9.0);
    let (back_x, back_y) = (x1 - ux, y1 - uy);
    format!(
        "<path class=\"{class} head\" d=\"M{x1:.1} {y1:.1}L{:.1} {:.1}L{:.1} {:.1}Z\"/>",
        back_x - uy * 0.45,
        back_y + ux * 0.45,
        back_x + uy * 0.45,
        back_y - ux * 0.45
    )
}

fn put(out: &mut String, text: impl Display) {
    // Writing to a String does not fail.
    let _ = write!(out, "{text}");
}

/// Rules, and what differs in the dark. No variables: not every viewer of SVG knows them.
fn style() -> String {
    const FORM: &str = "\
.diagram{font:11px ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace}
.diagram .title{font:600 17px system-ui,sans-serif}
.diagram .note{font:12px system-ui,sans-serif}
.diagram .name{font:600 14px system-ui,sans-serif}
.diagram .time,.diagram .pause{text-anchor:end;font-size:10px}
.diagram .pause{font-style:italic}
.diagram .host{stroke-width:2}
.diagram .arrow{fill:none;stroke-width:1.1}
.diagram .arrow.data{stroke-width:2.2}
.diagram .arrow.again{stroke-dasharray:7 4}
.diagram .arrow.head{stroke:none}
.diagram .cross{fill:none;stroke-width:2.4}
.diagram .segment,.diagram .fate{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}
.diagram .fate,.diagram .process{font-style:italic}
.diagram .state{font-weight:600;font-size:10.5px;fill:#fff}
.diagram .bar.open{fill-opacity:.35}
.diagram .hit,.diagram .touch{fill:none;stroke:none;pointer-events:all}
.diagram .touch{stroke-width:14;pointer-events:stroke}
.diagram .gap{stroke-dasharray:2 5;font-style:italic}
.diagram text.gap{stroke:none}
.diagram .listen{fill:#64748b}.diagram .opening{fill:#b45309}.diagram .established{fill:#15803d}
.diagram .active{fill:#1d4ed8}.diagram .passive{fill:#7e22ce}.diagram .waiting{fill:#0e7490}
.diagram .pill.none{fill:none;stroke-width:1}
";
    // What, its colour by day, by night.
    let colours = [
        (".ground", "fill", "#ffffff", "#11161d"),
        ("text", "fill", "#1b2430", "#dde4ec"),
        (
            ".note,.diagram .time,.diagram .pause,.diagram .process,.diagram text.gap",
            "fill",
            "#5b6775",
            "#94a1b0",
        ),
        (".rule", "stroke", "#edf0f3", "#1d2530"),
        ("path.gap", "stroke", "#5b6775", "#94a1b0"),
        (".host", "stroke", "#9aa5b1", "#566273"),
        (
            ".name.client,.diagram .bar.client,.diagram .arrow.client.head",
            "fill",
            "#0b62c4",
            "#6cb2ff",
        ),
        (
            ".name.server,.diagram .bar.server,.diagram .arrow.server.head",
            "fill",
            "#b3245f",
            "#ff8fbc",
        ),
        (".arrow.client", "stroke", "#0b62c4", "#6cb2ff"),
        (".arrow.server", "stroke", "#b3245f", "#ff8fbc"),
        (".arrow.lost,.diagram .cross", "stroke", "#d01818", "#ff6b61"),
        (
            ".arrow.lost.head,.diagram .failed,.diagram .fate,.diagram .bar.failed",
            "fill",
            "#c41414",
            "#ff7b72",
        ),
        (".segment,.diagram .fate", "stroke", "#ffffff", "#11161d"),
        (".pill.none", "stroke", "#5b6775", "#94a1b0"),
        (".state.closed", "fill", "#5b6775", "#94a1b0"),
    ];
    let rules = |night: bool| -> String {
        let rule = |(what, how, day, dark): &(&str, &str, &str, &str)| {
            format!(".diagram {what}{{{how}:{}}}\n", if night { dark } else { day })
        };
        colours.iter().map(rule).collect()
    };
    let state = ".diagram .state{fill:#fff}.diagram .state.closed{fill:#7d8996}\n";
    format!(
        "<style>{FORM}{}{state}@media (prefers-color-scheme:dark){{{}{state}}}</style>",
        rules(false),
        rules(true)
    )
}
