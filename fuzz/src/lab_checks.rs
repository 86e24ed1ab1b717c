//! The lab's link options, and its recorded traces.

use std::cell::RefCell;
use std::net::SocketAddr;

use clap::{Args, Command, FromArgMatches};
use lab::link::{LinkConfig, Nth, Queue};
use lab::output::text::Printer;
use lab::output::{html, jsonl, outline, pcapng, svg};
use lab::record::{Host, What};
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;

thread_local! {
    /// Built once, for that takes longer than to parse.
    static COMMAND: RefCell<Command> =
        RefCell::new(LinkConfig::augment_args(Command::new("link").no_binary_name(true)));
}

fn parse(args: &[String]) -> Result<LinkConfig, String> {
    let matches = COMMAND.with_borrow_mut(|command| command.try_get_matches_from_mut(args));
    LinkConfig::from_arg_matches(&matches.map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

/// The first byte is the option, the rest what it is given.
pub fn options(input: &[u8]) {
    let Some((&flag, text)) = input.split_first() else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    let name = ["delay", "rate", "queue", "loss", "drop", "mtu"][usize::from(flag) % 6];
    let mut args = vec![format!("--{name}={text}")];
    if name == "queue" {
        args.push("--rate=1mbit".into());
    }
    let parsed = parse(&args);
    if let Ok(config) = &parsed {
        assert!(!config.to_string().is_empty());
    }
    // In billionths: of a second, a bit a second, a byte, a percent.
    let (got, expected) = match name {
        "delay" => {
            let units = [("s", BILLION), ("ms", BILLION / 1000), ("us", 1000), ("µs", 1000)];
            let got = parsed.map(|config| config.delay.as_nanos());
            let limit = 60 * BILLION;
            (got, number(text, &units).map(|n| n.map(|n| n / BILLION).filter(|n| *n <= limit)))
        }
        "rate" => {
            let units = [("", 1), ("k", 1000), ("m", 1_000_000), ("g", BILLION)];
            let names = ["bit", "bit/s", "bps"];
            let units = units.map(|(k, n)| names.map(|name| (format!("{k}{name}"), n))).concat();
            let units: Vec<_> = units.iter().map(|(name, n)| (&**name, *n)).collect();
            let got = parsed.map(|config| u128::from(config.rate.expect("it was given")));
            let limits = 1000..=100 * BILLION;
            (
                got,
                number(text, &units).map(|n| n.map(|n| n / BILLION).filter(|n| limits.contains(n))),
            )
        }
        "queue" => return queue(text, parsed.map(|config| config.queue())),
        "loss" => {
            let (host, percent) = after_host(text);
            let is_of_one = percent != text;
            let text = percent;
            let got = parsed.map(|config| {
                let mut loss = [config.loss.from_client, config.loss.from_server];
                if host == Host::Server {
                    loss.reverse();
                }
                assert_eq!(loss[1], if is_of_one { 0.0 } else { loss[0] }, "the other host");
                (loss[0] * 1e11).round() as u128
            });
            let percent = number(text, &[("%", 1)]);
            (got, percent.map(|n| n.filter(|n| *n <= 100 * BILLION)))
        }
        "drop" => return assert_eq!(parsed.map(|config| config.drop).ok(), nths(text), "{text:?}"),
        _ => {
            let mtu = whole(text).filter(|mtu| (68..=65_535).contains(mtu));
            return assert_eq!(parsed.map(|config| config.mtu()).ok(), mtu, "{text:?}");
        }
    };
    let Some(expected) = expected else { return };
    match (got, expected) {
        (Ok(got), Some(expected)) => assert!(got.abs_diff(expected) <= 1, "{text:?}: {got}"),
        (got, expected) => assert_eq!(got.ok(), expected, "--{name}={text:?}"),
    }
}

const BILLION: u128 = 1_000_000_000;

/// Digits, which a plus may precede, as in clap's own numbers.
fn whole(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

/// In billionths of the unit 1. `None`: more digits than are compared here. `Some(None)`: no number.
fn number(text: &str, units: &[(&str, u128)]) -> Option<Option<u128>> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let unit = unit.trim_matches(' ').to_lowercase();
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Some(None);
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    if part.contains('.') || whole.len() + part.len() == 0 {
        return Some(None);
    }
    if whole.len() > 9 || part.len() > 6 {
        return None;
    }
    let part = format!("{part:0<9}");
    let number = |text: &str| if text.is_empty() { 0 } else { text.parse::<u128>().unwrap() };
    Some(Some((number(whole) * BILLION + number(&part)) * factor))
}

fn queue(text: &str, got: Result<Queue, String>) {
    let packets = number(text, &[("p", 1)]).map(|n| n.filter(|n| n % BILLION == 0 && *n > 0));
    let bytes = number(text, &[("b", 1), ("kb", 1000), ("mb", 1_000_000)]);
    let bytes = bytes.map(|n| n.filter(|n| *n >= BILLION));
    match (packets, bytes) {
        (None, _) | (_, None) => {}
        (Some(None), Some(None)) => assert!(got.is_err(), "{text:?}: {got:?}"),
        (Some(Some(n)), _) => assert_eq!(got, Ok(Queue::Packets((n / BILLION) as u64)), "{text:?}"),
        (_, Some(Some(n))) => match got {
            Ok(Queue::Bytes(got)) => {
                assert!(u128::from(got).abs_diff(n / BILLION) <= 1, "{text:?}")
            }
            got => panic!("{text:?}: {got:?}"),
        },
    }
}

fn after_host(text: &str) -> (Host, &str) {
    match (text.strip_prefix("client:"), text.strip_prefix("server:")) {
        (Some(rest), _) => (Host::Client, rest),
        (_, Some(rest)) => (Host::Server, rest),
        _ => (Host::Client, text),
    }
}

/// `[HOST:]N[xTIMES]`, by commas.
fn nths(text: &str) -> Option<Vec<Nth>> {
    let whole = |text: &str| whole(text).filter(|n| *n > 0);
    let one = |text: &str| {
        let (from, rest) = after_host(text);
        let (nth, times) = rest.split_once('x').unwrap_or((rest, "1"));
        let times = whole(times).filter(|times| *times <= 100)?;
        Some(Nth { from, nth: whole(nth)?, times })
    };
    text.split(',').map(one).collect()
}

/// The first line, the events, the samples: those have an order only among themselves.
fn in_order(text: &str) -> Vec<Value> {
    let lines = text.lines().enumerate().filter(|(n, line)| *n == 0 || !line.is_empty());
    let mut values: Vec<Value> =
        lines.map(|(_, line)| serde_json::from_str(line).expect("it could be read")).collect();
    values[1..].sort_by_key(|line| line["event"] == "sample");
    values
}

/// What is not written where it says nothing: in a line, and in what the first line says of the run.
fn skipped(line: &Value) -> &'static [&'static str] {
    match line["event"].as_str() {
        None => &[],
        Some("call") => &["cut_off", "data", "count"],
        Some("segment") => &["late"],
        Some("state") => &["looks"],
        // One that lacks a figure of its connection is read as one that has none.
        Some("sample") if !line["cwnd"].is_null() => &["ssthresh"],
        Some(_) => &[],
    }
}

/// Whether what was written says all that was read, and nothing else.
fn says(written: &Value, read: &Value, skipped: &[&str]) -> bool {
    const OF_THE_RUN: &[&str] = &["late", "notes", "broken"];
    let inside = |name: &str| if name == "about" { OF_THE_RUN } else { &[] };
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(_) => false,
    };
    match (written, read) {
        (Value::Object(written), Value::Object(read)) => {
            written.iter().all(|(name, written)| match read.get(name) {
                Some(read) => says(written, read, inside(name)),
                None => is_nothing(written),
            }) && skipped.iter().filter(|name| !written.contains_key(**name)).all(|name| {
                let read = read.get(*name).unwrap_or(&Value::Null);
                is_nothing(read) || *name == "count" && *read == 1
            })
        }
        (Value::Array(written), Value::Array(read)) => {
            written.len() == read.len()
                && written.iter().zip(read).all(|(written, read)| says(written, read, &[]))
        }
        (Value::Object(_), Value::Array(_)) => true, // serde takes the values without the names
        (Value::String(written), Value::String(read)) => {
            let addr = |text: &str| text.parse::<SocketAddr>().ok();
            // Hexadecimal has capital letters too.
            written.eq_ignore_ascii_case(read)
                || addr(written).is_some_and(|it| Some(it) == addr(read))
        }
        _ => written == read || is_nothing(written) && read.is_null(),
    }
}

