//! `lab trace` on real programs: all states, and no effect before its cause.

#[path = "common/path.rs"]
mod path;
#[path = "common/skip.rs"]
mod skip;

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use lab::output::{jsonl, outline};
use lab::record::{Call, Event, Host, Nanos, Segment, Trace, What};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use path::path;
use skip::skipped;

/// What is not over by now hangs.
const HANGS: Duration = Duration::from_secs(60);

const SERVER: [&str; 5] = ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED"];
const CLIENT: [&str; 5] = ["SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"];

const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// The pair of this crate, for `lab` with [`examples`] in its PATH.
const HALF_CLOSE: [&str; 4] = [
    "--server",
    "half_close server {server}:{port}",
    "--client",
    "half_close client {server}:{port}",
];

/// Where cargo has built this crate's examples.
fn examples() -> PathBuf {
    Path::new(LAB).with_file_name("examples")
}

/// Runs `lab trace` on programs that are looked for among the examples first; `None`: this machine
/// does not allow it, which it says.
fn lab(name: &str, args: &[&str]) -> Option<(Output, Option<Trace>)> {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&dir);
    let output = Command::new(LAB)
        .args(["trace", "--strict"])
        .args(args)
        .arg("--out")
        .arg(&dir)
        .env("PATH", path(&examples()))
        .output()
        .expect("lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(3) {
        skipped(said.trim_end());
        return None;
    }
    let trace = File::open(dir.join("trace.jsonl")).ok();
    let trace = trace.map(|file| jsonl::read(BufReader::new(file)).expect("a trace reads back"));
    let not_here = |text: &&String| text.starts_with("system calls: ptrace");
    let missing = trace.as_ref().map(|trace| trace.about.missing.iter());
    if let Some(missing) = missing.and_then(|mut missing| missing.find(not_here)) {
        skipped(missing);
        return None;
    }
    Some((output, trace))
}

/// The pair of this crate, on a link of that delay.
fn half_close(name: &str, more: &[&str]) -> Option<Trace> {
    let address = if more.contains(&"--ipv6") { "[{server}]:{port}" } else { "{server}:{port}" };
    let command = |role: &str| format!("half_close {role} {address}");
    let (server, client) = (command("server"), command("client"));
    let mut args = vec!["--server", &server, "--client", &client];
    args.extend(more);
    let (output, trace) = lab(name, &args)?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("client| 13 bytes\n"), "what the client prints is lost: {said}");
    Some(trace.expect("a trace is written"))
}

/// Losing the first data segment makes TCP send it again, and says so in the socket's figures.
#[test]
fn what_a_socket_says_of_itself_is_kept_as_it_changes() {
    let Some(trace) = half_close("samples", &["--delay", "10ms", "--drop", "1"]) else { return };
    let mut last = std::collections::HashMap::new();
    for sample in trace.samples.clone() {
        let key = (sample.host, sample.local, sample.peer);
        let figures = (sample.recv_queue, sample.send_queue, sample.path);
        assert_ne!(last.insert(key, figures), Some(figures), "nothing has changed: {sample:?}");
    }
    let client: Vec<_> = trace.samples.iter().filter(|one| one.host == Host::Client).collect();
    assert!(client.iter().any(|one| one.send_queue >= 8), "8 bytes under way: {client:?}");
    let paths: Vec<_> = client.iter().filter_map(|one| one.path).collect();
    let (first, last) = (paths.first().expect("one"), paths.last().expect("one"));
    assert_eq!((first.cwnd, first.ssthresh, first.rtt, first.retransmits), (10, None, 0, 0));
    assert!(last.retransmits >= 1, "{last:?}");
    assert!(last.rtt >= 20_000, "there and back takes 20 ms: {last:?}");
}

