//! The way into the world of another `lab shell`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, setns};

use crate::record::Host;
use crate::world::netns;

/// Moves this process to a host of the `lab shell` with that process id. Call it while there is one
/// thread. Gives a descriptor that is readable once that `lab shell` has ended; see pidfd_open(2).
pub fn enter(pid: i32, host: Host) -> Result<OwnedFd> {
    let name = match host {
        Host::Client => "client",
        Host::Server => "server",
    };
    let world = pidfd(pid).with_context(|| format!("--join {pid}: no such process"))?;
    let Some(thread) = find_thread(pid, name) else {
        bail!("--join {pid}: that is no `lab shell`; it prints the number at its start");
    };
    let open = |kind: &str| {
        File::open(format!("{thread}/ns/{kind}"))
            .with_context(|| format!("--join {pid}: it must be your own `lab shell`"))
    };
    let (user, net) = (open("user")?, open("net")?);
    // A process cannot move to where it is: EINVAL.
    if user.metadata()?.ino() != fs::metadata("/proc/self/ns/user")?.ino() {
        setns(user, CloneFlags::CLONE_NEWUSER).context("moving to its user namespace")?;
    }
    netns::enter(net).context("moving to the host")?;
    Ok(world)
}

/// The thread of that name: "/proc/4711/task/4713".
fn find_thread(pid: i32, name: &str) -> Option<String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    threads.flatten().find_map(|entry| {
        let path = entry.path();
        let comm = fs::read_to_string(path.join("comm")).ok()?;
        (comm.trim() == name).then(|| path.display().to_string())
    })
}

/// pidfd_open(2).
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel has just made it for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
