//! What an answer changes while it runs, even if it puts it back.
//!
//! A descriptor's settings belong to all who hold it, and a signal's action to every thread.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::Signal;

use crate::inside;
use crate::refusal::Refusal;

/// A connection, and its settings before the call. While this lives, closing the child's
/// descriptor sends no FIN.
pub struct Watch {
    conn: OwnedFd,
    settings: Vec<(&'static str, String)>,
}

impl Watch {
    /// Looks now.
    pub fn new(conn: &OwnedFd) -> io::Result<Watch> {
        let conn = conn.try_clone()?;
        let settings = inside::settings(conn.as_raw_fd());
        Ok(Watch { conn, settings })
    }

    /// Refuses an answer that has changed something by now. To be asked while it waits.
    pub fn undisturbed(&self, pid: i32) -> Result<(), Refusal> {
        let now = inside::settings(self.conn.as_raw_fd());
        let other = now.iter().zip(&self.settings).find(|(now, before)| now != before);
        if let Some(((name, now), (_, before))) = other {
            return Err(Refusal::new(format!(
                "it changes {name} while it runs: all who hold the socket get that, too"
            ))
            .but(format!("{name}: {before}"), now.clone()));
        }
        if ignored(pid)? >> (Signal::SIGPIPE as u32 - 1) & 1 == 1 {
            return Err(Refusal::new(
                "while it runs SIGPIPE is ignored in every thread: MSG_NOSIGNAL is for one call",
            )
            .but("SIGPIPE as it was", "ignored"));
        }
        Ok(())
    }
}

/// The set of signals that a process ignores: proc(5).
fn ignored(pid: i32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map(str::trim);
    Ok(set.and_then(|set| u64::from_str_radix(set, 16).ok()).unwrap_or(0))
}
