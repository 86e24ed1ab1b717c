//! Faults that may come at any time change nothing in what the programs print.
//!
//! Two ways to make them. strace makes the 1st, 4th, 7th … call of a kind fail with EINTR, as if a
//! signal had come: one kind at a time, then all of them together. And `shim.c`, which is loaded
//! between the program and the C library, does what strace cannot: sends and receives that are
//! really short, a `connect` and a `close` that are interrupted after they have done their work.
//!
//! Examples that have EINTR as their subject, by the first paragraph of their header, are left
//! out; and of the short ones those whose subject a short call changes.

mod programs;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::{env, fs, thread};

use programs::{Program, Server, run, skipped};

/// Each is one run. glibc makes `poll` out of the one or the other, depending on the machine.
const CALLS: [&str; 5] = ["recvfrom", "sendto", "sendmsg", "accept4", POLL];
const POLL: &str = "?poll,?ppoll"; // `?`: where there is such a call

/// What an example's source has where short calls change what it is about: a single call, whose
/// count is the subject; a count of segments; the time that several sends take.
const COUNTED: [&str; 8] = [
    "sys::send",
    "sys::recv",
    "recv_some",
    "libc::send",
    "libc::recv",
    "tcp_info",
    "segments_sent",
    "fastest(",
];

/// What to inject.
#[derive(Clone, Copy)]
enum Fault<'a> {
    None,
    /// Into these calls this error, by strace.
    Strace(&'a str, &'a str),
    /// By the library at this path: "eintr" or "short".
    Shim(&'a Path, &'a str),
}

/// A program with faults, or without.
fn command(program: &Path, fault: Fault, log: &Path) -> Command {
    let (calls, error) = match fault {
        Fault::None => return Command::new(program),
        Fault::Strace(calls, error) => (calls, error),
        Fault::Shim(library, faults) => {
            let mut command = Command::new(program);
            command.env("LD_PRELOAD", library).env("FAULTS", faults).env("FAULTS_LOG", log);
            return command;
        }
    };
    let mut command = Command::new("strace");
    // -D makes the program our child, and strace a bystander: signals and exit codes pass.
    // --seccomp-bpf stops it at these calls only, so that it keeps nearly its own pace.
    command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-e", "signal=none"]);
    command.args(["-e", &format!("trace={calls}")]);
    command.args(["-e", &format!("inject={calls}:error={error}:when=1+3")]);
    command.arg("-o").arg(log).arg(program);
    command
}

/// Where strace writes; removed at the end.
struct Log(PathBuf);

impl Log {
    fn new() -> Log {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        Log(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("faults-{}-{n}.log", id())))
    }

    /// The calls that were made, and those of them that strace made fail.
    fn calls(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let (mut made, mut injected) = (BTreeSet::new(), BTreeSet::new());
        for line in text.lines() {
            // "123  poll([...]) = ...", or "123  <... poll resumed>...) = ..."
            let mut words = line.split([' ', '(']).skip(1);
            let name = words.find(|w| w.starts_with(|c: char| c.is_ascii_alphabetic()));
            made.extend(name.map(str::to_owned));
            if line.contains("(INJECTED)") {
                injected.extend(name.map(str::to_owned));
            }
        }
        (made, injected)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Says so where strace cannot trace.
fn has_strace() -> bool {
    let log = Log::new();
    let mut probe = command(Path::new("true"), Fault::Strace(POLL, "EINTR"), &log.0);
    let why = match probe.output() {
        Ok(output) if output.status.success() && output.stderr.is_empty() => return true,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            said.lines().last().unwrap_or("strace failed and said nothing").to_owned()
        }
        Err(e) => format!("strace: {e}"),
    };
    skipped(why);
    false
}

// ---- the echo program ----

