//! One order of the steps, the same in every run: that of cause and effect, and where that leaves a
//! choice, effects first, and each thread runs on until it has to wait.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::calls::Calls;
use super::causes::{Act, Step};
use crate::record::Host;

/// The places of the steps, in the order in which they are drawn.
pub fn order(calls: &Calls, steps: &[Step]) -> Vec<usize> {
    let mut waits_for: Vec<usize> = Vec::new();
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for (place, step) in steps.iter().enumerate() {
        let causes: BTreeSet<usize> = step.after.iter().copied().collect();
        causes.iter().for_each(|cause| followers[*cause].push(place));
        waits_for.push(causes.len());
    }
    let mut ready = Ready {
        calls,
        steps,
        effects: BTreeSet::new(),
        calls_of: BTreeMap::new(),
        connections: BTreeMap::new(),
        running: None,
    };
    let mut left: BTreeSet<usize> = (0..steps.len()).collect();
    (0..steps.len()).filter(|place| waits_for[*place] == 0).for_each(|place| ready.add(place));
    let mut order = Vec::new();
    // Causes in a circle would be an error of ours: then whichever is the first of the rest.
    while let Some(next) = ready.take().or(left.first().copied()) {
        if !left.remove(&next) {
            continue;
        }
        order.push(next);
        for &follower in &followers[next] {
            waits_for[follower] = waits_for[follower].saturating_sub(1);
            if waits_for[follower] == 0 {
                ready.add(follower);
            }
        }
    }
    order
}

/// The steps whose causes are all there.
struct Ready<'a> {
    calls: &'a Calls<'a>,
    steps: &'a [Step],
    /// States and segments: states first, the client's first, by their connections.
    effects: BTreeSet<(bool, bool, usize, usize)>,
    /// Calls, by their threads: a thread makes one at a time.
    calls_of: BTreeMap<(Host, usize), usize>,
    /// The connections, numbered as they come.
    connections: BTreeMap<(SocketAddr, SocketAddr, usize), usize>,
    running: Option<(Host, usize)>,
}

impl Ready<'_> {
    fn add(&mut self, place: usize) {
        let step = &self.steps[place];
        if let Act::Call(row) = step.what {
            self.calls_of.insert((step.host, self.calls.rows[row].thread), place);
            return;
        }
        let number = step.way.map_or(0, |(from, to, nth)| {
            let next = self.connections.len() + 1;
            *self.connections.entry((from.min(to), from.max(to), nth)).or_insert(next)
        });
        let is_segment = !matches!(step.what, Act::State(_));
        self.effects.insert((is_segment, step.host == Host::Server, number, place));
    }

    fn take(&mut self) -> Option<usize> {
        if let Some((.., place)) = self.effects.pop_first() {
            return Some(place);
        }
        let begins = (Host::Server, 0);
        let (host, thread) = self.running.unwrap_or(begins);
        let goes_on = self.calls_of.contains_key(&(host, thread)).then_some((host, thread));
        let mut others = self.calls_of.keys().copied();
        let beside = || self.calls_of.keys().copied().find(|(other, _)| *other == host);
        let next = goes_on.or_else(beside).or_else(|| others.next())?;
        self.running = Some(next);
        self.calls_of.remove(&next)
    }
}
