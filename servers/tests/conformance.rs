//! The suite itself: each fault is refused by the check that is about it.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use servers::HANG;
use servers::conformance::checks::CHECKS;
use servers::conformance::client::Client;
use servers::conformance::expected::{BUILT_IN, Expected, Verdict};
use servers::conformance::idle::Watched;
use servers::conformance::server::Recipe;
use servers::conformance::unread::{ask_the_kernel, look_it_up};
use servers::conformance::{Findings, Outcome, Plan, allow_many_descriptors, run};
use tcp_stream_io::sys;

const FIXTURE: &str = env!("CARGO_BIN_EXE_conformance-fixture");

/// The fault, the check that must refuse it, and a piece of what it must say.
const FAULTS: [(&str, &str, &str); 26] = [
    ("drops-last-byte", "echo", "got 257 of 258 bytes"),
    ("little-endian", "echo", "header 02 01 00 00 instead of 00 00 01 02"),
    ("answers-twice", "echo", "the server sent more"),
    ("one-frame", "many", "one frame a connection"),
    ("one-recv-a-frame", "split", "cut after byte 1 of 20"),
    ("one-frame-a-recv", "joined", "frame 2 of 201"),
    ("empty-is-end", "empty", "ended its stream"),
    ("small-cap", "largest", "bytes, then"),
    ("large-cap", "over-cap", "stays open"),
    ("no-cap", "hostile", "stays open"),
    ("answers-a-header", "end-in-header", "sent more"),
    ("answers-a-part", "end-in-payload", "sent more"),
    ("heeds-fin-first", "half-close", "no answer"),
    ("dies-of-sigpipe", "reset", "SIGPIPE"),
    ("one-at-a-time", "silent", "another client is not served"),
    ("stalls", "stalled", "another client is not served"),
    ("pool", "silent-64", "another client is not served"),
    ("keeps-silent-clients", "dropped", "stays open"),
    ("hangs-up-at-once", "dropped", "the end after"),
    ("never-waits-to-send", "never-reads", "65536 KiB sent"),
    ("hundred", "thousand", "100 answers"),
    ("leaks-memory", "memory", "KiB more"),
    ("leaks-descriptors", "descriptors", "at the start"),
    ("tires", "served", "another client is not served"),
    ("stops-at-once", "finishes", "SIGTERM"),
    ("ignores-sigterm", "sigterm", "still runs"),
];

fn plan(fault: &str) -> Plan {
    let recipe = Recipe { words: [FIXTURE, fault].map(Into::into).to_vec() };
    // The one that is before its time has time to be.
    let deadline = Duration::from_secs(if fault == "hangs-up-at-once" { 60 } else { 1 });
    let deadline = Some(deadline);
    Plan { name: fault.into(), recipe, tls: false, one_frame: false, deadline }
}

fn ask(plan: &Plan, only: &[&str]) -> Findings {
    allow_many_descriptors().unwrap();
    let only: Vec<String> = only.iter().map(|id| (*id).to_owned()).collect();
    run(plan, &only, |_| {}).unwrap()
}

/// Four at a time, for most of the time they sleep.
#[test]
fn each_fault_is_refused_by_the_check_that_is_about_it() {
    let next = Mutex::new(FAULTS.iter());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let Some(&fault) = next.lock().unwrap().next() else { break };
                    is_refused(fault);
                }
            });
        }
    });
}

fn is_refused((fault, id, says): (&str, &str, &str)) {
    // What leaks shows after clients, which other checks bring.
    let only = if id == "descriptors" { vec!["memory", id] } else { vec![id] };
    for row in ask(&plan(fault), &only).rows {
        match row.outcome {
            Outcome::Failed(observed) if row.check.id == id => {
                assert!(observed.contains(says), "{fault}, {id}: {observed}");
            }
            other => {
                let passes = matches!(other, Outcome::Passed(_));
                let hopeless = matches!(other, Outcome::NotApplicable(_));
                assert!(row.check.id != id, "{fault} passes {id}: {other:?}");
                assert!(passes || hopeless, "{fault}, {}: {other:?}", row.check.id);
            }
        }
    }
}

#[test]
fn every_check_can_fail() {
    for check in &CHECKS {
        assert!(FAULTS.iter().any(|(_, id, _)| *id == check.id), "no fault for {}", check.id);
    }
}

#[test]
fn a_good_server_passes_every_check() {
    for row in ask(&plan("none"), &[]).rows {
        assert!(matches!(row.outcome, Outcome::Passed(_)), "{}: {:?}", row.check.id, row.outcome);
    }
}

#[test]
fn one_frame_a_connection_is_no_fault_where_it_is_the_protocol() {
    let findings = ask(&Plan { one_frame: true, ..plan("one-frame") }, &[]);
    assert!(findings.one_frame);
    for row in findings.rows {
        let applies = !["many", "joined"].contains(&row.check.id);
        assert_eq!(matches!(row.outcome, Outcome::Passed(_)), applies, "{row:?}");
    }
}

#[test]
fn a_list_of_expected_failures() {
    let expected = Expected::parse("# server\nslow\tsilent\tone at a time\n").unwrap();
    let failed = Outcome::Failed("no answer".into());
    let passed = Outcome::Passed("an answer".into());
    let why = "one at a time".to_owned();
    assert_eq!(expected.judge("slow", "silent", &failed), Verdict::FailsAsExpected(why.clone()));
    assert_eq!(expected.judge("slow", "silent", &passed), Verdict::FailureDidNotCome(why));
    assert_eq!(expected.judge("slow", "echo", &failed), Verdict::Failed);
    assert_eq!(expected.judge("fast", "silent", &failed), Verdict::Failed);
    assert!(Expected::parse("slow\tsilnt\twhy\n").unwrap_err().contains("line 1"));
    assert!(Expected::parse("\nslow silent why\n").unwrap_err().contains("line 2"));
    Expected::parse(BUILT_IN).unwrap();
}

