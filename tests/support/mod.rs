//! What the tests share: connected sockets, signals in the middle of a call, processes.

#![allow(dead_code)] // no test file uses all of it

use std::ffi::{OsString, c_int, c_long};
use std::io::{self, Write};
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, Signal};
use nix::unistd::{Pid, gettid};
use stage::{kernel, set_timeout, signals};
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, resolve, stream, sys};

/// What takes so long hangs. No test measures by it: it only makes a failure of what would
/// otherwise never end.
pub const HANG: Duration = Duration::from_secs(60);

/// A deadline for what ends before it, on whatever machine.
pub fn soon() -> Instant {
    Instant::now() + HANG
}

/// A deadline for what cannot end before it.
pub fn at_once() -> Instant {
    Instant::now() + millis(20)
}

pub fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Ends a process that hangs: for a loop that would go on for ever, which no timeout on a socket
/// can end. The last line of the output then is the last test that did end.
fn end_tests_that_hang() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        thread::spawn(|| {
            thread::sleep(5 * HANG); // for all the tests of a file
            let _ = writeln!(io::stderr(), "a test hangs: these tests have run for five minutes");
            process::abort();
        });
    });
}

// ---- sockets ----

/// A listener on the IPv4 loopback, and its port.
pub fn listener(backlog: c_int) -> (UniqueFd, u16) {
    end_tests_that_hang();
    let listener = patient(listen_on(Some("127.0.0.1"), 0, backlog).unwrap());
    let port = sys::getsockname(&listener).unwrap().port();
    (listener, port)
}

/// Two connected sockets: the one that connected, the one that was accepted.
pub fn pair() -> (UniqueFd, UniqueFd) {
    let (listener, port) = listener(1);
    let client = patient(connect_to("127.0.0.1", port).unwrap());
    (client, patient(accept(&listener).unwrap().0))
}

/// The same with the smallest buffers there are, from the first socket to the second.
pub fn narrow_pair() -> (UniqueFd, UniqueFd) {
    let (listener, port) = listener(1);
    // Before the handshake, which tells the sender how much room there is. 1 becomes the minimum.
    sys::set_option(&listener, libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
    let sender = patient(connect_to("127.0.0.1", port).unwrap());
    sys::set_option(&sender, libc::SOL_SOCKET, libc::SO_SNDBUF, 1).unwrap();
    (sender, patient(accept(&listener).unwrap().0))
}

/// A blocking call on it that hangs ends in EAGAIN: a test that fails, not one that never ends.
pub fn patient(fd: UniqueFd) -> UniqueFd {
    set_timeout(&fd, libc::SO_RCVTIMEO, HANG).unwrap();
    set_timeout(&fd, libc::SO_SNDTIMEO, HANG).unwrap();
    fd
}

/// The receiving end of a stream that holds these bytes and then ends.
pub fn stream_of(bytes: &[u8]) -> UniqueFd {
    let (sender, receiver) = pair();
    tcp_stream_io::send_all(&sender, bytes).unwrap();
    receiver
}

/// A full backlog: nobody accepts, and the next handshake gets no answer. The second socket is the
/// connection in the queue.
pub fn full_listener() -> (UniqueFd, UniqueFd, u16) {
    let (listener, port) = listener(0);
    let queued = fill_the_queue(&listener, port);
    (listener, queued, port)
}

/// A backlog of 0 is full with one connection: Linux queues one more than it is told.
pub fn fill_the_queue(listener: &UniqueFd, port: u16) -> UniqueFd {
    let queued = connect_to("127.0.0.1", port).unwrap();
    stream::wait_ready(listener, libc::POLLIN, Some(soon())).unwrap();
    queued
}

/// A port that refuses, at every IPv4 address: a socket holds it, and does not listen. (A port that
/// nobody holds may be given to another program at any time.)
pub fn refusing_port() -> (UniqueFd, u16) {
    let socket = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    sys::set_option(&socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).unwrap();
    let addrs = resolve(None, 0, libc::AF_INET, libc::AI_PASSIVE).unwrap();
    sys::bind(&socket, addrs.iter().next().unwrap()).unwrap();
    let port = sys::getsockname(&socket).unwrap().port();
    (socket, port)
}

/// All that the peer sends, up to its end, and the error if it ends with one.
pub fn read_to_end(fd: &UniqueFd) -> (Vec<u8>, Option<io::Error>) {
    let (mut all, mut buf) = (Vec::new(), [0; 4096]);
    loop {
        match sys::recv(fd, &mut buf, 0) {
            Ok(0) => return (all, None),
            Ok(n) => all.extend_from_slice(&buf[..n]),
            Err(e) => return (all, Some(e)),
        }
    }
}

/// `n` bytes, of which none can be lost, doubled or moved unseen: 251 is no multiple of a buffer.
pub fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8).collect()
}

// ---- deadlines ----

/// How long [`before_it_is_over`] keeps on: many deadlines of the calls that are made under it.
const LONG_PAST: Duration = Duration::from_secs(3);

/// Makes a call with a deadline, and does `meanwhile` again and again on another thread. Where the
/// call is still there long after its deadline, `at_last` gives it all that it waits for. So the
/// call's own answer tells whether something moved its deadline: if not, it is TimedOut, however
/// late this machine lets the thread run.
pub fn before_it_is_over<R>(
    call: impl FnOnce() -> R,
    mut meanwhile: impl FnMut() + Send,
    at_last: impl FnOnce() + Send,
) -> R {
    let over = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            let long_past = Instant::now() + LONG_PAST;
            while !over.load(Ordering::SeqCst) {
                if Instant::now() > long_past {
                    return at_last();
                }
                meanwhile();
                thread::sleep(millis(1)); // the call needs a processor, too
            }
        });
        let result = call();
        over.store(true, Ordering::SeqCst);
        result
    })
}

