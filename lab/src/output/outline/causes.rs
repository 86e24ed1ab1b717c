//! The steps of a diagram, and what had to come before what. The clock says when something was
//! seen; that differs from run to run wherever two hosts act at the same time. What caused what
//! does not differ.

use std::collections::{BTreeMap, BTreeSet};

use super::calls::{Calls, Heard, accepts};
use super::ways::{Way, Ways, back};
use super::wire::{Direction, Wire};
use crate::record::{Host, Nanos, Segment, StateChange, Trace, What};

/// One step.
pub struct Step {
    pub what: Act,
    /// Who did it; of a segment, who sent it.
    pub host: Host,
    /// The connection, seen from there.
    pub way: Option<Way>,
    /// The steps that came before it, by their places in the list.
    pub after: Vec<usize>,
}

/// What a step is. Events are places in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A row of [`Calls`].
    Call(usize),
    /// A segment as it was seen.
    Segment(usize),
    /// The FIN of a segment.
    Fin(usize),
    /// Data on its way: from which byte on, up to which; whether it may be in several segments.
    Data(u32, u32, bool),
    State(usize),
}

/// The steps of a trace: the calls first, in the order of their rows.
pub fn steps(trace: &Trace, ways: &Ways, wire: &Wire, calls: &Calls) -> Vec<Step> {
    let mut found = Found {
        trace,
        wire,
        calls,
        ends: Ends::new(calls, wire),
        steps: Vec::new(),
        segments: BTreeMap::new(),
        data: BTreeMap::new(),
    };
    for (index, row) in calls.rows.iter().enumerate() {
        let (what, after) = (Act::Call(index), row.after.clone());
        found.steps.push(Step { what, host: row.host, way: row.way, after });
    }
    for (way, direction) in wire.directions() {
        found.add_segments(way, direction);
    }
    for step in 0..found.steps.len() {
        let before = match found.steps[step].what {
            Act::Call(row) => found.before_call(row),
            Act::Segment(event) => found.before_segment(step, event),
            Act::Fin(event) => {
                let end = found.steps[step].way.and_then(|way| calls.ends(way, wire));
                let ended = || found.done_by(found.steps[step].host, trace.events[event].at);
                end.map_or_else(ended, |end| vec![end])
            }
            Act::Data(..) | Act::State(_) => Vec::new(),
        };
        found.steps[step].after.extend(before);
    }
    found.add_states(ways);
    for (step, one) in found.steps.iter_mut().enumerate() {
        one.after.retain(|before| *before != step);
    }
    found.steps
}

/// The ends that each side came to without having heard of the other's.
#[derive(Default)]
struct Ends {
    /// Both directions of each such connection.
    crossing: BTreeSet<Way>,
    /// Those whose FIN may or may not leave before a reset arrives.
    cut_off: BTreeSet<Way>,
}

impl Ends {
    fn new(calls: &Calls, wire: &Wire) -> Ends {
        let mut ends = Ends::default();
        let apart = |one: Option<usize>, other: Option<usize>| match (one, other) {
            (Some(one), Some(other)) => !calls.knows(one, other) && !calls.knows(other, one),
            _ => false,
        };
        for (way, _) in wire.directions() {
            let other = back(way);
            if apart(calls.ends(way, wire), calls.ends(other, wire)) {
                ends.crossing.extend([way, other]);
            }
            if apart(calls.resets(way, wire), calls.about(other).rfind(|row| calls.ends_it(*row))) {
                ends.crossing.extend([way, other]);
                ends.cut_off.insert(other);
            }
        }
        ends
    }
}

/// Data that is drawn as one.
struct Piece {
    from: u32,
    to: u32,
    /// The last row that sent of it, if that is known.
    row: Option<usize>,
    /// Whether it left as soon as it was sent, with nothing before it under way.
    at_once: bool,
    several: bool,
}

struct Found<'a> {
    trace: &'a Trace,
    wire: &'a Wire<'a>,
    calls: &'a Calls<'a>,
    ends: Ends,
    steps: Vec<Step>,
    /// The steps of segments, by their events.
    segments: BTreeMap<usize, usize>,
    /// The steps of data, by the first byte, and whether it left as soon as it was sent.
    data: BTreeMap<Way, BTreeMap<u32, (usize, bool)>>,
}

