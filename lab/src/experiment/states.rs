//! The TCP states of a connection on both hosts, looking again and again: proc(5), /proc/net/tcp.
//!
//! What lasts at least as long as a segment is under way is seen; the experiments' links are slow
//! enough for that.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::record::Host;
use crate::states::NAMES;
use crate::world::{Node, World};

/// From when on a socket was in a state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Since the watch began.
    pub at: Duration,
    /// Where.
    pub host: Host,
    /// "CLOSED" for a socket that is gone.
    pub now: &'static str,
}

/// The states of the connections whose local and remote port are these, on a host.
pub fn state(node: &Node, local: u16, remote: u16) -> anyhow::Result<&'static str> {
    node.run(|| read(local, remote))
}

fn read(local: u16, remote: u16) -> anyhow::Result<&'static str> {
    // This thread's: /proc/self is the first thread's, which may be elsewhere.
    let text =
        fs::read_to_string("/proc/thread-self/net/tcp").context("/proc/thread-self/net/tcp")?;
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    for line in text.lines().skip(1) {
        if let [_, here, there, state, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
            && (port(here), port(there)) == (Some(local), Some(remote))
        {
            let number = usize::from_str_radix(state, 16).unwrap_or(0);
            let name = NAMES.get(number);
            return name.copied().with_context(|| format!("state {state}, which has no name"));
        }
    }
    Ok("CLOSED")
}

/// Watches both ends of a connection while `work` is done, which begins when both were seen once.
pub fn watch<T: Send>(
    world: &World,
    server_port: u16,
    client_port: u16,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Change>)> {
    let (done, begin) = (AtomicBool::new(false), Instant::now());
    let (sender, ready) = mpsc::channel();
    let look = |host: Host, ready: mpsc::Sender<()>| {
        let (node, local, remote) = match host {
            Host::Server => (&world.server, server_port, client_port),
            Host::Client => (&world.client, client_port, server_port),
        };
        node.run(|| -> anyhow::Result<Vec<Change>> {
            let mut changes = vec![Change { at: begin.elapsed(), host, now: read(local, remote)? }];
            let _ = ready.send(());
            drop(ready);
            loop {
                let last = done.load(Ordering::Acquire);
                let now = read(local, remote)?;
                if changes.last().is_none_or(|change| change.now != now) {
                    changes.push(Change { at: begin.elapsed(), host, now });
                }
                if last {
                    return Ok(changes);
                }
                std::thread::sleep(Duration::from_micros(500)); // how often to look
            }
        })
    };
    std::thread::scope(|scope| {
        let (look, watchers) = (&look, [Host::Client, Host::Server]);
        let watchers = watchers.map(|host| {
            let sender = sender.clone();
            scope.spawn(move || look(host, sender))
        });
        drop(sender);
        // Both have seen how it begins; or one of them has failed, and says so below.
        let _ = ready.iter().take(2).count();
        let result = work();
        done.store(true, Ordering::Release);
        let mut changes = Vec::new();
        for watcher in watchers {
            changes.extend(watcher.join().expect("a watcher does not panic")?);
        }
        Ok((result?, changes))
    })
}

/// Waits until a socket is in a state.
pub fn until(node: &Node, local: u16, remote: u16, wanted: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    node.run(|| {
        loop {
            let now = read(local, remote)?;
            if now == wanted {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "still {now} after 10 s, not {wanted}");
            std::thread::sleep(Duration::from_micros(500)); // how often to look
        }
    })
}

/// The names in their order: "FIN_WAIT1, FIN_WAIT2".
pub fn names(changes: &[Change], host: Host) -> String {
    super::joined(changes.iter().filter(|change| change.host == host).map(|change| change.now))
}
