//! Which moment is at which height. Time runs downwards and is not linear: a pause grows with the
//! logarithm of its length, and where labels stand close together, time is stretched until they
//! fit. So the order is exact, no label covers another, and a long wait is still seen.

use std::collections::{BTreeMap, BTreeSet};

use crate::output::words;
use crate::record::{Event, Host, Nanos, Trace, What};

/// The height of one label.
pub const ROW: f64 = 17.0;

/// A picture to scale is at least so high.
const LEAST: f64 = 900.0;

/// A moment: one edge of an event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// When.
    pub at: Nanos,
    /// Among moments of the same time: what arrives comes before what it causes.
    rank: u8,
    /// The event, by its place in the trace.
    pub event: usize,
    /// Its end, not its begin.
    pub end: bool,
}

/// A column in which labels stand below each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// What a host does: calls, states, processes.
    Host(Host),
    /// The host's half of the wire.
    Wire(Host),
}

/// A label and where it belongs.
pub struct Label {
    /// The column.
    pub lane: Lane,
    /// The room that it takes above its moment.
    pub above: f64,
    /// And below.
    pub below: f64,
}

/// The heights of all moments.
pub struct Layout {
    /// Each moment drawn and its height, both growing.
    pub moments: Vec<(Moment, f64)>,
    begins: BTreeMap<usize, f64>,
    ends: BTreeMap<usize, f64>,
    /// The labels that have no room: events, and whether it is the one at its end.
    crowded: BTreeSet<(usize, bool)>,
    /// Of a nanosecond, if time is to scale.
    scale: Option<f64>,
    /// The height of the whole.
    pub height: f64,
}

impl Layout {
    /// Lays out the events of `trace` for which `drawn` says so, the first at height `top`.
    /// `label` says what stands at an edge.
    pub fn new(
        trace: &Trace,
        top: f64,
        drawn: impl Fn(usize) -> bool,
        label: impl Fn(&Moment) -> Option<Label>,
    ) -> Layout {
        let mut moments = moments(trace, drawn);
        moments.sort();
        let mut layout = Layout {
            moments: Vec::with_capacity(moments.len()),
            begins: BTreeMap::new(),
            ends: BTreeMap::new(),
            crowded: BTreeSet::new(),
            scale: None,
            height: top,
        };
        let mut lanes: BTreeMap<Lane, f64> = BTreeMap::new();
        let mut before: Option<(Nanos, f64)> = None;
        for moment in moments {
            let mut y = before.map_or(top, |(at, y)| y + pause(moment.at - at));
            if let Some(Label { lane, above, below }) = label(&moment) {
                let free = lanes.entry(lane).or_insert(top);
                y = y.max(*free + above);
                *free = y + below;
            }
            let edge = if moment.end { &mut layout.ends } else { &mut layout.begins };
            edge.insert(moment.event, y);
            layout.moments.push((moment, y));
            before = Some((moment.at, y));
        }
        layout.height = lanes.values().fold(layout.height, |a, &b| a.max(b)) + ROW;
        layout
    }

    /// The same events with time to scale, about as high. Labels may have no room there.
    pub fn to_scale(mut self, top: f64, label: impl Fn(&Moment) -> Option<Label>) -> Layout {
        let Some(first) = self.moments.first().map(|(moment, _)| moment.at) else { return self };
        let last = self.moments.iter().map(|(moment, _)| moment.at).max().unwrap_or(first);
        let scale = (self.height - top).max(LEAST) / (last - first).max(1) as f64;
        let mut lanes: BTreeMap<Lane, f64> = BTreeMap::new();
        for (moment, y) in &mut self.moments {
            *y = top + (moment.at - first) as f64 * scale;
            let edge = if moment.end { &mut self.ends } else { &mut self.begins };
            edge.insert(moment.event, *y);
            let Some(Label { lane, above, below }) = label(moment) else { continue };
            let free = lanes.entry(lane).or_insert(top - ROW);
            if *y < *free + above {
                self.crowded.insert((moment.event, moment.end));
            } else {
                *free = *y + below;
            }
        }
        self.scale = Some(scale);
        self.height = self.moments.last().map_or(top, |&(_, y)| y) + ROW;
        self
    }

    /// Whether the label at an event's begin, or at its end, has no room.
    pub fn is_crowded(&self, event: usize, end: bool) -> bool {
        self.crowded.contains(&(event, end))
    }

