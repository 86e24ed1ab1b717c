//! `lab trace` on programs that are hard to trace, and on machines that do not allow it.

#[path = "common/path.rs"]
mod path;
#[path = "common/skip.rs"]
mod skip;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lab::output::jsonl;
use lab::record::{Call, Host, Trace, What};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use path::path;
use skip::skipped;

/// What is not over after so many seconds hangs.
const HANGS: &str = "60";

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// Where cargo has built this crate's examples.
fn examples() -> PathBuf {
    Path::new(LAB).with_file_name("examples")
}

/// A directory of the test's own.
fn dir(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tracer").join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory can be made");
    dir
}

/// Adds a server, and its client. With a fifo, which is called so in `out`, the client waits for a
/// line from it.
fn trace_command(command: &mut Command, server: &str, fifo: bool, out: &Path) {
    let (fifo, wait) = if fifo { (" fifo", "read go < fifo; exec ") } else { ("", "") };
    let server = format!("servers {server}{fifo}");
    let client = format!("{wait}half_close client {{server}}:{{port}}");
    command.arg("trace").args(["--server", &server, "--client", &client]);
    command.args(["--time-limit", HANGS, "--out"]).arg(out);
    command.current_dir(out).env("PATH", path(&examples()));
}

fn read(dir: &Path) -> Trace {
    let file = File::open(dir.join("trace.jsonl")).expect("a trace is written");
    jsonl::read(BufReader::new(file)).expect("a trace reads back")
}

/// `None`: this machine does not allow it, which it says.
fn lab(name: &str, server: &str, fifo: bool) -> Option<(Output, Trace)> {
    let dir = dir(name);
    if fifo {
        mkfifo(&dir.join("fifo"), Mode::S_IRWXU).expect("a fifo can be made");
    }
    let mut command = Command::new(LAB);
    trace_command(&mut command, server, fifo, &dir);
    let output = command.output().expect("lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        skipped(said.lines().last().unwrap_or_default());
        return None;
    }
    let trace = read(&dir);
    let not_here = |text: &&String| text.starts_with("system calls:");
    if let Some(missing) = trace.about.missing.iter().find(not_here) {
        skipped(missing);
        return None;
    }
    assert_eq!(trace.about.missing, [""; 0], "every byte has its call");
    Some((output, trace))
}

fn well(run: Option<(Output, Trace)>) -> Option<Trace> {
    let (output, trace) = run?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("client| 13 bytes\n"), "{said}");
    Some(trace)
}

fn calls<'a>(trace: &'a Trace, name: &'a str) -> impl Iterator<Item = &'a Call> {
    trace.events.iter().filter_map(move |event| match &event.what {
        What::Call(call) if call.host == Host::Server && call.name == name => Some(call),
        _ => None,
    })
}

/// What was told of the server's processes.
fn told(trace: &Trace) -> Vec<&str> {
    let told = trace.events.iter().filter_map(|event| match &event.what {
        What::Process(process) if process.host == Host::Server => Some(process.text.as_str()),
        _ => None,
    });
    told.collect()
}

#[test]
fn a_signal_fails_the_call_where_the_handler_does_not_restart_it() {
    let Some(trace) = well(lab("eintr", "eintr {server}:{port}", true)) else { return };
    let accepts: Vec<&Call> = calls(&trace, "accept4").collect();
    let results: Vec<_> = accepts.iter().map(|call| call.result.as_deref().unwrap_or("")).collect();
    assert_eq!(results.len(), 2, "{results:?}");
    assert!(results[0].starts_with("-1 EINTR"), "{results:?}");
    assert!(results[1].parse::<i32>().is_ok(), "{results:?}");
    assert!(accepts.iter().all(|call| call.restarts == 0));
    assert!(told(&trace).contains(&"gets SIGUSR1"), "{:?}", told(&trace));
}

#[test]
fn a_signal_interrupts_the_call_unseen_where_the_handler_restarts_it() {
    let Some(trace) = well(lab("restart", "restart {server}:{port}", true)) else { return };
    let accepts: Vec<&Call> = calls(&trace, "accept4").collect();
    assert_eq!(accepts.len(), 1, "{accepts:?}");
    assert_eq!(accepts[0].restarts, 1);
    assert!(accepts[0].result.as_deref().is_some_and(|result| result.parse::<i32>().is_ok()));
    assert!(told(&trace).contains(&"gets SIGUSR1"), "{:?}", told(&trace));
}

