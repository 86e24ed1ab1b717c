//! Starts programs, reads their lines as they are printed, and never waits for ever.

#![allow(dead_code)] // every test file uses a part of it

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use stage::kernel;
use tcp_stream_io::{UniqueFd, stream};

/// What takes so long hangs. Longer than the stage gives an example, for it can say where.
pub const HANG: Duration = Duration::from_secs(120);

pub fn deadline() -> Instant {
    Instant::now() + HANG
}

/// Says that a test, or a part of it, cannot run here. Written past the harness, which keeps to
/// itself what a test prints unless it fails.
pub fn skipped(why: impl Display) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

/// A running program. It is killed where a test fails before it has ended.
pub struct Program {
    child: Child,
    pub out: Lines,
    pub err: Lines,
}

/// How a program ended, and what it printed that was not read before.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

/// A shell starts what runs in the background with SIGINT ignored, and what it starts inherits that.
fn signals_as_at_a_terminal() {
    for name in [Signal::SIGINT, Signal::SIGQUIT] {
        // SAFETY: no handler is installed.
        unsafe { signal(name, SigHandler::SigDfl) }.unwrap();
    }
}

impl Program {
    pub fn start(command: &mut Command) -> Program {
        signals_as_at_a_terminal();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Program::of(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    pub fn of(mut child: Child) -> Program {
        let (out, err) = (Lines::of(child.stdout.take()), Lines::of(child.stderr.take()));
        Program { child, out, err }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let status = self.wait();
        let (code, signal) = (status.code(), status.signal());
        Ended { code, signal, out: self.out.rest(), err: self.err.rest() }
    }

    fn wait(&mut self) -> ExitStatus {
        // SAFETY:
        // - pidfd_open passes no memory, and the new descriptor is ours alone.
        let pidfd = unsafe {
            let fd = libc::syscall(libc::SYS_pidfd_open, self.child.id(), 0);
            assert!(fd >= 0, "pidfd_open: {}", io::Error::last_os_error());
            UniqueFd::from_raw_fd(fd as i32)
        };
        let ended = stream::wait_ready(&pidfd, libc::POLLIN, Some(deadline()));
        ended.unwrap_or_else(|e| panic!("process {} does not end: {e}", self.pid()));
        self.child.wait().unwrap()
    }

    /// Its open descriptors: `/proc/PID/fd`, proc(5).
    pub fn open_fds(&self) -> BTreeSet<u32> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        entries.map(|e| e.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill(); // does nothing once `wait` has seen its end
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Ended {
    Program::start(command).end()
}

/// The lines of a pipe. A thread reads them, so that no writer ever waits for the test.
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Lines {
        let (tell, lines) = mpsc::channel();
        if let Some(pipe) = pipe {
            thread::spawn(move || {
                let lines = BufReader::new(pipe).split(b'\n').map_while(Result::ok);
                for line in lines {
                    let _ = tell.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
        }
        Lines(lines)
    }

    /// The next line, as soon as it is there.
    #[track_caller]
    pub fn next(&self) -> String {
        self.0.recv_timeout(HANG).expect("waited in vain for a line")
    }

    /// The next line, or that there is none: the pipe has ended.
    pub fn next_if_any(&self) -> Option<String> {
        match self.0.recv_timeout(HANG) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("waited in vain for a line"),
            line => line.ok(),
        }
    }

    /// All lines up to the end of the pipe.
    pub fn rest(&self) -> Vec<String> {
        let until = deadline();
        let left = || until.saturating_duration_since(Instant::now());
        std::iter::from_fn(|| match self.0.recv_timeout(left()) {
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the pipe does not end"),
            line => line.ok(),
        })
        .collect()
    }
}

/// A server that prints where it listens in its first line, as `… ADDRESS:PORT`.
pub struct Server {
    pub program: Program,
    pub first_line: String,
    pub port: u16,
}

impl Server {
    pub fn start(command: &mut Command) -> Server {
        let program = Program::start(command);
        let first_line = program.out.next();
        let port = first_line.rsplit(':').next().and_then(|port| port.parse().ok());
        let port = port.unwrap_or_else(|| panic!("no port in {first_line:?}"));
        Server { program, first_line, port }
    }

    /// Waits until it has done with all its clients: it waits for the next one.
    pub fn wait_until_idle(&self) {
        let (file, call) = (format!("/proc/{}/syscall", self.program.pid()), libc::SYS_accept4);
        let waits = || Ok(fs::read_to_string(&file)?.starts_with(&format!("{call} ")));
        kernel::wait_for("the server to wait for a client", waits).unwrap();
    }

    /// Ends it with SIGTERM.
    pub fn stop(self) -> Ended {
        self.program.signal(Signal::SIGTERM);
        self.program.end()
    }
}
