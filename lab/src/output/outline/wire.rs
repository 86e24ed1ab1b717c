//! What went over the wire, each direction by itself, without the segments that are there by
//! chance.

use std::collections::BTreeMap;

use super::ways::{Way, Ways, back};
use crate::record::{Host, Nanos, Segment, Trace, What};

/// What the timestamps take of a segment: RFC 7323, 3.2, and two bytes of padding.
const TIMESTAMPS: u32 = 12;

/// One direction of a connection. Segments are places in the trace.
pub struct Direction {
    pub from: Host,
    pub syn: Option<usize>,
    /// The first segment behind the SYN.
    pub first: Option<usize>,
    /// The data that arrived, as it was cut when it first left: from, up to, in which segment.
    pub carried: Vec<(u32, u32, usize)>,
    /// What the link lost, and the data that was sent again for it.
    pub repairs: Vec<usize>,
    /// What was sent again for what the link lost.
    pub again: Vec<usize>,
    pub fin: Option<usize>,
    /// The first one.
    pub reset: Option<usize>,
    /// What its bare acknowledgements name.
    acks: Vec<(u32, usize)>,
    /// The bytes of data that its sender takes in one segment.
    most: u32,
    /// No byte from this one on has left yet.
    next: u32,
    /// The bytes that the link lost.
    lost: Vec<(u32, u32)>,
}

pub struct Wire<'a> {
    trace: &'a Trace,
    directions: BTreeMap<Way, Direction>,
}

impl<'a> Wire<'a> {
    pub fn new(trace: &'a Trace, ways: &Ways) -> Wire<'a> {
        let mut wire = Wire { trace, directions: BTreeMap::new() };
        for (index, event) in trace.events.iter().enumerate() {
            if let What::Segment(segment) = &event.what {
                let way = ways.at((segment.source, segment.destination), event.at);
                wire.take(index, segment, way);
            }
        }
        wire
    }

    pub fn directions(&self) -> impl Iterator<Item = (Way, &Direction)> {
        self.directions.iter().map(|(way, direction)| (*way, direction))
    }

    pub fn direction(&self, way: Way) -> Option<&Direction> {
        self.directions.get(&way)
    }

    pub fn segment(&self, event: usize) -> &'a Segment {
        segment(self.trace, event)
    }

    /// How much data one segment of a direction holds at most.
    pub fn most(&self, way: Way) -> u32 {
        let both = [way, back(way)].map(|way| self.direction(way).map_or(u32::MAX, |one| one.most));
        both[0].min(both[1])
    }

    /// When a byte arrived.
    pub fn came(&self, way: Way, byte: u32) -> Option<Nanos> {
        let mut carried = self.direction(way)?.carried.iter();
        let (.., event) = carried.find(|(from, to, _)| *from <= byte && byte < *to)?;
        self.segment(*event).arrived
    }

    /// The acknowledgement without data that ends a connection: of the FIN that came last, by the
    /// end that had sent its own before.
    pub fn last_ack(&self, way: Way) -> Option<usize> {
        let (out, other) = (self.direction(way)?, self.direction(back(way))?);
        let (ours, theirs) = (self.segment(out.fin?), self.segment(other.fin?));
        let end = |fin: &Segment| fin.seq.wrapping_add(fin.len).wrapping_add(1);
        let ack = out.acks.iter().find(|(ack, _)| *ack == end(theirs));
        ack.filter(|_| theirs.ack == Some(end(ours))).map(|(_, event)| *event)
    }

