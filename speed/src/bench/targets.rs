//! The ratios that the reference has to reach.

use crate::cost::{self, FRAME, PAIR};
use crate::measure::Measured;
use crate::{frames, hostile, lines, roundtrip, servers, units};

/// One demand, and what came of it.
pub struct Verdict {
    pub what: String,
    /// `true`: at least `demanded`; `false`: at most.
    pub at_least: bool,
    pub demanded: f64,
    pub measured: f64,
    /// The same where our reader tries for a while before it sleeps.
    pub spinning: Option<f64>,
    /// The same for bytes without any meaning, or for the shortest round trip there is.
    pub raw: Option<f64>,
    /// The same ratio of the busier side's CPU times.
    pub by_cpu: Option<f64>,
}

impl Verdict {
    pub fn reached(&self) -> bool {
        self.good(self.measured)
    }

    /// Nothing that was measured reaches it, not even bytes without any meaning.
    pub fn beyond(&self) -> bool {
        let beside = [self.spinning, self.raw].into_iter().flatten();
        self.raw.is_some() && !self.reached() && !beside.into_iter().any(|ratio| self.good(ratio))
    }

    fn good(&self, ratio: f64) -> bool {
        if self.at_least { ratio >= self.demanded } else { ratio <= self.demanded }
    }
}

/// Judges what was measured; what was not is left out.
pub fn judge(measured: &Measured) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let mut add = |what: String, at_least, demanded, ratio: Option<f64>, beside: Beside| {
        let Beside { spinning, raw, by_cpu } = beside;
        if let Some(measured) = ratio {
            verdicts.push(Verdict { what, at_least, demanded, measured, spinning, raw, by_cpu });
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
            let ratio = |peer| over(frame(peer, size), fastest(size, whose));
            let beside = Beside {
                spinning: ratio("ours, spins"),
                raw: ratio(frames::RAW),
                by_cpu: over(leanest(size, whose), cpu(size)),
            };
            let what = format!("frames of {} over {whose}'s", units::bytes(size));
            add(what, true, demanded, ratio("ours"), beside);
        }
    }
    let over_best = [0.30, 0.50, 0.50, 0.55, 0.55, 0.55, 0.75];
    for (size, demanded) in frames::SIZES.into_iter().zip(over_best) {
        if let Some((best, theirs)) = leanest_peer(measured, size) {
            let what = format!("CPU, frames of {} over {best}'s", units::bytes(size));
            let raw = over(ready_made(measured, size), Some(theirs));
            let beside = Beside { raw, ..Beside::default() };
            add(what, false, demanded, over(cpu(size), Some(theirs)), beside);
        }
    }
    for (size, demanded) in [(64, 0.72), (1 << 10, 0.85), (64 << 10, 0.90)] {
        let ratio = over(frame("ours, spins", size), frame(frames::RAW, size));
        let what = format!("frames of {}, spinning: share of raw bytes", units::bytes(size));
        add(what, true, demanded, ratio, Beside::default());
    }

    let trip = |peer| measured.median(roundtrip::SECTION, peer, 1, roundtrip::METRIC);
    let ratio = |peer| over(trip(roundtrip::ARTICLE), trip(peer));
    let beside = Beside { raw: ratio("floor"), ..Beside::default() };
    add("round trips on one core over the article's".into(), true, 6000.0, ratio("ours"), beside);
    let mut plain = |what: &str, demanded, ratio| {
        add(what.into(), false, demanded, ratio, Beside::default());
    };
    plain("time of a round trip over the floor's", 1.05, over(trip("ours"), trip("floor")));
    let ratio = over(trip("gathered"), trip("floor, two receives"));
    plain("the same with two receives a message", 1.05, ratio);

    for (whose, demanded) in [("std 8 KiB", 3.0), ("LinesCodec", 5.0)] {
        let fastest = |whose| best_of(lines::SECTION, lines::LINE, lines::METRIC, whose, f64::max);
        let leanest = |whose| best_of(lines::SECTION, lines::LINE, lines::CPU, whose, f64::min);
        let line = |peer| measured.median(lines::SECTION, peer, lines::LINE, lines::METRIC);
        let ratio = |peer| over(line(peer), fastest(whose));
        let beside = Beside {
            spinning: ratio("ours, spins"),
            raw: ratio(frames::RAW),
            by_cpu: over(
                leanest(whose),
                measured.median(lines::SECTION, "ours", lines::LINE, lines::CPU),
            ),
        };
        add(format!("lines over {whose}'s"), true, demanded, ratio("ours"), beside);
    }

    let mut plain = |what: &str, demanded, ratio| {
        add(what.into(), false, demanded, ratio, Beside::default());
    };
    let cost = |section, peer| measured.median(section, peer, 64, cost::METRIC);
    plain("instructions: thin send + recv", 40.0, cost(PAIR, "ours, sys"));
    let loops = cost(PAIR, "ours, send_all + recv_exact");
    plain("instructions: send_all + recv_exact", 60.0, loops);
    plain("instructions: a batched 64-byte frame", 60.0, cost(FRAME, "ours"));
    let line = measured.median(cost::LINE, "ours", lines::LINE, cost::METRIC);
    plain("instructions: an 80-byte line", 70.0, line);

    let rung = |word: &str, metric| {
        let peers = measured.distinct(servers::SECTION, metric, |row| row.peer.as_str());
        let peer = peers.into_iter().find(|peer| peer.contains(word))?;
        measured.median(servers::SECTION, peer, 1000, metric)
    };
    let ratio = over(rung("epoll", servers::CPU), rung("tokio", servers::CPU));
    plain("epoll at 1000 connections: CPU over tokio's", 0.85, ratio);
    plain("epoll: KiB an idle connection", 0.1, rung("epoll", servers::MEMORY));

    for size in hostile::SIZES {
        let came = size as f64 / 1024.0;
        let heap = measured.median(hostile::SECTION, "ours", size, hostile::METRIC);
        let what = format!("hostile header and {}: KiB over what came", units::bytes(size));
        plain(&what, 64.0, heap.map(|heap| heap - came));
    }
    verdicts
}

