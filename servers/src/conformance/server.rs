//! The server under test: a program that runs, seen from outside through /proc and its port.

use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{fs, mem, thread};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use tcp_stream_io::{UniqueFd, stream};

use crate::outside;
use crate::wait::HANG_LIMIT;

/// How long a server may take to listen.
const TO_LISTEN: Duration = HANG_LIMIT;

/// How long to wait for what a server said at its end.
const TO_SAY_ALL: Duration = Duration::from_secs(10);

/// How to start a server: a program and its arguments. `{addr}` and `{port}` in them become the
/// address and a free port. Without `{port}` the server must print `[listen-ok] ADDRESS:PORT`.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The program, then its arguments.
    pub words: Vec<OsString>,
}

/// A server that runs. It is killed when this goes out of scope.
#[derive(Debug)]
pub struct Server {
    child: Child,
    gone: bool,
    /// Where it listens.
    pub addr: SocketAddr,
    last_words: LastWords,
    /// Closed when no more of them will come.
    all_said: Receiver<()>,
    fds_at_start: usize,
    /// When SIGTERM was sent.
    pub asked_to_end: Option<Instant>,
    /// What it prints to, where nobody reads that.
    unread: Vec<OwnedFd>,
}

/// The last line that it wrote to standard error.
type LastWords = Arc<Mutex<String>>;

/// The process group of the server that runs now, for `end_server_on_signals`.
static RUNNING: AtomicI32 = AtomicI32::new(0);

/// Ctrl-C ends the server, too. Call it before any thread starts: all inherit the blocked signals.
pub fn end_server_on_signals() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    thread::Builder::new().name("signals".into()).spawn(move || {
        let signal = signals.wait();
        let group = RUNNING.load(Ordering::SeqCst);
        if group > 0 {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        std::process::exit(128 + signal.map_or(0, |s| s as i32));
    })?;
    Ok(())
}

impl Server {
    /// Starts it, and waits until it listens. The error says why it does not, in one line.
    pub fn start(recipe: &Recipe) -> Result<Server, String> {
        let (mut server, given) = Server::spawn(recipe)?;
        let said = listen_line(server.child.stdout.take(), true);
        server.all_said = keep_last_line(server.child.stderr.take(), &server.last_words);
        server.begin(given, &said)?;
        Ok(server)
    }

    /// The same, but nobody reads what it prints once it listens, and there is no room for more.
    pub fn start_unread(recipe: &Recipe) -> Result<Server, String> {
        let (mut server, given) = Server::spawn(recipe)?;
        let (out, err) = (server.child.stdout.take(), server.child.stderr.take());
        let copy = out.as_ref().map(|out| out.as_fd().try_clone_to_owned());
        let copy = copy.transpose().map_err(|e| e.to_string())?;
        // One that was given its port need not say anything.
        let said = listen_line(if given.is_some() { None } else { out }, false);
        server.begin(given, &said)?;
        for pipe in [copy, err.map(OwnedFd::from)].into_iter().flatten() {
            fill(&pipe).map_err(|e| format!("filling its pipe: {e}"))?;
            server.unread.push(pipe);
        }
        Ok(server)
    }

    fn spawn(recipe: &Recipe) -> Result<(Server, Option<u16>), String> {
        let wants_port = recipe.words.iter().any(|w| w.to_string_lossy().contains("{port}"));
        let given = if wants_port { Some(free_port().map_err(|e| e.to_string())?) } else { None };
        let words: Vec<OsString> = recipe.words.iter().map(|word| fill_in(word, given)).collect();
        let [program, args @ ..] = words.as_slice() else {
            return Err("no command given".into());
        };
        let mut command = Command::new(program);
        command.args(args).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec only prctl and pthread_sigmask are called: no lock is taken.
        unsafe {
            command.pre_exec(|| {
                SigSet::empty().thread_set_mask()?; // ours stays blocked across exec otherwise
                Ok(set_pdeathsig(Signal::SIGKILL)?) // if we are killed
            });
        }
        let child = command.spawn().map_err(|e| format!("{}: {e}", program.to_string_lossy()))?;
        RUNNING.store(child.id() as i32, Ordering::SeqCst);
        let server = Server {
            child,
            gone: false,
            addr: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            last_words: LastWords::default(),
            all_said: mpsc::channel().1,
            fds_at_start: 0,
            asked_to_end: None,
            unread: Vec::new(),
        };
        Ok((server, given))
    }

    fn begin(&mut self, given: Option<u16>, said: &Receiver<SocketAddr>) -> Result<(), String> {
        self.addr = self.wait_until_it_listens(given, said)?;
        self.fds_at_start = self.open_fds();
        Ok(())
    }

