//! The child process from the inside: calls the answer, and looks at what it left behind.

use std::backtrace::Backtrace;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process;
use std::sync::Mutex;
use std::thread;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use say::say;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::calls::{Calls, Seldom};
use crate::kernel::{self, identity};
use crate::refusal::{Verdict, first, judge};
use crate::{alloc, calls, language, wire};

/// The child's end of the conversation with the grader. Far from the numbers an answer meets.
const CONTROL: RawFd = 200;

/// What came with a question.
pub struct Given {
    /// Descriptors, open and lent: the grader closes them. They stay until others come.
    pub fds: Vec<RawFd>,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// The question of the parent.
#[derive(Serialize, Deserialize)]
pub(crate) enum Question<A> {
    /// Call the answer; perhaps where 0 is the next descriptor, or the last that was given; and
    /// where this happens.
    Ask(A, [bool; 2], Seldom),
    /// Close the descriptors that were given.
    Close,
}

/// What the child tells the parent.
#[derive(Serialize, Deserialize)]
pub(crate) enum Event {
    /// What the call came to; and what all calls so far have left behind of memory.
    Said(Box<RawValue>, usize),
    NotStarted,
    Panicked {
        message: String,
        place: String,
    },
}

/// Stands where the answer goes. It takes what the function was given, so that nothing is unused.
pub fn yours<T>(_given: T) -> ! {
    panic::panic_any(NotStarted)
}

struct NotStarted;

/// An error as it travels to the parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// [`io::ErrorKind`] by its name.
    pub kind: String,
    /// errno, where there is one.
    pub errno: Option<i32>,
    /// The error's own text.
    pub text: String,
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure { kind: format!("{:?}", e.kind()), errno: e.raw_os_error(), text: e.to_string() }
    }
}

impl Failure {
    /// An error of the kernel's without the kernel's number. For the kinds that a task asks for
    /// there is none.
    pub fn without_errno(&self) -> bool {
        let asked_for = ["UnexpectedEof", "InvalidData", "InvalidInput", "TimedOut", "WriteZero"];
        self.errno.is_none() && !asked_for.contains(&self.kind.as_str())
    }

    /// `Err(ConnectionReset: …)`; where errno is missing, it says so.
    pub fn shown(&self) -> String {
        let Failure { kind, text, .. } = self;
        match self.without_errno() {
            true => say!("Err({kind}, without errno: {text})"),
            false => format!("Err({kind}: {text})"),
        }
    }
}

/// How a call left the process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct After {
    /// Descriptors that are open now and were not before, with what they are.
    pub opened: Vec<String>,
    /// What those have that no new one has.
    pub odd: Vec<String>,
    /// Descriptors that were open before and are not now, or are something else now.
    pub closed: Vec<RawFd>,
    /// Settings of the given descriptors that are not as they were.
    pub changed: Vec<String>,
    /// Bytes that wait to be read, for each of the given descriptors.
    pub unread: Vec<usize>,
    /// Bytes that were handed to the kernel and held back by it, for each of them.
    pub unsent: Vec<usize>,
    /// Whether the stream has ended after those, for each of them.
    pub ended: Vec<bool>,
    /// Settings of the process that are not as they were.
    pub process: Vec<String>,
    /// The most memory the call held at once, in bytes.
    pub peak: usize,
    /// It wrote beside the buffer that it was given.
    pub outside: bool,
    /// The calls it made.
    pub calls: Calls,
}

/// Calls the answer and looks at the process before and after.
///
/// errno is EINTR when the call begins: an answer must look at errno after a failure only.
pub fn observe<T>(fds: &[RawFd], call: impl FnOnce() -> T) -> (T, After) {
    let (open, settings, process) = (open_fds(), all_settings(fds), process_settings());
    calls::watch(fds);
    name_process(kernel::ANSWERING);
    Errno::EINTR.set();
    calls::spoil_stack();
    let (result, peak) = alloc::peak_of(call);
    name_process("grading");
    let calls = calls::counted();
    let (open_now, settings_now) = (open_fds(), all_settings(fds));
    let same = |fd: &RawFd| open_now.get(fd) == open.get(fd);
    let new = open_now.iter().filter(|(fd, _)| !open.contains_key(fd));
    let after = After {
        opened: new.clone().map(|(fd, what)| format!("fd {fd} ({what})")).collect(),
        odd: new.flat_map(|(fd, _)| odd(*fd)).collect(),
        closed: open.keys().filter(|fd| !same(fd)).copied().collect(),
        changed: settings_now.into_iter().filter(|s| !settings.contains(s)).map(shown).collect(),
        unread: fds.iter().map(|&fd| unread(fd)).collect(),
        unsent: fds.iter().map(|&fd| count(fd, SIOCOUTQNSD)).collect(),
        ended: fds.iter().map(|&fd| ended(fd)).collect(),
        process: process_settings().into_iter().filter(|s| !process.contains(s)).collect(),
        peak,
        outside: false,
        calls,
    };
    (result, after)
}

