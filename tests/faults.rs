//! Faults that may come at any time change nothing in what the programs print.
//!
//! Two ways to make them. strace makes the 1st, 4th, 7th … call of a kind fail with EINTR, as if a
//! signal had come: one kind at a time, then all of them together. And `shim.c`, which is loaded
//! between the program and the C library, does what strace cannot: sends and receives that are
//! really short, a `connect` and a `close` that are interrupted after they have done their work, an
//! address that is longer than the room for it.
//!
//! Examples that have EINTR as their subject, by the first paragraph of their header, are left
//! out; and of the short ones those whose subject a short call changes.

mod programs;
mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, iter, thread};

use programs::{Program, Server, run, skipped};
use tcp_stream_io::{accept, sys};

/// Each is one run. glibc makes `poll` out of the one or the other, depending on the machine.
const CALLS: [&str; 4] = ["recvfrom", "sendto", "accept4", POLL];
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
    "Times::of",
];

/// What to inject.
#[derive(Clone, Copy)]
enum Fault<'a> {
    None,
    /// Into these calls this error, by strace.
    Strace(&'a str, &'a str),
    /// By the library at this path: "eintr", "short" or "long".
    Shim(&'a Path, &'a str),
}

/// A program with faults, or without.
fn command(program: &Path, fault: Fault, log: &Path) -> Command {
    let (calls, error) = match fault {
        Fault::None => return Command::new(program),
        Fault::Strace(calls, error) => (calls, error),
        Fault::Shim(library, faults) => {
            let mut command = Command::new(program);
            command.envs(preload(library)).env("FAULTS", faults).env("FAULTS_LOG", log);
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
    server.wait_until_idle(); // or the signal would come before its last word
    let ended = server.stop();
    printed.extend([ended.out, ended.err].concat());
    printed.push(format!("{:?}, by signal {:?}", ended.code, ended.signal));
    look_at(log);
    (printed.iter().map(|line| mask_ports(line)).collect(), injected)
}

#[test]
fn the_echo_pair_prints_the_same_under_eintr() {
    if !has_strace() {
        return;
    }
    let (clean, _) = echo_pair(Fault::None);
    assert_eq!(clean.iter().filter(|line| *line == "Some(0)").count(), 3, "{clean:?}");
    for calls in CALLS {
        let (printed, injected) = echo_pair(Fault::Strace(calls, "EINTR"));
        assert_eq!(printed, clean, "EINTR in {calls}");
        assert!(!injected.is_empty(), "no EINTR in {calls}: nothing was tried");
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

/// Where cargo has built the examples: this test is target/PROFILE/deps/faults-…, an example
/// target/PROFILE/examples/NAME.
fn built() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().with_file_name("examples")
}

/// Cargo says beside each program what it was made of: `NAME.d`, as for make.
fn assert_is_new(program: &Path) {
    let built = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let sources = fs::read_to_string(program.with_extension("d")).unwrap_or_default();
    let sources = sources.split_once(": ").map_or("", |(_, sources)| sources.trim_end());
    // A blank within a name stands after a backslash, and there is no zero byte in one.
    let sources = sources.replace("\\ ", "\0");
    let names = sources.split(' ').map(|name| name.replace('\0', " "));
    let mut dates = names.map(|name| built(Path::new(&name)));
    let is_new = dates.all(|date| date.is_some() && date <= built(program));
    assert!(is_new, "{} is not built of its source: cargo build --examples", program.display());
}

/// Name, program and source of every example whose subject is not EINTR.
fn examples() -> Vec<(String, PathBuf, String)> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let built = built();
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
        assert_is_new(&program);
        found.push((name, program, source));
    }
    found.sort();
    found
}

/// What one example prints, in a form that does not change from run to run.
fn print_of(program: &Path, fault: Fault, log: &Log) -> Vec<Line> {
    let ended = Program::start(&mut command(program, fault, &log.0)).end();
    let mut lines = normal(&ended.out);
    lines.extend(ended.err.iter().map(|line| Line::of(line, 1)));
    lines.push(Line::of(&format!("exit code {:?}", ended.code), 4));
    lines
}

/// What a faulty run printed that the clean one did not, and the other way round. Or that the
/// clean one failed, with which nothing can be compared.
fn difference(what: &str, clean: &[Line], printed: &[Line]) -> Option<String> {
    if clean.last().is_none_or(|code| code.text != "exit code Some(0)") {
        let lines: Vec<&str> = clean.iter().map(|line| line.text.as_str()).collect();
        return Some(format!("{what}: fails without any fault:\n  {}", lines.join("\n  ")));
    }
    let lacks = |lines: &[Line], line: &Line| !lines.iter().any(|other| other.is_same(line));
    let gone = clean.iter().filter(|line| lacks(printed, line)).map(|line| ('-', line));
    let new = printed.iter().filter(|line| lacks(clean, line)).map(|line| ('+', line));
    let lines = gone.chain(new).map(|(sign, line)| format!("\n{sign} {}", line.text));
    let same = clean.len() == printed.len() && clean.iter().zip(printed).all(|(a, b)| a.is_same(b));
    (!same).then(|| format!("{what}:{}", lines.collect::<String>()))
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

/// Four examples at a time, for the time is spent waiting.
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
        for _ in 0..4 {
            scope.spawn(work);
        }
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

/// What makes the loader load it. LD_PRELOAD is split at blanks, so it has the bare name only, and
/// LD_LIBRARY_PATH the directory.
fn preload(library: &Path) -> [(&'static str, OsString); 2] {
    let (dir, name) = (library.parent().unwrap(), library.file_name().unwrap());
    let others = env::var_os("LD_LIBRARY_PATH");
    let dirs = iter::once(dir.to_owned()).chain(others.iter().flat_map(env::split_paths));
    [("LD_PRELOAD", name.to_owned()), ("LD_LIBRARY_PATH", env::join_paths(dirs).unwrap())]
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
    for kind in ["send", "recv", "accept4", "poll", "connect", "close"] {
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
    for kind in ["send", "recv"] {
        assert!(all_hits.contains(kind), "no short {kind}: nothing was tried");
    }
}

#[test]
fn the_echo_pair_prints_the_same_under_the_shim() {
    let Some(shim) = shim() else { return };
    let (clean, _) = echo_pair(Fault::None);
    for faults in ["eintr", "short", "long", "eintr,short,long"] {
        let (printed, _) = echo_pair(Fault::Shim(&shim, faults));
        assert_eq!(printed, clean, "{faults}");
    }
}

// ---- an address that is longer than the room for it ----

#[test]
fn an_address_is_no_longer_than_the_room_for_it() {
    if !support::is_own_process() {
        let Some(shim) = shim() else { return };
        let test = "an_address_is_no_longer_than_the_room_for_it";
        let [name, place] = preload(&shim);
        let variables = [name, place, ("FAULTS", "long".into())];
        return support::assert_passed(&support::run_again_with(test, &variables));
    }
    let (listener, port) = support::listener(1);
    // The kernel is told the length of the address that it is given, and refuses a wrong one.
    let client = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let addr = sys::getsockname(&listener).unwrap();
    sys::connect(&client, addr.as_addr()).unwrap();
    let (_server, peer) = accept(&listener).unwrap();
    let here = [addr, sys::getpeername(&client).unwrap()];
    for (addr, port) in here.map(|addr| (addr, port)).into_iter().chain([(peer, peer.port())]) {
        assert_eq!(addr.to_string(), format!("127.0.0.1:{port}"));
        let (_, len) = addr.as_addr().as_ptr();
        assert_eq!(len as usize, size_of::<libc::sockaddr_storage>());
    }
}

// ---- what may differ between two runs ----

/// A line with `#` for its numbers, which a run may have measured.
struct Line {
    /// With its numbers, where they are not measured.
    text: String,
    masked: String,
}

impl Line {
    /// Masks what is surely measured: numbers of at least so many digits.
    fn of(line: &str, digits: usize) -> Line {
        Line { text: mask_numbers(line, digits), masked: mask_numbers(line, 1) }
    }

    /// Of a number that only one of the two runs has measured, nothing can be said.
    fn is_same(&self, other: &Line) -> bool {
        let one_is_measured = self.text == self.masked || other.text == other.masked;
        self.text == other.text || one_is_measured && self.masked == other.masked
    }
}

/// The lines of each role together, in their order: how the two interleave is chance. A number may
/// be measured everywhere but in a check that found exactly the text that was expected; and there,
/// too, from four digits on: a port, or a size that the kernel chose and told twice.
fn normal(lines: &[String]) -> Vec<Line> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    for line in lines {
        match blocks.last_mut() {
            Some(block) if line.starts_with("      ") => block.push(line),
            _ => blocks.push(vec![line]),
        }
    }
    blocks.sort_by_key(|block| block[0].split_whitespace().next().map(str::to_owned));
    let normal_block = |block: Vec<&str>| -> Vec<Line> {
        let after = |word| block.iter().find_map(|l| l.trim_start().strip_prefix(word));
        let expected = after("expected");
        let exact = expected.is_some() && expected == after("observed").map(without_verdict);
        block.iter().map(|line| Line::of(line, if exact { 4 } else { 1 })).collect()
    };
    blocks.into_iter().flat_map(normal_block).collect()
}

/// An observed text without the "ok" or "FAILED" after it.
fn without_verdict(observed: &str) -> &str {
    observed.rsplit_once("   ").map_or(observed, |(text, _)| text)
}

/// Masks numbers of at least so many digits, with what is after the point.
fn mask_numbers(line: &str, digits: usize) -> String {
    let runs = line.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let masked = runs.map(|run| match run[0] {
        b'0'..=b'9' if run.len() >= digits => b"#",
        _ => run,
    });
    let masked = String::from_utf8(masked.collect::<Vec<_>>().concat()).expect("cut at digits");
    masked.replace("#.#", "#")
}

/// Masks the numbers after a colon: `127.0.0.1:#`.
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
    assert_eq!(mask_numbers("took 12 ms, then 11.7 ms", 1), "took # ms, then # ms");
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
    let texts: Vec<&str> = normal.iter().map(|line| line.text.as_str()).collect();
    let expected = [
        "  client  sent # bytes",
        "  server  recv of 8 bytes",
        "            expected  5",
        "            observed  5   ok",
        "  server  recv calls",
        "            expected  more than #",
        "            observed  #   ok",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn a_number_that_was_measured_once_is_compared_with_nothing() {
    let [exact, by_chance] = [Line::of("observed 5", 4), Line::of("observed 5", 1)];
    assert!(exact.is_same(&by_chance) && by_chance.is_same(&Line::of("observed 6", 4)));
    assert!(!exact.is_same(&Line::of("observed 6", 4)));
    assert!(!by_chance.is_same(&Line::of("expected 5", 1)));
}
