//! Killed at a random moment, `lab shell` leaves nothing behind: no process, no namespace.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use lab::world;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// So many by default; LAB_ROUNDS asks for more.
const ROUNDS: u32 = 5;
const MARK: &str = "LAB_TEST_KILLED";

/// The processes whose environment bears the mark, and their network namespaces.
fn marked(mark: &str) -> (BTreeSet<i32>, BTreeSet<String>) {
    let (mut pids, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        if environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes()) {
            pids.insert(pid);
            let netns = fs::read_link(entry.path().join("ns/net"));
            namespaces.extend(netns.map(|link| link.display().to_string()));
        }
    }
    (pids, namespaces)
}

/// Waits for nothing to be left; gives what is left when the time is over.
fn left_behind(mark: &str) -> BTreeSet<i32> {
    let begin = Instant::now();
    loop {
        let (pids, _) = marked(mark);
        if pids.is_empty() || begin.elapsed() > Duration::from_secs(5) {
            return pids;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_killed_shell_leaves_nothing_behind() {
    if Command::new(env!("CARGO_BIN_EXE_lab")).arg("doctor").status().unwrap().code() != Some(0) {
        println!("skipped: {:#}", world::become_able().unwrap_err());
        return;
    }
    let rounds = std::env::var("LAB_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..rounds {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let mark = format!("{}-{round}-{nanos}", std::process::id());
        let mut lab = Command::new(env!("CARGO_BIN_EXE_lab"))
            .args(["shell", "--delay", "1ms"])
            .env(MARK, &mark)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // One that ignores what it can, in the background, of a session of its own.
        let line = "(trap '' HUP INT TERM; setsid sleep 1000) & wait\n";
        lab.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        // From before there is a world to when all runs: some 60 ms.
        thread::sleep(Duration::from_micros((nanos % 120_000) as u64));
        let signal = [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM][round as usize % 3];
        let (pids, namespaces) = marked(&format!("{MARK}={mark}"));
        kill(Pid::from_raw(lab.id() as i32), signal).unwrap();
        let status = lab.wait().unwrap();
        println!("{signal}: {} processes, {} namespaces, {status}", pids.len(), namespaces.len());
        assert!(status.signal().is_some() || status.code() == Some(1), "{status}");
        let left = left_behind(&format!("{MARK}={mark}"));
        assert_eq!(left, BTreeSet::new(), "{signal} in round {round}");
    }
}
