//! The rules that name a data segment: drop, dup, reorder.

use std::collections::HashMap;

use etherparse::{SlicedPacket, TransportSlice};

use super::config::{LinkConfig, Nth};
use crate::record::Host;

/// What a rule wants done with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Lose it; the rule.
    Drop(String),
    /// Deliver it so many times more; the rule.
    Dup(u32, String),
    /// Let so many overtake it; the rule.
    Reorder(u32, String),
}

/// The rules for what one host sends, and how far it has come.
pub struct Rules {
    drop: Vec<Nth>,
    dup: Vec<Nth>,
    reorder: Vec<Nth>,
    /// New data segments so far.
    count: u32,
    /// By ports: the sequence number after the last byte that was new.
    ends: HashMap<Ports, u32>,
    /// What is to be dropped again when it comes again.
    again: Vec<Again>,
}

type Ports = (u16, u16);

struct Again {
    ports: Ports,
    seq: u32,
    left: u32,
    nth: Nth,
}

impl Rules {
    /// The rules for what `from` sends.
    pub fn new(config: &LinkConfig, from: Host) -> Rules {
        let of = |rules: &[Nth]| rules.iter().copied().filter(|rule| rule.from == from).collect();
        Rules {
            drop: of(&config.drop),
            dup: of(&config.dup),
            reorder: of(&config.reorder),
            count: 0,
            ends: HashMap::new(),
            again: Vec::new(),
        }
    }

    /// What is to be done with this packet, if anything.
    pub fn meet(&mut self, packet: &[u8]) -> Option<Action> {
        if self.drop.is_empty() && self.dup.is_empty() && self.reorder.is_empty() {
            return None;
        }
        let (ports, seq, len) = data_segment(packet)?;
        let end = seq.wrapping_add(len);
        if !self.is_new(ports, end) {
            let again = self.again.iter_mut().find(|again| {
                // The segment that carries its first byte, however it was cut this time.
                again.left > 0 && again.ports == ports && again.seq.wrapping_sub(seq) < len
            })?;
            again.left -= 1;
            return Some(Action::Drop(again.nth.rule("drop")));
        }
        self.count += 1;
        let find = |rules: &[Nth]| rules.iter().copied().find(|rule| rule.nth == self.count);
        if let Some(nth) = find(&self.drop) {
            self.again.push(Again { ports, seq, left: nth.times - 1, nth });
            Some(Action::Drop(nth.rule("drop")))
        } else if let Some(nth) = find(&self.dup) {
            Some(Action::Dup(nth.times, nth.rule("dup")))
        } else {
            find(&self.reorder).map(|nth| Action::Reorder(nth.times, nth.rule("reorder")))
        }
    }

    /// Whether a segment up to `end` has a byte that was not sent before. Remembers it.
    fn is_new(&mut self, ports: Ports, end: u32) -> bool {
        match self.ends.get_mut(&ports) {
            // Sequence numbers wrap: RFC 9293, 3.4.
            Some(known) if (end.wrapping_sub(*known) as i32) <= 0 => false,
            Some(known) => {
                *known = end;
                true
            }
            None => {
                self.ends.insert(ports, end);
                true
            }
        }
    }
}

/// Ports, sequence number and length of a TCP segment that carries data.
fn data_segment(packet: &[u8]) -> Option<(Ports, u32, u32)> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { return None };
    let len = tcp.payload().len() as u32;
    let ports = (tcp.source_port(), tcp.destination_port());
    (len > 0).then(|| (ports, tcp.sequence_number(), len))
}
