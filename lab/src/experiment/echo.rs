//! Articles 7 and 8: the echo program, watched. Claims E3, O1, O3. man: packet(7), strace(1).
//!
//! This is `lab trace` of the article's two programs, and questions asked of its trace. The link
//! has a delay, so that the server has ended its stream long before the client hears of it.

use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, bail};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use super::report::{self, Verdict};
use super::table::Table;
use super::wire::Seen;
use super::{Run, joined};
use crate::NotPossible;
use crate::output::{jsonl, svg, words};
use crate::record::{Host, Trace, What};
use crate::say;

const MESSAGE: &str = "hello";

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let dir = run.out.join("echo");
    let trace = record(&dir)?;
    let mut seen: Vec<Seen> = Vec::new();
    for event in &trace.events {
        if let What::Segment(segment) = &event.what {
            seen.push(Seen { at: event.at, segment: segment.clone() });
        }
    }
    frames(run, &seen);
    capture(run, &seen);
    match trace.about.missing.first() {
        None => calls(run, &trace),
        Some(missing) => run.tally.no_answer("O3", format_args!("it lacks {missing}")),
    }

    let mut table = Table::new(["from", "flags", "offset", "size_bytes", "left_ms", "arrived_ms"]);
    let start = seen.first().map_or(0, |first| first.at);
    let ms = |at: u64| format!("{:.3}", super::wire::ms(start, at));
    for Seen { at, segment } in &seen {
        let arrived = segment.arrived.map_or(String::new(), ms);
        let from = words::host(segment.from);
        table.row(&[&from, &segment.flags, &segment.seq, &segment.len, &ms(*at), &arrived]);
    }
    run.table("", &table)?;
    let path = run.path("", "svg");
    fs::write(&path, svg::draw(&trace))
        .with_context(|| format!("cannot write {}", path.display()))?;
    report::note(format_args!("picture   {}", path.display()));
    report::note(format_args!("more      {}", dir.join("trace.html").display()));
    Ok(())
}

/// Runs the pair under `lab trace`. A process of its own: the tracer wants signals for itself, and
/// keeps all it starts on one processor.
fn record(dir: &std::path::Path) -> anyhow::Result<Trace> {
    let lab = std::env::current_exe()?;
    let echo = echo(&lab)?;
    let quoted = say::quoted(&echo);
    let mut command = Command::new(lab);
    command
        .args(["trace", "--delay", "5ms", "--time-limit", "60"])
        .args(["--server", &format!("exec {quoted} server {{server}} {{port}}")])
        .args(["--client", &format!("exec {quoted} client {{server}} {{port}} {MESSAGE}")])
        .arg("--out")
        .arg(dir);
    // SAFETY:
    // - what runs between fork and exec makes one system call
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGKILL)?)) };
    let Output { status, stderr, .. } = command.output().context("running `lab trace`")?;
    let said = String::from_utf8_lossy(&stderr);
    let said = said.trim_end().trim_start_matches("lab: ");
    match status.code() {
        Some(0) => {}
        Some(3) => return Err(NotPossible(said.to_owned()).into()),
        _ => bail!("`lab trace` of {}: {status}: {said}", echo.display()),
    }
    let path = dir.join("trace.jsonl");
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    jsonl::read(BufReader::new(file)).with_context(|| format!("in {}", path.display()))
}

/// The article's program, as cargo leaves it beside this one, or in the other profile's directory.
fn echo(lab: &std::path::Path) -> anyhow::Result<PathBuf> {
    let here = lab.parent().unwrap_or("target/debug".as_ref());
    let dirs = [here.to_owned(), here.join("../debug"), here.join("../release")];
    let found = dirs.iter().map(|dir| dir.join("echo")).find(|path| path.is_file());
    let found = found.with_context(|| {
        format!("no echo in {}: `cargo build --bin echo` builds it", here.display())
    })?;
    Ok(found.canonicalize()?)
}

/// E3: what went each way, as the segments carried it, and how it ended.
fn frames(run: &mut Run, seen: &[Seen]) {
    let [asked, answered] = [Host::Client, Host::Server].map(|host| stream(seen, host));
    for (name, bytes) in [("the client", &asked), ("the server", &answered)] {
        let expected = format!("one frame: {}", words::quoted(MESSAGE.as_bytes()));
        run.tally.check(format_args!("what {name} sends"), expected, in_words(bytes));
    }
    // Neither waits for the other's FIN: a server that this machine holds up sends its own last.
    // What comes after a FIN may be one that is sent again, and a RST from where nobody is left.
    let ends_of =
        |host: Host| seen.iter().find(|s| s.segment.from == host && (s.has('F') || s.has('R')));
    let mut ends: Vec<&Seen> =
        [Host::Server, Host::Client].into_iter().filter_map(ends_of).collect();
    ends.sort_by_key(|s| s.at);
    let two_fins = ends.len() == 2 && ends.iter().all(|s| s.has('F'));
    run.tally.check_that(
        "how each stream ends",
        "with a FIN",
        joined(ends.into_iter().map(Seen::in_words)),
        two_fins,
    );
    let one_each = [&asked, &answered].map(|bytes| split(bytes).is_some_and(|f| f.len() == 1));
    run.tally.claim(
        "E3",
        Verdict::holds_if(one_each == [true, true] && asked == answered && two_fins),
        format_args!(
            "client: {}; server: {}; then a FIN each way",
            in_words(&asked),
            in_words(&answered)
        ),
    );
}