// ---- what may not be here ----

/// Whether this machine has `::1`. If not, says on the terminal what is left out.
pub fn has_ipv6(what: &str) -> bool {
    let tried = listen_on(Some("::1"), 0, 1);
    tried.inspect_err(|e| skipped(what, e)).is_ok()
}

/// Straight to the terminal: what a passing test prints by `println!`, cargo keeps to itself.
pub fn skipped(what: &str, why: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "skipped: {what}: {why}");
}

// ---- signals ----

/// The system call behind glibc's `poll`.
#[cfg(target_arch = "x86_64")]
pub const SYS_POLL: libc::c_long = libc::SYS_poll;
/// The system call behind glibc's `poll`.
#[cfg(not(target_arch = "x86_64"))]
pub const SYS_POLL: libc::c_long = libc::SYS_ppoll;

/// Interrupts the thread that made it, from others. SIGUSR1, a handler that counts, no SA_RESTART;
/// sent while the thread is blocked in a system call, so that the call returns EINTR.
pub struct Interrupter {
    tid: Pid,
    /// The count is the process's, so one thread at a time.
    _alone: MutexGuard<'static, ()>,
}

impl Interrupter {
    pub fn of_this_thread() -> Interrupter {
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        signals::handle(Signal::SIGUSR1, SaFlags::empty()).unwrap();
        Interrupter { tid: gettid(), _alone }
    }

    fn is_blocked_in(&self, call: c_long) -> bool {
        let line = fs::read_to_string(format!("/proc/self/task/{}/syscall", self.tid));
        line.is_ok_and(|line| line.starts_with(&format!("{call} ")))
    }

    pub fn wait_until_blocked_in(&self, call: c_long) {
        let what = format!("thread {} to block in system call {call}", self.tid);
        kernel::wait_for(&what, || Ok(self.is_blocked_in(call))).unwrap();
    }

    /// A signal, wherever the thread is.
    pub fn interrupt(&self) {
        kernel::signal_thread(self.tid, Signal::SIGUSR1).unwrap();
    }

    /// One EINTR: waits until the thread is blocked in `call`, and until the handler has run.
    pub fn interrupt_in(&self, call: c_long) {
        self.wait_until_blocked_in(call);
        let before = signals::counted();
        self.interrupt();
        kernel::wait_for("the handler to run", || Ok(signals::counted() > before)).unwrap();
    }

    /// Runs `body` on this thread, while another signals it all the time, wherever it is. Returns
    /// how many signals were handled meanwhile, too.
    pub fn storm<R>(&self, body: impl FnOnce() -> R) -> (R, usize) {
        let (calm, until, over) = (signals::counted(), soon(), AtomicBool::new(false));
        thread::scope(|s| {
            s.spawn(|| {
                while !over.load(Ordering::SeqCst) && Instant::now() < until {
                    self.interrupt();
                    thread::sleep(Duration::from_micros(50)); // or the thread would do nothing else
                }
            });
            kernel::wait_for("the storm", || Ok(signals::counted() > calm)).unwrap();
            let before = signals::counted();
            let result = body();
            over.store(true, Ordering::SeqCst);
            (result, signals::counted() - before)
        })
    }
}

// ---- processes ----

/// Runs the test of this name once more, in a process of its own, and returns how that ended.
/// `None` in that process: there the test does what would harm the others.
pub fn own_process(test: &str) -> Option<Output> {
    (!is_own_process()).then(|| run_again_with(test, &[]))
}

/// Runs it with these variables in its environment.
pub fn run_again_with(test: &str, variables: &[(&str, OsString)]) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.envs(variables.iter().cloned());
    run_again(command, test)
}

/// The same with a file of its own in the place of one of the system's, such as `/etc/hosts`. It
/// needs no root where users may have namespaces. `Err`: why it cannot be had.
pub fn own_process_with_file(
    test: &str,
    path: &str,
    content: &str,
) -> Option<Result<Output, String>> {
    if is_own_process() {
        return None;
    }
    // Once mounted, the file needs no name any more.
    let script = r#"f=$(mktemp) && echo "$1" >"$f" && mount --bind "$f" "$0" && rm "$f" && shift &&
                    exec "$@""#;
    let command_with_file = || {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, path, content]);
        command
    };
    Some(match command_with_file().arg("true").output() {
        Err(e) => Err(format!("unshare: {e}")),
        Ok(tried) if !tried.status.success() => Err(text(&tried.stderr).trim().to_owned()),
        Ok(_) => {
            let mut command = command_with_file();
            command.arg(env::current_exe().unwrap());
            Ok(run_again(command, test))
        }
    })
}

const OWN_PROCESS: &str = "TEST_IN_ITS_OWN_PROCESS";

pub fn is_own_process() -> bool {
    env::var_os(OWN_PROCESS).is_some()
}

fn run_again(mut command: Command, test: &str) -> Output {
    let command = command.args(["--exact", test, "--nocapture"]).env(OWN_PROCESS, "1");
    let output = command.output().unwrap();
    let said = text(&output.stdout);
    assert!(said.contains("running 1 test"), "no test is called {test}: {said}");
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fails with what the other process said, if it failed.
pub fn assert_passed(output: &Output) {
    let Output { status, stdout, stderr } = output;
    assert!(status.success(), "{status}\n{}\n{}", text(stdout), text(stderr));
}

/// Runs `body` where no new descriptor can be had: EMFILE. Only in a process of one's own.
pub fn out_of_descriptors<R>(body: impl FnOnce() -> R) -> R {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
    let result = body();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    result
}
