//! One page that needs nothing else: the ladder, a list of the events, and what lies behind each.
//! Every word of the traced programs is escaped or set as text; nothing is loaded from outside.

use std::fmt::Write;

use serde::Serialize;

use crate::output::jsonl::hex;
use crate::output::svg::{self, escape};
use crate::output::words;
use crate::record::{Call, Event, Host, Nanos, Process, Segment, StateChange, Trace, What};

/// More events than this are not listed: the first three quarters are, and the last.
pub const MOST: usize = 2000;
/// So many bytes of a packet are shown.
const BYTES: usize = 512;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

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
    for missing in &about.missing {
        let _ = writeln!(header, "<p class=\"missing\">missing: {}</p>", escape(missing));
    }
    if count > svg::MOST {
        let drawn = svg::MOST;
        let _ = writeln!(header, "<p>The diagram shows {drawn} events of {count}.</p>");
    }

    let mut list = String::new();
    let mut expected = 0;
    for (index, event) in &listed {
        if *index != expected {
            let left_out = index - expected;
            let _ = writeln!(list, "<li class=\"gap\">{left_out} events are not listed</li>");
        }
        expected = index + 1;
        list += &row(*index, event, start);
    }
    let details: Vec<Details> =
        listed.iter().map(|(index, event)| Details::of(*index, event, start)).collect();
    // Inside a script element only "<" could end it.
    let details = serde_json::to_string(&details).unwrap_or_default().replace('<', "\\u003c");

    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n{header}</header>\n\
         <div class=\"views\"><button value=\"list\" aria-pressed=\"true\">List</button>\
         <button value=\"diagram\" aria-pressed=\"false\">Diagram</button></div>\n\
         <main>\n<figure>\n{}</figure>\n<aside>\n\
         <section id=\"details\" aria-live=\"polite\" aria-label=\"Details\">\
         <p>Point at an event or tap it. <span class=\"keys\"><kbd>↓</kbd> and <kbd>↑</kbd> step \
         through them.</span></p></section>\n\
         <ol id=\"list\" role=\"listbox\" aria-label=\"Events\" tabindex=\"0\">\n{list}</ol>\n\
         </aside>\n</main>\n\
         <script type=\"application/json\" id=\"events\">{details}</script>\n\
         <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
        svg::ladder(trace)
    )
}

fn is_listed(index: usize, count: usize) -> bool {
    count <= MOST || index < MOST * 3 / 4 || index >= count - MOST / 4
}

/// A line of the list.
fn row(index: usize, event: &Event, start: Nanos) -> String {
    let (class, text) = match &event.what {
        What::Call(call) => {
            let failed = if call.failed() { " failed" } else { "" };
            (format!("{}{failed}", words::host(call.host)), words::call_within(call, 120))
        }
        What::Segment(segment) => {
            let lost = if segment.arrived.is_none() { " failed" } else { "" };
            (format!("wire{lost}"), on_the_wire(segment))
        }
        What::State(change) => {
            (format!("{} state", words::host(change.host)), words::state(change))
        }
        What::Process(process) => {
            (format!("{} process", words::host(process.host)), words::process(process))
        }
    };
    format!(
        "<li id=\"l{index}\" role=\"option\" aria-selected=\"false\" class=\"{class}\">\
         <time>{}</time><span>{}</span></li>\n",
        words::since(start, event.at),
        escape(&text)
    )
}

/// `SYN ──►`, `◄── SYN-ACK`, and what became of it.
fn on_the_wire(segment: &Segment) -> String {
    let words = words::segment(segment);
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
struct Details {
    id: usize,
    title: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'static str,
    facts: Vec<(&'static str, String)>,
    #[serde(skip_serializing_if = "String::is_empty")]
    hex: String,
}

impl Details {
    fn of(id: usize, event: &Event, start: Nanos) -> Details {
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
        Details { id, title, note, facts, hex }
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
    facts.push(("data", format!("{} bytes", segment.len)));
    facts.push(("window", format!("{} bytes", segment.window)));
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