/// With a backlog of 0 one connection fills the queue; `poll` waits for it and leaves it there.
#[test]
fn a_full_accept_queue_is_told_of() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("python3 is not installed");
    }
    let server = "python3 -c 'import select, socket\n\
         listener = socket.create_server((\"0.0.0.0\", {port}), backlog=0)\n\
         poll = select.poll()\n\
         poll.register(listener, select.POLLIN)\n\
         poll.poll()\n\
         listener.accept()[0].recv(1)'";
    let client = "python3 -c 'import socket\n\
         socket.create_connection((\"{server}\", {port})).send(b\"x\")'";
    let args = ["--server", server, "--client", client];
    let Some((output, trace)) = lab("full", &args) else { return };
    let trace = trace.expect("a trace is written");
    let waited = trace.samples.iter().filter(|sample| sample.peer.is_none());
    let waited: Vec<_> = waited.map(|sample| (sample.recv_queue, sample.send_queue)).collect();
    assert_eq!(waited, [(0, 0), (1, 0), (0, 0)], "the accept queue and its backlog");
    let notes = trace.about.notes;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(notes.len() == 1 && notes[0].contains("accept queue of 0.0.0.0:9000"), "{notes:?}");
    assert!(notes[0].contains("1 waited in it, for a backlog of 0"), "{notes:?}");
    assert!(said.contains(&notes[0]), "{said}");
    let Some(trace) = half_close("not-full", &[]) else { return };
    assert_eq!(trace.about.notes, [""; 0]);
}

/// The segment with the FIN comes twice, and so does what acknowledges it; by then the server's port
/// is closed. A link that is late does the same to a FIN that it did not lose.
#[test]
fn a_second_fin_does_not_end_time_wait() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("python3 is not installed");
    }
    let server = "python3 -c 'import socket\n\
         conn = socket.create_server((\"0.0.0.0\", {port})).accept()[0]\n\
         conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)\n\
         conn.recv(1)\n\
         conn.send(b\"x\"); conn.close()'";
    let client = "python3 -c 'import socket\n\
         conn = socket.create_connection((\"{server}\", {port}))\n\
         conn.shutdown(socket.SHUT_WR)\n\
         while conn.recv(1): pass'";
    let args = ["--server", server, "--client", client, "--dup", "server:1"];
    let Some((_, trace)) = lab("second-fin", &args) else { return };
    let trace = trace.expect("a trace is written");
    let both = |seg: &Segment| seg.from == Host::Server && seg.len > 0 && seg.flags.contains('F');
    let is_both = |event: &Event| matches!(&event.what, What::Segment(seg) if both(seg));
    if !trace.events.iter().any(is_both) {
        return skipped("200 ms passed between send and close: the cork let the byte go alone");
    }
    segment(&trace, Host::Server, "R"); // it came, and did nothing
    assert_eq!(states(&trace, Host::Client, false).last().copied(), Some("TIME_WAIT"));
}

#[test]
fn every_state_is_seen_and_no_effect_comes_before_its_cause() {
    let runs = env::var("LAB_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    for run in 1..=runs {
        for delay in ["0ms", "200us", "5ms"] {
            let Some(trace) = half_close("half-close", &["--delay", delay]) else { return };
            let problems = problems(&trace);
            assert!(problems.is_empty(), "run {run}, delay {delay}: {problems:#?}");
        }
    }
}

/// All of the above over IPv6, where the link's rules count as over IPv4.
#[test]
fn over_ipv6_everything_is_as_over_ipv4() {
    for more in [&[][..], &["--delay", "5ms", "--drop", "1"]] {
        let Some(trace) = half_close("ipv6", &[&["--ipv6"], more].concat()) else { return };
        let (client, server) = (Host::Client, Host::Server);
        let (_, syn) = segment(&trace, client, "S");
        let ips = [syn.source.ip(), syn.destination.ip()].map(|ip| ip.to_string());
        assert_eq!(ips, ["fd00::1", "fd00::2"]);
        assert!(trace.samples.iter().any(|sample| sample.peer == Some(syn.destination)));
        let lost =
            |event: &Event| matches!(&event.what, What::Segment(one) if one.arrived.is_none());
        let lost = trace.events.iter().filter(|event| lost(event)).count();
        assert_eq!(lost, usize::from(!more.is_empty()), "{more:?}");
        if more.is_empty() {
            assert_eq!(problems(&trace), [""; 0]);
        } else {
            assert_eq!(states(&trace, client, false).last().copied(), Some("TIME_WAIT"));
            assert_eq!(states(&trace, server, false).last().copied(), Some("CLOSED"));
        }
    }
}