/// What the grader knows the answer's own sleep by: `/proc/PID/stat` has the name beside the state.
fn name_process(name: &str) {
    let name = CString::new(name).unwrap_or_default();
    let _ = nix::sys::prctl::set_name(&name);
}

/// Every open descriptor of this process, and what the kernel calls it (`socket:[4711]`).
pub fn open_fds() -> BTreeMap<RawFd, String> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    // The directory itself is open while it is read, and not any more when it is asked for.
    let numbers: Vec<RawFd> = entries.filter_map(number).collect();
    let named = |fd| Some((fd, identity(fd)?.to_string_lossy().into_owned()));
    numbers.into_iter().filter_map(named).collect()
}

fn all_settings(fds: &[RawFd]) -> Vec<(RawFd, Setting)> {
    let of = |&fd: &RawFd| {
        let inherited = flags(fd, libc::F_GETFD)
            .map(|flags| ("close-on-exec", (flags & libc::FD_CLOEXEC).to_ne_bytes().into()));
        settings(fd).into_iter().chain(inherited).map(move |setting| (fd, setting))
    };
    fds.iter().flat_map(of).collect()
}

fn shown((fd, (name, value)): (RawFd, Setting)) -> String {
    say!("{name} of fd {fd}: {}", number(&value))
}

/// Most are ints.
fn number(value: &[u8]) -> String {
    let int = value.try_into().map(i32::from_ne_bytes);
    int.map_or_else(|_| format!("{value:?}"), |int| format!("{int:#o}"))
}

/// What fcntl(2) says of a descriptor; nothing where none is open.
fn flags(fd: RawFd, which: libc::c_int) -> Option<libc::c_int> {
    // SAFETY: it takes numbers and returns one, whatever is open there.
    let flags = unsafe { libc::fcntl(fd, which) };
    (flags >= 0).then_some(flags)
}

/// A setting by its name, and its value as it is in memory.
pub type Setting = (&'static str, Vec<u8>);

/// The settings of a descriptor that an answer might change on its way.
pub fn settings(fd: RawFd) -> Vec<Setting> {
    let flags = flags(fd, libc::F_GETFL).map(|flags| (calls::FLAGS, flags.to_ne_bytes().into()));
    let options = calls::OPTIONS.map(|(level, name, text)| (text, option(fd, level, name)));
    let known = options.into_iter().filter(|(_, value)| !value.is_empty());
    flags.into_iter().chain(known).collect()
}

/// What getsockopt(2) says of an option, as bytes; none where it fails.
pub fn option(fd: RawFd, level: libc::c_int, name: libc::c_int) -> Vec<u8> {
    let mut value = vec![0; 256];
    let mut len = value.len() as libc::socklen_t;
    // SAFETY: `value` is writable for `len` bytes.
    let rc = unsafe { libc::getsockopt(fd, level, name, value.as_mut_ptr().cast(), &mut len) };
    value.truncate(if rc == 0 { len as usize } else { 0 });
    value
}

/// Settings of a new stream socket that nobody asked for, each with its value.
pub fn unasked_settings(fd: RawFd) -> Vec<String> {
    let kind = SockType::Stream;
    let Ok(new) = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None) else {
        return vec!["no socket to compare with".into()];
    };
    let usual = settings(new.as_raw_fd());
    let others = settings(fd).into_iter().filter(|setting| !usual.contains(setting));
    others.map(|(name, value)| format!("{}: {}", language::told(name), number(&value))).collect()
}