/// The peer that takes the least CPU time for a frame of this size, and how much.
pub fn leanest_peer(measured: &Measured, size: usize) -> Option<(&str, f64)> {
    leanest(measured, size, &["std", "tokio-util", "asynchronous-codec"])
}

/// CPU time of as many raw bytes, with the buffers that suit them best.
pub fn raw_bytes(measured: &Measured, size: usize) -> Option<f64> {
    leanest(measured, size, &[frames::RAW_CPU]).map(|(_, cpu)| cpu)
}

/// CPU time of frames that cost their sender nothing, and their receiver the finding.
pub fn ready_made(measured: &Measured, size: usize) -> Option<f64> {
    leanest(measured, size, &[frames::READY_MADE]).map(|(_, cpu)| cpu)
}

fn leanest<'a>(measured: &'a Measured, size: usize, starts: &[&str]) -> Option<(&'a str, f64)> {
    let peers = measured.distinct(frames::SECTION, frames::CPU, |row| row.peer.as_str());
    let those = peers.into_iter().filter(|peer| starts.iter().any(|start| peer.starts_with(start)));
    let cpu = |peer| measured.median(frames::SECTION, peer, size, frames::CPU);
    those.filter_map(|peer| Some((peer, cpu(peer)?))).min_by(|a, b| a.1.total_cmp(&b.1))
}

/// What is shown beside a ratio.
#[derive(Default)]
struct Beside {
    spinning: Option<f64>,
    raw: Option<f64>,
    by_cpu: Option<f64>,
}

fn over(value: Option<f64>, base: Option<f64>) -> Option<f64> {
    Some(value? / base?)
}
