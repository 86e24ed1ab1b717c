//! What the sockets' figures were, each on a track of its own below the diagram: time to the right,
//! to scale. A figure keeps its value until a look has found another.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

use crate::output::svg::escape;
use crate::output::words;
use crate::record::{Event, Host, Nanos, Sample, Trace, What};

/// So many sockets are drawn: a connection's two sides are one.
pub const MOST: usize = 12;

/// Where the tracks begin and end, and the width of all.
const LEFT: f64 = 190.0;
const RIGHT: f64 = 990.0;
const WIDTH: f64 = 1000.0;
/// The height of a track, and the space above it.
const HEIGHT: f64 = 34.0;
const ABOVE: f64 = 14.0;

/// A figure of a sample; `None`: it has none.
type Figure = fn(&Sample) -> Option<u64>;

/// A track: its name, what is drawn, the bound beside it (its name first), and how a value is said.
type Track = (&'static str, Figure, (&'static str, Figure), fn(u64) -> String);

const NO_BOUND: (&str, Figure) = ("", |_| None);

const OF_A_CONNECTION: [Track; 5] = [
    (
        "cwnd",
        |sample| Some(sample.path?.cwnd.into()),
        ("ssthresh", |sample| sample.path?.ssthresh.map(u64::from)),
        |value| format!("{value} segments"),
    ),
    (
        "round-trip time",
        |sample| Some(sample.path?.rtt.into()),
        NO_BOUND,
        |value| words::duration(value * 1000),
    ),
    (
        "retransmits",
        |sample| Some(sample.path?.retransmits.into()),
        NO_BOUND,
        |value| value.to_string(),
    ),
    ("send queue", |sample| Some(sample.send_queue.into()), NO_BOUND, words::bytes),
    ("receive queue", |sample| Some(sample.recv_queue.into()), NO_BOUND, words::bytes),
];

const OF_A_LISTENER: [Track; 1] = [(
    "accept queue",
    |sample| Some(sample.recv_queue.into()),
    ("backlog", |sample| Some(sample.send_queue.into())),
    |value| format!("{value} connections"),
)];

/// A connection by its client's and its server's address; a listener has no client.
type Socket = (Option<SocketAddr>, SocketAddr);

/// The section of the page; empty where a trace has no samples.
pub fn draw(trace: &Trace) -> String {
    let mut sockets: BTreeMap<Socket, Vec<&Sample>> = BTreeMap::new();
    for sample in &trace.samples {
        let socket = match (sample.host, sample.peer) {
            (_, None) => (None, sample.local),
            (Host::Client, Some(peer)) => (Some(sample.local), peer),
            (Host::Server, Some(peer)) => (Some(peer), sample.local),
        };
        sockets.entry(socket).or_default().push(sample);
    }
    if sockets.is_empty() {
        return String::new();
    }
    let mut sockets: Vec<_> = sockets.into_iter().collect();
    sockets.sort_by_key(|(socket, samples)| (socket.0.is_some(), samples[0].at));
    let left_out = sockets.len().saturating_sub(MOST);

    let start = trace.events.first().map_or(trace.samples[0].at, |event| event.at);
    let last = trace.events.iter().map(Event::complete).max().unwrap_or(start);
    let end = last.max(trace.samples.last().map_or(0, |sample| sample.at)).max(start + 1);
    let mut section = "<section id=\"tracks\" aria-label=\"Tracks\">\n<h2>Tracks</h2>\n\
        <p>What the kernel says of each socket, time to the right, to scale. \
        A figure that stays at 0 has no track.</p>\n"
        .to_owned();
    for (socket, samples) in sockets.iter().take(MOST) {
        section += &picture(trace, *socket, samples, (start, end));
    }
    if left_out > 0 {
        let _ = writeln!(section, "<p>{left_out} connections more have no tracks here</p>");
    }
    section + "</section>\n"
}