fn problems(trace: &Trace) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            problems.push(what.to_owned());
        }
    };
    check(states(trace, Host::Client, false) == CLIENT, "the client's states");
    check(states(trace, Host::Server, false) == SERVER, "the server's states");
    check(states(trace, Host::Server, true) == ["LISTEN", "CLOSED"], "the listener's states");

    let (client, server) = (Host::Client, Host::Server);
    let (connect, accept) = (call(trace, client, "connect"), call(trace, server, "accept"));
    let (syn, syn_ack) = (segment(trace, client, "S"), segment(trace, server, "S."));
    let in_order = |times: &[Nanos]| times.is_sorted();
    let returned = |event: &(Nanos, &Call)| event.1.returned.expect("it returned");
    let arrived = |event: &(Nanos, &Segment)| event.1.arrived.expect("it arrived");
    check(in_order(&[connect.0, syn.0, arrived(&syn), returned(&accept)]), "connect to accept");
    let times = [arrived(&syn), syn_ack.0, arrived(&syn_ack), returned(&connect)];
    check(in_order(&times), "the handshake");
    // A sender's state is asked for while its segment is under way.
    let times = [connect.0, state(trace, client, "SYN_SENT"), arrived(&syn)];
    check(in_order(&times), "SYN_SENT");
    check(in_order(&[arrived(&syn), state(trace, server, "SYN_RECV")]), "SYN_RECV");
    check(in_order(&[arrived(&syn_ack), state(trace, client, "ESTABLISHED")]), "ESTABLISHED");

    for (from, to) in [(client, server), (server, client)] {
        let fin = trace.events.iter().find_map(|event| match &event.what {
            What::Segment(seg) if seg.from == from && seg.flags.contains('F') => {
                Some((event.at, seg))
            }
            _ => None,
        });
        let fin = fin.expect("a FIN");
        let ends = call(trace, from, if from == client { "shutdown" } else { "close" });
        let end = calls(trace, to, &["recvfrom", "read"])
            .find(|(_, call)| call.result.as_deref() == Some("0"))
            .expect("a read that returns 0");
        check(in_order(&[ends.0, fin.0, arrived(&fin), returned(&end)]), "the FIN");
        let (now, after) =
            if from == client { ("CLOSE_WAIT", "FIN_WAIT1") } else { ("TIME_WAIT", "LAST_ACK") };
        check(in_order(&[arrived(&fin), state(trace, to, now)]), now);
        check(in_order(&[ends.0, state(trace, from, after), arrived(&fin)]), after);

        // Every byte: the send that it was in, the segment, the recv that gave it out.
        let sent = bytes(calls(trace, from, &["sendto", "write"]));
        let received = bytes(calls(trace, to, &["recvfrom", "read"]));
        check(sent.len() == received.len() && !sent.is_empty(), "as many bytes out as in");
        let mut carried = 0;
        for event in &trace.events {
            if let What::Segment(seg) = &event.what
                && seg.from == from
                && !seg.again
            {
                for byte in seg.seq..seg.seq + seg.len {
                    let byte = byte as usize - 1; // the SYN has number 0
                    let times =
                        [sent[byte].0, event.at, arrived(&(event.at, seg)), received[byte].1];
                    check(in_order(&times), &format!("byte {byte} of the {from:?}: {times:?}"));
                    carried += 1;
                }
            }
        }
        check(carried == sent.len(), "every byte is in one segment");
    }
    problems
}

