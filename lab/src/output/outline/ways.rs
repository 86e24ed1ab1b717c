//! The connections of a trace. Ports may be used again, so two addresses are not enough to tell.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::record::{Nanos, Trace, What};

/// A direction of a connection: from, to, and how many connections these two ends had before.
pub type Way = (SocketAddr, SocketAddr, usize);

/// The other direction.
pub fn back((from, to, nth): Way) -> Way {
    (to, from, nth)
}

/// When which ends began a connection.
pub struct Ways(BTreeMap<(SocketAddr, SocketAddr), Vec<Nanos>>);

impl Ways {
    pub fn new(trace: &Trace) -> Ways {
        let mut begun: BTreeMap<_, Vec<Nanos>> = BTreeMap::new();
        for event in &trace.events {
            if let What::Segment(segment) = &event.what
                && segment.flags == "S"
                && !segment.again
            {
                let ends = sorted(segment.source, segment.destination);
                begun.entry(ends).or_default().push(event.at);
            }
        }
        Ways(begun)
    }

    /// The direction from one end to the other at that time.
    pub fn at(&self, (from, to): (SocketAddr, SocketAddr), time: Nanos) -> Way {
        let begun = self.0.get(&sorted(from, to)).map(Vec::as_slice).unwrap_or_default();
        (from, to, begun.partition_point(|at| *at <= time).saturating_sub(1))
    }
}

fn sorted(one: SocketAddr, other: SocketAddr) -> (SocketAddr, SocketAddr) {
    (one.min(other), one.max(other))
}