impl Found<'_> {
    /// Adds the segments of a direction, in their order: the wire keeps it.
    fn add_segments(&mut self, way: Way, direction: &Direction) {
        let mut acts: Vec<(usize, Act, Option<Piece>)> = Vec::new();
        let opens = direction.syn.is_some_and(|syn| self.wire.segment(syn).flags == "S");
        let third = direction.first.filter(|first| opens && is_bare(self.wire.segment(*first)));
        let last = self.wire.last_ack(way).filter(|_| !self.ends.crossing.contains(&way));
        let fin = direction.fin.filter(|_| !self.ends.cut_off.contains(&way));
        let seen = [direction.syn, third, last, direction.reset].into_iter().flatten();
        let seen = seen.chain(direction.repairs.iter().copied());
        acts.extend(seen.map(|event| (event, Act::Segment(event), None)));
        for piece in self.pieces(way, direction) {
            // What is sent again for what the link lost is drawn as it was seen.
            let inside = |&&(from, to, event): &&(u32, u32, usize)| {
                from < piece.to && piece.from < to && !direction.again.contains(&event)
            };
            let mut carried = direction.carried.iter().filter(inside);
            if let Some(&(_, end, event)) = carried.next() {
                let to = carried.map(|(_, end, _)| *end).fold(end, u32::max).min(piece.to);
                acts.push((event, Act::Data(piece.from, to, piece.several), Some(piece)));
            }
        }
        // A FIN stands behind the data that it may travel with.
        acts.extend(fin.map(|fin| (fin, Act::Fin(fin), None)));
        acts.sort_by_key(|(event, ..)| *event);
        let mut before = None;
        for (event, what, piece) in acts {
            let step = self.steps.len();
            match &piece {
                None => drop(self.segments.insert(event, step)),
                Some(piece) => {
                    let data = self.data.entry(way).or_default();
                    data.insert(piece.from, (step, piece.at_once));
                }
            }
            let row = piece.and_then(|piece| piece.row);
            let after = before.replace(step).into_iter().chain(row).collect();
            self.steps.push(Step { what, host: direction.from, way: Some(way), after });
        }
    }

    /// How the data of a direction is drawn. A send leaves at once where the receiver has taken all
    /// that was sent before, and its data ends with a segment unless the kernel was told to wait
    /// for more. Where the data of further sends is cut is chance: it is one piece, up to a send
    /// that came after some of it had been taken.
    fn pieces(&self, way: Way, direction: &Direction) -> Vec<Piece> {
        let most = self.wire.most(way);
        let mut pieces: Vec<Piece> = Vec::new();
        for &row in self.calls.sends.get(&way).into_iter().flatten() {
            let (from, to) = self.calls.rows[row].bytes;
            let (from, to) = (from as u32, to as u32);
            let taken = self.calls.known_to_be_read(way, row) as u32;
            let at_once = taken + 1 >= from;
            if let Some(last) = pieces.last_mut()
                && !at_once
                && taken < last.from
                && (!last.at_once || (from - last.from <= most && !direction.is_cut_at(from)))
            {
                last.several = !last.at_once || to - last.from > most;
                (last.to, last.row, last.at_once) = (to, Some(row), false);
            } else {
                let several = to - from > most;
                pieces.push(Piece { from, to, row: Some(row), at_once, several });
            }
        }
        // Of what came when the buffer was full it is chance how much leaves in the end.
        let filled = self.calls.filled.get(&way).copied();
        let read = self.calls.reads.get(&way).and_then(|reads| reads.last());
        let read = read.map_or(0, |read| self.calls.rows[*read].bytes.1 as u32);
        let begins = |piece: &Piece| self.calls.sender_of(way, piece.from.into());
        let begins = |piece: &Piece| begins(piece).map(|row| self.calls.rows[row].events[0]);
        pieces.retain(|piece| filled.is_none() || begins(piece) <= filled || piece.to <= read);
        // What no call is known of: as it was seen.
        let told = pieces.iter().map(|piece| piece.to).max().unwrap_or(1);
        let rest = direction.carried.iter().filter(|(_, to, _)| *to > told && filled.is_none());
        pieces.extend(rest.map(|&(from, to, _)| Piece {
            from: from.max(told),
            to,
            row: None,
            at_once: true,
            several: false,
        }));
        pieces
    }

    fn before_call(&self, index: usize) -> Vec<usize> {
        let Some(way) = self.calls.rows[index].way else { return Vec::new() };
        let other = back(way);
        if accepts(self.calls.call(index)) {
            return self.third(other).into_iter().collect();
        }
        match self.calls.heard(index, self.wire) {
            Heard::Nothing => Vec::new(),
            Heard::Answer => self.syn(other).or(self.reset(other)).into_iter().collect(),
            Heard::Data(byte) => {
                self.data(other, byte).into_iter().chain(self.repaired(other, byte)).collect()
            }
            Heard::End => {
                self.fin(other).into_iter().chain(self.repaired(other, u64::MAX)).collect()
            }
            Heard::Reset => self.reset(other).into_iter().collect(),
            Heard::OwnReset => self.reset(way).into_iter().collect(),
        }
    }

    fn before_segment(&self, step: usize, event: usize) -> Vec<usize> {
        let (Some(way), segment) = (self.steps[step].way, self.wire.segment(event)) else {
            return Vec::new();
        };
        let other = back(way);
        let mut before = Vec::new();
        if segment.flags == "S" {
            let mut calls = self.calls.about(way);
            before.extend(calls.find(|row| self.calls.call(*row).name == "connect"));
        } else if segment.flags.contains('S') {
            before.extend(self.syn(other));
        } else if segment.flags.contains('R') {
            before.extend(self.calls.resets(way, self.wire));
            // What nobody was there for, or nobody had read.
            let reads = self.calls.reads.get(&other).into_iter().flatten();
            let read = reads.map(|read| self.calls.rows[*read].bytes.1).max().unwrap_or(1);
            let left = self.trace.events[event].at;
            let unread = self.wire.came(other, read as u32).filter(|came| *came <= left);
            before.extend(unread.and_then(|_| self.data(other, read)));
            if self.wire.direction(way).is_some_and(|this| this.syn.is_none()) {
                before.extend(self.syn(other));
            }
        } else if segment.len > 0 {
            let end = u64::from(segment.seq + segment.len) - 1;
            before.extend(self.calls.sender_of(way, end));
        } else if Some(event) == self.wire.last_ack(way) {
            before.extend(self.fin(other));
        } else {
            before.extend(self.syn(other));
        }
        before
    }

    fn add_states(&mut self, ways: &Ways) {
        let mut last: BTreeMap<(Host, Option<Way>), usize> = BTreeMap::new();
        for (index, event) in self.trace.events.iter().enumerate() {
            let What::State(change) = &event.what else { continue };
            let way = change.peer.map(|peer| ways.at((change.local, peer), event.at));
            let Some(cause) = self.before_state(index, change, way) else { continue };
            let step = self.steps.len();
            let earlier = last.insert((change.host, way), step);
            let after = earlier.into_iter().chain(cause).collect();
            self.steps.push(Step { what: Act::State(index), host: change.host, way, after });
        }
    }

    /// What brought a state about, if that is known; `None`: whether it is seen is chance.
    fn before_state(
        &self,
        index: usize,
        change: &StateChange,
        way: Option<Way>,
    ) -> Option<Vec<usize>> {
        let at = self.trace.events[index].at;
        let began = |row: &usize| self.calls.began(*row) <= at;
        let Some(way) = way else {
            let name = if change.now == "CLOSED" { "close" } else { "listen" };
            let fits = |row: &usize| {
                let row = (&self.calls.rows[*row], self.calls.call(*row));
                row.0.host == change.host && row.0.way.is_none() && row.1.name == name
            };
            let row = (0..self.calls.rows.len()).rev().filter(fits).find(began);
            let ended = || self.done_by(change.host, at);
            return Some(row.map_or_else(ended, |row| vec![row]));
        };
        let other = back(way);
        let opens = ["SYN_SENT", "SYN_RECV", "ESTABLISHED"].contains(&change.now.as_str());
        if !opens && self.ends.crossing.contains(&way) {
            return None;
        }
        let cause = match (change.before.as_str(), change.now.as_str()) {
            // A timer ends that, or whatever comes late.
            ("TIME_WAIT", "CLOSED") => return None,
            (_, "SYN_SENT") => {
                self.calls.about(way).find(|row| self.calls.call(*row).name == "connect")
            }
            (_, "SYN_RECV") | ("SYN_SENT", "ESTABLISHED") => self.syn(other),
            (_, "ESTABLISHED") => self.third(other),
            (_, "FIN_WAIT1" | "LAST_ACK") => self.fin(way),
            (_, "FIN_WAIT2") => Some(self.goes_on(way)?),
            (_, "CLOSE_WAIT" | "CLOSING" | "TIME_WAIT") => {
                let fin = self.fin(other).into_iter();
                return Some(fin.chain(self.repaired(other, u64::MAX)).collect());
            }
            (_, "CLOSED") => {
                let reset = |way: Way| {
                    let reset = self.wire.direction(way)?.reset?;
                    let segment = self.wire.segment(reset);
                    let came = segment.arrived.unwrap_or(at);
                    (came <= at || way.0 == change.local).then_some(self.reset(way)?)
                };
                let ack = || self.segment(self.wire.last_ack(other)?);
                let closed = || self.calls.about(way).rfind(began);
                reset(other).or_else(|| reset(way)).or_else(ack).or_else(closed)
            }
            _ => None,
        };
        Some(cause.into_iter().collect())
    }

    /// The last that each thread of a host had done by then: what the end of a process comes after.
    fn done_by(&self, host: Host, at: Nanos) -> Vec<usize> {
        let mut last = BTreeMap::new();
        for (index, row) in self.calls.rows.iter().enumerate().filter(|(_, row)| row.host == host) {
            let returned = self.calls.call(index).returned;
            if self.calls.began(index) <= at && returned.is_none_or(|returned| returned <= at) {
                last.insert(row.thread, index);
            }
        }
        last.into_values().collect()
    }

    /// The data that the peer sent when it knew of the end of this direction, if some of it left
    /// ahead of the peer's own FIN, whatever else may have happened.
    fn goes_on(&self, way: Way) -> Option<usize> {
        let (other, end) = (back(way), self.calls.ends(way, self.wire)?);
        let reset = [way, other].iter().any(|way| self.reset(*way).is_some());
        let mut sends = self.calls.sends.get(&other).filter(|_| !reset)?.iter();
        sends.find_map(|row| {
            let from = self.calls.rows[*row].bytes.0 as u32;
            let (step, at_once) = *self.data.get(&other)?.get(&from)?;
            (at_once && self.calls.knows(*row, end)).then_some(step)
        })
    }

    /// The step with byte number `byte` of a direction.
    fn data(&self, way: Way, byte: u64) -> Option<usize> {
        let pieces = self.data.get(&way)?;
        pieces.range(..=byte as u32).next_back().map(|(_, (step, _))| *step)
    }

    fn segment(&self, event: usize) -> Option<usize> {
        self.segments.get(&event).copied()
    }

    fn syn(&self, way: Way) -> Option<usize> {
        self.segment(self.wire.direction(way)?.syn?)
    }

    fn fin(&self, way: Way) -> Option<usize> {
        self.segment(self.wire.direction(way)?.fin?)
    }

    fn reset(&self, way: Way) -> Option<usize> {
        self.segment(self.wire.direction(way)?.reset?)
    }

    /// What completes a handshake: an acknowledgement, or data where that came with it.
    fn third(&self, way: Way) -> Option<usize> {
        let first = self.segment(self.wire.direction(way)?.first?);
        first.or_else(|| self.data(way, 1)).or_else(|| self.fin(way))
    }

    /// What was lost at first and came later: without it nothing behind it counts.
    fn repaired(&self, way: Way, byte: u64) -> Vec<usize> {
        let again = self.wire.direction(way).map_or(&[][..], |one| one.again.as_slice());
        let came = |event: &&usize| {
            let segment = self.wire.segment(**event);
            segment.arrived.is_some() && u64::from(segment.seq) <= byte
        };
        again.iter().filter(came).filter_map(|event| self.segment(*event)).collect()
    }
}

/// Whether a segment is an acknowledgement and nothing else.
fn is_bare(segment: &Segment) -> bool {
    segment.len == 0 && segment.flags == "."
}
