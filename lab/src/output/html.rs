//! One page that needs nothing else: the diagram, by event and to scale, the sockets' figures, a list
//! of the events, what lies behind each, what each connection carried, and the source, where the calls
//! know their lines.
//! Every word of the traced programs is escaped or set as text; nothing is loaded from outside.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde::Serialize;

use crate::hex;
use crate::output::svg::{self, escape};
use crate::output::{layout, streams, tracks, words};
use crate::record::{Call, Event, Host, Nanos, Process, Segment, StateChange, Trace, What};

/// More events than this are not listed: the first three quarters are, and the last.
pub const MOST: usize = 2000;
/// So many bytes of a packet are shown.
const BYTES: usize = 512;

const STYLE: &str = include_str!("page/style.css");
const PARTS: &str = include_str!("page/parts.js");
const SCRIPT: &str = include_str!("page/script.js");

/// A page that asks for nothing outside: the style and the functions that all pages have, and its own
/// body and script.
pub(crate) fn document(title: &str, class: &str, body: &str, script: &str) -> String {
    let title = escape(title);
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body{class}>\n{body}\
         <script>\n{PARTS}{script}</script>\n</body>\n</html>\n"
    )
}

/// The page.
pub fn page(trace: &Trace) -> String {
    let about = &trace.about;
    let title = escape(&about.title);
    let start = trace.events.first().map_or(0, |event| event.at);
    let count = trace.events.len();
    let listed: Vec<(usize, &Event)> =
        trace.events.iter().enumerate().filter(|(index, _)| is_listed(*index, count)).collect();

    let mut header = format!("<h1>{title}</h1>\n");
    for (name, value) in [("server", &about.server), ("client", &about.client)] {
        let _ = writeln!(header, "<p>{name} <code>{}</code></p>", escape(value));
    }
    let cost = if about.cost.is_empty() { "" } else { " · tracing costs " };
    let line = format!("link: {}{cost}{}", about.link, about.cost);
    let _ = writeln!(header, "<p>{} · {count} events</p>", escape(&line));
    let scale = "<span id=\"time\">not to scale</span>";
    let _ = writeln!(header, "<p>{}</p>", svg::LEGEND.replace("not to scale", scale));
    if !about.late.is_empty() {
        let _ = writeln!(header, "<p>the link: {}</p>", escape(&about.late));
    }
    for missing in &about.missing {
        let _ = writeln!(header, "<p class=\"missing\">missing: {}</p>", escape(missing));
    }
    for broken in &about.broken {
        let _ = writeln!(header, "<p class=\"missing\">broken: {}</p>", escape(broken));
    }
    for note in &about.notes {
        let _ = writeln!(header, "<p class=\"missing\">note: {}</p>", escape(note));
    }
    if count > svg::MOST {
        let drawn = svg::MOST;
        let _ = writeln!(header, "<p>The diagram shows {drawn} events of {count}.</p>");
    }

    let ports: BTreeSet<u16> = trace.events.iter().filter_map(words::client_port).collect();
    let mut rows: Vec<Row> =
        listed.iter().flat_map(|(index, _)| Row::of(trace, *index, ports.len() > 1)).collect();
    rows.sort_by_key(|row| (row.at, row.end));
    let (mut list, mut details) = (String::new(), Vec::new());
    let connections = streams::connections(trace);
    let mut expected = 0;
    for row in &rows {
        if row.event > expected && !is_listed(expected, count) {
            let left_out = row.event - expected;
            let _ = writeln!(list, "<li class=\"gap\">{left_out} events are not listed</li>");
        }
        expected = expected.max(row.event + 1);
        list += &row.html(start);
        let mut behind = Details::of(row.id(), &trace.events[row.event], start);
        behind.conn = connections[row.event];
        details.push(behind);
    }
    let (picture, heads) = svg::diagram(trace, false);
    let (to_scale, _) = svg::diagram(trace, true);
    let heads = heads.map(|(host, address, place)| {
        let (name, address) = (words::host(host), escape(&address));
        format!(
            "<b class=\"{name}\" style=\"left:{place:.2}%\">{name} <small>{address}</small></b>"
        )
    });
    let heads = heads.concat();
    let details = data("events", &details) + &data("streams", &streams::streams(trace));
    let tracks = tracks::draw(trace);
    let (with_source, sources) = match trace.sources.is_empty() {
        true => ("", String::new()),
        false => ("with-source", data("sources", &trace.sources)),
    };

    let body = format!(
        "<header>\n{header}</header>\n{TOOLS}\
         <main>\n<div class=\"picture\">\n<div class=\"hosts\">{heads}</div>\n\
         <figure>\n<div id=\"by-event\">{picture}</div>\n\
         <div id=\"to-scale\" hidden>{to_scale}</div></figure>\n{tracks}</div>\n<aside>\n\
         <section id=\"details\" aria-label=\"Details\">{STEPS}\
         <div id=\"behind\" aria-live=\"polite\">{HOW}</div></section>\n\
         <ol id=\"list\" role=\"listbox\" aria-label=\"Events\" tabindex=\"0\">\n{list}</ol>\n\
         <section id=\"stream\" aria-label=\"Stream\" tabindex=\"0\"></section>\n\
         <section id=\"source\" aria-label=\"Source\"><select aria-label=\"File\"></select>\
         <ol></ol></section>\n\
         </aside>\n</main>\n{details}{sources}"
    );
    document(&about.title, with_source, &body, SCRIPT)
}

