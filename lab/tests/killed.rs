//! Killed at a random moment, the lab leaves nothing behind: no process, no namespace.

#[path = "common/path.rs"]
mod path;
#[path = "common/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use lab::link::LinkConfig;
use lab::world::{self, World};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use path::path;
use skip::skipped;

/// So many by default; LAB_ROUNDS asks for more.
const ROUNDS: u32 = 6;
/// What is not over by now hangs.
const HANGS: Duration = Duration::from_secs(60);
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
        if pids.is_empty() || begin.elapsed() > HANGS {
            return pids;
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// How it ended; at `hangs` it is killed, and it is nothing.
fn end_of(lab: &mut Child, hangs: Instant) -> Option<ExitStatus> {
    while Instant::now() < hangs {
        if let Some(status) = lab.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    lab.kill().unwrap();
    lab.wait().unwrap();
    None
}

/// Whether a process that bears the mark runs this program.
fn runs(mark: &str, program: &str) -> bool {
    let name = |pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    marked(mark).0.into_iter().any(|pid| name(pid).trim_end() == program)
}

/// Kills what `start` starts at a random moment of its first `span`, again and again; and once more
/// when this program runs in it.
fn kill_in_rounds(span: Duration, program: &str, start: impl Fn(u32, &mut Command) -> Child) {
    if Command::new(env!("CARGO_BIN_EXE_lab")).arg("doctor").status().unwrap().code() != Some(0) {
        return skipped(&format!("{:#}", world::become_able().unwrap_err()));
    }
    // A shell that starts tests in the background ignores it, and so would all that they start.
    // SAFETY: no handler is installed.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.unwrap();
    let rounds = std::env::var("LAB_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    for round in 0..=rounds {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let mark = format!("{}-{round}-{nanos}", std::process::id());
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        let mut lab = start(round, command.env(MARK, &mark));
        let mark = format!("{MARK}={mark}");
        let began = Instant::now();
        if round < rounds {
            thread::sleep(Duration::from_nanos((nanos % span.as_nanos()) as u64));
        }
        while round == rounds && !runs(&mark, program) {
            if began.elapsed() > HANGS {
                lab.kill().unwrap();
                panic!("{program} does not run");
            }
            thread::sleep(Duration::from_millis(1));
        }
        let signal = [Signal::SIGKILL, Signal::SIGINT, Signal::SIGTERM][round as usize % 3];
        let (pids, namespaces) = marked(&mark);
        let begin = Instant::now();
        kill(Pid::from_raw(lab.id() as i32), signal).unwrap();
        let status = end_of(&mut lab, begin + HANGS)
            .unwrap_or_else(|| panic!("{signal} in round {round}: it runs on"));
        println!("{signal}: {} processes, {} namespaces, {status}", pids.len(), namespaces.len());
        assert!(status.signal().is_some() || status.code() == Some(1), "{status}");
        let left = left_behind(&mark);
        assert_eq!(left, BTreeSet::new(), "{signal} in round {round}");
    }
}

/// A process that ignores what it can, in the background, of a session of its own.
const STUBBORN: &str = "(trap '' HUP INT TERM; setsid sleep 1000) & wait";

#[test]
fn a_killed_shell_leaves_nothing_behind() {
    // From before there is a world to when all runs: some 60 ms.
    kill_in_rounds(Duration::from_millis(120), "sleep", |_, command| {
        let command = command.args(["shell", "--delay", "1ms"]);
        let mut lab = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        lab.stdin.as_mut().unwrap().write_all(format!("{STUBBORN}\n").as_bytes()).unwrap();
        lab
    });
}

#[test]
fn a_killed_trace_leaves_nothing_behind() {
    let examples = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("examples");
    let server = format!("{STUBBORN} & exec half_close server {{server}}:{{port}}");
    kill_in_rounds(Duration::from_millis(250), "half_close", |round, command| {
        command.args(["trace", "--server", &server, "--client", STUBBORN]);
        command.arg("--out").arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("killed"));
        command.env("PATH", path(&examples));
        // With a tracer and without, each with every signal.
        command.args((round % 2 == 1).then_some("--no-calls"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
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
        _ => skipped("unshare --user --map-root-user: not allowed here"),
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
    // Whether it has room, and can connect.
    let connects = |world: &mut Child| {
        let output = BufReader::new(world.stdout.take().unwrap());
        output.lines().map_while(Result::ok).any(|line| line.contains("connected"))
    };
    let end = |mut world: Child| {
        world.kill().unwrap();
        world.wait().unwrap();
    };
    let mut first = start();
    assert!(connects(&mut first), "there is room for one world");
    let mut second = start();
    assert!(!connects(&mut second), "and for one only, or this test cannot fail");
    end(second);
    end(first);
    let begin = Instant::now();
    loop {
        let mut next = start();
        let connected = connects(&mut next);
        end(next);
        if connected {
            break;
        }
        assert!(begin.elapsed() < HANGS, "it is still there");
        thread::sleep(Duration::from_millis(100));
    }
    println!("gone after {:.1} s", begin.elapsed().as_secs_f64());
}