#[test]
fn threads_are_followed() {
    let Some(trace) = well(lab("threaded", "threaded {server}:{port}", false)) else { return };
    let accept = calls(&trace, "accept4").next().expect("an accept");
    let read = calls(&trace, "recvfrom").next().expect("a read");
    assert_eq!((accept.pid, accept.tid), (accept.pid, accept.pid));
    assert_eq!(read.pid, accept.pid);
    assert_ne!(read.tid, accept.tid, "another thread reads");
    assert_eq!(read.fd, accept.result.as_deref().and_then(|result| result.parse().ok()));
}

#[test]
fn a_child_is_followed_through_exec_with_what_it_inherits() {
    let Some(trace) = well(lab("forking", "forking {server}:{port}", false)) else { return };
    let parent = calls(&trace, "accept4").next().expect("an accept").pid;
    let of_the_child: Vec<&Call> = trace
        .events
        .iter()
        .filter_map(|event| match &event.what {
            What::Call(call) if call.host == Host::Server && call.pid != parent => Some(call),
            _ => None,
        })
        .collect();
    let runs = told(&trace).iter().position(|text| text.ends_with("servers child"));
    assert!(runs.is_some(), "{:?}", told(&trace));
    let reads = of_the_child.iter().filter(|call| call.name == "recvfrom");
    let bytes: usize = reads.filter_map(|call| call.result.as_deref()?.parse::<usize>().ok()).sum();
    assert_eq!(bytes, 13, "{of_the_child:?}");
    // All but 0 was closed by exec (O_CLOEXEC): the copy that it reads from comes after that.
    let conns: BTreeSet<_> = of_the_child.iter().filter_map(|call| call.conn).collect();
    assert_eq!(conns.len(), 1, "{conns:?}");
    assert!(of_the_child.iter().all(|call| call.name != "accept4"), "{of_the_child:?}");
}

#[test]
fn a_killed_program_is_told_of() {
    let Some((output, trace)) = lab("killed", "killed {server}:{port}", false) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("server was killed by SIGKILL"), "{said}");
    assert_eq!(told(&trace).last(), Some(&"is killed by SIGKILL"));
    // The kernel closes what it had open: by a FIN, or by a reset if it had not read all.
    let ends = trace.events.iter().any(|event| {
        matches!(&event.what, What::Segment(segment)
            if segment.from == Host::Server && segment.flags.contains(['F', 'R']))
    });
    assert!(ends);
}

#[test]
fn where_ptrace_is_refused_segments_and_states_are_left() {
    let dir = dir("no-ptrace");
    let mut command = Command::new(examples().join("without"));
    command.arg("ptrace").arg(LAB);
    trace_command(&mut command, "threaded {server}:{port}", false, &dir);
    let output = command.output().expect("the helper runs");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        skipped(said.lines().last().unwrap_or_default());
        return;
    }
    assert!(output.status.success(), "{said}");
    assert!(said.contains("missing: system calls: ptrace is not allowed here"), "{said}");
    let trace = read(&dir);
    let has = |wanted: fn(&What) -> bool| trace.events.iter().any(|event| wanted(&event.what));
    assert!(has(|what| matches!(what, What::Segment(_))));
    assert!(has(|what| matches!(what, What::State(state) if state.now == "TIME_WAIT")));
    assert!(!has(|what| matches!(what, What::Call(_))));
}