// ---- the program ----

fn conformance(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_conformance")).args(args).output().unwrap()
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn the_exit_code_says_whether_all_was_as_expected() {
    let list = file("list.tsv", "pool\tsilent-64\teight workers\nnone\tempty\tnever\n");
    let list = list.to_str().unwrap();
    let only = "--only=empty,silent-64";
    for (args, code, says) in [
        (&[only, FIXTURE, "none"][..], 0, "4 checks: 4 ok, 0 unexpected"),
        (&[only, FIXTURE, "pool"], 1, "3 ok, 1 unexpected"),
        (&[only, "--expect", list, "--name=pool", FIXTURE, "pool"], 0, "as expected: eight"),
        (&[only, "--expect", list, "--name=none", FIXTURE, "none"], 1, "should have failed"),
    ] {
        let output = conformance(args);
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {out}");
        assert!(out.contains(says), "{args:?}: {out}");
    }
}

#[test]
fn what_is_wrong_with_the_command_is_said_in_one_line() {
    for (args, code, says) in [
        (&[][..], 2, "which server?"),
        (&["--only=nonsense", "x"], 2, "no such check"),
        (&["--deadline=9", "x"], 2, "1..=5"),
        (&["/no/such/server"], 1, "conformance: /no/such/server: No such file"),
        (&["false"], 1, "it does not listen: the server ended, exit code 1"),
        (&[FIXTURE], 1, "which fault?"),
        (&["--expect", "/no/such/list", "x"], 1, "/no/such/list: No such file"),
    ] {
        let output = conformance(args);
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {err}");
        assert!(err.contains(says), "{args:?}: {err}");
        assert!(code == 2 || err.lines().count() == 1, "{args:?}: {err}");
    }
}

#[test]
fn a_server_is_told_its_port_or_tells_it() {
    let report = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("report.tsv");
    let peer = env!("CARGO_BIN_EXE_peer_tokio");
    for port in ["{port}", "0"] {
        let file = report.to_str().unwrap();
        let output = conformance(&["--only=empty", "--report", file, peer, "{addr}", port]);
        assert!(output.status.success(), "{output:?}");
        let rows = fs::read_to_string(&report).unwrap();
        let fields: Vec<Vec<&str>> = rows.lines().map(|row| row.split('\t').collect()).collect();
        assert!(fields.iter().all(|row| row.len() == 6), "{rows}");
        assert_eq!(fields[1][..3], ["peer_tokio", "echo", "ok"]);
        assert_eq!(fields.len(), 4);
    }
}

#[test]
fn an_interrupted_run_leaves_no_server_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
        command.args(["--only=silent", FIXTURE, "one-at-a-time"]); // fails, and takes its time
        let mut suite = command.stdout(Stdio::null()).spawn().unwrap();
        let pid = suite.id();
        let server = wait_for("a server", || child_of(pid));
        kill(Pid::from_raw(pid as i32), signal).unwrap();
        let status = suite.wait().unwrap();
        assert!(!status.success(), "{signal}: {status}");
        wait_for(&format!("{signal}: the end of server {server}"), || {
            (!runs(server)).then_some(())
        });
    }
}

/// Asks every few milliseconds, for what another process does and no event tells us.
fn wait_for<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let hangs = Instant::now() + HANG;
    loop {
        match question() {
            Some(answer) => return answer,
            None => assert!(Instant::now() < hangs, "waited in vain for {what}"),
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn child_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    // Not the moment between fork and exec, when the child is still a copy of its parent.
    pids.into_iter().find(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.contains("(conformance-fix)") && stat.contains(&format!(") S {parent} "))
    })
}

/// Neither gone nor a zombie that nobody has waited for yet.
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

// ---- what it goes by ----

/// A shell and what it starts, which end with the test.
struct Shell(Child);

impl Shell {
    fn start(script: &str) -> Shell {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).process_group(0);
        Shell(command.spawn().unwrap())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.0.id() as i32), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}

#[test]
fn a_server_that_sleeps_is_told_from_one_that_works() {
    let sleeps = Shell::start("read line");
    assert_eq!(Watched::new(sleeps.0.id()).asks(20, || None::<()>), None);

    let works = Shell::start("(while :; do :; done); exit"); // in a process that it has started
    let a_second = Instant::now() + Duration::from_secs(1);
    let seen = Watched::new(works.0.id()).asks(20, || (Instant::now() > a_second).then_some(()));
    assert!(seen.is_some(), "one that works was taken for asleep");
}

#[test]
fn both_ways_to_see_unread_bytes_agree() {
    for addr in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
        let Ok(listener) = TcpListener::bind(addr) else {
            skipped(&format!("unread bytes at {addr}"));
            continue;
        };
        let mut to = listener.local_addr().unwrap();
        if to.ip().is_unspecified() {
            to.set_ip([127, 0, 0, 1].into()); // a socket of IPv6 with a client of IPv4
        }
        let client = Client::connect(to, None, Watched::new(std::process::id())).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let us: SocketAddr = sys::getsockname(&client).unwrap().to_string().parse().unwrap();
        client.send(b"unread").unwrap();
        wait_for("six bytes", || (look_it_up(to.port(), us.port()) == Some(6)).then_some(()));
        assert_eq!(ask_the_kernel(to, us), Some(6), "{addr}");
        assert_eq!(ask_the_kernel(us, to), Some(0), "{addr}");
    }
}

/// Straight to the terminal: what a passing test prints by `println!`, cargo keeps to itself.
fn skipped(what: &str) {
    let _ = writeln!(io::stderr(), "skipped: {what}");
}
