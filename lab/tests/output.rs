//! What the outputs make of a trace.

#[path = "common/script.rs"]
mod script;
#[path = "common/skip.rs"]
mod skip;

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use lab::output::{self, html, jsonl, outline, streams, svg, text};
use lab::record::{Birth, Host, PathInfo, Sample, Source, Trace, What};
use lab::{compare, hints};
use skip::skipped;

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

/// The sockets' figures: two of the client's connection, one of the listener.
fn samples() -> Vec<Sample> {
    let (client, server): (SocketAddr, SocketAddr) =
        ("10.0.0.1:53918".parse().unwrap(), "10.0.0.2:9000".parse().unwrap());
    let sample = |after, host, (local, peer), path| {
        let at = script::half_close().trace.events[0].at + after;
        Sample { at, host, local, peer, recv_queue: 1, send_queue: 128, path }
    };
    let path = PathInfo { cwnd: 10, ssthresh: None, rtt: 0, retransmits: 0 };
    let later = PathInfo { cwnd: 5, ssthresh: Some(7), rtt: 21_500, retransmits: 1 };
    vec![
        sample(5, Host::Server, (server, None), None),
        sample(900, Host::Client, (client, Some(server)), Some(path)),
        sample(1 << 40, Host::Client, (client, Some(server)), Some(later)),
    ]
}

