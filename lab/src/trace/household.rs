//! What makes sure that programs which nobody traces leave nothing behind.

use std::fs::File;
use std::io::{PipeWriter, Read};
use std::process::{Child, Command};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{ForkResult, Pid, fork};

use crate::world::on_a_thread;

/// A process namespace: with its first process all others are killed, and that one ends with this
/// value, or with this process, however it ends. See pid_namespaces(7).
pub struct Household {
    first: Pid,
    namespace: File,
    /// The first process waits for this end of a pipe to be closed.
    _held: PipeWriter,
}

impl Household {
    /// Makes it, with its first process.
    ///
    /// # Errors
    /// EPERM, ENOSPC: the system does not allow it.
    pub fn new() -> Result<Self> {
        // A thread that has done this cannot start a thread any more.
        on_a_thread("household", || {
            let (mut wait, held) = std::io::pipe()?;
            unshare(CloneFlags::CLONE_NEWPID).context("a process namespace")?;
            // SAFETY:
            // - the child makes async-signal-safe calls only, and ends in _exit
            match unsafe { fork() }? {
                ForkResult::Parent { child: first } => {
                    let namespace = File::open("/proc/thread-self/ns/pid_for_children")?;
                    Ok(Self { first, namespace, _held: held })
                }
                ForkResult::Child => {
                    drop(held);
                    // SAFETY: to ignore a signal is no handler of ours. Orphans leave no zombies.
                    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigIgn) };
                    let _ = wait.read(&mut [0]);
                    // SAFETY: _exit has no precondition.
                    unsafe { nix::libc::_exit(0) }
                }
            }
        })
    }

    /// Whether a process runs there whose parent has ended: a daemon.
    pub fn has_orphans(&self) -> bool {
        let path = format!("/proc/{0}/task/{0}/children", self.first);
        std::fs::read_to_string(path).is_ok_and(|children| !children.trim().is_empty())
    }

    /// Starts a program in it.
    pub fn start(&self, command: &mut Command) -> std::io::Result<Child> {
        on_a_thread("start", || {
            setns(&self.namespace, CloneFlags::CLONE_NEWPID)?;
            command.spawn()
        })
    }
}

impl Drop for Household {
    fn drop(&mut self) {
        let _ = kill(self.first, Signal::SIGKILL); // it is our child, and not waited for
    }
}
