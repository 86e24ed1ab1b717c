//! The thread that reads the taps, and finds for each departure its arrival.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::EventFd;

use super::segment::Connections;
use crate::clock;
use crate::link::packet::PacketSocket;
use crate::link::{Fate, Fates, key};
use crate::record::{Event, Host, Nanos, Segment, What};

/// The kernel stamps a packet and then puts it into the ring. So much later it is there, and what
/// both taps have seen can be read in the order in which it happened.
const SETTLED: Nanos = 1_000_000;
/// How long to wait for a packet before the watermark moves on, in milliseconds.
const IDLE: u8 = 5;
/// A copy that the link makes comes close behind the first: so many arrivals are remembered.
const RECENT: usize = 64;

/// Both taps, and what has become of what they saw.
pub struct Reader {
    taps: [(Host, PacketSocket); 2],
    fates: Fates,
    events: Sender<Event>,
    connections: Connections,
    /// Read, and not yet settled.
    fresh: Vec<Seen>,
    /// What the link has told of packets that have not settled.
    told: Vec<Fate>,
    /// What has left and has not arrived.
    under_way: VecDeque<Departed>,
    /// What arrived last.
    arrived: VecDeque<Departed>,
}

/// A packet at a tap.
struct Seen {
    at: Nanos,
    host: Host,
    outgoing: bool,
    packet: Vec<u8>,
}

/// A segment that has left.
struct Departed {
    at: Nanos,
    key: u64,
    segment: Segment,
}

impl Reader {
    /// Reads these, and sends what comes of it to `events`.
    pub fn new(
        client: PacketSocket,
        server: PacketSocket,
        fates: Fates,
        events: Sender<Event>,
    ) -> Reader {
        Reader {
            taps: [(Host::Client, client), (Host::Server, server)],
            fates,
            events,
            connections: Connections::default(),
            fresh: Vec::new(),
            told: Vec::new(),
            under_way: VecDeque::new(),
            arrived: VecDeque::new(),
        }
    }

    /// Reads until it is told to stop; then once more, for what is there.
    pub fn run(mut self, complete_until: &AtomicU64, stop: &EventFd) {
        loop {
            let stopped = self.wait(stop);
            let settled = clock::now() - SETTLED;
            self.read();
            // After the packets: the link notes a fate before it delivers the packet.
            self.told.append(&mut self.fates.take());
            self.settle(if stopped { Nanos::MAX } else { settled });
            let oldest = self.under_way.iter().map(|one| one.at).min();
            complete_until
                .fetch_max(oldest.map_or(settled, |at| at.min(settled)), Ordering::Release);
            if stopped {
                for one in std::mem::take(&mut self.under_way) {
                    self.tell(one.at, one.segment);
                }
                return;
            }
        }
    }

    /// Until a packet comes, or for a moment. `true`: stop.
    fn wait(&self, stop: &EventFd) -> bool {
        let poll_in = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let [(_, client), (_, server)] = &self.taps;
        let mut fds = [poll_in(client.as_fd()), poll_in(server.as_fd()), poll_in(stop.as_fd())];
        match poll(&mut fds, PollTimeout::from(IDLE)) {
            Ok(_) | Err(Errno::EINTR) => fds[2].any().unwrap_or(false),
            Err(_) => true,
        }
    }

    /// Empties both rings.
    fn read(&mut self) {
        for (host, tap) in &mut self.taps {
            while let Some(packet) = tap.peek(0) {
                let (at, outgoing) = (packet.at, packet.outgoing);
                let packet = packet.bytes.to_vec();
                self.fresh.push(Seen { at, host: *host, outgoing, packet });
                tap.release(1);
            }
        }
    }

    /// Goes through what was seen before `until`, in the order in which it happened.
    fn settle(&mut self, until: Nanos) {
        // A link that is late tells of what has left long since.
        let mut index = 0;
        while index < self.under_way.len() && !self.told.is_empty() {
            index += usize::from(!self.apply_fate(index));
        }
        // Stable, and the sender's tap stamps before the receiver's.
        self.fresh.sort_by_key(|seen| (seen.at, !seen.outgoing));
        let settled = self.fresh.partition_point(|seen| seen.at < until);
        for seen in self.fresh.drain(..settled).collect::<Vec<_>>() {
            let key = key(&seen.packet);
            if !seen.outgoing {
                self.arrive(&seen, key);
            } else if let Some(segment) = self.connections.segment(seen.host, &seen.packet) {
                self.under_way.push_back(Departed { at: seen.at, key, segment });
                self.apply_fate(self.under_way.len() - 1);
            }
        }
    }

    /// Looks for what the link has told of this segment under way. `true`: it is under way no more.
    fn apply_fate(&mut self, index: usize) -> bool {
        let Some(one) = self.under_way.get_mut(index) else { return false };
        let is_it = |fate: &&mut Fate| fate.key == one.key && fate.from == one.segment.from;
        let mut used = false;
        for told in self.told.iter_mut().filter(is_it) {
            match told.late.take() {
                Some(late) => one.segment.late = late,
                None if one.segment.fate.is_empty() => {
                    one.segment.fate = std::mem::take(&mut told.text);
                }
                None => {}
            }
            used = true;
        }
        if used {
            self.told.retain(|told| told.late.is_some() || !told.text.is_empty());
        }
        if one.segment.fate.starts_with("lost")
            && let Some(lost) = self.under_way.remove(index)
        {
            self.tell(lost.at, lost.segment);
            return true;
        }
        false
    }

    fn arrive(&mut self, seen: &Seen, key: u64) {
        let is_it = |one: &Departed| one.key == key && one.segment.from != seen.host;
        if let Some(index) = self.under_way.iter().position(is_it)
            && let Some(mut one) = self.under_way.remove(index)
        {
            one.segment.arrived = Some(seen.at);
            self.tell(one.at, one.segment.clone());
            self.arrived.push_back(one);
            if self.arrived.len() > RECENT {
                self.arrived.pop_front();
            }
        } else if let Some(one) = self.arrived.iter().find(|one| is_it(one)) {
            let id = self.connections.next_id();
            let fate = "a copy made by the link".into();
            let copy = Segment { id, arrived: Some(seen.at), fate, ..one.segment.clone() };
            self.tell(one.at, copy);
        }
    }

    fn tell(&self, at: Nanos, segment: Segment) {
        // Nobody listens any more: nothing is lost by that.
        let _ = self.events.send(Event { at, what: What::Segment(segment) });
    }
}
