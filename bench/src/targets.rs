//! The ratios that the reference has to reach.

use crate::cost::{self, FRAME, PAIR};
use crate::measure::Measured;
use crate::{frames, lines, report, roundtrip, servers};

/// One demand, and what came of it.
pub struct Verdict {
    pub what: String,
    /// `true`: at least `demanded`; `false`: at most.
    pub at_least: bool,
    pub demanded: f64,
    pub measured: f64,
    /// The same ratio of the busier side's CPU times, where it means something.
    pub by_cpu: Option<f64>,
}

impl Verdict {
    pub fn reached(&self) -> bool {
        if self.at_least { self.measured >= self.demanded } else { self.measured <= self.demanded }
    }
}

/// Judges what was measured; what was not is left out.
pub fn judge(measured: &Measured) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut add_both = |what: String, at_least, demanded, value: Option<f64>, by_cpu| {
        if let Some(measured) = value {
            verdicts.push(Verdict { what, at_least, demanded, measured, by_cpu });
        }
    };

    let best_of = |section, x, metric, start: &str, better: fn(f64, f64) -> f64| {
        let peers = measured.distinct(section, metric, |row| row.peer.as_str());
        let those = peers.into_iter().filter(|peer| peer.starts_with(start));
        those.filter_map(|peer| measured.median(section, peer, x, metric)).reduce(better)
    };
    let frame = |peer: &str, size| measured.median(frames::SECTION, peer, size, frames::METRIC);
    let fastest = |size, start| best_of(frames::SECTION, size, frames::METRIC, start, f64::max);
    let leanest = |size, start| best_of(frames::SECTION, size, frames::CPU, start, f64::min);
    let cpu = |size| measured.median(frames::SECTION, "ours", size, frames::CPU);
    let over_article = [200.0, 95.0, 30.0, 9.0, 4.0, 3.0, 1.25];
    let over_tokio = [9.0, 5.0, 2.0, 1.25, 1.5, 1.7, 1.3];
    for (whose, demands) in [("article", over_article), ("tokio-util", over_tokio)] {
        for (size, demanded) in frames::SIZES.into_iter().zip(demands) {
            let ratio = over(frame("ours", size), fastest(size, whose));
            let by_cpu = over(leanest(size, whose), cpu(size));
            let what = format!("frames of {} over {whose}'s", report::bytes(size));
            add_both(what, true, demanded, ratio, by_cpu);
        }
    }
    let mut add = |what, at_least, demanded, ratio| add_both(what, at_least, demanded, ratio, None);
    for (size, demanded) in [(64, 0.72), (1 << 10, 0.85), (64 << 10, 0.90)] {
        let ratio = over(frame("ours, spins", size), frame("raw limit", size));
        add(
            format!("frames of {}, spinning: share of the limit", report::bytes(size)),
            true,
            demanded,
            ratio,
        );
    }

    let trip = |peer| measured.median(roundtrip::SECTION, peer, 1, roundtrip::METRIC);
    let ratio = over(trip(roundtrip::ARTICLE), trip("ours"));
    add("round trips on one core over the article's".into(), true, 6000.0, ratio);
    let ratio = over(trip("ours"), trip("floor"));
    add("time of a round trip over the floor's".into(), false, 1.05, ratio);
    let ratio = over(trip("gathered"), trip("floor, two receives"));
    add("the same, gathered, two receives".into(), false, 1.05, ratio);

    for (whose, demanded) in [("std 8 KiB", 3.0), ("LinesCodec", 5.0)] {
        let fastest = |whose| best_of(lines::SECTION, lines::LINE, lines::METRIC, whose, f64::max);
        let leanest = |whose| best_of(lines::SECTION, lines::LINE, lines::CPU, whose, f64::min);
        let ratio = over(fastest("ours"), fastest(whose));
        let by_cpu = over(leanest(whose), leanest("ours"));
        add_both(format!("lines over {whose}'s"), true, demanded, ratio, by_cpu);
    }

    let mut add = |what, at_least, demanded, ratio| add_both(what, at_least, demanded, ratio, None);
    let cost = |section, peer| measured.median(section, peer, 64, cost::METRIC);
    add("instructions: thin send + recv".into(), false, 50.0, cost(PAIR, "ours, sys"));
    add("instructions: a batched 64-byte frame".into(), false, 85.0, cost(FRAME, "ours"));

    let rung = |word: &str, metric| {
        let peers = measured.distinct(servers::SECTION, metric, |row| row.peer.as_str());
        let peer = peers.into_iter().find(|peer| peer.contains(word))?;
        measured.median(servers::SECTION, peer, 1000, metric)
    };
    let ratio = over(rung("epoll", servers::CPU), rung("tokio", servers::CPU));
    add("epoll at 1000 connections: CPU over tokio's".into(), false, 0.85, ratio);
    let memory = rung("epoll", servers::MEMORY);
    add("epoll: KiB an idle connection".into(), false, 0.1, memory);
    verdicts
}

fn over(value: Option<f64>, base: Option<f64>) -> Option<f64> {
    Some(value? / base?)
}
