//! The TCP states of a connection on both hosts: proc(5), /proc/net/tcp.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// A connection's end on a host. Any thread may look at it, wherever that thread is.
struct End {
    table: File,
    local: u16,
    remote: u16,
}

impl End {
    fn open(node: &Node, local: u16, remote: u16) -> anyhow::Result<End> {
        // This thread's: /proc/self is the first thread's, which may be elsewhere.
        let path = "/proc/thread-self/net/tcp";
        let table = node.run(|| File::open(path)).context(path)?;
        Ok(End { table, local, remote })
    }

    fn state(&mut self) -> anyhow::Result<&'static str> {
        let mut text = String::new();
        self.table.rewind()?;
        self.table.read_to_string(&mut text)?;
        let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
        for line in text.lines().skip(1) {
            if let [_, here, there, state, ..] = line.split_whitespace().collect::<Vec<_>>()[..]
                && (port(here), port(there)) == (Some(self.local), Some(self.remote))
            {
                let number = usize::from_str_radix(state, 16).unwrap_or(0);
                let name = NAMES.get(number);
                return name.copied().with_context(|| format!("state {state}, which has no name"));
            }
        }
        Ok("CLOSED")
    }
}

/// The states of the connections whose local and remote port are these, on a host.
pub fn state(node: &Node, local: u16, remote: u16) -> anyhow::Result<&'static str> {
    End::open(node, local, remote)?.state()
}

/// Both ends of a connection, and how they have changed.
struct Watch {
    begin: Instant,
    client: End,
    server: End,
    changes: Vec<Change>,
    /// The first thing that went wrong.
    failed: Option<anyhow::Error>,
}

impl Watch {
    fn look(&mut self, host: Host) {
        let end = if host == Host::Client { &mut self.client } else { &mut self.server };
        match end.state() {
            Ok(now) => {
                let last = self.changes.iter().rfind(|change| change.host == host);
                if last.is_none_or(|last| last.now != now) {
                    self.changes.push(Change { at: self.begin.elapsed(), host, now });
                }
            }
            Err(error) => self.failed = self.failed.take().or(Some(error)),
        }
    }
}

fn lock(watch: &Mutex<Watch>) -> MutexGuard<'_, Watch> {
    watch.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches both ends of a connection while `work` is done. The link looks at the sender before it
/// takes a packet on, and at the receiver once it has handed it over: so what lasts from one packet
/// to the next is seen, however slow this machine is.
pub fn watch<T>(
    world: &World,
    server_port: u16,
    client_port: u16,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Change>)> {
    let mut watch = Watch {
        begin: Instant::now(),
        client: End::open(&world.client, client_port, server_port)?,
        server: End::open(&world.server, server_port, client_port)?,
        changes: Vec::new(),
        failed: None,
    };
    watch.look(Host::Client);
    watch.look(Host::Server);
    let watch = Arc::new(Mutex::new(watch));
    let (taken, delivered) = (Arc::clone(&watch), Arc::clone(&watch));
    world.link.on_taken(move |from, _| lock(&taken).look(from));
    world.link.on_delivery(move |packet| lock(&delivered).look(packet.to));
    let result = work();
    world.link.on_taken(|_, _| {});
    world.link.on_delivery(|_| {});
    let mut watch = lock(&watch);
    match watch.failed.take() {
        Some(error) => Err(error),
        None => Ok((result?, std::mem::take(&mut watch.changes))),
    }
}

/// Catches a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a socket is in a state.
pub fn until(node: &Node, local: u16, remote: u16, wanted: &str) -> anyhow::Result<()> {
    let mut end = End::open(node, local, remote)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = end.state()?;
        if now == wanted {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "still {now} after a minute, not {wanted}");
        std::thread::sleep(Duration::from_micros(500)); // how often to look
    }
}

/// The names in their order: "FIN_WAIT1, FIN_WAIT2".
pub fn names(changes: &[Change], host: Host) -> String {
    super::joined(changes.iter().filter(|change| change.host == host).map(|change| change.now))
}
