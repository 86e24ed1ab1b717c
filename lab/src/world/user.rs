//! The right to build a world: root has it, anyone else finds it in a user namespace.

use std::fs;

use anyhow::Result;
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

use crate::{NotPossible, reason};

/// Makes this process able to build a world: as root it is; else it moves into a user namespace
/// of its own, where its user keeps its number. Call it before the first thread begins: a process
/// with threads cannot move. See user_namespaces(7).
///
/// # Errors
/// [`crate::NotPossible`], with what would make it possible.
pub fn become_able() -> Result<()> {
    if can_make_network_namespaces() {
        return Ok(());
    }
    move_into_user_namespace().map_err(|error| NotPossible(reason::no_namespaces(error)).into())
}

/// Tries it. Goes back to where it was, unless that belongs to a user namespace outside.
fn can_make_network_namespaces() -> bool {
    let Ok(home) = fs::File::open("/proc/thread-self/ns/net") else { return false };
    let can = unshare(CloneFlags::CLONE_NEWNET).is_ok();
    if can {
        let _ = setns(home, CloneFlags::CLONE_NEWNET);
    }
    can
}

/// Needs no right, but a system that allows it. There, this process has every right over the
/// network namespaces that it makes; programs that it executes have none.
///
/// # Errors
/// EPERM where the system does not allow it, ENOSPC where `user.max_user_namespaces` is used up,
/// EINVAL in a process with threads.
pub fn move_into_user_namespace() -> Result<(), Errno> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    let write = |file, text: String| {
        fs::write(file, text).map_err(|e| e.raw_os_error().map_or(Errno::EPERM, Errno::from_raw))
    };
    // Without this the kernel refuses the group: see user_namespaces(7), "/proc/PID/setgroups".
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    // Where AppArmor keeps the rights back, the namespace can be had, and nothing in it.
    unshare(CloneFlags::CLONE_NEWNET)
}
