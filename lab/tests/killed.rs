//! Killed at a random moment, the lab leaves nothing behind: no process, no namespace.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use lab::link::LinkConfig;
use lab::world::{self, World};
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

const ROLE: &str = "LAB_TEST_ROLE";

/// The kernel counts the network namespaces of a user namespace: where it allows as many as one
/// world needs, the next world can be built once the last is gone, and no earlier.
#[test]
fn a_killed_world_with_an_open_connection_is_gone_soon() {
    let name = "a_killed_world_with_an_open_connection_is_gone_soon";
    let role = std::env::var(ROLE);
    match role.as_deref() {
        Ok("world") => return open_a_connection_and_wait(),
        Ok("counter") => return count_the_worlds(name),
        _ => {}
    }
    let counter = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(ROLE, "counter")
        .output();
    match counter {
        Ok(ran) if String::from_utf8_lossy(&ran.stdout).contains("running 1 test") => {
            print!("{}", String::from_utf8_lossy(&ran.stdout));
            eprint!("{}", String::from_utf8_lossy(&ran.stderr));
            assert!(ran.status.success());
        }
        _ => println!("skipped: unshare --user --map-root-user: not allowed here"),
    }
}

fn open_a_connection_and_wait() {
    let world = World::new(&LinkConfig::default()).unwrap();
    let listener = world.server.run(|| TcpListener::bind("0.0.0.0:0")).unwrap();
    let address = (world.server.address, listener.local_addr().unwrap().port());
    let mut client = world.client.run(|| TcpStream::connect(address)).unwrap();
    let _server = listener.accept().unwrap();
    println!("connected");
    // More than the server takes in: it is full of unsent data when it is killed.
    let _ = client.write_all(&vec![0; 100 << 20]);
}

fn count_the_worlds(name: &str) {
    fs::write("/proc/sys/user/max_net_namespaces", "3").unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(ROLE, "world")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    // Kills it once it is connected; `false`: it never was.
    let connects = || {
        let mut world = start();
        let output = BufReader::new(world.stdout.take().unwrap());
        let connected = output.lines().map_while(Result::ok).any(|line| line.contains("connected"));
        world.kill().unwrap();
        world.wait().unwrap();
        connected
    };
    assert!(connects(), "there is room for one world");
    assert!(!connects(), "and for one only, or this test cannot fail");
    let begin = Instant::now();
    while !connects() {
        assert!(begin.elapsed() < Duration::from_secs(10), "it is still there");
        thread::sleep(Duration::from_millis(100));
    }
    println!("gone after {:.1} s", begin.elapsed().as_secs_f64());
}