/// What a server and its three clients print, the server's last, and which calls were injected.
fn echo_pair(fault: Fault) -> (Vec<String>, BTreeSet<String>) {
    let echo = Path::new(env!("CARGO_BIN_EXE_echo"));
    let (mut printed, mut injected) = (Vec::new(), BTreeSet::new());
    let mut look_at = |log: Log| {
        let (made, failed) = log.calls();
        let complete = !matches!(fault, Fault::Strace(..)) || failed == made;
        assert!(complete, "made {made:?}, injected only {failed:?}");
        injected.extend(failed);
    };
    let log = Log::new();
    let server = Server::start(command(echo, fault, &log.0).args(["server", "127.0.0.1", "0"]));
    printed.push(server.first_line.clone());
    for msg in ["hello", "", &"x".repeat(100_000)] {
        let log = Log::new();
        let port = server.port.to_string();
        let ended = run(command(echo, fault, &log.0).args(["client", "127.0.0.1", &port, msg]));
        printed.extend([ended.out, ended.err].concat());
        printed.push(format!("{:?}", ended.code));
        look_at(log);
    }
    let ended = server.stop();
    printed.extend([ended.out, ended.err].concat());
    printed.push(format!("{:?}", ended.code));
    look_at(log);
    (printed.iter().map(|line| mask_ports(line)).collect(), injected)
}

#[test]
fn the_echo_pair_prints_the_same_under_eintr() {
    if !has_strace() {
        return;
    }
    let (clean, _) = echo_pair(Fault::None);
    assert_eq!(clean.last().map(String::as_str), Some("Some(0)"), "{clean:?}");
    for calls in CALLS {
        let (printed, injected) = echo_pair(Fault::Strace(calls, "EINTR"));
        assert_eq!(printed, clean, "EINTR in {calls}");
        if calls != "sendto" {
            assert!(!injected.is_empty(), "no EINTR in {calls}: nothing was tried");
        } // a frame is sent by sendmsg
    }
    let (printed, injected) = echo_pair(Fault::Strace(&CALLS.join(","), "EINTR"));
    assert_eq!(printed, clean, "EINTR in all calls");
    assert!(injected.len() >= 4, "EINTR in {injected:?} only");
}

/// The counterpart: an error that must be noticed shows, so the comparison can fail.
#[test]
fn the_echo_pair_does_not_print_the_same_under_another_error() {
    if !has_strace() {
        return;
    }
    let (printed, injected) = echo_pair(Fault::Strace("recvfrom", "ECONNRESET"));
    assert_eq!(injected.len(), 1);
    let noticed = printed.iter().filter(|line| line.contains("Connection reset by peer")).count();
    assert!(noticed > 0, "{printed:?}");
}

// ---- the examples ----

/// Builds what is about to run: `cargo test --test faults` alone leaves old examples as they are.
/// No deadlock: cargo gives up its lock on the target directory before it runs a test.
fn build_examples() -> PathBuf {
    static ONCE: Once = Once::new();
    // This test is target/PROFILE/deps/faults-…, an example target/PROFILE/examples/NAME.
    let built = env::current_exe().unwrap().parent().unwrap().with_file_name("examples");
    ONCE.call_once(|| {
        let profile_dir = built.parent().unwrap();
        let profile = profile_dir.file_name().filter(|name| *name != "debug");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "-q", "--examples", "--profile"]);
        cargo.arg(profile.unwrap_or(OsStr::new("dev"))); // whose directory is called debug
        cargo.arg("--target-dir").arg(profile_dir.parent().unwrap());
        let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo build --examples: {said}");
    });
    built
}

/// Name, program and source of every example whose subject is not EINTR.
fn examples() -> Vec<(String, PathBuf, String)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let built = build_examples();
    let mut found = Vec::new();
    for entry in fs::read_dir(sources).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        let header = source.lines().map_while(|line| line.strip_prefix("//!"));
        let mut first_paragraph = header.take_while(|line| !line.trim().is_empty());
        if first_paragraph.any(|line| line.contains("EINTR")) {
            continue;
        }
        let program = built.join(&name);
        assert!(program.exists(), "{name} is not where cargo should have built it: {program:?}");
        found.push((name, program, source));
    }
    found.sort();
    found
}