/// What stands above the diagram.
const TOOLS: &str = "\
<div class=\"tools\">
<label id=\"one\" hidden>Connection <select id=\"connection\"><option value=\"\">all</option></select></label>
<details id=\"filter\"><summary>Filter<span id=\"hidden\"></span></summary><div id=\"kinds\"></div></details>
<button id=\"scale\" aria-pressed=\"false\">Time to scale</button>
<div class=\"views\" role=\"group\" aria-label=\"View\">
<button value=\"list\">List</button><button value=\"diagram\">Diagram</button>\
<button value=\"source\">Source</button><button value=\"stream\">Stream</button>
</div>
</div>
";

/// What to do, as long as nothing is chosen.
pub(crate) const HOW: &str = "\
<p>Point at an event or tap it. <span class=\"keys\"><kbd>↓</kbd> and <kbd>↑</kbd> step through \
them.</span></p>";

/// Back and forth, for a finger.
pub(crate) const STEPS: &str = "\
<div class=\"steps\"><button id=\"previous\">↑ Previous</button><span id=\"place\"></span>\
<button id=\"next\">↓ Next</button></div>";

/// What the script reads. Inside a script element only "<" could end it.
pub(crate) fn data(id: &str, value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default().replace('<', "\\u003c");
    format!("<script type=\"application/json\" id=\"{id}\">{text}</script>\n")
}

/// Whether the page has room for this one of `count`.
pub(crate) fn is_listed(index: usize, count: usize) -> bool {
    count <= MOST || index < MOST * 3 / 4 || index >= count - MOST / 4
}

/// A line of the list. A call that waited has two, as it has two labels in the diagram.
struct Row {
    at: Nanos,
    /// Its place in the trace.
    event: usize,
    /// The second line of its event: where a call returned.
    end: bool,
    class: String,
    text: String,
}

impl Row {
    /// The lines of an event, which say the client's port if there are `many` connections.
    fn of(trace: &Trace, index: usize, many: bool) -> Vec<Row> {
        let event = &trace.events[index];
        let port = match words::client_port(event) {
            Some(port) if many => format!(" :{port}"),
            _ => String::new(),
        };
        let row = |at, end, class, text| Row { at, event: index, end, class, text };
        let one = |class: String, text| vec![row(event.at, false, class, text)];
        match &event.what {
            What::Call(call) => {
                let host = words::host(call.host);
                let class = format!("{host}{}", if call.failed() { " failed" } else { "" });
                let waited = layout::waited(trace, index);
                match call.returned.filter(|_| waited).or(call.cut_off) {
                    Some(end) => vec![
                        row(event.at, false, host.to_owned(), words::call_begins(call, 120)),
                        row(end, true, class, words::call_returns(call, 120)),
                    ],
                    None => one(class, words::call_within(call, 120)),
                }
            }
            What::Segment(segment) => {
                let lost = if segment.arrived.is_none() { " failed" } else { "" };
                one(format!("wire{lost}"), on_the_wire(segment, &port))
            }
            What::State(change) => {
                one(format!("{} state", words::host(change.host)), words::state(change) + &port)
            }
            What::Process(process) => {
                one(format!("{} process", words::host(process.host)), words::process(process))
            }
        }
    }

    /// "7"; "7-end" for the second line of an event.
    fn id(&self) -> String {
        format!("{}{}", self.event, if self.end { "-end" } else { "" })
    }

    fn html(&self, start: Nanos) -> String {
        format!(
            "<li id=\"l{}\" role=\"option\" aria-selected=\"false\" class=\"{}\">\
             <time>{}</time><span>{}</span></li>\n",
            self.id(),
            self.class,
            words::since(start, self.at),
            escape(&self.text)
        )
    }
}

/// `SYN ──►`, `◄── SYN-ACK`, and what became of it.
fn on_the_wire(segment: &Segment, port: &str) -> String {
    let words = words::segment(segment) + port;
    let head = if segment.arrived.is_some() { ("◄", "►") } else { ("✗", "✗") };
    let text = match segment.from {
        Host::Client => format!("{words} ──{}", head.1),
        Host::Server => format!("{}── {words}", head.0),
    };
    let fate = words::fate(segment);
    if fate.is_empty() { text } else { format!("{text}  {fate}") }
}

