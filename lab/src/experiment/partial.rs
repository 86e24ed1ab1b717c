//! Articles 1 and 10.1: sends, segments and reads each have sizes of their own.
//! Claims B2, K2, X2. man: tcp(7) (TCP_MAXSEG), socket(7) (SO_RCVBUF).
//!
//! Segments are those on the wire: not as the sender's socket counts them, but as they came by.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

use super::plot::{Axis, Mark, Picture, Series};
use super::report::Verdict;
use super::scale::Scale;
use super::table::Table;
use super::traffic::{self, Setup};
use super::wire::{Seen, Wire};
use super::{Run, in_parallel, within};
use crate::link::LinkConfig;
use crate::record::Host;

/// What is sent how, over what, and read how.
struct Case {
    name: &'static str,
    /// Bytes a send, and how many sends.
    sends: (usize, usize),
    mtu: u32,
    /// Each way: longer than this machine may take for ten segments.
    delay: Duration,
    server: Setup,
    /// Bytes a read, at most.
    read: usize,
}

/// What came of it.
struct Outcome {
    /// Where each segment begins in the stream, and its size.
    segments: Vec<(u32, u32)>,
    /// How many data segments left before the first acknowledgement came.
    first_flight: usize,
    reads: Vec<usize>,
}

impl Outcome {
    fn largest(&self) -> u32 {
        self.segments.iter().map(|s| s.1).max().unwrap_or(0)
    }

    /// How many of them have the size of the largest, as a share.
    fn full(&self) -> f64 {
        let largest = self.largest();
        let full = self.segments.iter().filter(|s| s.1 == largest).count();
        full as f64 / self.segments.len().max(1) as f64
    }
}

const HEADERS: u32 = 52; // IP 20, TCP 20, timestamps 12

const LARGE: Case = Case {
    name: "1 send of 100,000 bytes",
    sends: (100_000, 1),
    mtu: 1500,
    delay: Duration::from_millis(50),
    server: traffic::plain,
    read: 64 * 1024,
};

const CASES: [Case; 6] = [
    LARGE,
    Case { name: "1000 sends of 10 bytes", sends: (10, 1000), ..LARGE },
    Case { name: "1 send, MTU 600", mtu: 600, ..LARGE },
    Case {
        name: "1 send, small SO_RCVBUF",
        server: small_window,
        delay: Duration::from_millis(5), // it takes many round trips
        ..LARGE
    },
    Case { name: "read by 4, MTU 1500", sends: (8000, 1), read: 4, ..LARGE },
    Case { name: "read by 4, MTU 1052", sends: (8000, 1), read: 4, mtu: 1052, ..LARGE },
];

/// A receive buffer of some 4 KiB: a window of about a segment.
fn small_window(listener: &OwnedFd) -> nix::Result<()> {
    setsockopt(listener, sockopt::RcvBuf, &2048)
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let progress = run.progress(Duration::from_secs(1));
    let outcomes = in_parallel(&CASES, 3, |case| {
        let outcome = measure(run, case)?;
        progress.spent(Duration::from_secs(1) / CASES.len() as u32, case.name);
        Ok(outcome)
    })?;
    drop(progress);
    let [large, small, low_mtu, window, by_four, by_four_1000] = &outcomes[..] else {
        anyhow::bail!("as many outcomes as cases");
    };

    let full = LARGE.mtu - HEADERS;
    let least = LARGE.sends.0.div_ceil(full as usize);
    run.tally.check_that(
        LARGE.name,
        format_args!("{least} segments at least, most of {full} bytes"),
        format_args!("{} segments, the largest {} bytes", large.segments.len(), large.largest()),
        large.segments.len() >= least && large.largest() == full && large.full() > 0.8,
    );
    run.tally.check_that(
        CASES[1].name,
        "fewer than 500 segments",
        format_args!("{} segments", small.segments.len()),
        small.segments.len() < 500,
    );
    let follows_mss = low_mtu.largest() == CASES[2].mtu - HEADERS;
    run.tally.check(
        CASES[2].name,
        "largest segment 548 bytes",
        format_args!("largest segment {} bytes", low_mtu.largest()),
    );
    let follows_window = window.largest() < large.largest();
    run.tally.check_that(
        "1 send, the peer's window smaller than a few segments",
        "smaller segments than before",
        format_args!("the largest {} bytes", window.largest()),
        follows_window,
    );
    let cwnd_decides_number = large.first_flight == 10;
    let sizes_differ = large.segments[..10.min(large.segments.len())].iter().any(|s| s.1 != full);
    run.tally.check(
        "before the first acknowledgement, cwnd 10",
        "10 segments, all full",
        format_args!(
            "{} segments, {}",
            large.first_flight,
            if sizes_differ { "not all full" } else { "all full" }
        ),
    );
    for (case, outcome) in [(&CASES[4], by_four), (&CASES[5], by_four_1000)] {
        let other = outcome.reads.iter().filter(|n| **n != 4).count();
        let (segment, reads) = (outcome.largest(), outcome.reads.len());
        run.tally.check(
            format_args!("8000 bytes, {}", case.name),
            format_args!("segments of {}, 2000 reads, none but of 4", case.mtu - HEADERS),
            format_args!(
                "segments of {segment}, {reads} reads, {}",
                if other == 0 { "none but of 4" } else { "some of another size" }
            ),
        );
    }

    run.tally.claim(
        "B2",
        Verdict::holds_if(small.segments.len() < 500 && large.segments.len() > 1),
        "on the wire 1000 sends are fewer than 500 segments, 1 send is more than 1",
    );
    run.tally.claim(
        "K2",
        Verdict::holds_if(follows_mss && follows_window && sizes_differ).or_when(
            follows_mss && follows_window && cwnd_decides_number,
            "cwnd is left out, which decides how many may fly",
        ),
        "on the wire the size follows the MSS and the peer's window; cwnd 10 is 10 full segments",
    );
    let fours = [by_four, by_four_1000].iter().all(|o| o.reads.iter().all(|n| *n == 4));
    let about_1_kb = [by_four, by_four_1000].map(|o| within(0.1, 1000.0, f64::from(o.largest())));
    run.tally.claim(
        "X2",
        Verdict::holds_if(fours && about_1_kb == [true, true])
            .or_when(fours && about_1_kb[1], "the path takes no larger segments"),
        "reads of 4 only; segments of 1448 bytes, of 1000 where the path takes no more",
    );

    let mut table = Table::new(["case", "kind", "offset_bytes", "size_bytes"]);
    for (case, outcome) in CASES.iter().zip(&outcomes) {
        for (offset, size) in &outcome.segments {
            table.row(&[&case.name, &"segment", offset, size]);
        }
        for (offset, size) in reads_with_offsets(&outcome.reads) {
            table.row(&[&case.name, &"read", &offset, &size]);
        }
    }
    run.table("", &table)?;
    run.picture("", &picture(&outcomes))
}