    fn take(&mut self, index: usize, segment: &Segment, way: Way) {
        let chance = segment.flags == "R" && self.answers_an_ack(index, segment);
        let space = segment.len > 0 || segment.flags.contains(['S', 'F']);
        if space && segment.arrived.is_none() && !is_lost(segment) {
            return; // it is sent again, and the machine lost it: that is chance
        }
        let arrives = |event: usize| self::segment(self.trace, event).arrived.is_some();
        let direction = self.directions.entry(way).or_insert_with(|| Direction::new(segment.from));
        let Direction { syn, fin, reset, .. } = direction;
        // Of several the first that arrived.
        let instead = |slot: &mut Option<usize>| match *slot {
            Some(earlier) if arrives(earlier) => None,
            _ => slot.replace(index),
        };
        let lost = match segment.flags.as_str() {
            flags if flags.contains('S') => {
                direction.most = most(segment);
                instead(syn)
            }
            flags if flags.contains('R') => {
                (!chance).then(|| reset.get_or_insert(index));
                None
            }
            flags if flags.contains('F') => instead(fin),
            _ => None,
        };
        if let Some(lost) = lost {
            direction.repairs.push(lost);
            direction.again.push(index);
        }
        if segment.flags.contains(['S', 'R']) {
            return;
        }
        direction.first.get_or_insert(index);
        if segment.len > 0 {
            direction.data(index, segment);
        } else if segment.flags == "." {
            direction.acks.push((segment.ack.unwrap_or(0), index));
        }
    }

    /// Whether a reset only says that the connection is over, to an acknowledgement that came late.
    fn answers_an_ack(&self, reset: usize, answer: &Segment) -> bool {
        let left = self.trace.events[reset].at;
        let mut earlier = self.trace.events[..reset].iter().rev();
        earlier.find_map(|event| match &event.what {
            What::Segment(one) => {
                let came = one.arrived.is_some_and(|at| at <= left);
                let back = (one.source, one.destination) == (answer.destination, answer.source);
                (back && came).then(|| one.len == 0 && one.flags == ".")
            }
            _ => None,
        }) == Some(true)
    }
}

impl Direction {
    fn new(from: Host) -> Direction {
        Direction {
            from,
            syn: None,
            first: None,
            carried: Vec::new(),
            repairs: Vec::new(),
            again: Vec::new(),
            fin: None,
            reset: None,
            acks: Vec::new(),
            most: u32::MAX,
            next: 1,
            lost: Vec::new(),
        }
    }

    /// Takes in data, as far as it had not arrived before: what is sent again then is chance.
    fn data(&mut self, index: usize, segment: &Segment) {
        let end = segment.seq.saturating_add(segment.len);
        let new = self.not_there(segment.seq, end);
        let repairs = self.lost.iter().any(|(from, to)| *from < end && segment.seq < *to);
        if new.is_empty() {
            return;
        }
        if repairs {
            self.again.push(index);
        }
        if repairs || segment.arrived.is_none() {
            self.repairs.push(index);
        }
        if segment.arrived.is_some() {
            self.lost.retain(|(from, to)| *from < segment.seq || end < *to);
            self.carried.extend(new.into_iter().map(|(from, to)| (from, to, index)));
        } else {
            self.lost.push((segment.seq, end));
        }
        self.next = self.next.max(end);
    }

    /// The bytes from one number up to another that have not arrived yet.
    fn not_there(&self, from: u32, to: u32) -> Vec<(u32, u32)> {
        let mut parts = vec![(from, to)];
        if from < self.next {
            for &(begin, end, _) in &self.carried {
                let around = |(from, to): (u32, u32)| [(from, to.min(begin)), (from.max(end), to)];
                parts = parts.into_iter().flat_map(around).filter(|(from, to)| from < to).collect();
            }
        }
        parts
    }

    /// Whether a segment began with this byte when it first arrived, or none held it.
    pub fn is_cut_at(&self, byte: u32) -> bool {
        !self.carried.iter().any(|(from, to, _)| *from < byte && byte < *to)
    }
}

/// Whether the link lost a segment, as it was told to.
pub fn is_lost(segment: &Segment) -> bool {
    segment.arrived.is_none() && !segment.fate.is_empty()
}

/// The data that fits into a segment, as a SYN tells it.
fn most(syn: &Segment) -> u32 {
    let mut options = syn.options.split(',');
    let mss = options.find_map(|option| option.strip_prefix("mss ")?.parse::<u32>().ok());
    let stamps = if syn.options.contains("TS val") { TIMESTAMPS } else { 0 };
    mss.map_or(u32::MAX, |mss| mss.saturating_sub(stamps))
}

fn segment(trace: &Trace, event: usize) -> &Segment {
    match &trace.events[event].what {
        What::Segment(segment) => segment,
        _ => unreachable!("not a segment"),
    }
}
