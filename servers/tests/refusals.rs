//! Every rung, with one call after the other interrupted, cut short or refused: the table in
//! `docs/faults-servers.md`.
//!
//! Whatever is refused, a rung goes on or ends with exit code 1 and one line. It does not panic, spin,
//! or keep a descriptor, and at most one client has no answer. The table has what else there is to
//! say. `make faults` writes it, from each place at which a call comes. Without `TABLE=write` it is
//! one place of the calls that a client meets, and what comes of it has to stand in the table.

#[path = "../../tests/refusal/filter.rs"]
mod filter;

/// What the filter takes from its surroundings.
mod support {
    pub use servers::wait::HANG_LIMIT as HANG;
}

use std::collections::BTreeSet;
use std::env;
use std::ffi::{c_int, c_long};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write as _};
use std::iter;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use filter::{Answer, Nth, nth_refused_to_program, refused};
use libc::*;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use servers::conformance::client::{Client, Way, payload};
use servers::conformance::tls;
use servers::outside::{descriptors, stays_asleep, within};
use servers::rungs::{RUNGS, Rung, not_here};
use servers::wait::HANG_LIMIT;

#[cfg(target_arch = "x86_64")]
const WAITING: [c_long; 3] = [SYS_poll, SYS_epoll_wait, SYS_io_uring_enter];
#[cfg(not(target_arch = "x86_64"))]
const WAITING: [c_long; 3] = [SYS_ppoll, SYS_epoll_pwait, SYS_io_uring_enter];

/// A system call, and what it may meet.
struct Call {
    number: c_long,
    name: &'static str,
    interrupted: bool,
    short: bool,
    refused: &'static [c_int],
}

const fn call(number: c_long, name: &'static str, refused: &'static [c_int]) -> Call {
    Call { number, name, interrupted: false, short: false, refused }
}

/// All that a rung asks of a socket, its threads, and how it prints.
const CALLS: [Call; 22] = [
    call(SYS_socket, "socket", &[EMFILE, ENOBUFS]),
    call(SYS_setsockopt, "setsockopt", &[ENOMEM]),
    call(SYS_bind, "bind", &[EADDRINUSE]),
    call(SYS_listen, "listen", &[EADDRINUSE]),
    call(SYS_getsockname, "getsockname", &[ENOBUFS]),
    call(SYS_getpeername, "getpeername", &[ENOTCONN]),
    call(SYS_fcntl, "fcntl", &[EPERM]),
    call(SYS_ioctl, "ioctl", &[EPERM]),
    call(SYS_epoll_create1, "epoll_create1", &[EMFILE]),
    call(SYS_epoll_ctl, "epoll_ctl", &[ENOMEM, ENOSPC]),
    Call { interrupted: true, ..call(WAITING[1], "epoll_wait", &[]) },
    call(SYS_io_uring_setup, "io_uring_setup", &[EPERM, ENOMEM]),
    Call { interrupted: true, ..call(SYS_io_uring_enter, "io_uring_enter", &[ENOMEM]) },
    Call { interrupted: true, ..call(WAITING[0], "poll", &[ENOMEM]) },
    Call {
        interrupted: true,
        ..call(SYS_accept4, "accept", &[ECONNABORTED, EPERM, EMFILE, ENOBUFS, EINVAL])
    },
    Call { interrupted: true, short: true, ..call(SYS_recvfrom, "recv", &[ECONNRESET, ENOMEM]) },
    Call { interrupted: true, short: true, ..call(SYS_sendto, "send", &[ECONNRESET, ENOBUFS]) },
    Call { interrupted: true, short: true, ..call(SYS_sendmsg, "sendmsg", &[ECONNRESET, ENOBUFS]) },
    call(SYS_shutdown, "shutdown", &[ENOTCONN]),
    Call { interrupted: true, ..call(SYS_close, "close", &[EIO]) },
    call(SYS_clone3, "clone3", &[EAGAIN]),
    Call { interrupted: true, short: true, ..call(SYS_write, "write", &[ENOSPC]) },
];

