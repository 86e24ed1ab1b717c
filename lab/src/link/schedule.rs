//! What the link decides, in both directions: a packet goes in with the time at which it came, and
//! comes out when it is due. It has no sockets and no clock; the relay has both.

use std::collections::{VecDeque, vec_deque};

use super::Carried;
use super::config::LinkConfig;
use super::shaper::Shaper;
use crate::record::{Host, Nanos};

/// What is under way on the link.
pub struct Schedule {
    client: Direction,
    server: Direction,
}

/// What one host has sent.
struct Direction {
    shaper: Shaper,
    /// By the time of delivery.
    under_way: VecDeque<UnderWay>,
    /// Used memory, to be used again.
    spare: Vec<Vec<u8>>,
}

/// So much used memory is kept.
const SPARE: usize = 128;

/// A packet on its way to the other end.
pub struct UnderWay {
    /// When it is to be there.
    pub due: Nanos,
    /// From its IP header on.
    pub packet: Vec<u8>,
}

/// What is to be handed over next: packets of one host, in the order of their times.
pub struct Due<'a> {
    /// Who has sent them.
    pub from: Host,
    /// The packets, at least one.
    pub packets: vec_deque::Iter<'a, UnderWay>,
}

impl Schedule {
    /// A link with nothing under way.
    pub fn new(config: &LinkConfig) -> Schedule {
        let direction = |from| Direction {
            shaper: Shaper::new(config, from),
            under_way: VecDeque::new(),
            spare: Vec::new(),
        };
        Schedule { client: direction(Host::Client), server: direction(Host::Server) }
    }

    /// Takes a packet of `from` that came at `at`. Gives its fate in words, unless it is only
    /// carried.
    pub fn take(&mut self, from: Host, at: Nanos, packet: &[u8]) -> Option<String> {
        let Direction { shaper, under_way, spare } = self.of(from);
        shaper.offer(at, packet, |due, packet| {
            let mut copy = spare.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(packet);
            under_way.push_back(UnderWay { due, packet: copy });
        })
    }

    /// When the next packet is due, whichever way it goes.
    pub fn next(&self) -> Option<Nanos> {
        [&self.client, &self.server].into_iter().filter_map(Direction::next).min()
    }

    /// What is due now, at most so many: those of the host whose first has been due for longer.
    pub fn due(&self, now: Nanos, most: usize) -> Option<Due<'_>> {
        let next = self.next().filter(|next| *next <= now)?;
        let (from, direction) = match self.client.next() == Some(next) {
            true => (Host::Client, &self.client),
            false => (Host::Server, &self.server),
        };
        let due = direction.under_way.iter().take(most).take_while(|one| one.due <= now).count();
        Some(Due { from, packets: direction.under_way.range(..due) })
    }

    /// The first so many of this host's packets have been handed over.
    pub fn handed_over(&mut self, from: Host, count: usize) {
        let Direction { under_way, spare, .. } = self.of(from);
        spare.extend(under_way.drain(..count).map(|one| one.packet));
        spare.truncate(SPARE);
    }

    /// What this host has sent so far.
    pub fn carried(&mut self, from: Host) -> &mut Carried {
        &mut self.of(from).shaper.carried
    }

    fn of(&mut self, from: Host) -> &mut Direction {
        match from {
            Host::Client => &mut self.client,
            Host::Server => &mut self.server,
        }
    }
}

impl Direction {
    fn next(&self) -> Option<Nanos> {
        self.under_way.front().map(|one| one.due)
    }
}
