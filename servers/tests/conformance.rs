//! The suite itself: each fault is refused by the check that is about it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use servers::conformance::checks::{CHECKS, Check};
use servers::conformance::expected::{BUILT_IN, Expected, Verdict};
use servers::conformance::server::Recipe;
use servers::conformance::suite::{Findings, Outcome, PATIENCE, Plan, allow_many_descriptors, run};
use servers::outside::within;
use servers::wait::HANG_LIMIT;

const FIXTURE: &str = env!("CARGO_BIN_EXE_conformance-fixture");

/// The fault, the check that must refuse it, and a piece of what it must say.
const FAULTS: [(&str, &str, &str); 32] = [
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
    ("forgets-answers", "before-bad", "bytes before 4 that are wrong"),
    ("resets", "before-bad", "bytes, then Connection reset"),
    ("forgets-answers", "before-cut", "bytes before 2 that are wrong"),
    ("heeds-fin-first", "half-close", "no answer"),
    ("dies-of-sigpipe", "reset", "SIGPIPE"),
    ("one-at-a-time", "silent", "another client is not served"),
    ("stalls", "stalled", "another client is not served"),
    ("pool", "silent-64", "another client is not served"),
    ("keeps-silent-clients", "dropped", "stays open"),
    ("hangs-up-at-once", "dropped", "the end after"),
    ("never-waits-to-send", "never-reads", "KiB sent, the server grew by 6"),
    ("accepts-again", "full", "accept again and again"),
    ("ends-when-full", "full", "exit code 24"),
    ("hundred", "thousand", "100 answers"),
    ("leaks-memory", "memory", "KiB more"),
    ("leaks-descriptors", "descriptors", "at the start"),
    ("tires", "served", "another client is not served"),
    ("waits-to-log", "unread-log", "another client is not served"),
    ("stops-at-once", "finishes", "SIGTERM"),
    ("ignores-sigterm", "sigterm", "still runs"),
];

/// One server at a time: what a server does not do in time is what is tested.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn plan(fault: &str) -> Plan {
    let recipe = Recipe { words: [FIXTURE, fault].map(Into::into).to_vec() };
    let deadline = Some(Duration::from_secs(3));
    Plan { name: fault.into(), recipe, tls: false, one_frame: false, deadline }
}

/// What must come out well has a minute for it. What must fail, in the last check, need not be waited
/// for so long: then it fails all the sooner.
fn ask(plan: &Plan, only: &[&str], fails: bool) -> Findings {
    allow_many_descriptors().unwrap();
    let only: Vec<String> = only.iter().map(|id| (*id).to_owned()).collect();
    let last = only.last().cloned().filter(|_| fails);
    let patience =
        |check: &Check| if last.as_deref() == Some(check.id) { PATIENCE } else { HANG_LIMIT };
    run(plan, &only, patience).unwrap()
}

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn each_fault_is_refused_by_the_check_that_is_about_it() {
    let _alone = alone();
    for (fault, id, says) in FAULTS {
        // What leaks shows after clients, which other checks bring.
        let only = if id == "descriptors" { vec!["memory", id] } else { vec![id] };
        let findings = ask(&plan(fault), &only, true);
        for row in findings.rows {
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
}

#[test]
fn every_check_can_fail() {
    for check in &CHECKS {
        assert!(FAULTS.iter().any(|(_, id, _)| *id == check.id), "no fault for {}", check.id);
    }
}

#[test]
fn a_good_server_passes_every_check() {
    let _alone = alone();
    for row in ask(&plan("none"), &[], false).rows {
        assert!(matches!(row.outcome, Outcome::Passed(_)), "{}: {:?}", row.check.id, row.outcome);
    }
}

#[test]
fn one_frame_a_connection_is_no_fault_where_it_is_the_protocol() {
    let _alone = alone();
    let findings = ask(&Plan { one_frame: true, ..plan("one-frame") }, &[], false);
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
    let _alone = alone();
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
    let _alone = alone();
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
    let _alone = alone();
    // A shell that starts tests in the background ignores it, and so would all that they start.
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
        command.args(["--only=silent", FIXTURE, "one-at-a-time"]); // fails, and takes its time
        let mut suite = command.stdout(Stdio::null()).spawn().unwrap();
        let pid = suite.id();
        let server = within(HANG_LIMIT, || child_of(pid).ok_or("no server was started")).unwrap();
        kill(Pid::from_raw(pid as i32), signal).unwrap();
        let ended = || suite.try_wait().unwrap().ok_or("it runs on");
        let status = within(HANG_LIMIT, ended).unwrap_or_else(|why| panic!("{signal}: {why}"));
        assert!(!status.success(), "{signal}: {status}");
        within(HANG_LIMIT, || if runs(server) { Err(server) } else { Ok(()) })
            .unwrap_or_else(|server| panic!("{signal}: server {server} still runs"));
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