/// The FIN of a host.
fn fin(seen: &[Seen], host: Host) -> Option<&Seen> {
    seen.iter().find(|s| s.segment.from == host && s.has('F'))
}

/// The bytes that a host has sent, each once.
fn stream(seen: &[Seen], host: Host) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Seen { segment, .. } in seen.iter().filter(|s| s.is_data_of(host) && !s.segment.again) {
        bytes.extend_from_slice(payload(&segment.packet, segment.len));
    }
    bytes
}

fn payload(packet: &[u8], len: u32) -> &[u8] {
    &packet[packet.len().saturating_sub(len as usize)..]
}

/// The frames that a stream consists of; `None`: it does not, or not of whole ones.
fn split(mut stream: &[u8]) -> Option<Vec<&[u8]>> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        let (prefix, rest) = stream.split_first_chunk()?;
        let (frame, rest) = rest.split_at_checked(u32::from_be_bytes(*prefix) as usize)?;
        frames.push(frame);
        stream = rest;
    }
    Some(frames)
}

fn in_words(stream: &[u8]) -> String {
    match split(stream).as_deref() {
        Some([frame]) => format!("one frame: {}", words::quoted(frame)),
        Some(frames) => format!("{} frames", frames.len()),
        None => format!("no whole frames: {}", words::quoted(stream)),
    }
}

/// O1: what a capture shows.
fn capture(run: &mut Run, seen: &[Seen]) {
    let handshake = joined(seen.iter().take(3).map(Seen::in_words));
    run.tally.check("the first segments", "client SYN, server SYN+ACK, client ACK", &handshake);

    let data = seen.iter().find(|s| s.is_data_of(Host::Client));
    let data = data.map_or(&[][..], |s| payload(&s.segment.packet, s.segment.len));
    let (prefix, rest) = data.split_at_checked(4).unwrap_or_default();
    let text = format!("{prefix:?}, then {}", words::quoted(rest));
    let expected = format!(
        "{:?}, then {}",
        (MESSAGE.len() as u32).to_be_bytes(),
        words::quoted(MESSAGE.as_bytes())
    );
    run.tally.check("the first data segment", &expected, &text);

    let hosts = [Host::Server, Host::Client];
    let fins = hosts.iter().filter(|host| fin(seen, **host).is_some()).count();
    let acks = hosts.iter().filter(|host| seen.iter().any(|s| acks_fin(seen, **host, s))).count();
    let close = seen.iter().filter(|s| s.has('F') || hosts.iter().any(|h| acks_fin(seen, *h, s)));
    run.tally.check_that(
        "the close",
        "two FINs and an ACK of each",
        joined(close.map(Seen::in_words)),
        (fins, acks) == (2, 2),
    );
    // Four segments, if the client closes after its kernel has acknowledged the server's FIN. It
    // does not wait for that: as a rule one segment does both, and the FINs may cross.
    let rest = handshake == "client SYN, server SYN+ACK, client ACK" && text == expected;
    run.tally.claim(
        "O1",
        Verdict::DoesNotHold.or_when(
            rest && (fins, acks) == (2, 2),
            "the second side closes after its ACK of the first FIN",
        ),
        format_args!("{handshake}; {text}; {fins} FINs, {acks} ACKs of them"),
    );
}

/// Whether a segment acknowledges this host's FIN, and not merely what came before that.
fn acks_fin(seen: &[Seen], of: Host, ack: &Seen) -> bool {
    let fin = fin(seen, of).filter(|_| ack.segment.from != of);
    fin.is_some_and(|fin| ack.segment.ack == Some(fin.end().wrapping_add(1)))
}

/// O3: the server's calls on the connection.
fn calls(run: &mut Run, trace: &Trace) {
    let mut conn = None;
    let mut names = Vec::new();
    for event in &trace.events {
        let What::Call(call) = &event.what else { continue };
        let kind = match call.name.as_str() {
            "accept" | "accept4" => "accept",
            "recvfrom" | "recvmsg" | "read" | "readv" => "recv",
            "sendto" | "sendmsg" | "write" | "writev" => "send",
            "shutdown" => "shutdown",
            "close" => "close",
            _ => continue,
        };
        let result = call.result.as_deref().and_then(|result| result.parse::<i32>().ok());
        match (kind, result.filter(|value| *value >= 0)) {
            (_, None) => {} // it failed
            _ if call.host != Host::Server => {}
            ("accept", fd) => {
                conn = fd;
                names.push(kind);
            }
            _ if conn.is_some() && call.fd == conn => names.push(kind),
            _ => {}
        }
    }
    let all = joined(&names);
    let mut met: Vec<&str> = Vec::new();
    for name in names {
        if !met.contains(&name) {
            met.push(name);
        }
    }
    let order = joined(met);
    let expected = "accept, recv, send, shutdown, close";
    run.tally.check("the server's calls, each where it comes first", expected, &order);
    run.tally.claim("O3", Verdict::holds_if(order == expected), all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_frames_or_it_is_not() {
        assert_eq!(in_words(b"\0\0\0\x02ab"), "one frame: \"ab\"");
        assert_eq!(in_words(b"\0\0\0\0\0\0\0\x01a"), "2 frames");
        assert!(in_words(b"\0\0\0\x03ab").starts_with("no whole frames"));
        assert!(in_words(b"\0\0").starts_with("no whole frames"));
    }
}