/// What one example prints, in a form that does not change from run to run.
fn print_of(program: &Path, fault: Fault, log: &Log) -> Vec<String> {
    let ended = Program::start(&mut command(program, fault, &log.0)).end();
    let mut lines = normal(&ended.out);
    lines.extend(ended.err);
    lines.push(format!("{:?}", ended.code));
    lines
}

/// What a faulty run printed that the clean one did not, and the other way round. Or that the
/// clean one failed, with which nothing can be compared.
fn difference(what: &str, clean: &[String], printed: &[String]) -> Option<String> {
    if clean.last().is_none_or(|code| code != "Some(0)") {
        return Some(format!("{what}: fails without any fault:\n  {}", clean.join("\n  ")));
    }
    let gone = clean.iter().filter(|line| !printed.contains(line));
    let new = printed.iter().filter(|line| !clean.contains(line));
    let lines = gone.map(|l| format!("\n- {l}")).chain(new.map(|l| format!("\n+ {l}")));
    (printed != clean).then(|| format!("{what}:{}", lines.collect::<String>()))
}

/// All that differs between this example's clean run and one with EINTR in all kinds of call.
fn differences(name: &str, program: &Path) -> Vec<String> {
    let clean = print_of(program, Fault::None, &Log::new());
    let log = Log::new();
    let printed = print_of(program, Fault::Strace(&CALLS.join(","), "EINTR"), &log);
    let mut found = Vec::new();
    found.extend(difference(&format!("{name}, EINTR"), &clean, &printed));
    let (made, injected) = log.calls();
    if made != injected {
        found.push(format!("{name}: made {made:?}, injected only {injected:?}"));
    }
    found
}

#[test]
fn the_examples_print_the_same_under_eintr() {
    if !has_strace() {
        return;
    }
    compare_all(|name, program, source| {
        if source.contains("trace::") {
            return Vec::new(); // it runs strace itself, and nothing can be traced twice
        }
        differences(name, program)
    });
}

