//! What had to come before what. The clock says when something was seen; that differs from run to
//! run wherever two hosts act at the same time. What caused what does not differ.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::record::{Call, Event, Host, Segment, StateChange, Trace, What};

/// One step of the ladder: an event, or one half of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its place in the trace.
    pub event: usize,
    /// Its second half: the return of a `connect` that waited; the FIN behind the data of a
    /// segment.
    pub second: bool,
    /// The steps that must come before it, by their places in the list.
    pub after: Vec<usize>,
}

/// A direction of a connection: from, to.
pub type Way = (SocketAddr, SocketAddr);

/// The steps of a trace in order of time, each with its causes. Events for which `counts` is false
/// are left out.
pub fn steps(trace: &Trace, counts: impl Fn(usize) -> bool) -> Vec<Step> {
    let mut found = Found { trace, steps: Vec::new() };
    let (mut sent, mut received) = (Bytes::default(), Bytes::default());
    for (index, event) in trace.events.iter().enumerate() {
        if !counts(index) {
            continue;
        }
        if let What::Call(call) = &event.what {
            if call.name == "connect" && call.result.as_deref() == Some("0") {
                found.add(index, false);
                found.add(index, true);
            } else {
                found.add(index, false);
            }
            let amount = call.result.as_deref().and_then(|result| result.parse().ok()).unwrap_or(0);
            match (call.conn, direction(call)) {
                (Some(way), Direction::Out) => sent.note(way, found.steps.len() - 1, amount),
                (Some((local, peer)), Direction::In) => {
                    received.note((peer, local), found.steps.len() - 1, amount);
                }
                _ => {}
            }
        } else {
            found.add(index, false);
            if matches!(&event.what, What::Segment(segment) if ends_with_data(segment)) {
                found.add(index, true);
            }
        }
    }
    for place in 0..found.steps.len() {
        let mut after = found.causes(place, &sent, &received);
        after.retain(|cause| *cause != place);
        after.sort_unstable();
        after.dedup();
        found.steps[place].after = after;
    }
    found.steps
}

/// The directions of connections that each side ended without having heard of the other's end.
#[derive(Default)]
pub struct Crossing {
    /// Both directions of each such connection.
    pub all: BTreeSet<Way>,
    /// Those whose FIN may or may not leave before a reset arrives.
    pub reset: BTreeSet<Way>,
}

/// Finds them.
pub fn crossing(trace: &Trace, steps: &[Step]) -> Crossing {
    let mut fins: BTreeMap<Way, usize> = BTreeMap::new();
    let mut resets: BTreeMap<Way, usize> = BTreeMap::new();
    let mut closes: BTreeMap<Way, usize> = BTreeMap::new();
    for (place, step) in steps.iter().enumerate() {
        match &trace.events[step.event].what {
            What::Segment(segment) => {
                let way = (segment.source, segment.destination);
                if segment.flags.contains('R') {
                    resets.entry(way).or_insert(place);
                } else if segment.flags.contains('F') && (step.second || segment.len == 0) {
                    fins.entry(way).or_insert(place);
                }
            }
            What::Call(call) if ["close", "shutdown"].contains(&call.name.as_str()) => {
                call.conn.map(|way| closes.entry(way).or_insert(place));
            }
            _ => {}
        }
    }
    // Of the FIN itself, or by any other way of the call that sent it: the wire keeps the order.
    let heard = |later: usize, earlier: usize| {
        let (mut causes, mut seen) = (vec![later], BTreeSet::new());
        while let Some(place) = causes.pop() {
            causes.extend(steps[place].after.iter().filter(|cause| seen.insert(**cause)));
        }
        let is_call =
            |place: &&usize| matches!(trace.events[steps[**place].event].what, What::Call(_));
        let sent_by = steps[earlier].after.iter().filter(is_call).max();
        seen.contains(&earlier) || sent_by.is_some_and(|call| seen.contains(call))
    };
    let mut found = Crossing::default();
    for (&way, &fin) in &fins {
        let back = (way.1, way.0);
        if let Some(&other) = fins.get(&back)
            && !heard(fin, other)
            && !heard(other, fin)
        {
            found.all.extend([way, back]);
        }
    }
    for (&way, &reset) in &resets {
        let back = (way.1, way.0);
        if let Some(&close) = closes.get(&back)
            && !heard(reset, close)
            && !heard(close, reset)
        {
            found.all.extend([way, back]);
            found.reset.insert(back);
        }
    }
    found
}

/// Whether a segment carries data and a FIN. Whether they travel together is chance.
pub fn ends_with_data(segment: &Segment) -> bool {
    segment.len > 0 && segment.flags.contains('F')
}

/// How many bytes of a direction the calls so far have moved: the step, and the total after it.
#[derive(Default)]
struct Bytes(BTreeMap<Way, Vec<(usize, u64)>>);

impl Bytes {
    fn note(&mut self, way: Way, step: usize, amount: u64) {
        let calls = self.0.entry(way).or_default();
        let before = calls.last().map_or(0, |(_, total)| *total);
        calls.push((step, before + amount));
    }