#[test]
fn the_sockets_figures_are_tracks_on_the_page() {
    let mut trace = script::half_close().trace;
    assert!(!html::page(&trace).contains("id=\"tracks\""), "an old trace has none");
    trace.samples = samples();
    trace.about.late = "median 0.06 ms late, worst 1.32 ms; no segment".to_owned();
    let page = html::page(&trace);
    for part in [
        "<p>the link: median 0.06 ms late, worst 1.32 ms; no segment</p>",
        "<div data-conn=\"53918\"><h3>10.0.0.1:53918 ↔ 10.0.0.2:9000</h3>",
        "<h3>listener 10.0.0.2:9000</h3>",
        ">at most 10 segments<",
        ">at most 21.5 ms<",
        ">at most 128 connections<",
        "class=\"client bound\"",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert_eq!(svg::draw(&trace), svg::draw(&script::half_close().trace), "the picture alone");
}

#[test]
fn json_lines_come_back_as_they_were() {
    let mut trace = with_lines();
    trace.samples = samples();
    let mut lines = Vec::new();
    jsonl::write(&trace, &mut lines).unwrap();
    let again = jsonl::read(&lines[..]).unwrap();
    assert_eq!(format!("{trace:?}"), format!("{again:?}"));

    let error = jsonl::read(&b"{\"about\":1}\n"[..]).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

/// The half-close, whose calls know their lines: two files, one of them far away.
fn with_lines() -> Trace {
    let mut trace = script::half_close().trace;
    let far = format!("/home/{}/net.c", "somewhere/".repeat(20));
    for event in &mut trace.events {
        if let What::Call(call) = &mut event.what {
            call.lines = ["main.c:2", "main.c:3", &format!("{far}:1")].map(str::to_owned).to_vec();
        }
    }
    let main = "int main() {\n\treturn run(\n\t\tfd, \"</script><img src=x>\");\n}\n";
    trace.sources = [("main.c", main), (&far, "send(fd);\n")]
        .map(|(file, text)| Source { file: file.to_owned(), text: text.to_owned() })
        .to_vec();
    trace
}

#[test]
fn a_line_of_text_is_as_wide_as_it_may_be() {
    let trace = with_lines();
    for width in [60, 79, 80, 100, 140, 260] {
        let mut printer = text::Printer::new(Vec::new(), width).with_lines(true);
        printer.heading().unwrap();
        trace.events.iter().for_each(|event| printer.event(event).unwrap());
        let lines = String::from_utf8(printer.into_inner()).unwrap();
        let plain = anstream::adapter::strip_str(&lines).to_string();
        assert!(plain.lines().count() >= trace.events.len());
        let again = trace.events.iter().filter(|event| match &event.what {
            What::Segment(segment) => segment.again,
            _ => false,
        });
        assert_eq!(plain.matches("again").count(), again.count(), "{width}: {plain}");
        if width >= 80 {
            let widest = plain.lines().map(|line| line.trim_end().chars().count()).max();
            assert!(widest > Some(width * 3 / 4), "{width}: {widest:?}");
        }
        let calls = trace.events.iter().filter(|event| matches!(event.what, What::Call(_)));
        assert_eq!(plain.matches("main.c:2").count(), calls.count(), "{width}");
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
    assert_eq!(page.matches("</script>").count(), 3);
    let picture = svg::draw(&script.trace);
    assert!(!picture.contains("<img") && !picture.contains("<i>") && !picture.contains('\0'));
}

#[test]
fn a_page_has_the_source_as_text() {
    let page = html::page(&with_lines());
    assert!(!page.contains("<img"));
    assert_eq!(page.matches("</script>").count(), 4);
    assert_eq!(page.matches("<body class=\"with-source\">").count(), 1);
    let (_, rest) = page.split_once("id=\"sources\">").expect("the sources");
    let (json, _) = rest.split_once("</script>").expect("their end");
    let sources: Vec<Source> = serde_json::from_str(json).expect("JSON");
    assert_eq!(sources, with_lines().sources);
    let without = html::page(&script::half_close().trace);
    assert!(!without.contains("id=\"sources\"") && without.contains("<body>"));
}

#[test]
fn a_page_asks_for_nothing_outside() {
    let trace = script::half_close().trace;
    for page in [html::page(&trace), compare::page(&trace, &trace, false)] {
        for word in ["src=", "href=", "@import", "url(", "fetch("] {
            assert!(!page.contains(word), "{word}");
        }
        let outside = page.matches("http").count();
        let known = page.matches("http://www.w3.org/2000/svg").count() + "http-equiv".len() / 10;
        assert_eq!(outside, known);
    }
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

/// The same run on another day: another port, other processes. A call more, and at its end 80 ms of
/// waiting.
fn another_run() -> Trace {
    let renamed = |address: &mut SocketAddr| {
        if *address == script::client() {
            address.set_port(50_000);
        }
    };
    let mut other = script::half_close();
    for event in &mut other.trace.events {
        match &mut event.what {
            What::Call(call) => call.pid += 7,
            What::Segment(segment) => {
                renamed(&mut segment.source);
                renamed(&mut segment.destination);
            }
            What::State(change) => {
                renamed(&mut change.local);
                change.peer.iter_mut().for_each(renamed);
            }
            What::Process(_) => {}
        }
    }
    let last = other.trace.events.len() - 1;
    other.trace.events[last].at += 80_000_000;
    let option = ("setsockopt", "3, SOL_TCP, TCP_NODELAY, [1], 4", "0");
    other.call(1050, 1060, Host::Client, option, b"");
    other.trace.events.sort_by_key(|event| event.at);
    other.trace
}

#[test]
fn two_traces_stand_side_by_side() {
    let compare = |a: &Trace, b: &Trace, differences| {
        let mut out = Vec::new();
        compare::write(a, b, 120, differences, &mut out).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    };
    let one = script::half_close().trace;
    let alike = compare(&one, &one, true);
    assert!(alike.contains("no difference"), "{alike}");
    assert!(!alike.contains("differs"), "{alike}");

    let other = another_run();
    let apart = compare(&one, &other, true);
    let marked = |mark: &str| {
        let marked: Vec<&str> = apart.lines().filter(|line| line.contains(mark)).collect();
        assert_eq!(marked.len(), 1, "{mark}: {apart}");
        marked[0].to_owned()
    };
    assert!(marked("│ > │").contains("TCP_NODELAY"), "{apart}");
    assert!(marked(" longer").contains("80.0 ms longer"), "{apart}");
    assert!(marked("differs").contains("client setsockopt"), "{apart}");
    assert!(!apart.contains("│ < │"), "{apart}");
    assert!(apart.lines().all(|line| line.chars().count() <= 120), "{apart}");
}

#[test]
fn two_traces_stand_on_one_page() {
    let (one, other) = (script::half_close().trace, another_run());
    let count = |page: &str, class: &str| {
        page.lines().filter(|line| line.starts_with("<li id=") && line.contains(class)).count()
    };
    let marks = ["class=\"alike\"", "class=\"only-a\"", "class=\"only-b\"", "class=\"later\""];
    let page = compare::page(&one, &one, false);
    let all = count(&page, "role=\"option\"");
    assert_eq!(marks.map(|mark| count(&page, mark)), [all, 0, 0, 0]);
    assert!(all > 20 && page.contains(&format!("0 rows differ, {all} are alike")), "{all}");

    let page = compare::page(&one, &other, true);
    assert_eq!(marks.map(|mark| count(&page, mark)), [all - 1, 0, 1, 1]);
    assert!(page.contains("aria-pressed=\"true\">Differences only"));
    assert!(page.contains("<small>80.0 ms longer</small>"));
    let differ = page.lines().filter(|line| line.ends_with("<td>differs</td></tr>"));
    let differ: Vec<_> = differ.collect();
    assert!(differ.len() == 1 && differ[0].contains("client setsockopt"), "{differ:?}");
    // A row has what lies behind it on both sides, or null.
    let (_, rest) = page.split_once("id=\"lines\">").expect("the details");
    let (json, _) = rest.split_once("</script>").expect("their end");
    let behind: Vec<[Option<serde_json::Value>; 2]> = serde_json::from_str(json).expect("JSON");
    assert_eq!(behind.len(), all + 1);
    assert_eq!(behind.iter().filter(|[a, b]| a.is_none() && b.is_some()).count(), 1);

    let mut evil = one.clone();
    evil.about.title = "<i>&".to_owned();
    evil.about.missing.push("<b>".to_owned());
    if let What::Process(process) = &mut evil.events[0].what {
        process.text = "</script><img>".to_owned();
    }
    let page = compare::page(&evil, &other, false);
    assert!(!page.contains("<i>") && !page.contains("<img>") && !page.contains(": <b>"));
    assert_eq!(page.matches("</script>").count(), 2);
}

#[test]
fn a_comparison_is_written_or_refused_before_anything_is_read() {
    let dir = dir("comparison");
    for (name, trace) in [("a", script::half_close().trace), ("b", another_run())] {
        output::write_files(&trace, &dir.join(name)).unwrap();
    }
    let compare = |more: &[&str]| {
        let lab = env!("CARGO_BIN_EXE_lab");
        Command::new(lab).args(["compare", "a", "b"]).args(more).current_dir(&dir).output().unwrap()
    };
    let output = compare(&["--page", "both.html"]);
    assert_eq!((&*output.stdout, output.status.code()), (&b"both.html\n"[..], Some(0)));
    assert!(fs::read_to_string(dir.join("both.html")).unwrap().contains("80.0 ms longer"));
    let output = compare(&["--page", "/proc/none/both.html"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with("lab: cannot write /proc/none/both.html: "), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn a_hint_says_which_address_to_write() {
    use Host::{Client, Server};
    let hints = |host: Option<Host>, args: &str, listens: &str| {
        let mut script = script::Script::new("hints");
        script.state(50, Server, true, "CLOSED", "LISTEN");
        if let What::State(change) = &mut script.trace.events[0].what {
            change.local = listens.parse().unwrap();
        }
        script.call(60, 70, Client, ("socket", "AF_INET, SOCK_STREAM, 0", "3"), b"");
        if let Some(host) = host {
            script.call(100, 110, host, ("connect", args, "0"), b"");
        }
        hints::hints(&script.trace, true)
    };
    let to = |address: &str| format!("3, {{sa_family=AF_INET, sin_addr=\"{address}\"}}, 16");
    assert_eq!(hints(Some(Client), &to("10.0.0.2"), "0.0.0.0:9000"), [""; 0]);
    for own in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
        let said = hints(Some(Client), &to(own), "0.0.0.0:9000");
        assert!(said.len() == 1 && said[0].contains(&format!("connects to {own}")), "{said:?}");
    }
    let said = hints(Some(Client), &to("fd00::2"), "[::1]:9000");
    assert!(said.len() == 1 && said[0].ends_with("listen on {server} or ::"), "{said:?}");
    let said = hints(Some(Client), &to("10.0.0.2"), "127.0.0.1:9000");
    assert!(said.len() == 1 && said[0].contains("listens on 127.0.0.1"), "{said:?}");
    let said = hints(None, "", "0.0.0.0:9000");
    assert!(said.len() == 1 && said[0].contains("resolves nowhere"), "{said:?}");
}

/// A loss, a copy of what was there already, and a segment that overtook another.
#[test]
fn a_stream_has_each_byte_once_and_in_order() {
    use Host::{Client, Server};
    let mut script = script::Script::new("stream");
    script.segment((1200, 1250), Client, ("S", 0, 0), b"", "");
    script.segment((1300, 1350), Server, ("S.", 0, 1), b"", "");
    script.segment((2000, 0), Client, ("P.", 1, 1), b"one ", "lost by the link (rule: drop 1)");
    script.segment((2010, 2020), Client, ("P.", 5, 1), b"two ", "");
    script.segment((2200, 2210), Client, ("P.", 1, 1), b"one ", "again");
    script.segment((2220, 2230), Client, ("P.", 1, 1), b"one two three", "again");
    script.segment((2240, 2250), Server, ("P.", 1, 14), b"3", "");
    let streams = streams::streams(&script.trace);
    assert_eq!(streams.len(), 1);
    let said: Vec<(Host, String)> = streams[0]
        .chunks
        .iter()
        .map(|chunk| {
            let digits = chunk.hex.as_bytes().chunks(2);
            let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            (chunk.from, String::from_utf8(digits.map(byte).collect()).unwrap())
        })
        .collect();
    let expected = [(Client, "one "), (Client, "two "), (Client, "three"), (Server, "3")];
    assert_eq!(said, expected.map(|(from, text)| (from, text.to_owned())));
    assert_eq!(streams[0].more, 0);
}

/// `socket` has no peer yet: it belongs to the connection that its descriptor became.
#[test]
fn a_call_belongs_to_the_connection_that_its_socket_became() {
    let trace = script::half_close().trace;
    let connections = streams::connections(&trace);
    let of = |name: &str, host: Host| {
        let place = trace.events.iter().position(|event| {
            matches!(&event.what, What::Call(call) if call.name == name && call.host == host)
        });
        connections[place.unwrap_or_else(|| panic!("no {name}"))]
    };
    let port = Some(script::client().port());
    assert_eq!(of("socket", Host::Client), port);
    assert_eq!(of("connect", Host::Client), port);
    assert_eq!(of("listen", Host::Server), None);
    assert_eq!(of("accept4", Host::Server), port);
}

/// To scale, half of the time is half of the height, and no label that is shown covers another.
#[test]
fn a_diagram_to_scale_is_to_scale() {
    let trace = script::half_close().trace;
    let (picture, _) = svg::diagram(&trace, true);
    let shown: String = picture
        .split("<g class=\"crowded\">")
        .enumerate()
        .map(|(part, text)| match (part, text.split_once("</g>")) {
            (1.., Some((_, rest))) => rest,
            _ => text,
        })
        .collect();
    assert!(shown.len() < picture.len(), "a label has no room there");
    let labels = labels(&shown);
    for (index, a) in labels.iter().enumerate() {
        for b in &labels[index + 1..] {
            let apart = a.1 <= b.0 || b.1 <= a.0 || a.3 <= b.2 || b.3 <= a.2;
            assert!(apart, "{a:?} and {b:?}");
        }
    }
    // Where each arrow begins, and when that was.
    let first = trace.events[0].at;
    let begins: Vec<(f64, f64)> = trace
        .events
        .iter()
        .enumerate()
        .filter(|(_, event)| matches!(event.what, What::Segment(_)))
        .map(|(index, event)| {
            let (_, group) = picture.split_once(&format!("id=\"t{index}\"")).expect("its group");
            let (_, path) = group.split_once(" d=\"M").expect("its arrow");
            let y = path.split([' ', 'L']).nth(1).expect("its height");
            ((event.at - first) as f64, y.parse().expect("a number"))
        })
        .collect();
    let (one, last) = (begins[0], begins[begins.len() - 1]);
    let slope = (last.1 - one.1) / (last.0 - one.0);
    for (at, y) in begins {
        let line = one.1 + (at - one.0) * slope;
        assert!((line - y).abs() < 0.2, "{at} ns is at {y}, not {line}");
    }
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

/// A call: when it began, when it was over, whose it is, its name, arguments and result, its data.
type Called<'a> = (u64, u64, Host, (&'a str, &'a str, &'a str), &'a [u8]);
/// A segment: when it left, who sent it, its flags, its first number, what it acknowledges, data.
type Sent<'a> = (u64, Host, &'a str, u32, u32, &'a [u8]);

/// The outline of two programs that have had a connection since 2000.
fn outline_of(calls: &[Called], segments: &[Sent], states: &[(u64, Host, &str, &str)]) -> String {
    use Host::{Client, Server};
    let mut script = script::Script::new("outline");
    script.call(100, 110, Server, ("listen", "3, 16", "0"), b"");
    script.call(1100, 1900, Client, ("connect", "3, server", "0"), b"");
    script.segment((1200, 1250), Client, ("S", 0, 0), b"", "");
    script.segment((1300, 1350), Server, ("S.", 0, 1), b"", "");
    script.segment((1400, 1450), Client, (".", 1, 1), b"", "");
    script.call(1500, 1600, Server, ("accept4", "3, client", "4"), b"");
    for (began, over, host, call, data) in calls {
        script.call(*began, *over, *host, *call, data);
    }
    for (left, host, flags, seq, ack, data) in segments {
        script.segment((*left, left + 10), *host, (*flags, *seq, *ack), data, "");
    }
    for (at, host, before, now) in states {
        script.state(*at, *host, false, before, now);
    }
    script.trace.events.sort_by_key(|event| event.at);
    outline::draw(&script.trace)
}

/// The outline's lines, without the frame and without the arrows.
fn lines(outline: &str) -> Vec<String> {
    let frame = |c: char| " │─►◄".contains(c);
    outline.lines().map(|line| line.trim_matches(frame).to_owned()).collect()
}

#[test]
fn how_data_is_cut_is_no_part_of_an_outline() {
    use Host::{Client, Server};
    let three = [
        (2000, 2010, Client, ("sendto", "3, \"one\", 3, 0, NULL, 0", "3"), &b"one"[..]),
        (2020, 2030, Client, ("sendto", "3, \"two\", 3, 0, NULL, 0", "3"), b"two"),
        (2040, 2050, Client, ("sendto", "3, \"six\", 3, 0, NULL, 0", "3"), b"six"),
        (2060, 2070, Client, ("close", "3", "0"), b""),
    ];
    let at_once = (2005, Client, "P.", 1, 1, &b"one"[..]);
    let each = [
        at_once,
        (2025, Client, "P.", 4, 1, b"two"),
        (2045, Client, "P.", 7, 1, b"six"),
        (2065, Client, "F.", 10, 1, b""),
    ];
    let together = [at_once, (2065, Client, "FP.", 4, 1, b"twosix")];
    let first = outline_of(&three, &each, &[]);
    assert_eq!(first, outline_of(&three, &together, &[]));
    for line in ["P. 1:4(3)", ". 4:10(6) ...", "F. 10:10(0)"] {
        assert!(lines(&first).contains(&line.to_owned()), "{line}: {first}");
    }
    let (two, close) = (&three[..2], &three[3..]);
    let fewer = [at_once, (2065, Client, "FP.", 4, 1, b"two")];
    let fewer = outline_of(&[two, close].concat(), &fewer, &[]);
    assert!(lines(&fewer).contains(&"P. 4:7(3)".to_owned()), "{fewer}");

    // Where the receiver has answered, the next send leaves at once again.
    let answered = [
        three[0],
        (2100, 2110, Server, ("recvfrom", "4, \"one\", 9, 0, NULL, NULL", "3"), b"one"),
        (2120, 2130, Server, ("sendto", "4, \"ok\", 2, 0, NULL, 0", "2"), b"ok"),
        (2140, 2150, Client, ("recvfrom", "3, \"ok\", 9, 0, NULL, NULL", "2"), b"ok"),
        (2160, 2170, Client, ("sendto", "3, \"two\", 3, 0, NULL, 0", "3"), b"two"),
        (2180, 2190, Client, ("sendto", "3, \"six\", 3, 0, NULL, 0", "3"), b"six"),
    ];
    let segments = [
        at_once,
        (2125, Server, "P.", 1, 4, b"ok"),
        (2165, Client, "P.", 4, 3, b"two"),
        (2185, Client, "P.", 7, 3, b"six"),
    ];
    let answered = outline_of(&answered, &segments, &[]);
    assert!(lines(&answered).contains(&"P. 4:7(3)".to_owned()), "{answered}");
    assert!(lines(&answered).contains(&"P. 7:10(3)".to_owned()), "{answered}");
}

#[test]
fn what_a_busy_machine_loses_is_no_part_of_an_outline() {
    use Host::{Client, Server};
    // When each of two copies leaves, arrives, and its fate; 0: it does not arrive.
    let run = |copies: [(u64, u64, &str); 2]| {
        let mut script = script::Script::new("lost");
        script.call(100, 110, Server, ("listen", "3, 16", "0"), b"");
        let send = ("sendto", "3, \"one\", 3, 0, NULL, 0", "3");
        script.call(2000, 2010, Client, send, b"one");
        for (left, arrived, fate) in copies {
            script.segment((left, arrived), Client, ("P.", 1, 1), b"one", fate);
        }
        lines(&outline::draw(&script.trace))
    };
    let sent = |run: &[String]| run.iter().filter(|line| line.starts_with('P')).count();
    let once = run([(2005, 2015, ""), (2500, 2510, "again")]);
    assert_eq!(once, run([(2005, 0, ""), (2500, 2510, "again")]));
    assert_eq!(sent(&once), 1, "{once:?}");
    let by_the_link = run([(2005, 0, "lost by the link (rule: drop 1)"), (2500, 2510, "again")]);
    assert_eq!(sent(&by_the_link), 2, "{by_the_link:?}");
}

#[test]
fn which_fin_is_first_is_no_part_of_an_outline() {
    use Host::{Client, Server};
    let close = |client: u64, server: u64| {
        [
            (client, client + 40, Client, ("close", "3", "0"), &b""[..]),
            (server, server + 40, Server, ("close", "4", "0"), b""),
        ]
    };
    let segments = [
        (2010, Client, "F.", 1, 1, &b""[..]),
        (2015, Server, "F.", 1, 1, b""),
        (2030, Client, ".", 2, 2, b""),
    ];
    let crossing =
        [(2011, Client, "ESTABLISHED", "FIN_WAIT1"), (2026, Client, "FIN_WAIT1", "CLOSING")];
    let first = outline_of(&close(2000, 2005), &segments, &crossing);
    let segments = [
        (2010, Server, "F.", 1, 1, &b""[..]),
        (2035, Client, "F.", 1, 2, b""),
        (2050, Server, ".", 2, 2, b""),
    ];
    let one_by_one =
        [(2021, Client, "ESTABLISHED", "CLOSE_WAIT"), (2036, Client, "CLOSE_WAIT", "LAST_ACK")];
    assert_eq!(first, outline_of(&close(2025, 2000), &segments, &one_by_one));
    assert_eq!(lines(&first).iter().filter(|line| line.starts_with("F.")).count(), 2, "{first}");

    // One that has read the other's end is the second.
    let read = (2022, 2024, Client, ("recvfrom", "3, \"\", 9, 0, NULL, NULL", "0"), &b""[..]);
    let calls = [&close(2025, 2000)[..], &[read]].concat();
    let second = outline_of(&calls, &segments, &one_by_one);
    assert!(lines(&second).contains(&"LAST_ACK".to_owned()), "{second}");
}

#[test]
fn a_reset_is_drawn_if_it_answers_data() {
    use Host::{Client, Server};
    let close = [(2000, 2040, Server, ("close", "4", "0"), &b""[..])];
    let fin = (2010, Server, "F.", 1, 1, &b""[..]);
    let reset = (2100, Server, "R", 2, 0, &b""[..]);
    let without = outline_of(&close, &[fin, (2050, Client, ".", 1, 2, b"")], &[]);
    let late = outline_of(&close, &[fin, (2050, Client, ".", 1, 2, b""), reset], &[]);
    assert_eq!(without, late);
    let data = outline_of(&close, &[fin, (2050, Client, "P.", 1, 2, b"x"), reset], &[]);
    assert!(lines(&data).contains(&"R 2:2(0)".to_owned()), "{data}");
}

#[test]
fn threads_stand_in_the_order_in_which_they_were_made() {
    use Host::Server;
    // One thread makes two others, which send at the same time, waits for both, and sends, too.
    let run = |times: [u64; 2]| {
        let mut script = script::Script::new("threads");
        script.call(100, 110, Server, ("listen", "3, 16", "0"), b"");
        script.call(1500, 1600, Server, ("accept4", "3, client", "4"), b"");
        for (name, at) in ["one", "two"].into_iter().zip(times) {
            let args = format!("4, \"{name}\", 3, 0, NULL, 0");
            script.call(at, at + 10, Server, ("sendto", &args, "3"), name.as_bytes());
        }
        let last = "4, \"six\", 3, 0, NULL, 0";
        script.call(3000, 3010, Server, ("sendto", last, "3"), b"six");
        for event in &mut script.trace.events {
            if let What::Call(call) = &mut event.what {
                call.tid += if call.data == b"one" { 1 } else { 0 };
                call.tid += if call.data == b"two" { 2 } else { 0 };
            }
        }
        script.trace.events.sort_by_key(|event| event.at);
        let start = script.trace.events[0].at - 100_000;
        let maker = match &script.trace.events[0].what {
            What::Call(call) => call.tid,
            _ => unreachable!("a call comes first"),
        };
        let made = |nth| Birth { at: start + 1_700_000, tid: maker + nth, by: maker };
        script.trace.births.extend([1, 2].map(made));
        let outline = outline::draw(&script.trace);
        let sends = lines(&outline).into_iter().filter(|line| line.starts_with("send"));
        sends.collect::<Vec<_>>()
    };
    let first = run([2000, 2100]);
    assert_eq!(first, run([2100, 2000]));
    let names: Vec<&str> = first.iter().map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(names, ["one", "two", "six"]);
}

fn tshark(args: &[&str]) -> Option<String> {
    let file = dir("tshark").join("trace.pcapng");
    output::write_files(&script::half_close().trace, file.parent().unwrap()).unwrap();
    let run =
        Command::new("tshark").arg("-r").arg(&file).args(args).env("LC_ALL", "C.UTF-8").output();
    let Ok(run) = run else {
        skipped("tshark is not installed");
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
