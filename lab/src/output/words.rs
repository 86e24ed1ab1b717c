//! How one event is said, for all forms alike.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::output::args;
use crate::record::{Call, Event, Host, Nanos, Process, Segment, StateChange, What};

/// "client", "server".
pub fn host(host: Host) -> &'static str {
    match host {
        Host::Client => "client",
        Host::Server => "server",
    }
}

/// The whole call: `send(4, "hello", 5, 0) = 5`; `= ?` if it never returned.
pub fn call(call: &Call) -> String {
    let result = call.result.as_deref().unwrap_or("?");
    format!("{}({}) = {result}{}", call.name, call.args, times(call))
}

/// The call in at most `width` characters: what repeats itself goes first, then the data gives
/// way, then the end.
pub fn call_within(call: &Call, width: usize) -> String {
    let result = format!("{}{}", short_result(call), times(call));
    let room = width.saturating_sub(length(&call.name) + "() = ".len() + length(&result));
    let text =
        format!("{}({}) = {result}", call.name, fit(args::brief(&call.name, &call.args), room));
    cut(&text, width).into_owned()
}

/// The characters that a call takes at least: its name, a descriptor, its result.
pub fn least(call: &Call) -> usize {
    length(&call.name) + "(99, …) = ".chars().count() + length(short_result(call))
}

/// The call without its result, in at most `width` characters: what is known when it begins.
pub fn call_begins(call: &Call, width: usize) -> String {
    let mut args = args::brief(&call.name, &call.args);
    if call.fills() && args.len() > 1 {
        args.truncate(1);
        args.push("…".to_owned());
    }
    let room = width.saturating_sub(length(&call.name) + "()".len());
    cut(&format!("{}({})", call.name, fit(args, room)), width).into_owned()
}

/// The arguments in `room` characters: those behind the second give way first, then what is
/// quoted, then the end.
pub fn fit(mut args: Vec<String>, room: usize) -> String {
    let mut dropped = false;
    while args.len() > 2 + usize::from(dropped) && length(&args.join(", ")) > room {
        args.truncate(args.len() - 1 - usize::from(dropped));
        args.push("…".to_owned());
        dropped = true;
    }
    while length(&args.join(", ")) > room {
        let over = length(&args.join(", ")) - room;
        let longest = args
            .iter_mut()
            .filter(|arg| arg.contains('"') && length(arg) > 1)
            .max_by_key(|arg| length(arg));
        let Some(longest) = longest else { break };
        let close = if longest.starts_with('[') { "\"…]" } else { "\"…" };
        match length(longest).saturating_sub(over + length(close)) {
            // Less than three characters of it say nothing.
            kept @ 4.. => *longest = longest.chars().take(kept).collect::<String>() + close,
            _ => *longest = "…".to_owned(),
        }
    }
    if length(&args.join(", ")) > room {
        args.dedup_by(|later, earlier| later == "…" && earlier.as_str() == "…");
    }
    cut(&args.join(", "), room).into_owned()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// What became of it, in at most `width` characters: `recvfrom = 5 "hello"`.
pub fn call_returns(call: &Call, width: usize) -> String {
    let mut text = format!("{} = {}{}", call.name, short_result(call), times(call));
    if call.fills() && !call.data.is_empty() {
        text = format!("{text} {}", quoted(&call.data));
    }
    cut(&text, width).into_owned()
}

impl Call {
    /// Whether the kernel fills what it is given: that is seen when it returns.
    pub fn fills(&self) -> bool {
        ["recv", "read", "accept"].iter().any(|name| self.name.starts_with(name))
    }

    /// Whether it failed; a call that would have blocked is none.
    pub fn failed(&self) -> bool {
        self.result.as_deref().is_some_and(|result| {
            let soft = ["EAGAIN", "EINPROGRESS", "EWOULDBLOCK"];
            result.starts_with("-1") && !soft.iter().any(|soft| result.contains(soft))
        })
    }
}

/// "5", "EPIPE", "?".
fn short_result(call: &Call) -> &str {
    let result = call.result.as_deref().unwrap_or("?");
    match result.strip_prefix("-1 ") {
        Some(error) => error.split(' ').next().unwrap_or(error),
        None => result,
    }
}

fn times(call: &Call) -> String {
    match (call.restarts, call.count) {
        (0, 1) => String::new(),
        (0, n) => format!(", {n} times"),
        (n, _) => format!(" (restarted {n}×)"),
    }
}

/// `PSH 1:6 (5 bytes) ack 1`. The ACK flag is said by its number.
pub fn segment(segment: &Segment) -> String {
    let mut text = flags(segment);
    if segment.len > 0 {
        let (first, last) = (segment.seq, segment.seq.wrapping_add(segment.len));
        push(&mut text, &format!("{first}:{last} ({})", bytes(u64::from(segment.len))));
    }
    if let Some(ack) = segment.ack.filter(|_| !segment.flags.starts_with('S')) {
        push(&mut text, &format!("ack {ack}"));
    }
    text
}

/// The same in at most `width` characters: first the acknowledgement goes, then the word "bytes".
pub fn segment_within(of: &Segment, width: usize) -> String {
    let mut text = segment(of);
    if length(&text) > width && of.len > 0 {
        text = text.split(" ack ").next().unwrap_or_default().to_owned();
    }
    if length(&text) > width && of.len > 0 {
        text = text.replace(" bytes)", ")").replace(" byte)", ")");
    }
    cut(&text, width).into_owned()
}

/// The characters that a segment takes at least: its flags, its first byte and the one behind its
/// last, its length.
pub fn segment_least(of: &Segment) -> usize {
    let text = segment(of);
    if of.len == 0 {
        return length(&text);
    }
    let text = text.split(" ack ").next().unwrap_or_default();
    length(&text.replace(" bytes)", ")").replace(" byte)", ")"))
}

/// "1 byte", "5 bytes".
pub fn bytes(count: u64) -> String {
    format!("{count} {}", if count == 1 { "byte" } else { "bytes" })
}

/// "SYN", "SYN-ACK", "FIN"; empty for a bare acknowledgement.
fn flags(segment: &Segment) -> String {
    let mut text = String::new();
    for letter in segment.flags.chars() {
        let name = match letter {
            'S' if segment.flags.contains('.') => "SYN-ACK",
            'S' => "SYN",
            'F' => "FIN",
            'R' => "RST",
            'P' => "PSH",
            'U' => "URG",
            'E' => "ECE",
            'W' => "CWR",
            _ => continue,
        };
        push(&mut text, name);
    }
    text
}

/// "lost by the link", "duplicated", "sent again", "4.10 ms late"; empty for a segment that simply
/// went.
pub fn fate(segment: &Segment) -> String {
    let again = segment.again.then(|| "sent again".to_owned());
    let fate = Some(segment.fate.clone()).filter(|fate| !fate.is_empty());
    let late = (segment.late > 0).then(|| format!("the link was {} late", duration(segment.late)));
    again.into_iter().chain(fate).chain(late).collect::<Vec<_>>().join("; ")
}

/// "again", where there is no room for more.
pub fn fate_short(segment: &Segment) -> &'static str {
    if segment.again { "again" } else { "" }
}

