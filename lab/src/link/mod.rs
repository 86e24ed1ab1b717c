//! What carries packets between the two hosts: slow, long and lossy, as told.

mod config;

pub use config::{LinkConfig, Nth, Queue};

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
    /// Packets handed over at the other end, duplicates included.
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

/// The relay between the two hosts. It lives as long as its world.
pub struct Link {}

impl Link {
    /// What it has carried so far.
    pub fn stats(&self) -> Stats {
        todo!()
    }

    /// From now on, calls `hook` after each packet handed over, on the relay's thread. What takes
    /// long in it delays the packets behind.
    pub fn on_delivery(&self, _hook: impl FnMut(Delivered) + Send + 'static) {
        todo!()
    }
}
