//! A child's system calls, as `strace` shows them.

use std::ffi::CString;
use std::io::{self, Read, pipe};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::{env, fs};

use crate::retry_eintr;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use tcp_stream_io::{UniqueFd, sys};

use crate::child::{CHILD, find_program};

/// A child part ([`child::with_child`](crate::child::with_child)) that runs under strace.
#[must_use]
#[derive(Debug)]
pub struct Strace {
    pid: Pid,
    output: io::PipeReader,
    is_traced: bool,
}

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name: `accept4`, `recvfrom` …
    pub name: String,
    /// Its first argument, mostly a descriptor.
    pub first: String,
    /// What it returned.
    pub result: String,
}

impl Strace {
    /// Starts the program's child part under `strace -f -e trace=FILTER`; or, where there is no
    /// strace or it may not trace, without it.
    pub fn start(filter: &str, word: &str, lent: UniqueFd) -> io::Result<Strace> {
        let null = fs::File::options().read(true).write(true).open("/dev/null")?;
        let this = env::current_exe()?.to_string_lossy().into_owned();
        let child = [this.as_str(), CHILD, word];
        let strace = find_program("strace").map(|path| path.to_string_lossy().into_owned());
        let is_traced = match &strace {
            None => false,
            Some(strace) => {
                let fds = [null.as_raw_fd(); 3];
                let pid = spawn_untraced(&[strace, "-e", "trace=none", "/bin/sh", "-c", ":"], fds)?;
                retry_eintr(|| Ok(waitpid(pid, None)?))? == WaitStatus::Exited(pid, 0)
            }
        };
        let filter = format!("trace={filter}");
        let strace = strace.unwrap_or_default();
        let before: &[&str] = if is_traced { &[&strace, "-f", "-e", &filter] } else { &[] };
        let (output, its_end) = pipe()?;
        let fds = [lent.as_raw_fd(), null.as_raw_fd(), its_end.as_raw_fd()];
        let pid = spawn_untraced(&[before, &child].concat(), fds)?;
        Ok(Strace { pid, output, is_traced })
    }

    /// Waits until it ends. Returns the calls that strace has shown, in order, if it could.
    pub fn wait(mut self) -> io::Result<Option<Vec<Call>>> {
        let mut text = String::new();
        self.output.read_to_string(&mut text)?;
        retry_eintr(|| Ok(waitpid(self.pid, None)?))?;
        Ok(self.is_traced.then(|| text.lines().filter_map(parse).collect()))
    }
}

/// `[pid 7] accept4(0, {...}, [16], SOCK_CLOEXEC) = 3`, with or without the pid.
fn parse(line: &str) -> Option<Call> {
    let line = line.strip_prefix("[pid").map_or(line, |l| l.split_once(']').map_or(l, |(_, l)| l));
    let (name, rest) = line.trim_start().split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let first = arguments.split([',', ')']).next()?;
    let text = |word: &str| word.trim().to_owned();
    Some(Call { name: text(name), first: text(first), result: text(result) })
}

/// Starts a program that has these as its descriptors 0, 1 and 2. Whoever traces this process does
/// not trace that one (CLONE_UNTRACED, clone(2)): a process can have one tracer only.
fn spawn_untraced(command: &[&str], fds: [RawFd; 3]) -> io::Result<Pid> {
    let words: Vec<CString> =
        command.iter().map(|word| CString::new(*word)).collect::<Result<_, _>>()?;
    let mut argv: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(ptr::null());
    let flags = libc::c_long::from(libc::CLONE_UNTRACED | libc::SIGCHLD);
    // SAFETY:
    // - a fork by another name: without CLONE_VM the child has a copy of all memory.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => Err(sys::last_errno()),
        // SAFETY:
        // - the child makes system calls only; `argv` ends in a null pointer.
        0 => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL); // it ends with this thread
            for (wanted, fd) in (0..).zip(fds) {
                libc::dup2(fd, wanted);
            }
            libc::execv(argv[0], argv.as_ptr());
            libc::_exit(127)
        },
        pid => Ok(Pid::from_raw(pid as i32)),
    }
}
