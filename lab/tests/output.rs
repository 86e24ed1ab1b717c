//! What the outputs make of a trace.

#[path = "common/script.rs"]
mod script;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use lab::output::{self, html, jsonl, outline, svg, text};
use lab::record::{Host, Trace, What};

const LUA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dissector/tcp-stream-io.lua");

/// A directory of the test's own.
fn dir(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

#[test]
fn every_file_is_written() {
    let trace = script::half_close().trace;
    let names: Vec<_> = output::write_files(&trace, &dir("every-file"))
        .unwrap()
        .into_iter()
        .map(|path| {
            assert!(fs::metadata(&path).unwrap().len() > 1000, "{} is short", path.display());
            path.file_name().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(names, ["trace.jsonl", "trace.html", "trace.svg", "trace.pcapng"]);
}

#[test]
fn json_lines_come_back_as_they_were() {
    let trace = script::half_close().trace;
    let mut lines = Vec::new();
    jsonl::write(&trace, &mut lines).unwrap();
    let again = jsonl::read(&lines[..]).unwrap();
    assert_eq!(format!("{trace:?}"), format!("{again:?}"));

    let error = jsonl::read(&b"{\"about\":1}\n"[..]).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn a_line_of_text_is_as_wide_as_it_may_be() {
    let trace = script::half_close().trace;
    for width in [60, 100, 140] {
        let mut printer = text::Printer::new(Vec::new(), width);
        printer.heading().unwrap();
        trace.events.iter().for_each(|event| printer.event(event).unwrap());
        let lines = String::from_utf8(printer.into_inner()).unwrap();
        let plain = anstream::adapter::strip_str(&lines).to_string();
        assert!(plain.lines().count() >= trace.events.len());
        for line in plain.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

/// What a program sends may look like a page.
#[test]
fn what_a_program_says_stays_text() {
    let mut script = script::half_close();
    let evil = "4, \"</script><img src=x onerror=alert(1)>\0&\", 9";
    script.call(300_000, 300_001, Host::Client, ("sendto", evil, "9"), b"</script>\0<b>");
    script.trace.about.title = "<i>title</i>".to_owned();
    let page = html::page(&script.trace);
    assert!(!page.contains("<img") && !page.contains("<i>") && !page.contains("<b>"));
    assert_eq!(page.matches("</script>").count(), 2);
    let picture = svg::draw(&script.trace);
    assert!(!picture.contains("<img") && !picture.contains("<i>") && !picture.contains('\0'));
}

#[test]
fn a_page_asks_for_nothing_outside() {
    let page = html::page(&script::half_close().trace);
    for word in ["src=", "href=", "@import", "url(", "fetch("] {
        assert!(!page.contains(word), "{word}");
    }
    let outside = page.matches("http").count();
    assert_eq!(
        outside,
        page.matches("http://www.w3.org/2000/svg").count() + "http-equiv".len() / 10
    );
}

/// A label's box: left, right, top, bottom, the text.
fn labels(picture: &str) -> Vec<(f64, f64, f64, f64, String)> {
    let number = |text: &str, name: &str| -> f64 {
        let (_, rest) = text.split_once(&format!("{name}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let mut boxes = Vec::new();
    for group in picture.split("<g class=\"event\"").skip(1) {
        let group = group.split("</g>").next().unwrap();
        for text in group.split("<text ").skip(1) {
            let (attributes, rest) = text.split_once('>').unwrap();
            let words = rest.split("</text>").next().unwrap().to_owned();
            let plain = words.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">");
            let width = plain.chars().count() as f64 * 6.6;
            let (x, y) = (number(attributes, " x"), number(attributes, " y"));
            let left = match () {
                () if attributes.contains("\"end\"") => x - width,
                () if attributes.contains("\"middle\"") => x - width / 2.0,
                () => x,
            };
            boxes.push((left, left + width, y - 9.0, y + 2.0, words));
        }
    }
    boxes
}

fn no_label_covers_another(trace: &Trace) {
    let picture = svg::draw(trace);
    let labels = labels(&picture);
    assert!(labels.len() >= trace.events.len().min(svg::MOST));
    for (index, a) in labels.iter().enumerate() {
        for b in &labels[index + 1..] {
            let apart = a.1 <= b.0 || b.1 <= a.0 || a.3 <= b.2 || b.3 <= a.2;
            assert!(apart, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn labels_do_not_cover_each_other() {
    no_label_covers_another(&script::half_close().trace);
    no_label_covers_another(&script::crowd(200).trace);
}

#[test]
fn a_large_trace_says_what_it_leaves_out() {
    let trace = script::crowd(3000).trace;
    let count = trace.events.len();
    let page = html::page(&trace);
    assert!(page.contains(&format!("The diagram shows {} events of {count}.", svg::MOST)));
    assert!(page.contains(&format!("{} events are not listed", count - html::MOST)));
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    let picture = svg::draw(&trace);
    assert!(picture.contains(&format!("{} events are not drawn", count - svg::MOST)));
}

/// The same story, with what chance may change: who was first, times, numbers, reads.
#[test]
fn two_runs_have_one_outline() {
    let trace = script::half_close().trace;
    let first = outline::draw(&trace);
    let mut other = trace.clone();
    for event in &mut other.events {
        match &mut event.what {
            What::Call(call) => {
                call.pid += 100;
                call.tid += 100;
                if call.host == Host::Client {
                    call.fd = call.fd.map(|fd| fd + 4);
                    call.args = call.args.replacen('3', "7", 1);
                    if call.name == "socket" {
                        call.args = call.args.replacen('7', "3", 1);
                        call.result = Some("7".to_owned());
                    }
                }
            }
            // The wire is slower: what does not wait for it happens earlier.
            What::Segment(segment) => segment.window += 1,
            _ => {}
        }
    }
    assert_eq!(first, outline::draw(&other));

    let place = |text: &str| first.find(text).unwrap_or_else(|| panic!("no {text} in\n{first}"));
    let story = [
        "LISTEN",
        "connect(3, server) ...",
        "SYN_SENT",
        "S 0:0(0)",
        "SYN_RECV",
        "S. 0:0(0)",
        "P. 1:10(9) ─",
        "shutdown(3, SHUT_WR) = 0",
        "FIN_WAIT1",
        "P. 1:10(9) again",
        "CLOSE_WAIT",
        "accept4",
        "recvfrom(4, ...) = 0",
        "P. 1:3(2)",
        "FIN_WAIT2",
        "LAST_ACK",
        "CLOSED",
    ];
    for pair in story.windows(2) {
        assert!(place(pair[0]) < place(pair[1]), "{pair:?} in\n{first}");
    }
    assert!(first.lines().all(|line| line.trim_end().chars().count() <= 100), "{first}");
}

fn tshark(args: &[&str]) -> Option<String> {
    let file = dir("tshark").join("trace.pcapng");
    output::write_files(&script::half_close().trace, file.parent().unwrap()).unwrap();
    let run =
        Command::new("tshark").arg("-r").arg(&file).args(args).env("LC_ALL", "C.UTF-8").output();
    let Ok(run) = run else {
        println!("skipped: tshark is not installed");
        return None;
    };
    let complaints: Vec<String> = String::from_utf8_lossy(&run.stderr)
        .lines()
        .filter(|line| !line.starts_with("Running as user"))
        .map(str::to_owned)
        .collect();
    assert!(run.status.success() && complaints.is_empty(), "{complaints:?}");
    Some(String::from_utf8(run.stdout).unwrap())
}

#[test]
fn tshark_takes_the_capture() {
    let fields = ["frame.interface_name", "frame.time_epoch", "frame.comment"];
    let args: Vec<&str> =
        ["-T", "fields"].into_iter().chain(fields.iter().flat_map(|field| ["-e", field])).collect();
    let Some(lines) = tshark(&args) else { return };
    let trace = script::half_close().trace;
    let packets: usize = trace
        .events
        .iter()
        .map(|event| match &event.what {
            What::Call(call) => 1 + usize::from(call.returned.is_some()),
            What::Segment(segment) => 1 + usize::from(segment.arrived.is_some()),
            _ => 1,
        })
        .sum();
    assert_eq!(lines.lines().count(), packets);
    for name in ["client eth0", "server eth0", "client system calls", "server system calls"] {
        assert!(lines.lines().any(|line| line.starts_with(name)), "{name}");
    }
    assert!(lines.contains("lost by the link (rule: drop 2)"));
    assert!(lines.contains("1767225600.021630000"), "nanoseconds: {lines}");
}

/// What Wireshark calls a retransmission is one.
#[test]
fn tshark_sees_each_segment_once() {
    let again = ["-Y", "tcp.analysis.retransmission", "-T", "fields", "-e", "frame.number"];
    let Some(lines) = tshark(&again) else { return };
    let segments = script::half_close().trace.events;
    let again = segments.iter().filter(|event| matches!(&event.what, What::Segment(s) if s.again));
    assert_eq!(lines.lines().count(), again.count(), "{lines}");
}

#[test]
fn the_dissector_names_frames_and_calls() {
    let load = format!("lua_script:{LUA}");
    let fields = ["-T", "fields", "-e", "tsframe.text", "-e", "tscall.call", "-e", "tscall.now"];
    let Some(lines) = tshark(&[&["-X", &load][..], &fields].concat()) else { return };
    let seen = |column: usize, text: &str| {
        assert!(lines.lines().any(|line| line.split('\t').nth(column) == Some(text)), "{lines}");
    };
    seen(0, "hello");
    seen(1, "sendmsg");
    seen(2, "TIME_WAIT");
    let hosts = ["-Y", "tscall.host", "-o", "gui.column.format:\"Source\",\"%s\""];
    let Some(lines) = tshark(&[&["-X", &load][..], &hosts].concat()) else { return };
    assert!(lines.lines().all(|line| ["client", "server"].contains(&line.trim())), "{lines}");
}