/// Whether a `recv` finds the end of the stream, after what is unread: the peer has ended it, or
/// this end has been shut down for reading. Of a pipe: whether its writers have gone.
pub fn ended(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one pollfd, and its number.
    let ready = unsafe { libc::poll(&mut poll, 1, 0) };
    ready == 1 && poll.revents & (libc::POLLRDHUP | libc::POLLHUP) != 0
}

/// The first of what is looked at of the process.
pub const THREADS: &str = "the number of threads";

/// What the process does about signals, and how many threads it has.
fn process_settings() -> Vec<String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of_interest = [
        ("Threads:", THREADS),
        ("SigBlk:", "the set of blocked signals"),
        ("SigIgn:", "the set of ignored signals (SIGPIPE among them)"),
        ("SigCgt:", "the set of signals with a handler"),
    ];
    let line = |(label, text): (&str, &str)| {
        let value = status.lines().find_map(|line| line.strip_prefix(label))?;
        Some(format!("{}: {}", language::told(text), value.trim()))
    };
    of_interest.into_iter().filter_map(line).collect()
}

/// Bytes that wait to be read: FIONREAD, tcp(7).
pub fn unread(fd: RawFd) -> usize {
    count(fd, libc::FIONREAD)
}

/// Bytes, and the end of the stream, that the other end has not acknowledged: SIOCOUTQ, tcp(7).
pub fn outstanding(fd: RawFd) -> usize {
    count(fd, libc::TIOCOUTQ)
}

/// Not sent yet, not even once: linux/sockios.h.
const SIOCOUTQNSD: libc::Ioctl = 0x894b;

fn count(fd: RawFd, request: libc::Ioctl) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: both requests write one int, and `count` is one.
    let rc = unsafe { libc::ioctl(fd, request, &mut count) };
    if rc == 0 { count as usize } else { 0 }
}

/// What a descriptor that an answer has made ought not to have.
fn odd(fd: RawFd) -> Vec<String> {
    let inherits = flags(fd, libc::F_GETFD).is_some_and(|flags| flags & libc::FD_CLOEXEC == 0);
    let inherited = inherits.then(|| "no FD_CLOEXEC".into());
    inherited.into_iter().chain(unasked_settings(fd)).collect()
}

impl After {
    /// Whether what it has made, and gives away, is as new ones ought to be.
    pub fn made(&self) -> Verdict {
        let odd = self.odd.first().map_or("", String::as_str);
        let mistake = first! {
            odd.contains("FD_CLOEXEC") =>
                "a program that this one starts would inherit the socket: SOCK_CLOEXEC",
            odd.starts_with(calls::FLAGS) =>
                "the socket was left non-blocking: the next call on it would not wait",
            !odd.is_empty() => "the socket has a setting that nobody asked for",
        };
        judge(mistake, "close-on-exec, and the settings of a new socket", odd)
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// As a C program begins: SIGPIPE kills. SIGUSR1 has a handler, and interrupts what it meets.
fn set_signals() -> nix::Result<()> {
    let handler = SigHandler::Handler(nothing);
    let interrupting = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing; SigDfl installs none.
    unsafe {
        nix::sys::signal::sigaction(Signal::SIGUSR1, &interrupting)?;
        nix::sys::signal::signal(Signal::SIGPIPE, SigHandler::SigDfl)?;
    }
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_UNBLOCK, Some(&SigSet::all()), None)
}

/// Moves the control socket out of the way; fd 0 becomes what every program has there.
fn take_control() -> io::Result<UnixStream> {
    // SAFETY:
    // - the parent has put the control socket at fd 0, where nobody else has used it yet;
    // - the new descriptor is ours alone.
    let control = unsafe {
        let at = BorrowedFd::borrow_raw(0);
        OwnedFd::from_raw_fd(fcntl(at, FcntlArg::F_DUPFD_CLOEXEC(CONTROL))?)
    };
    nix::unistd::dup2_stdin(fs::File::open("/dev/null")?)?;
    // SAFETY: prctl with PR_SET_PDEATHSIG takes a number: this process ends with its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    Ok(control.into())
}

/// Runs it where 0 is the next descriptor, as where stdin has been closed.
fn without_stdin<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the calls take numbers; nobody uses fd 0 in this process.
    unsafe {
        let kept = libc::fcntl(0, libc::F_DUPFD_CLOEXEC, CONTROL);
        libc::close(0);
        let done = work();
        libc::dup2(kept, 0);
        libc::close(kept);
        done
    }
}

