//! Waiting for tracees and resuming them: waitpid(2), ptrace(2).
//!
//! nix has both, but not for real-time signals (its `Signal` has no number for them, and a program
//! with threads may well use them), nor PTRACE_LISTEN.

use std::io;
use std::ptr;

use nix::errno::Errno;

/// What waitpid(2) told about one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At a traced system call's entry: the filter said so.
    Entry,
    /// At a system call's exit.
    Exit,
    /// Started another program: execve(2) has succeeded.
    Exec,
    /// Has made a process or a thread.
    Child,
    /// About to end; its descriptors are still open.
    Leaving,
    /// Stopped by SIGSTOP and its kind, until SIGCONT.
    Group,
    /// Stopped for our sake: a new thread, which waits to be let go.
    Begin,
    /// About to get this signal.
    Signal(i32),
    /// Ended with this exit status.
    Exited(i32),
    /// Killed by this signal.
    Killed(i32),
}

/// The next thing that any tracee of this thread did; `None`: nothing yet.
///
/// # Errors
///
/// ECHILD: there are none left.
pub fn next() -> io::Result<Option<(i32, Stop)>> {
    let mut status = 0;
    let flags = libc::__WALL | libc::__WNOTHREAD | libc::WNOHANG;
    // SAFETY: `status` is valid for writing an int.
    let pid = Errno::result(unsafe { libc::waitpid(-1, &raw mut status, flags) })?;
    Ok((pid != 0).then(|| (pid, stop(status))))
}

fn stop(status: i32) -> Stop {
    if libc::WIFEXITED(status) {
        return Stop::Exited(libc::WEXITSTATUS(status));
    }
    if libc::WIFSIGNALED(status) {
        return Stop::Killed(libc::WTERMSIG(status));
    }
    let signal = libc::WSTOPSIG(status);
    match status >> 16 {
        libc::PTRACE_EVENT_SECCOMP => Stop::Entry,
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        libc::PTRACE_EVENT_EXIT => Stop::Leaving,
        libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK => {
            Stop::Child
        }
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Begin,
        libc::PTRACE_EVENT_STOP => Stop::Group,
        _ if signal == libc::SIGTRAP | 0x80 => Stop::Exit, // PTRACE_O_TRACESYSGOOD
        _ => Stop::Signal(signal),
    }
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// To the next traced call.
    NextEntry,
    /// To the exit of the call that it is in.
    Exit,
    /// Not at all: it stays stopped until SIGCONT.
    Continued,
}

/// Lets a stopped thread go on, with a signal (0: none).
///
/// A thread that was killed meanwhile is no error: waitpid(2) will say so.
pub fn resume(tid: i32, until: Until, signal: i32) {
    let request = match until {
        Until::NextEntry => libc::PTRACE_CONT,
        Until::Exit => libc::PTRACE_SYSCALL,
        Until::Continued => libc::PTRACE_LISTEN,
    };
    let none = ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests touch no memory of ours; the last argument is a number, the signal's.
    unsafe { libc::ptrace(request, tid, none, signal as usize as *mut libc::c_void) };
}

/// The name of a signal: "SIGTERM", "SIGRT_2".
pub fn signal_name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => format!("SIGRT_{}", number - 32),
    }
}
