//! The TCP states of a connection on both hosts.

use std::fs;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::clock;
use crate::record::{Host, What};
use crate::states::{NAMES, States};
use crate::world::{Node, World};

/// From when on a socket was in a state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Since the watch began.
    pub at: Duration,
    /// Where.
    pub host: Host,
    /// "CLOSED" for a socket that is gone.
    pub now: String,
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

/// Watches both ends of a connection while `work` is done. The link asks for their states before it
/// takes a packet from one of them and after it has handed one over: what lasts from one packet to
/// the next is seen, however slow this machine is.
pub fn watch<T>(
    world: &World,
    server_port: u16,
    client_port: u16,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Change>)> {
    let begin = clock::now();
    let (sender, events) = mpsc::channel();
    let mut states = States::open(world, sender)?;
    states.ask(Host::Client)?;
    states.ask(Host::Server)?;
    let states = Arc::new(Mutex::new(states));
    let ask = || {
        let states = Arc::clone(&states);
        move |host| drop(states.lock().map(|mut states| states.ask(host)))
    };
    let (taken, delivered) = (ask(), ask());
    world.link.on_taken(taken);
    world.link.on_delivery(move |packet| delivered(packet.to));
    let result = work();
    world.link.on_taken(|_| {});
    world.link.on_delivery(|_| {});
    drop(states); // and with it the sender of events
    let changes = events.iter().filter_map(|event| match event.what {
        What::State(change) => {
            let ports = (change.local.port(), change.peer.map(|peer| peer.port()));
            let own = match change.host {
                Host::Server => (server_port, Some(client_port)),
                Host::Client => (client_port, Some(server_port)),
            };
            let at = Duration::from_nanos(event.at.saturating_sub(begin));
            (ports == own).then_some(Change { at, host: change.host, now: change.now })
        }
        _ => None,
    });
    Ok((result?, changes.collect()))
}

/// Catches a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a socket is in a state.
pub fn until(node: &Node, local: u16, remote: u16, wanted: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    node.run(|| {
        loop {
            let now = read(local, remote)?;
            if now == wanted {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "still {now} after a minute, not {wanted}");
            std::thread::sleep(Duration::from_micros(500)); // how often to look
        }
    })
}

/// The names in their order: "FIN_WAIT1, FIN_WAIT2".
pub fn names(changes: &[Change], host: Host) -> String {
    super::joined(changes.iter().filter(|change| change.host == host).map(|change| &change.now))
}