    fn wait_until_it_listens(
        &self,
        given: Option<u16>,
        said: &Receiver<SocketAddr>,
    ) -> Result<SocketAddr, String> {
        let until = Instant::now() + TO_LISTEN;
        loop {
            match said.recv_timeout(Duration::from_millis(20)) {
                Ok(addr) => return Ok(addr),
                // It has closed its standard output: perhaps it has ended, perhaps not.
                Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(20)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // A server that prints nothing is asked: no event tells that another process listens.
            let addr = given.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            if let Some(addr) = addr.filter(|addr| TcpStream::connect(addr).is_ok()) {
                return Ok(addr);
            }
            if let Some(how) = self.has_ended() {
                return Err(format!("it does not listen: {how}"));
            }
            if Instant::now() > until {
                let hint = if given.is_some() { "nobody answers" } else { "no line [listen-ok]" };
                return Err(format!("it does not listen: {hint} after {TO_LISTEN:?}"));
            }
        }
    }

    /// How it has ended, with its last line on standard error; `None` while it runs.
    pub fn has_ended(&self) -> Option<String> {
        // Only looks: until `drop` waits for it, its process id is nobody else's.
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let how = match waitid(Id::Pid(self.pid()), look) {
            Ok(WaitStatus::Exited(_, code)) => format!("exit code {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => signal.to_string(),
            _ => return None,
        };
        // Unless something that it started still has its standard error.
        let _ = self.all_said.recv_timeout(TO_SAY_ALL);
        let words = self.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        Some(format!("the server ended, {how}{words}"))
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.id() as i32)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn ask_to_end(&mut self) -> Result<(), String> {
        // What it says from now on may be about its end.
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).clear();
        kill(self.pid(), Signal::SIGTERM).map_err(|e| e.to_string())?;
        self.asked_to_end.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// How it ended, if it does before the deadline.
    pub fn wait_for_end(&self, deadline: Instant) -> Option<String> {
        // SAFETY: pidfd_open takes no memory, and the new descriptor is ours alone.
        let pidfd = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, self.child.id(), 0);
            (fd >= 0).then(|| UniqueFd::from_raw_fd(fd as i32))
        };
        if let Some(pidfd) = pidfd {
            let _ = stream::wait_ready(&pidfd, libc::POLLIN, Some(deadline));
        }
        self.has_ended()
    }

    /// Ends it at once, and waits until it is gone.
    pub fn kill(&mut self) {
        if mem::replace(&mut self.gone, true) {
            return; // the process id may be another's by now
        }
        // Its group, for what it has started itself.
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.kill();
        RUNNING.store(0, Ordering::SeqCst);
        let _ = self.child.wait();
    }

    /// How many descriptors it has open. 0 where it cannot be known.
    pub fn open_fds(&self) -> usize {
        outside::descriptors(self.id()).len()
    }

    /// How many it had when it began to listen.
    pub fn fds_at_start(&self) -> usize {
        self.fds_at_start
    }

    /// The memory that it has in use, in KiB: `VmRSS` in `/proc/PID/status`.
    pub fn memory_kib(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let line = |text: String| Some(text.split_once("VmRSS:")?.1.trim_start().to_owned());
        let number = |text: String| text.split(' ').next()?.parse().ok();
        status.ok().and_then(line).and_then(number).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn fill_in(word: &OsStr, port: Option<u16>) -> OsString {
    match (word.to_str(), port) {
        (Some(text), Some(port)) => {
            text.replace("{addr}", "127.0.0.1").replace("{port}", &port.to_string()).into()
        }
        (Some(text), None) => text.replace("{addr}", "127.0.0.1").into(),
        (None, _) => word.to_owned(),
    }
}

/// A port that was free a moment ago.
fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Takes all the room there is in a pipe.
fn fill(pipe: &OwnedFd) -> io::Result<()> {
    // Opened anew, or O_NONBLOCK would hold for the server's end, too.
    let again = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut end = OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(again)?;
    loop {
        match end.write(b".") {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(e) => return Err(e),
        }
    }
}

/// Reads what it prints, and sends the address that it announces. Then it reads on, so that the
/// server never waits for us, or not.
fn listen_line(stdout: Option<impl Read + Send + 'static>, and_on: bool) -> Receiver<SocketAddr> {
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = stdout {
        thread::spawn(move || {
            for_each_line(stdout, |line| {
                let addr = line.strip_prefix("[listen-ok] ").and_then(|a| a.trim().parse().ok());
                if let Some(addr) = addr {
                    let _ = sender.send(reachable(addr));
                }
                and_on || addr.is_none()
            });
        });
    }
    receiver
}

/// `0.0.0.0` and `::` are where one listens, not where one connects to.
fn reachable(mut addr: SocketAddr) -> SocketAddr {
    if addr.ip().is_unspecified() {
        addr.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    addr
}

fn keep_last_line(stderr: Option<impl Read + Send + 'static>, last: &LastWords) -> Receiver<()> {
    let last = Arc::clone(last);
    let (all_said, receiver) = mpsc::channel();
    if let Some(stderr) = stderr {
        thread::spawn(move || {
            for_each_line(stderr, |line| {
                if !line.trim().is_empty() {
                    let line: String = line.trim().chars().take(100).collect();
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = line;
                }
                true
            });
            drop(all_said);
        });
    }
    receiver
}

/// Until `each` has had enough.
fn for_each_line(from: impl Read, mut each: impl FnMut(&str) -> bool) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        if !each(&String::from_utf8_lossy(&line)) {
            break;
        }
        line.clear();
    }
}