fn reads_with_offsets(reads: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    reads.iter().scan(0, |offset, &size| {
        *offset += size;
        Some((*offset - size, size))
    })
}

fn measure(run: &Run, case: &Case) -> anyhow::Result<Outcome> {
    let world = run.world(&LinkConfig {
        delay: case.delay,
        mtu: Some(case.mtu),
        cc: Some("reno".into()), // others may spread the first flight over the round trip
        ..LinkConfig::default()
    })?;
    let wire = Wire::watch(&world)?;
    let (mut client, server) = traffic::pair(&world, case.server, traffic::plain)?;
    let (size, times) = case.sends;
    let mut reads = Vec::new();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let client = scope.spawn(move || -> std::io::Result<()> {
            let piece = vec![b'x'; size];
            (0..times).try_for_each(|_| client.write_all(&piece))
        });
        let mut buf = vec![0; case.read];
        loop {
            match traffic::read(&server, &mut buf)? {
                0 => break,
                n => reads.push(n),
            }
        }
        Ok(client.join().expect("the client's thread does not panic")?)
    })?;
    let all = (size * times) as u32;
    let seen = wire.until("the last segment", |seen| {
        seen.iter().any(|s| s.is_data_of(Host::Client) && s.end() == all + 1)
    })?;
    let data = seen.iter().filter(|s| s.is_data_of(Host::Client) && !s.segment.again);
    let segments: Vec<(u32, u32)> = data.map(|s| (s.segment.seq - 1, s.segment.len)).collect();
    Ok(Outcome { segments, first_flight: first_flight(&seen), reads })
}

/// How many data segments left before the first acknowledgement of any of them came.
fn first_flight(seen: &[Seen]) -> usize {
    let acked = (seen.iter())
        .filter(|s| s.segment.from == Host::Server && s.segment.ack > Some(1))
        .filter_map(|s| s.segment.arrived)
        .min()
        .unwrap_or(u64::MAX);
    let sent = seen.iter().filter(|s| s.is_data_of(Host::Client) && !s.segment.again);
    sent.filter(|s| s.at < acked).count()
}

fn picture(outcomes: &[Outcome]) -> Picture {
    let [large, small, low_mtu, window, by_four, ..] = outcomes else {
        unreachable!("as many outcomes as cases")
    };
    const UP_TO: f64 = 10_000.0; // bytes of the stream
    let sizes = |of: &Outcome| -> Vec<(f64, f64)> {
        let all = of.segments.iter().map(|(offset, size)| (f64::from(*offset), f64::from(*size)));
        all.filter(|p| p.0 < UP_TO).collect()
    };
    let series =
        |name: &str, mark, colour, points| Series { name: name.into(), mark, colour, points };
    let reads = reads_with_offsets(&by_four.reads).step_by(25);
    Picture {
        title: "The first 10,000 bytes of a stream: the sizes of segments and reads".into(),
        x: Axis::new("place in the stream, bytes", Scale::linear(0.0, UP_TO)),
        y: Axis::new("size, bytes", Scale::log(2.0, 3000.0)),
        series: vec![
            series("1 send: segments", Mark::Dot, 0, sizes(large)),
            series("MTU 600: segments", Mark::Dot, 1, sizes(low_mtu)),
            series("small window: segm.", Mark::Dot, 3, sizes(window)),
            series("1000 sends of 10: segm.", Mark::Ring, 2, sizes(small)),
            series(
                "reads of 4 (every 25th)",
                Mark::Dot,
                6,
                reads.map(|(offset, size)| (offset as f64, size as f64)).collect(),
            ),
        ],
        labels: Vec::new(),
    }
}