#[test]
fn where_packet_sockets_are_refused_it_says_so_in_the_doctors_words() {
    let run = |args: &[&str]| {
        let mut command = Command::new(examples().join("without"));
        command.arg("packets").arg(LAB).args(args).output().expect("the helper runs")
    };
    let output = run(&["trace", "--server", "true", "--client", "true"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    if said.contains("namespace") {
        return skipped(said.trim_end());
    }
    assert!(said.starts_with("lab: packet sockets are not possible here (Operation not"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let doctor = run(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(3));
    let remedy = said.trim_end().split_once("; try: ").expect("a remedy").1;
    let advice = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(advice.contains(&format!("try: {remedy}\n")), "{advice}");
}

#[test]
fn a_daemon_is_followed_to_the_process_that_listens() {
    let Some((output, trace)) = lab("daemon", "daemon {server}:{port}", false) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    let trace = well(Some((output.clone(), trace))).expect("it ended well");
    assert!(said.contains("note: the server went on as a daemon"), "{said}");
    assert_eq!(calls(&trace, "accept4").count(), 1);
    let dir = dir("daemon-no-calls");
    let mut command = Command::new(LAB);
    trace_command(&mut command, "daemon {server}:{port}", false, &dir);
    let output = command.arg("--no-calls").output().expect("lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("client| 13 bytes\n"), "{said}");
}

#[test]
fn every_byte_has_its_call() {
    let Some(trace) = well(lab("rare", "rare {server}:{port}", false)) else { return };
    for name in ["preadv2", "recvmmsg", "pwritev2", "sendmmsg", "sendfile", "splice", "dup3"] {
        assert!(calls(&trace, name).count() > 0, "{name} is not drawn");
    }
    // The last close of three.
    let ends = calls(&trace, "close_range").next().expect("it is drawn");
    assert!(ends.conn.is_some(), "{ends:?}");
    assert_eq!(calls(&trace, "sendmmsg").map(Call::moved).collect::<Vec<_>>(), [2]);
    assert_eq!(trace.about.broken, [""; 0]);
}

#[test]
fn a_byte_that_no_drawn_call_sent_is_named() {
    let dir = dir("unseen");
    let mut command = Command::new(LAB);
    trace_command(&mut command, "unseen {server}:{port}", false, &dir);
    let output = command.output().expect("lab runs");
    if output.status.code() == Some(3) {
        return skipped(&String::from_utf8_lossy(&output.stderr));
    }
    let trace = read(&dir);
    let [missing] = &trace.about.missing[..] else { panic!("{:?}", trace.about.missing) };
    if missing.contains("ptrace") {
        return skipped(missing);
    }
    let words = "the calls that sent 8 of 8 bytes that the server sent from port 9000: it uses \
                 io_submit, which makes no such call";
    assert_eq!(missing, words);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(&format!("missing: {words}\n")), "{said}");
}

/// In a user namespace of its own a process may forbid itself more of them.
#[test]
fn without_namespaces_it_says_what_would_allow_them() {
    for (setting, lose_rights) in [("max_net_namespaces", ""), ("max_user_namespaces", SETPRIV)] {
        let script =
            format!("echo 0 > /proc/sys/user/{setting} && echo ready && exec {lose_rights} \"$@\"");
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--", "sh", "-c", &script, "sh", LAB])
            .args(["trace", "--server", "true", "--client", "true"])
            .output();
        let ready = output.as_ref().is_ok_and(|output| output.stdout == b"ready\n");
        let Some(output) = output.ok().filter(|_| ready) else {
            skipped("unshare --user --map-root-user: not allowed here");
            continue;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(127) {
            skipped(said.trim_end());
            continue;
        }
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let remedy = said.split_once("; try: sudo sysctl ").map_or("", |(_, remedy)| remedy);
        assert!(remedy.contains(&format!("user.{setting}=10000")), "{said}");
    }
}

/// Root, but without any of its rights.
const SETPRIV: &str = "setpriv --bounding-set=-all --inh-caps=-all";

#[test]
fn a_server_that_wakes_by_a_timer_is_quiet_when_it_does_nothing() {
    let Some((output, trace)) = lab("ticking", "ticking {server}:{port}", false) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("note: the server served on when the client had ended"), "{said}");
    for name in ["ppoll", "pselect6", "epoll_pwait2", "poll", "select", "epoll_wait", "epoll_pwait"]
    {
        let waits: Vec<&Call> = calls(&trace, name).filter(|call| call.found_nothing()).collect();
        if cfg!(not(target_arch = "x86_64")) && ["poll", "select", "epoll_wait"].contains(&name) {
            continue;
        }
        let all: u32 = waits.iter().map(|call| call.count).sum();
        assert!(if name == "epoll_pwait" { all > 1 } else { all == 9 }, "{name}: {all} waits");
        // A late acknowledgement, or the client's end, may stand between them.
        assert!(waits.len() <= 4, "{name}: {} lines", waits.len());
    }
    // The same in all that is written; the text as it happened, and as it is shown again.
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("tracer").join("ticking");
    let shown = Command::new(LAB).arg("show").arg(&dir).output().expect("lab runs");
    for text in [said.to_string(), String::from_utf8_lossy(&shown.stdout).into_owned()]
        .into_iter()
        .chain(["trace.svg", "trace.html"].map(|file| fs::read_to_string(dir.join(file)).unwrap()))
    {
        assert!(text.contains(" times"), "{text}");
    }
    let lines = fs::read_to_string(dir.join("trace.jsonl")).expect("a trace is written");
    assert!(lines.contains("\"count\":"), "{lines}");
}
