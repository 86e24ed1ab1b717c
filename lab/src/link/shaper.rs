//! One direction of the link: when a packet is delivered, or why it is not. It only computes; the
//! relay tells it the time.

use std::collections::VecDeque;

use super::Carried;
use super::config::{LinkConfig, Queue};
use super::rules::{Action, Rules};
use crate::record::{Host, Nanos};

/// A queue, a transmitter of a given rate, and a line of a given delay that loses packets.
pub struct Shaper {
    delay: Nanos,
    rate: Option<u64>,
    queue: Queue,
    loss: f64,
    random: Random,
    rules: Rules,
    /// When the transmitter will have sent all that waits.
    free_at: Nanos,
    /// What waits: when its turn comes, and its bytes.
    waiting: VecDeque<(Nanos, u64)>,
    waiting_bytes: u64,
    /// What is being overtaken: the packet, and by how many more.
    held: Vec<(Vec<u8>, u32)>,
    /// What it has carried so far.
    pub carried: Carried,
}

impl Shaper {
    /// The direction that begins at `from`.
    pub fn new(config: &LinkConfig, from: Host) -> Shaper {
        let (loss, salt) = match from {
            Host::Client => (config.loss.from_client, 1),
            Host::Server => (config.loss.from_server, 2),
        };
        Shaper {
            delay: config.delay.as_nanos() as Nanos,
            rate: config.rate,
            queue: config.queue(),
            loss,
            random: Random(config.seed.wrapping_mul(2).wrapping_add(salt)),
            rules: Rules::new(config, from),
            free_at: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            held: Vec::new(),
            carried: Carried::default(),
        }
    }

    /// Takes a packet that came at `at`. Calls `deliver` for each packet whose time of delivery is
    /// now known, in the order of those times. Gives the packet's fate in words, unless it is only
    /// carried.
    pub fn offer(
        &mut self,
        at: Nanos,
        packet: &[u8],
        mut deliver: impl FnMut(Nanos, &[u8]),
    ) -> Option<String> {
        self.carried.packets += 1;
        self.carried.bytes += packet.len() as u64;
        let Some(sent) = self.transmit(at, packet.len() as u64) else {
            self.carried.overflowed += 1;
            return Some("lost by the link (queue full)".into());
        };
        let arrives = sent + self.delay;
        // One draw a packet, whatever the rules say: they do not change what chance does.
        let unlucky = self.random.next() < self.loss;
        let (copies, fate) = match self.rules.meet(packet) {
            Some(Action::Drop(rule)) => {
                self.carried.dropped += 1;
                return Some(format!("lost by the link (rule: {rule})"));
            }
            Some(Action::Reorder(by, rule)) => {
                self.held.push((packet.to_vec(), by));
                return Some(format!("overtaken (rule: {rule})"));
            }
            Some(Action::Dup(more, rule)) => {
                (1 + more, Some(format!("duplicated by the link (rule: {rule})")))
            }
            None => (1, None),
        };
        if unlucky {
            self.carried.lost += 1;
            return Some(format!("lost by the link (loss {} %)", self.loss * 100.0));
        }
        for _ in 0..copies {
            self.carried.delivered += 1;
            deliver(arrives, packet);
        }
        self.held.retain_mut(|(held, by)| {
            *by -= 1;
            if *by == 0 {
                self.carried.delivered += 1;
                deliver(arrives, held);
            }
            *by > 0
        });
        fate
    }

    /// When the transmitter will have sent the packet; `None`: the queue is full.
    fn transmit(&mut self, at: Nanos, bytes: u64) -> Option<Nanos> {
        let Some(rate) = self.rate else { return Some(at) };
        while let Some((turn, bytes)) = self.waiting.front()
            && *turn <= at
        {
            self.waiting_bytes -= bytes;
            self.waiting.pop_front();
        }
        let turn = self.free_at.max(at);
        if turn > at {
            let full = match self.queue {
                Queue::Bytes(room) => self.waiting_bytes + bytes > room,
                Queue::Packets(room) => self.waiting.len() as u64 + 1 > room,
            };
            if full {
                return None;
            }
            self.waiting.push_back((turn, bytes));
            self.waiting_bytes += bytes;
        }
        // Rounded up: never faster than the rate.
        self.free_at = turn + (bytes * 8 * 1_000_000_000).div_ceil(rate);
        Some(self.free_at)
    }
}

/// SplitMix64: small, and good enough to lose packets by. Steele, Lea, Flood: "Fast splittable
/// pseudorandom number generators", 2014.
struct Random(u64);

impl Random {
    /// From 0 to less than 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
