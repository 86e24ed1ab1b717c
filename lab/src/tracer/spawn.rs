//! A program's start: fork, seize, move in, filter, exec.
//!
//! The child waits for one byte before it does anything, so that it is seized from its first
//! step; the filter comes last, so that only the program itself is ever stopped.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::ptr;

use anyhow::{Context, Result, anyhow};
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use super::Program;
use super::table::TABLE;
use crate::record::Host;

/// A program that has been started, or is about to fail to.
pub struct Started {
    pub pid: i32,
    /// Its standard output and error, for somebody to read.
    pub output: [PipeReader; 2],
    report: UnixStream,
}

impl Started {
    /// Why the program never ran, once it has ended without having run.
    pub fn error(mut self) -> anyhow::Error {
        let mut bytes = [0; 4];
        match self.report.read_exact(&mut bytes) {
            Ok(()) => io::Error::from_raw_os_error(i32::from_ne_bytes(bytes)).into(),
            Err(_) => anyhow!("it ended before it began"),
        }
    }

    /// The number that it was started for.
    pub fn number(mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.report.read_exact(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

/// Stops on every traced call; lets all others pass.
pub fn filter() -> Result<BpfProgram> {
    let rules = TABLE.iter().map(|spec| (spec.number, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), arch)?;
    Ok(filter.try_into()?)
}

/// Starts `program` as a tracee of the calling thread.
pub fn spawn(program: &Program, filter: &BpfProgram) -> Result<Started> {
    let words: Vec<CString> = program
        .words
        .iter()
        .map(|word| CString::new(word.as_str()))
        .collect::<Result<_, _>>()
        .context("a command line cannot hold a zero byte")?;
    let mut argv: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(ptr::null());
    let no_input = File::open("/dev/null")?;

    start(|output| {
        (program.enter)()?;
        if program.host == Host::Server {
            dup2_stdin(&no_input)?;
        }
        dup2_stdout(&output[0])?;
        dup2_stderr(&output[1])?;
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        // SAFETY: the default disposition is no handler of ours.
        unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }?;
        apply(filter)?;
        // SAFETY: `argv` ends in a null pointer, and each pointer before it is to a C string.
        unsafe { libc::execvp(argv[0], argv.as_ptr()) };
        Err(io::Error::last_os_error())
    })
}

/// Puts the filter on the calling process, for good.
pub fn apply(filter: &BpfProgram) -> io::Result<()> {
    apply_filter(filter).map_err(|_| io::Error::from_raw_os_error(libc::EPERM))
}

/// Starts a process that does what `body` says, as a tracee of the calling thread. What `body`
/// returns, an error or eight bytes, is to be had from [`Started`] afterwards.
///
/// `body` runs between fork and exec: it may make system calls, and nothing else.
pub fn start(body: impl FnOnce(&[PipeWriter; 2]) -> io::Result<u64>) -> Result<Started> {
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let (out, out_end) = io::pipe()?;
    let (err, err_end) = io::pipe()?;

    // SAFETY:
    // - the child makes async-signal-safe calls only, and ends in execvp or _exit
    let pid = match unsafe { fork() }? {
        ForkResult::Parent { child } => child.as_raw(),
        ForkResult::Child => {
            drop(ours); // so that the end of the parent is seen
            let begun = theirs.read_exact(&mut [0]);
            let result = begun.and_then(|()| body(&[out_end, err_end]));
            let _ = match &result {
                Ok(number) => theirs.write_all(&number.to_ne_bytes()),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                    theirs.write_all(&errno.to_ne_bytes())
                }
            };
            // SAFETY: _exit has no precondition.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 127 }) }
        }
    };
    drop(theirs);
    ptrace::seize(
        Pid::from_raw(pid),
        Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACEEXIT
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_EXITKILL,
    )
    .context("ptrace is not allowed here")?;
    ours.write_all(&[1])?;
    Ok(Started { pid, output: [out, err], report: ours })
}
