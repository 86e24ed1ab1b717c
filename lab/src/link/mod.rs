//! What carries packets between the two hosts: slow, long and lossy, as told.
//!
//! ```text
//!   config   the flags
//!   schedule what is due when: both directions, without sockets or a clock
//!   shaper   one direction: when a packet is delivered, or why it is not
//!   rules    drop the third data segment, and the like
//!   relay    the thread that moves the packets
//!   packet   its sockets
//!   late     how late it was
//! ```

mod config;
mod late;
pub(crate) mod packet;
mod relay;
mod rules;
mod schedule;
mod shaper;
#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

pub use config::{LinkConfig, Loss, Nth, Queue};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
pub use late::Lateness;
use nix::sys::eventfd::{EfdFlags, EventFd};
pub(crate) use relay::Macs;

use crate::record::{Host, Nanos};

/// A packet that the link has handed to a host. When the hook hears of it, the host's TCP has
/// seen it.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// When it was handed over.
    pub at: Nanos,
    /// To whom.
    pub to: Host,
    /// The packet from its IP header on.
    pub packet: &'a [u8],
}

/// What the link has carried so far, in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Packets that came in.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// Packets on their way to the other end or there, duplicates included.
    pub delivered: u64,
    /// Lost at random.
    pub lost: u64,
    /// Dropped by a `--drop` rule.
    pub dropped: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Missed by the relay itself: this machine is too slow for what was asked.
    pub missed: u64,
}

/// What the link has carried so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// From the client to the server.
    pub from_client: Carried,
    /// From the server to the client.
    pub from_server: Carried,
}

/// What the link did with a packet, other than carry it.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// Who sent it.
    pub from: Host,
    /// Which one: see `key`.
    pub key: u64,
    /// In words; what begins with "lost" never arrives.
    pub text: String,
    /// Instead of words: by how much it was handed over later than it was due.
    pub late: Option<Nanos>,
}

/// A packet that is handed over by more than this later than it was due is marked in a trace.
pub const LATE: Duration = Duration::from_millis(1);

/// What tells a packet from another: its bytes. Only copies have the same key.
pub(crate) fn key(packet: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    packet.hash(&mut hasher);
    hasher.finish()
}

/// The addresses of a packet: its sender's, its receiver's.
pub type Ends = (SocketAddr, SocketAddr);

/// Between whom a packet goes; `None`: no TCP.
pub(crate) fn ends(packet: &[u8]) -> Option<Ends> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let TransportSlice::Tcp(tcp) = sliced.transport? else { return None };
    let (source, destination) = addresses(&sliced.net?)?;
    Some(((source, tcp.source_port()).into(), (destination, tcp.destination_port()).into()))
}

/// The sender's and the receiver's address of a packet; `None`: it is no IP packet.
pub(crate) fn addresses(net: &NetSlice) -> Option<(IpAddr, IpAddr)> {
    match net {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        NetSlice::Arp(_) => None,
    }
}

type Hook = Box<dyn FnMut(Delivered) + Send>;
type TakenHook = Box<dyn FnMut(Host, &[Ends]) + Send>;

/// What the relay's thread and its owner share.
#[derive(Default)]
struct Shared {
    stats: Mutex<Stats>,
    late: Mutex<Lateness>,
    delivered_hook: Mutex<Option<Hook>>,
    taken_hook: Mutex<Option<TakenHook>>,
    /// `None`: nobody wants to know.
    fates: Mutex<Option<Vec<Fate>>>,
    /// Why the relay has ended, if it has.
    failed: Mutex<Option<String>>,
}

/// What a panicking hook has left is as good as before: no value here is ever half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The relay between the two hosts. It lives as long as its world.
pub struct Link {
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    config: LinkConfig,
    /// The namespace of the interfaces must outlive the relay.
    _wire: OwnedFd,
}

impl Link {
    /// Starts the relay between the interfaces `client` and `server` of this thread's namespace.
    pub(crate) fn start(config: &LinkConfig, wire: OwnedFd, macs: Macs) -> anyhow::Result<Link> {
        let shared = Arc::new(Shared::default());
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let relay = relay::Relay::new(config, macs, Arc::clone(&shared), Arc::clone(&stop))?;
        let thread = std::thread::Builder::new().name("link".into()).spawn(move || relay.run())?;
        Ok(Link { shared, stop, thread: Some(thread), config: config.clone(), _wire: wire })
    }

    /// What it is like.
    pub fn config(&self) -> &LinkConfig {
        &self.config
    }

    /// What it has carried so far.
    pub fn stats(&self) -> Stats {
        *lock(&self.shared.stats)
    }

    /// How late packets were handed over so far.
    pub fn lateness(&self) -> Lateness {
        self.punctuality().so_far()
    }

    /// A handle to the lateness that outlives the link.
    pub(crate) fn punctuality(&self) -> Punctuality {
        Punctuality(Arc::clone(&self.shared))
    }

    /// Why it carries nothing any more; `None`: it does.
    pub fn failed(&self) -> Option<String> {
        lock(&self.shared.failed).clone()
    }

    /// From now on, calls `hook` after each packet handed over, on the relay's thread. What takes
    /// long in it delays the packets behind.
    pub fn on_delivery(&self, hook: impl FnMut(Delivered) + Send + 'static) {
        *lock(&self.shared.delivered_hook) = Some(Box::new(hook));
    }

    /// From now on, calls `hook` after packets were taken in, on the relay's thread: the host that
    /// sent them, and their connections, seen from there. Nobody has got them yet. What takes long
    /// in it delays them.
    pub fn on_taken(&self, hook: impl FnMut(Host, &[Ends]) + Send + 'static) {
        *lock(&self.shared.taken_hook) = Some(Box::new(hook));
    }

    /// Notes fates from now on, until `false` is given.
    pub(crate) fn note_fates(&self, wanted: bool) {
        *lock(&self.shared.fates) = wanted.then(Vec::new);
    }

    /// A handle to the fates that outlives a borrow of the link.
    pub(crate) fn fates(&self) -> Fates {
        Fates(Arc::clone(&self.shared))
    }
}

/// Where it stands how late packets were.
pub(crate) struct Punctuality(Arc<Shared>);

impl Punctuality {
    /// How late they were so far.
    pub fn so_far(&self) -> Lateness {
        lock(&self.0.late).clone()
    }
}

/// Where the noted fates are.
pub(crate) struct Fates(Arc<Shared>);

impl Fates {
    /// What was noted since the last call.
    pub fn take(&self) -> Vec<Fate> {
        lock(&self.0.fates).as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