/// What lies behind an event.
#[derive(Serialize)]
pub(crate) struct Details {
    /// That of its row.
    id: String,
    /// "segment", "ack", "state", "process", or a call's name: what a filter can hide.
    kind: String,
    /// The connection that it belongs to, by the client's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    conn: Option<u16>,
    title: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'static str,
    facts: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "String::is_empty")]
    hex: String,
    /// The lines of source that led to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

impl Details {
    pub(crate) fn of(id: String, event: &Event, start: Nanos) -> Details {
        let time = |at: Nanos| format!("{} ms", words::since(start, at));
        let mut facts = Vec::new();
        let (title, note, bytes) = match &event.what {
            What::Call(call) => {
                call_facts(&mut facts, call, event.at, &time);
                (format!("{}: {}", words::host(call.host), call.name), "", &call.data[..])
            }
            What::Segment(segment) => {
                segment_facts(&mut facts, segment, event.at, &time);
                let title = format!("{}: {}", words::host(segment.from), words::segment(segment));
                (title, "", &segment.packet[..])
            }
            What::State(change) => {
                facts.push(("seen", time(event.at)));
                state_facts(&mut facts, change);
                let title = format!("{}: {}", words::host(change.host), change.now);
                (title, words::meaning(&change.now), &[][..])
            }
            What::Process(Process { host, pid, text }) => {
                facts.push(("at", time(event.at)));
                (format!("{}: process {pid} {text}", words::host(*host)), "", &[][..])
            }
        };
        if bytes.len() > BYTES {
            facts.push(("bytes", format!("the first {BYTES} of {}", bytes.len())));
        }
        let bytes = &bytes[..bytes.len().min(BYTES)];
        let hex = hex::text(bytes);
        let lines = match &event.what {
            What::Call(call) => call.lines.clone(),
            _ => Vec::new(),
        };
        let kind = match &event.what {
            What::Call(call) => &call.name,
            What::Segment(segment) if segment.len == 0 && segment.flags == "." => "ack",
            What::Segment(_) => "segment",
            What::State(_) => "state",
            What::Process(_) => "process",
        };
        Details { id, kind: kind.to_owned(), conn: None, title, note, facts, hex, lines }
    }
}

type Facts = Vec<(&'static str, String)>;

fn call_facts(facts: &mut Facts, call: &Call, at: Nanos, time: &dyn Fn(Nanos) -> String) {
    facts.push(("call", words::call(call)));
    facts.push(("began", time(at)));
    facts.push(match call.returned {
        Some(end) => {
            let took = words::duration(end.saturating_sub(at));
            ("returned", format!("{}, after {took}", time(end)))
        }
        None => ("returned", "never".to_owned()),
    });
    if let Some(end) = call.cut_off {
        facts.push(("cut off", format!("{}: its thread ended", time(end))));
    }
    if let Some((local, peer)) = call.conn {
        facts.push(("connection", format!("{local} to {peer}")));
    }
    let thread =
        if call.tid == call.pid { String::new() } else { format!(", thread {}", call.tid) };
    facts.push(("process", format!("{}{thread}", call.pid)));
    if !call.data.is_empty() {
        facts.push(("data", words::quoted(&call.data)));
    }
}

fn segment_facts(facts: &mut Facts, segment: &Segment, at: Nanos, time: &dyn Fn(Nanos) -> String) {
    facts.push(("left", time(at)));
    facts.push(match segment.arrived {
        Some(end) => {
            let took = words::duration(end.saturating_sub(at));
            ("arrived", format!("{}, after {took}", time(end)))
        }
        None => ("arrived", "never".to_owned()),
    });
    let fate = words::fate(segment);
    if !fate.is_empty() {
        facts.push(("on the way", fate));
    }
    facts.push(("from", segment.source.to_string()));
    facts.push(("to", segment.destination.to_string()));
    facts.push(("flags", segment.flags.clone()));
    let absolute = match segment.initial {
        Some(initial) => format!(" ({} on the wire)", initial.wrapping_add(segment.seq)),
        None => String::new(),
    };
    facts.push(("sequence", format!("{}{absolute}", segment.seq)));
    if let Some(ack) = segment.ack {
        facts.push(("expects", ack.to_string()));
    }
    facts.push(("data", words::bytes(u64::from(segment.len))));
    facts.push(("window", words::bytes(segment.window)));
    if !segment.options.is_empty() {
        facts.push(("options", segment.options.clone()));
    }
}

fn state_facts(facts: &mut Facts, change: &StateChange) {
    facts.push(("before", change.before.clone()));
    facts.push(("socket", change.local.to_string()));
    if let Some(peer) = change.peer {
        facts.push(("peer", peer.to_string()));
    }
}