/// Who waits with EPOLLET takes a short count for all that there was: epoll(7) says so, and the kernel
/// keeps to it. What is cut short by a filter would wait for ever.
fn may_be_short(rung: &Rung, call: &Call) -> bool {
    let edge = ["r06", "r07", "r08", "r09", "r14"].iter().any(|name| rung.name.starts_with(name));
    let receives = call.number == SYS_recvfrom;
    call.short && !(edge && receives || rung.name.starts_with("r14") && call.number == SYS_sendto)
}

/// A rung that runs. What it says goes into a file, for the filter to have no third party.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
    err: File,
}

/// How it has ended: the exit code, and its lines but for those of r09 that tell of a client.
type End = (Option<i32>, Vec<String>);

impl Running {
    fn start(rung: &Rung) -> Running {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let at =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("said-{}-{n}", std::process::id()));
        let err = File::options().read(true).append(true).create_new(true).open(&at).unwrap();
        fs::remove_file(&at).unwrap();
        let program = Path::new(env!("CARGO_BIN_EXE_servers")).with_file_name(rung.name);
        let mut command = Command::new(program);
        command.args(["127.0.0.1", "0"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(err.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running { child, out, err }
    }

    /// Where it listens, unless it ends before.
    fn addr(&mut self) -> Option<SocketAddr> {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("[listen-ok] ")?;
        Some(addr.parse().unwrap())
    }

    fn lines(&mut self) -> Vec<String> {
        let mut text = String::new();
        self.err.rewind().unwrap();
        self.err.read_to_string(&mut text).unwrap();
        let is_event = |line: &&str| line.contains("  INFO ");
        text.lines().filter(|line| !is_event(line)).map(str::to_owned).collect()
    }

    fn end(mut self) -> End {
        let ended = within(HANG_LIMIT, || self.child.try_wait().unwrap().ok_or(()));
        let status = ended.expect("it does not end");
        (status.code(), self.lines())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill(); // does nothing once it has been waited for
        let _ = self.child.wait();
    }
}

/// What came of one run.
struct Seen {
    /// Of two clients, one after the other, and of one beside them from the start.
    answered: [bool; 3],
    /// That it ended by itself, and how; else how it ended at SIGTERM.
    ended: bool,
    end: End,
}

/// A frame, its answer, our end, its end.
fn conversation(way: Way) -> Result<(), String> {
    let client = Client::connect(way)?;
    client.exchange(&payload(1000, 0))?;
    client.end()?;
    client.expect_end(HANG_LIMIT).map(drop)
}

/// Whether a thread of it does, and not only for its last line to be written.
fn waits_for_clients(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut calls = threads.filter_map(|thread| {
        let call = fs::read_to_string(thread.path().join("syscall")).ok()?;
        call.split(' ').next()?.parse::<c_long>().ok()
    });
    calls.any(|call| call == SYS_accept4 || WAITING.contains(&call))
}

/// How many of its descriptors are sockets.
fn sockets(pid: u32) -> usize {
    let link = |fd: &i32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap_or_default();
    let is_socket = |fd: &i32| link(fd).to_string_lossy().starts_with("socket:");
    descriptors(pid).iter().filter(|fd| is_socket(fd)).count()
}

fn talk(rung: &Rung, tls: Option<&tls::Config>, may_be_open: usize) -> Seen {
    let mut server = Running::start(rung);
    let Some(addr) = server.addr() else {
        return Seen { answered: [false; 3], ended: true, end: server.end() };
    };
    let pid = server.child.id();
    let way = Way { addr, tls, patience: HANG_LIMIT };
    // A rung with one client at a time has nobody beside.
    let beside = (rung.at_once > 1).then(|| {
        let client = Client::connect(way)?;
        client.exchange(&payload(100, 1)).map(|()| client)
    });
    let is_answered = |result: Result<(), String>| match result {
        Ok(()) => true,
        Err(e) if e.contains("deadline") => panic!("a client of {} waits for ever: {e}", rung.name),
        Err(_) => false,
    };
    let first = is_answered(conversation(way));
    let second = is_answered(conversation(way));
    let third = beside.is_none_or(|client| {
        let last = |client: Client| {
            client.exchange(&payload(100, 2))?;
            client.end()?;
            client.expect_end(HANG_LIMIT)
        };
        is_answered(client.and_then(last).map(drop))
    });
    let sleeps = within(HANG_LIMIT, || match server.child.try_wait().unwrap() {
        Some(_) => Ok(false),
        None if sockets(pid) > may_be_open => Err("keeps a descriptor"),
        None if waits_for_clients(pid) && stays_asleep(pid) => Ok(true),
        None => Err("spins"),
    });
    let sleeps = sleeps.unwrap_or_else(|what| panic!("{} {what}", rung.name));
    if sleeps {
        kill(Pid::from_raw(pid as i32), Signal::SIGTERM).unwrap();
    }
    Seen { answered: [first, second, third], ended: !sleeps, end: server.end() }
}

fn watched() -> Vec<c_long> {
    CALLS.iter().map(|call| call.number).collect()
}

fn run(rung: &Rung, tls: Option<&tls::Config>, what: Option<Nth>) -> (Seen, Vec<c_long>) {
    // Its listener; and after a `close` that the filter refuses the number is still open.
    let may_be_open = 1 + usize::from(what.is_some_and(|(call, ..)| call == SYS_close));
    let ran = nth_refused_to_program(&watched(), what, || talk(rung, tls, may_be_open));
    ran.unwrap_or_else(|e| panic!("{}, {what:?}: {e}", rung.name))
}

/// In words what came of one fault, which must not be worse than what is promised of all.
fn outcome(rung: &Rung, seen: &Seen, what: Nth) -> String {
    let (code, lines) = &seen.end;
    let about = format!("{}, {what:?}: {code:?} {lines:#?}", rung.name);
    assert!(!lines.iter().any(|line| line.contains("panicked")), "a panic: {about}");
    if seen.ended || *code != Some(0) {
        assert_eq!((*code, lines.len()), (Some(1), 1), "no exit code and one line: {about}");
        let when = if seen.ended { "it ends" } else { "at SIGTERM it ends" };
        return format!("{when}: `{}`", lines[0]);
    }
    let lost = seen.answered.iter().filter(|answered| !**answered).count();
    assert!(lost <= 1, "{:?} have an answer: {about}", seen.answered);
    let told = if lines.is_empty() { "" } else { ", told" };
    match lost {
        0 => format!("all go on{told}"),
        _ => format!("that client is lost{told}"),
    }
}

/// Whether all of it is done, and the table written.
fn writes() -> bool {
    env::var("TABLE").is_ok_and(|what| what == "write")
}

/// What one client meets.
const SAMPLED: [c_long; 4] = [SYS_accept4, SYS_recvfrom, SYS_sendto, SYS_sendmsg];

/// Which of so many calls of a kind.
fn places(call: c_long, times: usize) -> Vec<usize> {
    match writes() {
        // The first and the last ones: of r04's 64 threads each accepts.
        true => (0..times).filter(|nth| *nth < 8 || nth + 8 >= times).collect(),
        false if call == SYS_accept4 => vec![times - 1], // everybody has been served
        false => vec![times / 2],
    }
}

/// All outcomes of one kind of fault, wherever in the run it comes.
fn outcomes(
    rung: &Rung,
    tls: Option<&tls::Config>,
    clean: &(Seen, Vec<c_long>),
    call: c_long,
    answer: Answer,
) -> BTreeSet<String> {
    let count = |calls: &[c_long]| calls.iter().filter(|made| **made == call).count();
    let mut outcomes = BTreeSet::new();
    let runs = if writes() { 3 } else { 1 }; // not every run goes the same way
    for nth in iter::repeat_n(places(call, count(&clean.1)), runs).flatten() {
        let what = (call, nth, answer);
        let (seen, calls) = run(rung, tls, Some(what));
        if count(&calls) > nth {
            outcomes.insert(outcome(rung, &seen, what));
        }
    }
    outcomes
}

/// A row: rung, call and fault as they begin it, and what came of it.
type Row = (String, BTreeSet<String>);

fn rows(rung: &Rung) -> Vec<Row> {
    let tls = rung.tls.then(|| tls::config().unwrap());
    let tls = tls.as_ref();
    let clean = run(rung, tls, None);
    assert_eq!((clean.0.answered, &clean.0.end), ([true; 3], &(Some(0), vec![])), "{}", rung.name);
    let is_asked = |call: &&Call| {
        clean.1.contains(&call.number) && (writes() || SAMPLED.contains(&call.number))
    };
    let mut rows = Vec::new();
    for call in CALLS.iter().filter(is_asked) {
        // A `close` that fails has closed.
        let is_close = call.number == SYS_close;
        let error = if is_close { Answer::ErrorAfter } else { Answer::Error };
        let mut faults: Vec<(String, Answer)> = Vec::new();
        if call.interrupted {
            faults.push(("EINTR".into(), error(EINTR)));
        }
        if may_be_short(rung, call) {
            faults.push(("one byte".into(), Answer::OneByte));
        }
        let name = |errno: &c_int| format!("{:?}", Errno::from_raw(*errno));
        faults.extend(call.refused.iter().map(|errno| (name(errno), error(*errno))));
        for (fault, answer) in faults {
            let short_name = rung.name.split('_').next().unwrap();
            let begin = format!("| {short_name} | {} | {fault} | ", call.name);
            rows.push((begin, outcomes(rung, tls, &clean, call.number, answer)));
        }
    }
    rows
}

/// All rungs, some at a time, for most of it is waiting.
fn all_rows() -> Vec<Row> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(rung) = RUNGS.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(why) = not_here(rung.name) {
                let _ = writeln!(io::stderr(), "skipped: {why}");
                continue;
            }
            if writes() {
                let _ = writeln!(io::stderr(), "{}", rung.name); // progress, past the harness
            }
            done.push((rung.name, rows(rung)));
        }
        done
    };
    let mut tables = thread::scope(|s| {
        let workers: Vec<_> = (0..3).map(|_| s.spawn(work)).collect();
        let join = |worker: thread::ScopedJoinHandle<_>| {
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        workers.into_iter().flat_map(join).collect::<Vec<_>>()
    });
    tables.sort_by_key(|(name, _)| *name);
    tables.into_iter().flat_map(|(_, rows)| rows).collect()
}