    /// The call that moved byte number `byte`, counted from 1.
    fn mover(&self, way: Way, byte: u64) -> Option<usize> {
        let calls = self.0.get(&way)?;
        calls.iter().find(|(_, total)| *total >= byte).map(|(step, _)| *step)
    }

    /// The total after a step.
    fn total(&self, way: Way, step: usize) -> u64 {
        let calls = self.0.get(&way).map(Vec::as_slice).unwrap_or_default();
        calls.iter().find(|(other, _)| *other == step).map_or(0, |(_, total)| *total)
    }
}

/// Which way a call moves data.
#[derive(PartialEq)]
enum Direction {
    Out,
    In,
    Neither,
}

fn direction(call: &Call) -> Direction {
    let begins = |names: &[&str]| names.iter().any(|name| call.name.starts_with(name));
    if begins(&["send", "write"]) {
        Direction::Out
    } else if begins(&["recv", "read"]) {
        Direction::In
    } else {
        Direction::Neither
    }
}

struct Found<'a> {
    trace: &'a Trace,
    steps: Vec<Step>,
}

impl Found<'_> {
    fn add(&mut self, event: usize, second: bool) {
        self.steps.push(Step { event, second, after: Vec::new() });
    }

    fn event(&self, place: usize) -> &Event {
        &self.trace.events[self.steps[place].event]
    }

    /// The last step before `place` that `fits`.
    fn last(&self, place: usize, fits: impl Fn(&Event) -> bool) -> Option<usize> {
        (0..place).rev().find(|earlier| fits(self.event(*earlier)))
    }

    /// The last call that had begun before `place` and `fits`.
    fn last_call(&self, place: usize, fits: impl Fn(&Call) -> bool) -> Option<usize> {
        (0..place).rev().find(|earlier| match &self.event(*earlier).what {
            What::Call(call) => !self.steps[*earlier].second && fits(call),
            _ => false,
        })
    }

    /// The first segment of that direction that `fits`: of a byte sent twice, the one that came.
    fn segment(&self, way: Way, fits: impl Fn(&Segment) -> bool) -> Option<usize> {
        (0..self.steps.len()).find(|place| match &self.event(*place).what {
            What::Segment(segment) => {
                (segment.source, segment.destination) == way
                    && segment.arrived.is_some()
                    && fits(segment)
            }
            _ => false,
        })
    }

    fn fin(&self, way: Way) -> Option<usize> {
        let first = self.segment(way, |segment| segment.flags.contains('F'))?;
        let split = self
            .steps
            .get(first + 1)
            .is_some_and(|next| next.second && next.event == self.steps[first].event);
        Some(if split { first + 1 } else { first })
    }

    /// What was lost at first and came later, below byte `end`: without it nothing behind it counts.
    fn repaired(&self, way: Way, end: u64) -> impl Iterator<Item = usize> {
        (0..self.steps.len()).filter(move |place| match &self.event(*place).what {
            What::Segment(segment) => {
                (segment.source, segment.destination) == way
                    && segment.again
                    && segment.arrived.is_some()
                    && u64::from(segment.seq) <= end
            }
            _ => false,
        })
    }

    fn causes(&self, place: usize, sent: &Bytes, received: &Bytes) -> Vec<usize> {
        let mut after = Vec::new();
        match &self.event(place).what {
            What::Call(call) => self.call(place, call, received, &mut after),
            What::Segment(segment) => self.sent(place, segment, sent, &mut after),
            What::State(change) => {
                after.extend(self.state(place, change));
                if let ("CLOSE_WAIT" | "TIME_WAIT", Some(peer)) = (change.now.as_str(), change.peer)
                {
                    after.extend(self.repaired((peer, change.local), u64::MAX));
                }
            }
            What::Process(_) => {}
        }
        after
    }

    fn call(&self, place: usize, call: &Call, received: &Bytes, after: &mut Vec<usize>) {
        // A thread makes its calls one after the other.
        after.extend(self.last(place, |event| match &event.what {
            What::Call(other) => {
                (other.host, other.pid, other.tid) == (call.host, call.pid, call.tid)
            }
            _ => false,
        }));
        let Some((local, peer)) = call.conn else { return };
        let (mine, other) = ((local, peer), (peer, local));
        if call.name.starts_with("accept") {
            after.extend(self.segment(other, |segment| !segment.flags.contains('S')));
            return;
        }
        // Whichever thread takes it on: the connection is accepted before it is used.
        after.extend(self.last_call(place, |one| {
            one.name.starts_with("accept") && one.host == call.host && one.conn == Some(mine)
        }));
        let result = call.result.as_deref().unwrap_or_default();
        if call.name == "connect" && self.steps[place].second {
            after.extend(self.segment(other, |segment| segment.flags.starts_with("S.")));
        }
        if direction(call) == Direction::In && result == "0" {
            // Its own end ends its reading, too.
            let stopped = self.last_call(place, |one| {
                one.name == "shutdown" && !one.args.contains("SHUT_WR") && one.conn == Some(mine)
            });
            after.extend(stopped);
            if stopped.is_none() {
                after.extend(self.fin(other));
                after.extend(self.repaired(other, u64::MAX));
            }
        } else if direction(call) == Direction::In {
            let total = received.total(other, place);
            let last = |segment: &Segment| u64::from(segment.seq) + u64::from(segment.len) > total;
            after.extend(self.segment(other, |segment| segment.len > 0 && last(segment)));
            after.extend(self.repaired(other, total));
        }
        if result.contains("ECONNRESET") {
            after.extend(self.segment(other, |segment| segment.flags.contains('R')));
        }
    }

    fn sent(&self, place: usize, segment: &Segment, sent: &Bytes, after: &mut Vec<usize>) {
        let way = (segment.source, segment.destination);
        let back = (way.1, way.0);
        // The wire keeps the order of one direction.
        after.extend(self.last(place, |event| match &event.what {
            What::Segment(other) => (other.source, other.destination) == way,
            _ => false,
        }));
        let second = self.steps[place].second;
        let from = |call: &Call| call.host == segment.from && call.conn.is_none_or(|c| c == way);
        if segment.flags == "S" {
            after.extend(self.last_call(place, |call| call.name == "connect" && from(call)));
        } else if segment.flags.starts_with('S') {
            after.extend(self.segment(back, |segment| segment.flags == "S"));
        }
        if segment.len > 0 && !second {
            let end = u64::from(segment.seq) + u64::from(segment.len) - 1;
            after.extend(sent.mover(way, end));
        }
        let ends = |call: &Call| {
            matches!(call.name.as_str(), "shutdown" | "close") && call.conn.is_some() && from(call)
        };
        if segment.flags.contains('F') && (second || segment.len == 0) {
            after.extend(self.last_call(place, ends));
        } else if segment.flags.contains('R') {
            // By its close; nobody has accepted it: by the listener's. Or data came for nobody.
            let closes = |conn| {
                let from = move |call: &Call| call.host == segment.from && call.conn == conn;
                self.last_call(place, move |call| call.name == "close" && from(call))
            };
            let closed = closes(Some(way)).or_else(|| closes(None));
            let arrived = self.last(place, |event| match &event.what {
                What::Segment(other) => {
                    let fits = (other.source, other.destination) == back;
                    fits && (other.len > 0 || closed.is_none())
                }
                _ => false,
            });
            after.extend(closed.max(arrived));
        } else if segment.len == 0 && segment.flags == "." {
            let fits = |other: &Segment| {
                let length = other.len + u32::from(other.flags.contains(['S', 'F']));
                other.seq + length == segment.ack.unwrap_or(0) && length > 0
            };
            // Of data and FIN together, this acknowledges the FIN.
            let acknowledged = self.segment(back, fits);
            after.extend(acknowledged);
            after.extend(self.fin(back).filter(|fin| {
                acknowledged.is_some_and(|seg| self.steps[seg].event == self.steps[*fin].event)
            }));
        }
    }

    fn state(&self, place: usize, change: &StateChange) -> Option<usize> {
        let call = |names: &[&str]| {
            self.last_call(place, |call| {
                call.host == change.host && names.contains(&call.name.as_str())
            })
        };
        let Some(peer) = change.peer else {
            return call(if change.now == "CLOSED" { &["close"] } else { &["listen"] });
        };
        let (out, back) = ((change.local, peer), (peer, change.local));
        // Bare acknowledgements come when they like: with data it is the program that answers.
        let acknowledged = |with_data: bool| {
            let end = self.fin(out).map(|fin| match &self.event(fin).what {
                What::Segment(fin) => fin.seq + fin.len + 1,
                _ => 0,
            });
            self.segment(back, |segment| segment.ack == end && (segment.len > 0 || !with_data))
        };
        let reset = || {
            let resets = |segment: &Segment| segment.flags.contains('R');
            self.segment(back, resets).or_else(|| self.segment(out, resets))
        };
        let cause = match (change.before.as_str(), change.now.as_str()) {
            (_, "SYN_SENT") => call(&["connect"]),
            (_, "SYN_RECV") => self.segment(back, |segment| segment.flags == "S"),
            ("SYN_SENT", "ESTABLISHED") => self.segment(back, |s| s.flags.starts_with("S.")),
            (_, "ESTABLISHED") => self.segment(back, |s| !s.flags.starts_with('S')),
            (_, "FIN_WAIT1" | "LAST_ACK") => self.fin(out),
            (_, "FIN_WAIT2") => acknowledged(true),
            (_, "CLOSE_WAIT" | "CLOSING" | "TIME_WAIT") => self.fin(back),
            (_, "CLOSED") => reset().or_else(|| acknowledged(false)),
            _ => None,
        };
        cause.or_else(|| self.last(place, |event| host(event) == Some(change.host)))
    }
}

fn host(event: &Event) -> Option<Host> {
    match &event.what {
        What::Call(call) => Some(call.host),
        What::State(change) => Some(change.host),
        What::Process(process) => Some(process.host),
        What::Segment(_) => None,
    }
}
