//! The lines of source that led to a call: the innermost has the call's name in its text.

#[path = "common/path.rs"]
mod path;
#[path = "common/skip.rs"]
mod skip;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use lab::output::jsonl;
use lab::record::{Call, Trace, What};
use path::path;
use skip::skipped;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
const PAIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pair.c");

/// Examples that between them make each call that `src/sys.rs` has.
const EXAMPLES: [&str; 3] = ["s05_half_close", "s04_connect_deadline", "s07_echo_exchange"];

/// A directory of the test's own.
fn dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("lines").join(name);
    fs::create_dir_all(&dir).expect("a directory can be made");
    dir
}

/// The project's directory: what the lines of its examples begin at.
fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the lab is in the project")
}

/// Traces; `None`: this machine does not allow it, which it says. What is compiled for the trace of
/// this name is called by its own name alone.
fn lab(name: &str, args: &[&str]) -> Option<Trace> {
    let dir = dir(name);
    let mut lab = Command::new(LAB);
    let lab = lab.arg("trace").args(args).args(["--strict", "--out"]).arg(&dir).current_dir(here());
    let ran = lab.env("PATH", path(&dir)).output().expect("lab runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    if ran.status.code() == Some(3) {
        skipped(said.trim_end());
        return None;
    }
    assert!(ran.status.success(), "{said}");
    let file = File::open(dir.join("trace.jsonl")).expect("a trace is written");
    let trace = jsonl::read(BufReader::new(file)).expect("a trace reads back");
    match trace.about.missing.first() {
        Some(missing) if missing.starts_with("the calls ") => panic!("{missing}"),
        Some(missing) => skipped(missing),
        None => return Some(trace),
    }
    None
}

fn calls(trace: &Trace) -> Vec<&Call> {
    let calls = trace.events.iter().filter_map(|event| match &event.what {
        What::Call(call) => Some(call),
        _ => None,
    });
    calls.collect()
}

/// The file and the text of a line: "src/sys.rs:77".
fn text<'a>(trace: &'a Trace, line: &'a str) -> (&'a str, &'a str) {
    let (file, number) = line.rsplit_once(':').expect("a file and a number");
    let source = trace.sources.iter().find(|source| source.file == file);
    let source = source.unwrap_or_else(|| panic!("{file} is not in the trace"));
    let number: usize = number.parse().expect("a number");
    (file, source.text.lines().nth(number - 1).expect("the file has such a line"))
}

/// The innermost line of each call names the call, as a C program writes it.
fn each_line_names_its_call(trace: &Trace) {
    for call in calls(trace) {
        let name = match call.name.as_str() {
            "sendto" => "send",
            "recvfrom" => "recv",
            name => name,
        };
        let line = call.lines.last().unwrap_or_else(|| panic!("no line for {call:?}"));
        let (_, text) = text(trace, line);
        assert!(text.contains(&format!("{name}(")), "{name} is not in {line}: {text}");
    }
}

#[test]
fn each_call_of_an_example_knows_its_lines() {
    for name in EXAMPLES {
        if !Path::new(LAB).with_file_name("examples").join(name).exists() {
            return skipped(&format!("{name} is not built: cargo build --examples"));
        }
        let Some(trace) = lab(name, &[name]) else { return };
        each_line_names_its_call(&trace);
        for call in calls(&trace) {
            let files: Vec<&str> = call.lines.iter().map(|line| text(&trace, line).0).collect();
            // The outermost is the thread's first, in the stage; the innermost is in the reference.
            let example = files.iter().position(|file| file.ends_with(&format!("{name}.rs")));
            let inner = files.iter().position(|file| file.ends_with("src/sys.rs"));
            assert!(example.is_some(), "{call:?}");
            assert!(inner.is_none_or(|inner| example < Some(inner)), "{call:?}");
            assert!(inner.is_some() || call.name != "sendto", "{call:?}");
            let foreign = files.iter().find(|file| file.contains("/library/"));
            assert_eq!(foreign, None, "{call:?}");
        }
    }
}

/// Compiles the pair and traces it; `None`: there is no compiler, which it says.
fn traced_pair(name: &str, options: &[&str]) -> Option<Trace> {
    let program = dir(name).join("pair");
    match Command::new("cc").args(options).arg(PAIR).arg("-o").arg(&program).status() {
        Ok(status) => assert!(status.success(), "cc {options:?}"),
        Err(error) => {
            skipped(&format!("a C program's lines: no cc: {error}"));
            return None;
        }
    }
    let pair =
        ["--server", "pair server {server} {port}", "--client", "pair client {server} {port}"];
    lab(name, &pair)
}

/// The functions' calls, by what stands in their lines.
fn chain<'a>(trace: &'a Trace, name: &str, place: usize) -> Vec<&'a str> {
    let calls = calls(trace);
    let call = calls.iter().filter(|call| call.name == name).nth(place).expect("such a call");
    call.lines.iter().map(|line| text(trace, line).1.trim()).collect()
}

#[test]
fn each_call_of_a_c_program_knows_its_lines() {
    for level in ["-O0", "-O2"] {
        let Some(trace) = traced_pair(level, &["-g", level]) else { return };
        let names: Vec<&str> = calls(&trace).iter().map(|call| call.name.as_str()).collect();
        assert!(names.len() >= 17, "{names:?}");
        each_line_names_its_call(&trace);
        let served = ["return serve(fd);", "while (answer(fd)) {"];
        assert_eq!(chain(&trace, "writev", 0)[..2], served, "{level}");
        let said = [
            "return ask(fd);",
            "if (say(fd, \"one\") != 3 || recv(fd, text, sizeof text, 0) != 3)",
            "return send(fd, text, strlen(text), 0);",
        ];
        assert_eq!(chain(&trace, "sendto", 0), said, "{level}");
        // The compiler makes a jump of this call, and the function that made it is gone.
        let written = [
            "return ask(fd);",
            "if (say_and_return(fd, \"four\") != 4)",
            "return write(fd, text, strlen(text));",
        ];
        assert_eq!(chain(&trace, "write", 0), written, "{level}");
    }
}

#[test]
fn without_debug_information_only_the_lines_are_missing() {
    let Some(trace) = traced_pair("bare", &["-O2"]) else { return };
    assert!(calls(&trace).len() >= 17);
    assert!(calls(&trace).iter().all(|call| call.lines.is_empty()));
    assert!(trace.sources.is_empty());
    assert!(!trace.about.cost.contains("lines"), "{}", trace.about.cost);
}