const HEAD: &str = "\
# What a refused call does to a server

`make faults` runs each row and writes this page.

Each call that a rung makes on a socket, each that begins a thread, and each that prints, is
interrupted, cut short or refused, once, by a filter of seccomp(2). A row stands for the places in the
run at which the call comes: the first eight and the last eight, each in three runs, for not every run
goes the same way. Two clients come, one after the other, and beside them a third one stays, where a
rung serves more than one. In no row does a server panic, spin, or keep a descriptor; in none is more
than one client lost; and where it ends, the exit code is 1 and there is one line.

The kernel interrupts only who waits. The calls of r05 to r09 and of r14 never wait, but for `poll`
and `epoll_wait`, so their other rows with EINTR are the filter's alone. With EPOLLET (r06 to r09, r14) a
short `recv` is left out: it says that nothing more is there, epoll(7). tokio has the same of a short
`send`. What the kernel does for r15 by io_uring is no call, and out of the filter's reach.

| rung | call | fault | what comes of it |
| --- | --- | --- | --- |
";

#[test]
fn the_page_of_refusals_is_that_of_a_run() {
    if let Err(e) = refused(&[SYS_socket], None, || ()) {
        let _ = writeln!(io::stderr(), "skipped: the table of refusals: seccomp: {e}");
        return;
    }
    let rows = all_rows();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults-servers.md");
    if writes() {
        let row = |(begin, outcomes): &Row| {
            let outcomes: Vec<&str> = outcomes.iter().map(String::as_str).collect();
            format!("{begin}{} |\n", outcomes.join("; "))
        };
        let rows = rows.iter().map(row).collect::<String>();
        return fs::write(&path, format!("{HEAD}{rows}")).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap();
    assert!(written.starts_with(HEAD), "the page has another head: `make faults` writes it anew");
    assert!(!rows.is_empty());
    for (begin, outcomes) in rows {
        let row = written.lines().find_map(|line| line.strip_prefix(&begin)?.strip_suffix(" |"));
        let row = row.unwrap_or_else(|| panic!("no row {begin}"));
        for outcome in outcomes {
            let stands = row.split("; ").any(|written| written == outcome);
            assert!(stands, "{begin}{row} |, and now {outcome}; `make faults` writes it anew");
        }
    }
}