static PANIC: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Answers the parent's questions until it has no more. A call comes to what can be told, and bytes.
pub(crate) fn serve<A: DeserializeOwned>(
    mut call: impl FnMut(A, Given) -> io::Result<(Box<RawValue>, Vec<u8>)>,
) -> io::Result<()> {
    let control = take_control()?;
    language::is_korean(); // looked up before memory is counted
    set_signals()?;
    let _ = thread::spawn(|| {}).join(); // with the first one libc sets up signals of its own
    while fs::read_dir("/proc/self/task")?.count() > 1 {
        thread::yield_now();
    }
    alloc::limit(2 * alloc::LIMIT as u64);
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line()));
        let learners = place.clone().filter(|place| is_the_learners(place)).or_else(learners_line);
        let payload = info.payload();
        let message = payload.downcast_ref::<&str>().map(|text| text.to_string());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        let message = message.unwrap_or_default();
        *PANIC.lock().unwrap() = Some((message, learners.or(place).unwrap_or_default()));
    }));
    let mut lent: Vec<(RawFd, Option<PathBuf>)> = Vec::new();
    let mut kept = 0;
    loop {
        let before = alloc::now();
        let Some((question, bytes, fds)) = wire::receive::<Question<A>>(&control)? else { break };
        if !fds.is_empty() || matches!(question, Question::Close) {
            for (fd, what) in lent.drain(..) {
                // The answer may have closed it, and the number may stand for another one now.
                if identity(fd) == what {
                    drain(fd);
                    // SAFETY: the descriptor is the one that was lent, and nobody uses it any more.
                    unsafe { libc::close(fd) };
                }
            }
            lent = fds.into_iter().map(|fd| (fd, identity(fd))).collect();
        }
        let Question::Ask(ask, [free, lent_zero], seldom) = question else { continue };
        calls::next_time(seldom);
        let mut given = Given { fds: lent.iter().map(|(fd, _)| *fd).collect(), bytes };
        let called = || match free || lent_zero {
            false => call(ask, given),
            true => without_stdin(|| {
                if let Some(last) = given.fds.last_mut().filter(|_| lent_zero) {
                    // SAFETY: fcntl takes numbers; `without_stdin` closes the copy.
                    *last = unsafe { libc::fcntl(*last, libc::F_DUPFD_CLOEXEC, 0) };
                }
                call(ask, given)
            }),
        };
        match panic::catch_unwind(AssertUnwindSafe(called)) {
            Ok(told) => {
                let (said, bytes) = told?;
                let returned = said.get().len() + bytes.capacity();
                kept += alloc::now().saturating_sub(before + returned);
                wire::send(&control, &Event::Said(said, kept), &bytes, &[])?;
            }
            Err(payload) => {
                calls::counted(); // what is seldom was for the answer
                let (message, place) = PANIC.lock().unwrap().take().unwrap_or_default();
                let event = match payload.is::<NotStarted>() {
                    true => Event::NotStarted,
                    false => Event::Panicked { message, place },
                };
                wire::send(&control, &event, &[], &[])?;
                process::exit(0);
            }
        }
    }
    Ok(())
}

/// Neither the standard library's, nor a crate's, nor the grader's.
fn is_the_learners(place: &str) -> bool {
    !["/rustc/", "/library/", "/registry/", "grader/src"].iter().any(|other| place.contains(other))
}

/// The innermost line of the learner's that led to where we are.
fn learners_line() -> Option<String> {
    let trace = Backtrace::force_capture().to_string();
    let mut places = trace.lines().filter_map(|line| line.trim().strip_prefix("at "));
    let line = places.find(|place| is_the_learners(place))?;
    Some(line.rsplit_once(':').map_or(line, |(place, _column)| place).into())
}

/// Unread bytes would turn the close into a reset, which destroys what is still on its way out.
fn drain(fd: RawFd) {
    let mut unread = [0; 4096];
    let (at, len) = (unread.as_mut_ptr().cast(), unread.len());
    // SAFETY: `unread` is writable for its whole length.
    while unsafe { libc::recv(fd, at, len, libc::MSG_DONTWAIT) } > 0 {}
}