/// The states that were reached, in order.
fn states(trace: &Trace, host: Host, listener: bool) -> Vec<&str> {
    let changes = trace.events.iter().filter_map(|event| match &event.what {
        What::State(change) if change.host == host => Some(change),
        _ => None,
    });
    changes
        .filter(|change| change.peer.is_none() == listener)
        .map(|change| change.now.as_str())
        .collect()
}

/// When a connection of `host` was seen in this state.
fn state(trace: &Trace, host: Host, name: &str) -> Nanos {
    let seen = trace.events.iter().find(|event| {
        matches!(&event.what, What::State(change) if change.host == host && change.now == name)
    });
    seen.map_or(0, |event| event.at)
}

fn calls<'a>(
    trace: &'a Trace,
    host: Host,
    names: &'a [&str],
) -> impl Iterator<Item = (Nanos, &'a Call)> {
    trace.events.iter().filter_map(move |event| match &event.what {
        What::Call(call) if call.host == host && names.contains(&call.name.as_str()) => {
            Some((event.at, call))
        }
        _ => None,
    })
}

fn call<'a>(trace: &'a Trace, host: Host, name: &str) -> (Nanos, &'a Call) {
    let found = trace.events.iter().find_map(|event| match &event.what {
        What::Call(call) if call.host == host && call.name.starts_with(name) => {
            Some((event.at, call))
        }
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {name} of the {host:?}"))
}

fn segment<'a>(trace: &'a Trace, from: Host, flags: &str) -> (Nanos, &'a Segment) {
    let found = trace.events.iter().find_map(|event| match &event.what {
        What::Segment(seg) if seg.from == from && seg.flags == flags => Some((event.at, seg)),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no {flags} from the {from:?}"))
}

/// For each byte of a stream: when the call that moved it began, and when it returned.
fn bytes<'a>(calls: impl Iterator<Item = (Nanos, &'a Call)>) -> Vec<(Nanos, Nanos)> {
    let moved = calls.filter_map(|(at, call)| {
        let count: usize = call.result.as_deref()?.parse().ok()?;
        Some(std::iter::repeat_n((at, call.returned?), count))
    });
    moved.flatten().collect()
}

#[test]
fn without_a_tracer_segments_and_states_are_left() {
    let Some(trace) = half_close("no-calls", &["--no-calls", "--delay", "2ms"]) else { return };
    assert!(!trace.about.missing.is_empty());
    let is_call = |event: &&Event| matches!(event.what, What::Call(_));
    assert_eq!(trace.events.iter().filter(is_call).count(), 0);
    assert!(states(&trace, Host::Client, false).contains(&"TIME_WAIT"));
    assert!(trace.events.iter().any(|event| matches!(event.what, What::Segment(_))));
}

#[test]
fn what_goes_wrong_is_said_in_one_line() {
    for (args, code, words) in [
        (&["--server", "true", "--client", "true"][..], 1, "lab: the server exited with 0 before"),
        (&["--server", "./none", "--client", "true"][..], 1, "lab: cannot run `./none`: No such"),
        (&["no_such_example"][..], 2, "lab: no example no_such_example"),
        (&[][..], 2, "lab: what to trace? An example: lab trace s05_half_close; or two programs"),
        (&["--server", "true"][..], 2, "lab: --server needs --client"),
        (&["--server", " ", "--client", "true"][..], 2, "lab: --server is empty"),
        (&["--server", "true", "--client", "true", "--cc", "none"][..], 2, "lab: --cc none: not "),
    ] {
        let Some((output, _)) = lab("wrong", args) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(said.starts_with(words), "{args:?}: {said}");
    }
}

/// Nothing but the end of its process closes the socket that listens.
#[test]
fn the_end_of_a_killed_server_is_drawn_after_what_it_did() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("python3 is not installed");
    }
    let server = "python3 -c 'import os, signal, socket\n\
         listener = socket.create_server((\"0.0.0.0\", {port}))\n\
         conn = listener.accept()[0]\n\
         os.kill(os.getpid(), signal.SIGKILL)'";
    let client = "python3 -c 'import socket\n\
         conn = socket.create_connection((\"{server}\", {port}))\n\
         conn.recv(1)'";
    let args = ["--server", server, "--client", client];
    let Some((_, trace)) = lab("ended", &args) else { return };
    let drawn = outline::draw(&trace.expect("a trace is written"));
    let line = |words: &str| drawn.lines().position(|line| line.contains(words)).expect(words);
    assert!(line("accept4") < line("CLOSED"), "{drawn}");
}