/// Lines of JSON, as `lab show` gets them.
pub fn traces(input: &[u8]) {
    let Ok(trace) = jsonl::read(input) else { return };
    let mut written = Vec::new();
    jsonl::write(&trace, &mut written).unwrap();
    let mut again = Vec::new();
    jsonl::write(&jsonl::read(&written[..]).unwrap(), &mut again).unwrap();
    assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&written));
    let text = |bytes| str::from_utf8(bytes).expect("what is no text cannot be read");
    let (lines, written) = (in_order(text(input)), in_order(text(&written)));
    assert_eq!(lines.len(), written.len());
    for (line, written) in lines.iter().zip(&written) {
        assert!(says(written, line, skipped(written)), "{line} was read as {written}");
    }

    // Each way to draw it ends, whatever stands in it.
    Printer::new(Vec::new(), 100).trace(&trace).unwrap();
    assert!(html::page(&trace).ends_with(">\n"));
    assert!(svg::draw(&trace).trim_end().ends_with("</svg>"));
    outline::draw(&trace);

    // What Wireshark will see: a packet for each beginning and one for each end.
    let mut file = Vec::new();
    pcapng::write(&trace, &mut file).unwrap();
    let mut reader = PcapNgReader::new(&file[..]).unwrap();
    let mut packets = 0;
    while let Some(block) = reader.next_block() {
        packets += usize::from(matches!(block.unwrap(), Block::EnhancedPacket(_)));
    }
    let of = |what: &What| match what {
        What::Call(call) => 1 + usize::from(call.returned.is_some()),
        What::Segment(segment) => 1 + usize::from(segment.arrived.is_some()),
        What::State(_) | What::Process(_) => 1,
    };
    assert_eq!(packets, trace.events.iter().map(|event| of(&event.what)).sum::<usize>());
}