    /// Where an event begins.
    pub fn begin(&self, event: usize) -> Option<f64> {
        self.begins.get(&event).copied()
    }

    /// Where it ends.
    pub fn end(&self, event: usize) -> Option<f64> {
        self.ends.get(&event).copied()
    }

    /// The height of any time: that of the last moment before it.
    pub fn at(&self, time: Nanos) -> f64 {
        let after = self.moments.partition_point(|(moment, _)| moment.at <= time);
        self.moments[..after].last().or(self.moments.first()).map_or(0.0, |&(_, y)| y)
    }
}

/// Both edges of every event that has two.
fn moments(trace: &Trace, drawn: impl Fn(usize) -> bool) -> Vec<Moment> {
    let mut moments = Vec::new();
    for (event, Event { at, what }) in trace.events.iter().enumerate().filter(|(i, _)| drawn(*i)) {
        let rank = if matches!(what, What::State(_)) { 2 } else { 1 };
        moments.push(Moment { at: *at, rank, event, end: false });
        let (end, rank) = match what {
            What::Call(call) => (call.returned, 3),
            What::Segment(segment) => (segment.arrived, 0),
            What::State(_) | What::Process(_) => (None, 0),
        };
        // An end in the same nanosecond is still an end.
        moments.extend(end.map(|end| Moment { at: end.max(at + 1), rank, event, end: true }));
    }
    moments
}

/// From here on a pause is named.
const LONG: Nanos = 1_000_000;

/// The height of a pause: 3 for none, 15 for 100 µs, 35 for 10 ms, 47 for 1 s.
fn pause(nanos: Nanos) -> f64 {
    let name = if nanos < LONG { 3.0 } else { 11.0 };
    name + 6.0 * (1.0 + nanos as f64 / 1e3).log10()
}

/// Whether a call waited: a millisecond went by, or it waits for what the peer sends and something
/// came meanwhile. Such a call says its result where it returned.
pub fn waited(trace: &Trace, index: usize) -> bool {
    let Event { at, what: What::Call(call) } = &trace.events[index] else { return false };
    let Some(end) = call.returned else { return false };
    let arrives = |event: &Event| match &event.what {
        What::Segment(segment) => {
            let came = segment.arrived.is_some_and(|arrived| *at < arrived && arrived < end);
            came && segment.from != call.host
        }
        _ => false,
    };
    // Whatever arrives before the end has left before the end, and seldom long ago.
    let from = index.saturating_sub(1000);
    end - at >= LONG || trace.events[from..].iter().take_while(|event| event.at < end).any(arrives)
}

/// Nice marks for the time axis: the moments at which a time is written, with that text.
pub fn marks(layout: &Layout) -> Vec<(f64, String)> {
    let mut marks: Vec<(f64, String)> = Vec::new();
    let Some(&(first, top)) = layout.moments.first() else { return marks };
    if let Some(scale) = layout.scale {
        let step = round(2.0 * ROW / scale);
        let all = (0..).map_while(|count: u64| count.checked_mul(step)); // a trace may say any time
        let drawn = all.map(|after| (top + after as f64 * scale, words::since(0, after)));
        return drawn.take_while(|(y, _)| *y < layout.height).collect();
    }
    for (moment, y) in &layout.moments {
        if marks.last().is_none_or(|(last, _)| y - last >= 2.0 * ROW) {
            marks.push((*y, words::since(first.at, moment.at)));
        }
    }
    marks
}

/// 1, 2 or 5 times a power of ten, and at least `least`.
fn round(least: f64) -> Nanos {
    let tens = (0..).map(|power| 10_u64.saturating_pow(power));
    let steps = tens.flat_map(|ten| [1, 2, 5].map(|digit| ten.saturating_mul(digit)));
    steps.into_iter().find(|step| *step as f64 >= least).unwrap_or(Nanos::MAX)
}

/// The pauses worth naming: from where to where, and how long. To scale they name themselves.
pub fn pauses(layout: &Layout) -> Vec<(f64, f64, Nanos)> {
    if layout.scale.is_some() {
        return Vec::new();
    }
    let pairs = layout.moments.windows(2);
    let gaps = pairs.map(|pair| (pair[0].1, pair[1].1, pair[1].0.at - pair[0].0.at));
    gaps.filter(|(_, _, nanos)| *nanos >= LONG).collect()
}