/// The client's port: it tells one connection of a trace from another.
pub fn client_port(event: &Event) -> Option<u16> {
    let of = |host, local: SocketAddr, peer: SocketAddr| match host {
        Host::Client => local.port(),
        Host::Server => peer.port(),
    };
    match &event.what {
        What::Segment(segment) => Some(of(segment.from, segment.source, segment.destination)),
        What::State(change) => Some(of(change.host, change.local, change.peer?)),
        What::Call(_) | What::Process(_) => None,
    }
}

/// `SYN_SENT → ESTABLISHED`.
pub fn state(change: &StateChange) -> String {
    format!("{} → {}", change.before, change.now)
}

/// What a state means, in a sentence (RFC 9293, 3.3.2). Empty for a name that TCP does not have.
pub fn meaning(state: &str) -> &'static str {
    match state {
        "LISTEN" => "It takes connections; accept hands them out.",
        "SYN_SENT" => "It has asked for a connection and waits for the answer.",
        "SYN_RECV" => "It has answered a SYN and waits for the acknowledgement.",
        "ESTABLISHED" => "The connection is open: data goes both ways.",
        "FIN_WAIT1" => "It has ended its own stream; the peer has not acknowledged that yet.",
        "FIN_WAIT2" => "The peer knows the end of this stream. Its own may go on.",
        "CLOSING" => "Both have ended their streams at the same time.",
        "CLOSE_WAIT" => "The peer has ended its stream. This program has not closed yet.",
        "LAST_ACK" => "Both streams have ended. Only the acknowledgement is missing.",
        "TIME_WAIT" => "All is done. The kernel keeps the address for a minute, for latecomers.",
        "CLOSED" => "There is no such socket any more.",
        _ => "",
    }
}

/// `4711 exits with 0`, `4712 runs curl -s …`: a program goes by its name, without its directory.
pub fn process(process: &Process) -> String {
    let text = match process.text.strip_prefix("runs /") {
        Some(command) => {
            let (program, rest) = command.split_once(' ').unwrap_or((command, ""));
            let name = program.rsplit('/').next().unwrap_or(program);
            format!("runs {name} {rest}").trim_end().to_owned()
        }
        None => process.text.clone(),
    };
    match process.pid {
        0 => text,
        pid => format!("{pid} {text}"),
    }
}

/// Milliseconds since `start`, microseconds after the point: "0.000", "1203.250".
pub fn since(start: Nanos, at: Nanos) -> String {
    format!("{:.3}", at.saturating_sub(start) as f64 / 1e6)
}

/// A length of time in its own unit, three figures: "830 ns", "41.2 µs", "40.1 ms", "1.20 s".
pub fn duration(nanos: Nanos) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        _ => (nanos as f64 / 1e9, "s"),
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// The bytes as C and strace write them: `"hello\n\x00"`.
pub fn quoted(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.escape_ascii())
}

/// At most `width` characters; "…" stands for what went.
pub fn cut(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    Cow::Owned(if width == 0 { kept } else { kept + "…" })
}

fn push(text: &mut String, word: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(word);
}