/// No world is needed to read one.
#[test]
fn a_recorded_trace_is_shown_with_what_is_wrong_with_it() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("recorded");
    std::fs::create_dir_all(&dir).unwrap();
    let file = dir.join("trace.jsonl");
    let run = |args: &[&str], stdout: Stdio| {
        let mut lab = Command::new(LAB);
        let output = lab.args(args).stdout(stdout).output().expect("lab runs");
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (output.status.code(), said[0].clone(), said[1].clone())
    };
    let name = file.to_str().unwrap();

    let mut trace = Trace::default();
    trace.about.notes = vec!["look here".into()];
    trace.about.missing = vec!["the middle".into()];
    trace.about.broken = vec!["a state before its cause".into()];
    jsonl::write(&trace, File::create(&file).unwrap()).unwrap();
    let (code, shown, _) = run(&["show", name], Stdio::piped());
    let wrong = "missing: the middle\nbroken: a state before its cause\n";
    assert_eq!(
        (code, shown.ends_with(&format!("note: look here\n{wrong}"))),
        (Some(0), true),
        "{shown}"
    );
    let (code, shown, _) = run(&["compare", name, name], Stdio::piped());
    assert_eq!((code, shown.contains("B: broken: a state")), (Some(0), true), "{shown}");

    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for args in [
        &["show", name][..],
        &["compare", name, name],
        &["compare", name, name, "--page", "/dev/full"],
    ] {
        let (code, _, said) = run(args, full());
        assert_eq!(
            (code, said.starts_with("lab: cannot write ")),
            (Some(2), true),
            "{args:?}: {said}"
        );
    }
    File::create(&file).unwrap();
    let (code, _, said) = run(&["show", name], Stdio::piped());
    assert_eq!((code, said.ends_with("trace.jsonl: it is empty\n")), (Some(1), true), "{said}");
}

#[test]
fn every_bad_value_is_said_in_one_line_before_anything_runs() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mark = dir.join("it-ran");
    let pair = ["--server", "touch it-ran", "--client", "true"];
    let options = [
        "--port",
        "--out",
        "--time-limit",
        "--delay",
        "--rate",
        "--queue",
        "--loss",
        "--seed",
        "--drop",
        "--dup",
        "--reorder",
        "--mtu",
        "--cc",
        "--sysctl",
    ];
    let mut wrong: Vec<Vec<&str>> = Vec::new();
    for option in options {
        // A path may be almost anything.
        let values = if option == "--out" { &["", "a\nb"][..] } else { &["", "x y", "-5", "1\n2"] };
        for value in values {
            let rate = if option == "--queue" { &["--rate", "1mbit"][..] } else { &[] };
            wrong.push([&pair[..], rate, &[option, value]].concat());
        }
    }
    for more in [
        &["--delay", "-5ms"][..],
        &["--delay", "5ms\n"],
        &["--cc", "none"],
        &["--sysctl", "net.ipv4.tcp_sack="],
        &["--sysctl", "net.ipv4.none=1"],
        &["--sysctl", "net.ipv4.tcp_sack=x"],
        &["--dleay", "5ms"],
        &["-5"],
        &["--out", "/proc/none"],
        &["--out", "/dev/null"],
        &["--out", "/dev/null/in/it"],
    ] {
        wrong.push([&pair[..], more].concat());
    }
    wrong.push(vec!["--server", pair[1], "--client", "true {portt}"]);
    wrong.push(vec!["--server", pair[1], "--client", ""]);
    wrong.push(vec!["a\nb"]);
    wrong.push(vec![""]);
    for args in wrong {
        let mut lab = Command::new(LAB);
        let output = lab.arg("trace").args(&args).current_dir(dir).output().expect("lab runs");
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(3) {
            return skipped(said.trim_end());
        }
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.starts_with("lab: ") && said.lines().count() == 1, "{args:?}: {said}");
        assert!(output.stdout.is_empty() && !mark.exists(), "{args:?}: something ran");
    }
}

