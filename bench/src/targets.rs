//! The ratios that the reference has to reach.

use crate::cost::{self, FRAME, PAIR};
use crate::measure::Measured;
use crate::{frames, lines, roundtrip, servers};

/// One demand, and what came of it.
pub struct Verdict {
    pub what: String,
    /// `true`: at least `demanded`; `false`: at most.
    pub at_least: bool,
    pub demanded: f64,
    pub measured: f64,
}

impl Verdict {
    pub fn reached(&self) -> bool {
        if self.at_least { self.measured >= self.demanded } else { self.measured <= self.demanded }
    }
}

/// Judges what was measured; what was not is left out.
pub fn judge(measured: &Measured) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut add = |what: String, at_least: bool, demanded: f64, value: Option<f64>| {
        if let Some(measured) = value {
            verdicts.push(Verdict { what, at_least, demanded, measured });
        }
    };

    let frame = |peer: &str, size| measured.median(frames::SECTION, peer, size, frames::METRIC);
    let best = |section, x, metric, start: &str| {
        let peers = measured.distinct(section, metric, |row| row.peer.as_str());
        let ours = peers.into_iter().filter(|peer| peer.starts_with(start));
        ours.filter_map(|peer| measured.median(section, peer, x, metric)).reduce(f64::max)
    };
    let over_article = [200.0, 95.0, 30.0, 9.0, 4.0, 3.0, 1.25];
    for (size, demanded) in frames::SIZES.into_iter().zip(over_article) {
        let ratio = over(frame("ours", size), frame("article", size));
        add(format!("frames of {size} B over the article's"), true, demanded, ratio);
    }
    let over_tokio = [9.0, 5.0, 2.0, 1.25, 1.5, 1.7, 1.3];
    for (size, demanded) in frames::SIZES.into_iter().zip(over_tokio) {
        let tokio = best(frames::SECTION, size, frames::METRIC, "tokio-util");
        let ratio = over(frame("ours", size), tokio);
        add(format!("frames of {size} B over the best of tokio-util"), true, demanded, ratio);
    }
    for (size, demanded) in [(64, 0.72), (1 << 10, 0.85), (64 << 10, 0.90)] {
        let ratio = over(frame("ours, spins", size), frame("raw limit", size));
        add(format!("frames of {size} B, spinning: share of the limit"), true, demanded, ratio);
    }

    let trip = |peer| measured.median(roundtrip::SECTION, peer, 1, roundtrip::METRIC);
    let ratio = over(trip(roundtrip::ARTICLE), trip("ours"));
    add("round trips on one core over the article's".into(), true, 6000.0, ratio);
    let ratio = over(trip("ours"), trip("floor"));
    add("time of a round trip over the floor's".into(), false, 1.05, ratio);
    let ratio = over(trip("gathered"), trip("floor, two receives"));
    add("the same, gathered, two receives".into(), false, 1.05, ratio);

    let best_line = |start| best(lines::SECTION, lines::LINE, lines::METRIC, start);
    let ratio = over(best_line("ours"), best_line("std 8 KiB"));
    add("lines over read_until, 8 KiB".into(), true, 3.0, ratio);
    let ratio = over(best_line("ours"), best_line("LinesCodec"));
    add("lines over the best of LinesCodec".into(), true, 5.0, ratio);

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
