//! A network namespace, held by a descriptor.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, setns, unshare};

/// Makes a namespace and moves this thread there. It has a `lo` that is down, and the network
/// settings that Linux begins with. See network_namespaces(7).
pub fn make() -> io::Result<OwnedFd> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    Ok(File::open("/proc/thread-self/ns/net")?.into())
}

/// Moves this thread there.
pub fn enter(netns: impl AsFd) -> io::Result<()> {
    Ok(setns(netns, CloneFlags::CLONE_NEWNET)?)
}

/// Sets `net.…` in this thread's namespace; the name is written with dots or slashes. See sysctl(8).
///
/// # Errors
/// What open(2) and write(2) say: ENOENT, no such setting; EINVAL, no such value.
pub fn sysctl(name: &str, value: &str) -> io::Result<()> {
    fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value)
}