#[test]
fn output_that_cannot_be_written_is_said_and_no_panic() {
    for args in [
        &["trace", "--server", "true", "--client", "true"][..],
        &["doctor"],
        &["experiment"],
        &["experiment", "echo", "--quick"],
        &["trace", "--help"],
        &["--version"],
    ] {
        let full = || File::options().write(true).open("/dev/full").expect("it is on every Linux");
        let mut lab = Command::new(LAB);
        let output = lab.args(args).stdout(full()).output().expect("lab runs");
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(3) {
            return skipped(said.trim_end());
        }
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        let words = "lab: cannot write the output: No space left on device";
        assert!(said.starts_with(words) && said.lines().count() == 1, "{args:?}: {said}");
        // And where standard error takes nothing, either.
        let status = lab.stdout(full()).stderr(full()).status().expect("lab runs");
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_rule_that_met_nothing_is_named() {
    let args = [&HALF_CLOSE[..], &["--drop", "99", "--dup", "1"]].concat();
    let Some((output, _)) = lab("idle-rule", &args) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("note: rule drop 99 met no segment\n"), "{said}");
    assert!(!said.contains("rule dup 1 met no"), "{said}");
    let link = said.lines().find(|line| line.starts_with("the link: median "));
    assert!(link.is_some_and(|line| line.contains(" ms late, worst ")), "{said}");
}

#[test]
fn a_client_that_cannot_be_run_ends_the_server_too() {
    // It stays when it is told to end, and so does its child.
    let server = "trap '' TERM; sleep 600 & half_close server {server}:{port}";
    for more in [&[][..], &["--no-calls"]] {
        let args = [&["--server", server, "--client", "./none"][..], more].concat();
        let began = Instant::now();
        let Some((output, _)) = lab("no-client", &args) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("lab: cannot run `./none`: No such file"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        // `output` waits for the end of the pipes, and these are held by whatever is left.
        assert!(began.elapsed() < HANGS, "{more:?}: {:?}", began.elapsed());
    }
}

#[test]
fn a_time_limit_says_where_each_hangs() {
    let server = "half_close server {server}:{port}";
    let args = ["--server", server, "--client", "sleep 60", "--time-limit", "5"];
    let Some((output, _)) = lab("hangs", &args) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["time limit of 5 s: server: blocked in accept4 on fd ", "client: in no call"] {
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn ctrl_c_while_tcp_settles_loses_nothing() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("settling");
    let _ = std::fs::remove_dir_all(&dir);
    let mut lab = Command::new(LAB)
        // The last FIN and its acknowledgement are under way for two seconds.
        .args(["trace", "--delay", "1s"])
        .args(HALF_CLOSE)
        .arg("--out")
        .arg(&dir)
        .env("PATH", path(&examples()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("lab runs");
    let (mut said, mut ended) = (String::new(), 0);
    for line in BufReader::new(lab.stdout.take().expect("a pipe")).lines() {
        let line = line.expect("text");
        ended += usize::from(line.contains(" exits with 0"));
        if ended == 2 {
            ended = 0; // both programs are over: now the lab waits for the last segments
            kill(Pid::from_raw(lab.id() as i32), Signal::SIGINT).expect("it still runs");
        }
        said += &(line + "\n");
    }
    let status = lab.wait().expect("it ends");
    if status.code() == Some(3) || said.contains("missing: ") {
        return skipped(&format!("no namespaces, or no tracer: {status}"));
    }
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("note: interrupted before TCP had sent its last segments"), "{said}");
    for file in ["trace.jsonl", "trace.html", "trace.svg", "trace.pcapng"] {
        assert!(dir.join(file).is_file(), "{file} is not written");
    }
}

#[test]
fn a_long_trace_is_cut_and_says_so() {
    let (server, client) =
        ("half_close server {server}:{port}", "half_close flood {server}:{port}");
    // A busy machine takes its time for so much.
    let limit = ["--no-calls", "--time-limit", "300"];
    let args = [&["--server", server, "--client", client][..], &limit].concat();
    let Some((output, trace)) = lab("long", &args) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    let trace = trace.expect("a trace is written");
    assert!(said.contains("missing: the end: "), "nothing is said of the end");
    assert!((1000..50_000).contains(&trace.events.len()), "{} events", trace.events.len());
    // At its place, too: after it no segment stands, in the text as in the files.
    let words = "events left out here";
    let (_, rest) = said.split_once(words).expect("the text says where");
    assert!(!rest.contains("►"), "{rest}");
    let is_gap = |event: &Event| match &event.what {
        What::Process(process) => process.text.ends_with(words),
        _ => false,
    };
    let at = trace.events.iter().position(is_gap).expect("the trace says where");
    let is_segment = |event: &Event| matches!(event.what, What::Segment(_));
    assert!(trace.events[..at].iter().any(is_segment), "it stands at the beginning");
    assert!(!trace.events[at..].iter().any(is_segment), "segments stand after it");
}

#[test]
fn what_a_program_calls_itself_stays_on_one_line() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skipped("python3 is not installed");
    }
    let server = "python3 -c 'import socket\n\
         socket.create_server((\"0.0.0.0\", {port})).accept()'";
    let client = "python3 -c 'import os, socket\n\
         conn = socket.create_connection((\"{server}\", {port}))\n\
         os.execvp(\"echo\", [\"echo\", \"one\\ntwo\"])'";
    let args = ["--server", server, "--client", client];
    let Some((output, trace)) = lab("one-line", &args) else { return };
    let runs = |event: &Event| match &event.what {
        What::Process(process) => process.text == r"runs echo one\ntwo",
        _ => false,
    };
    let trace = trace.expect("a trace is written");
    assert!(trace.events.iter().any(runs), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn of_many_connections_one_alone_is_told() {
    let (server, client) = ("many server {server}:{port} 5", "many client {server}:{port} 5");
    let args = ["--server", server, "--client", client, "--connection", "3"];
    let Some((output, trace)) = lab("chosen", &args) else { return };
    let (said, trace) = (String::from_utf8_lossy(&output.stdout), trace.expect("a trace"));
    assert_eq!(calls(&trace, Host::Client, &["socket"]).count(), 1);
    assert_eq!(calls(&trace, Host::Server, &["accept4"]).count(), 1);
    // One of the client, and the listener's: in the text, too.
    assert_eq!(said.lines().filter(|line| line.contains(" socket(")).count(), 2, "{said}");
    let others = "missing: all connections but number 3: ";
    assert!(said.lines().any(|line| line.starts_with(others)), "{said}");
}

#[test]
fn four_hundred_connections_at_once_have_all_their_states() {
    let (server, client) = ("many server {server}:{port} 400", "many client {server}:{port} 400");
    for more in [&[][..], &["--no-calls"]] {
        let args = [&["--server", server, "--client", client], more].concat();
        let Some((output, trace)) = lab("many", &args) else { return };
        let said = String::from_utf8_lossy(&output.stdout);
        let end = said.lines().rev().take(9).collect::<Vec<_>>();
        assert!(output.status.success(), "{more:?}: {end:#?}");
        let trace = trace.expect("a trace is written");
        for host in [Host::Client, Host::Server] {
            let states = states(&trace, host, false);
            for now in ["ESTABLISHED", if host == Host::Client { "TIME_WAIT" } else { "LAST_ACK" }]
            {
                let count = states.iter().filter(|state| **state == now).count();
                assert_eq!(count, 400, "{more:?}: {host:?}, {now}");
            }
        }
    }
}