/// All tracks of a socket.
fn picture(
    trace: &Trace,
    socket: Socket,
    samples: &[&Sample],
    (start, end): (Nanos, Nanos),
) -> String {
    let (client, server) = socket;
    let (name, conn, tracks) = match client {
        Some(client) => (
            format!("{client} ↔ {server}"),
            format!(" data-conn=\"{}\"", client.port()),
            &OF_A_CONNECTION[..],
        ),
        None => (format!("listener {server}"), String::new(), &OF_A_LISTENER[..]),
    };
    let name = escape(&name);
    let scale = (RIGHT - LEFT) / (end - start) as f64;
    let x = |at: Nanos| LEFT + at.saturating_sub(start) as f64 * scale;
    let mut out = String::new();
    let mut top = 0.0;
    for (title, figure, (other, bound), say) in tracks {
        let values = samples.iter().flat_map(|sample| [figure(sample), bound(sample)]);
        let most = values.flatten().max().unwrap_or(0);
        if samples.iter().all(|sample| figure(sample).unwrap_or(0) == 0) && client.is_some() {
            continue;
        }
        let title = match samples.iter().any(|sample| bound(sample).is_some()) {
            true => format!("{title} (dashed: {other})"),
            false => (*title).to_owned(),
        };
        top += ABOVE;
        let bottom = top + HEIGHT;
        let y = |value: u64| bottom - value as f64 / most.max(1) as f64 * HEIGHT;
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{:.1}\">{title}</text>\
             <text class=\"faint\" x=\"0\" y=\"{:.1}\">at most {}</text>\
             <path d=\"M{LEFT} {bottom:.1}H{RIGHT}\"/>",
            top + 12.0,
            top + 27.0,
            escape(&say(most)),
        );
        for host in [Host::Client, Host::Server] {
            let own: Vec<_> = samples.iter().filter(|sample| sample.host == host).collect();
            let Some(over) = own.last().map(|sample| over(trace, sample, end)) else { continue };
            for (class, figure) in [("", figure), (" bound", bound)] {
                let mut path = String::new();
                for sample in &own {
                    let Some(value) = figure(sample) else { continue };
                    let _ = match path.is_empty() {
                        true => write!(path, "M{:.1} {:.1}", x(sample.at), y(value)),
                        false => write!(path, "H{:.1}V{:.1}", x(sample.at), y(value)),
                    };
                }
                if !path.is_empty() {
                    let _ = write!(
                        out,
                        "<path class=\"{}{class}\" d=\"{path}H{:.1}\"/>",
                        words::host(host),
                        x(over),
                    );
                }
            }
        }
        top = bottom;
    }
    let height = top + 18.0;
    let ms = (end - start) as f64 / 1e6;
    format!(
        "<div{conn}><h3>{name}</h3>\n<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" \
         aria-label=\"Tracks: {name}\">{out}\
         <text class=\"faint\" x=\"{LEFT}\" y=\"{:.1}\">0</text>\
         <text class=\"faint\" text-anchor=\"end\" x=\"{RIGHT}\" y=\"{:.1}\">{ms:.3} ms</text>\
         <path class=\"cursor\" hidden=\"\" data-left=\"{LEFT}\" data-scale=\"{}\" \
         d=\"M0 0V{top:.1}\"/></svg></div>\n",
        height - 4.0,
        height - 4.0,
        (RIGHT - LEFT) / ms,
    )
}

/// When what this sample says was over: the socket was closed, or the trace ended.
fn over(trace: &Trace, last: &Sample, end: Nanos) -> Nanos {
    let gone = trace.events.iter().find(|event| match &event.what {
        What::State(change) => {
            let same = (change.host, change.local, change.peer);
            event.at >= last.at
                && same == (last.host, last.local, last.peer)
                && matches!(change.now.as_str(), "CLOSED" | "TIME_WAIT")
        }
        _ => false,
    });
    gone.map_or(end, |event| event.at)
}