/// Two examples at a time, for the time is spent waiting.
fn compare_all(differences: impl Fn(&str, &Path, &str) -> Vec<String> + Sync) {
    let examples = examples();
    assert!(!examples.is_empty());
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((name, program, source)) = examples.get(next.fetch_add(1, Ordering::Relaxed))
        {
            let differences = differences(name, program, source);
            found.lock().unwrap().extend(differences);
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        scope.spawn(work);
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

// ---- by the shim ----

/// The library that makes the faults, compiled for this run. Says so where there is no compiler.
fn shim() -> Option<PathBuf> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{n}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shim.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
    match cc.arg(&library).arg(source).output() {
        Ok(output) if output.status.success() => return Some(library),
        Ok(output) => panic!("cc: {}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => skipped(format_args!("cc: {e}")),
    }
    None
}

/// Which kinds of call the shim hit.
fn hits(log: &Log) -> BTreeSet<String> {
    let text = fs::read_to_string(&log.0).unwrap_or_default();
    text.lines().filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

#[test]
fn the_examples_print_the_same_when_connect_and_close_are_interrupted_too() {
    let Some(shim) = shim() else { return };
    let all_hits = Mutex::new(BTreeSet::new());
    compare_all(|name, program, _| {
        let log = Log::new();
        let clean = print_of(program, Fault::None, &Log::new());
        let printed = print_of(program, Fault::Shim(&shim, "eintr"), &log);
        all_hits.lock().unwrap().extend(hits(&log));
        difference(&format!("{name}, EINTR"), &clean, &printed).into_iter().collect()
    });
    let all_hits = all_hits.into_inner().unwrap();
    for kind in ["send", "sendmsg", "recv", "accept4", "poll", "connect", "close"] {
        assert!(all_hits.contains(kind), "no EINTR in {kind}: nothing was tried");
    }
}

#[test]
fn the_examples_print_the_same_when_sends_and_receives_are_short() {
    let Some(shim) = shim() else { return };
    let all_hits = Mutex::new(BTreeSet::new());
    compare_all(|name, program, source| {
        if COUNTED.iter().any(|call| source.contains(call)) {
            return Vec::new();
        }
        let log = Log::new();
        let clean = print_of(program, Fault::None, &Log::new());
        let printed = print_of(program, Fault::Shim(&shim, "short"), &log);
        all_hits.lock().unwrap().extend(hits(&log));
        difference(&format!("{name}, short"), &clean, &printed).into_iter().collect()
    });
    let all_hits = all_hits.into_inner().unwrap();
    for kind in ["send", "sendmsg", "recv"] {
        assert!(all_hits.contains(kind), "no short {kind}: nothing was tried");
    }
}

#[test]
fn the_echo_pair_prints_the_same_under_the_shim() {
    let Some(shim) = shim() else { return };
    let (clean, _) = echo_pair(Fault::None);
    for faults in ["eintr", "short", "eintr,short"] {
        let (printed, _) = echo_pair(Fault::Shim(&shim, faults));
        assert_eq!(printed, clean, "{faults}");
    }
}

// ---- what may differ between two runs ----

/// The lines of each role together, in their order: how the two interleave is chance. Numbers
/// give way to `#` where a run measured them, which is everywhere but in a check that found
/// exactly the text that was expected; and there, too, from four digits on: a port, or a size that
/// the kernel chose and told twice.
fn normal(lines: &[String]) -> Vec<String> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        match blocks.last_mut() {
            Some(block) if line.starts_with("      ") => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks.sort_by_key(|block| block[0].split_whitespace().next().map(str::to_owned));
    let normal_block = |block: Vec<&str>| -> Vec<String> {
        let after = |word| block.iter().find_map(|l| l.trim_start().strip_prefix(word));
        let expected = after("expected");
        let exact = expected.is_some() && expected == after("observed").map(without_verdict);
        block.iter().map(|l| mask_numbers(l, if exact { 4 } else { 1 })).collect()
    };
    blocks.into_iter().flat_map(normal_block).collect()
}

/// An observed text without the "ok" or "FAILED" behind it.
fn without_verdict(observed: &str) -> &str {
    observed.rsplit_once("   ").map_or(observed, |(text, _)| text)
}

/// Masks numbers of at least so many digits.
fn mask_numbers(line: &str, digits: usize) -> String {
    let runs = line.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let masked = runs.map(|run| match run[0] {
        b'0'..=b'9' if run.len() >= digits => b"#",
        _ => run,
    });
    String::from_utf8(masked.collect::<Vec<_>>().concat()).expect("cut at digits only")
}

/// Masks the numbers behind a colon: `127.0.0.1:#`.
fn mask_ports(line: &str) -> String {
    let mut parts = line.split(':');
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        masked += if rest.len() < part.len() { ":#" } else { ":" };
        masked += rest;
    }
    masked
}

#[test]
fn masks() {
    assert_eq!(mask_numbers("sent 3919467 of 5", 1), "sent # of #");
    assert_eq!(mask_numbers("sent 3919467 of 5", 4), "sent # of 5");
    assert_eq!(mask_ports("peer=[::1]:4711, 5 bytes"), "peer=[::#]:#, 5 bytes");
    let printed = [
        "  server  recv of 8 bytes",
        "            expected  5",
        "            observed  5   ok",
        "  client  sent 71 bytes",
        "  server  recv calls",
        "            expected  more than 1",
        "            observed  9   ok",
    ];
    let normal = normal(&printed.map(str::to_owned));
    let expected = [
        "  client  sent # bytes",
        "  server  recv of 8 bytes",
        "            expected  5",
        "            observed  5   ok",
        "  server  recv calls",
        "            expected  more than #",
        "            observed  #   ok",
    ];
    assert_eq!(normal, expected);
}
