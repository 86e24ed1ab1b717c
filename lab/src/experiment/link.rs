//! The link itself: round trips, rates, and what it carries as fast as it goes.
//!
//! When a packet is due follows from the delay and the rate, to the nanosecond. When it is handed
//! over is up to this machine: a thread has to wake up for it. The picture shows by how much that
//! is later, and with it how far the other experiments can be trusted.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use super::plot::{Axis, Mark, Picture, Series};
use super::scale::Scale;
use super::table::Table;
use super::tolerance::Tolerance;
use super::{Run, median, traffic, within};
use crate::clock;
use crate::link::{Lateness, LinkConfig, Queue};
use crate::world::World;

/// What a TCP segment carries at most, of a packet of 1500 bytes.
const SHARE: f64 = 1448.0 / 1500.0;

/// Four links of 50 Mbit/s at once are the most that is asked of it. In Mbit/s.
const ENOUGH: f64 = 200.0;

/// A link that was measured.
struct Measured {
    name: String,
    expected: f64,
    observed: f64,
    late: Lateness,
    /// How long the server's reads paused, of all the time.
    paused: Duration,
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    // Round trips in milliseconds, how many, and how far their median may be off.
    let trips = run.either(
        vec![(10, 21, 0.05), (50, 7, 0.05)],
        vec![(1, 1001, 0.25), (10, 101, 0.05), (50, 41, 0.05), (100, 21, 0.05)],
    );
    // Bits a second, and for how long.
    let seconds = run.either(1.0, 2.0);
    let rates = run.either(vec![10, 100], vec![1, 10, 100]);
    let spent = |ms: u64, times: u32| Duration::from_millis(ms) * times;
    let (trip_time, rate_time) = (
        trips.iter().map(|(ms, times, _)| spent(*ms, *times)).sum::<Duration>(),
        Duration::from_secs_f64(seconds),
    );
    let progress = run.progress(trip_time + rate_time * rates.len() as u32);
    let mut all = Vec::new();
    for (ms, times, off) in trips {
        let (point, shortest) = round_trips(run, ms, times)?;
        progress.spent(spent(ms, times), &point.name);
        run.tally.check_that(
            format_args!("{}: the shortest", point.name),
            format_args!("{ms} ms or more, however fast this machine is"),
            format_args!("{shortest:.3} ms"),
            shortest >= ms as f64,
        );
        // Each of the two ways, of what both and the hosts may take.
        let tolerance = Duration::from_millis(ms).mul_f64(off * 0.3);
        run.tally.timed(Tolerance::nine_in_ten(tolerance).late(&point.late)).check_that(
            format_args!("{}: the median", point.name),
            format_args!("{ms} ms within {:.0} %", off * 100.0),
            format_args!("{:.3} ms", point.observed),
            within(off, ms as f64, point.observed),
        );
        all.push(point);
    }
    for mbit in rates {
        let point = rate(run, mbit, seconds)?;
        progress.spent(rate_time, &point.name);
        // The first packet or the last: a fifth of what the time may be off.
        let tolerance = rate_time.mul_f64(0.01 / 5.0);
        let late = Tolerance::all(tolerance).late(&point.late).or_else(|| {
            // A host that does not get its time leaves the link without packets.
            let ms = point.paused.as_secs_f64() * 1e3;
            (point.paused > tolerance).then(|| format!("the hosts paused for {ms:.0} ms in all"))
        });
        run.tally.timed(late).check_that(
            format_args!("{}: what the server reads", point.name),
            format_args!("{:.4} Mbit/s (1448 bytes of 1500) within 1 %", point.expected),
            format_args!("{:.4} Mbit/s", point.observed),
            within(0.01, point.expected, point.observed),
        );
        all.push(point);
    }
    drop(progress);
    // Here packets queue up in the link itself. Whether this machine is busy, the links before say.
    let world = World::new(&LinkConfig::default())?;
    let bytes = run.either(20 << 20, 200 << 20);
    let (observed, ..) = goodput(&world, bytes, Duration::MAX)?;
    run.on_time(Tolerance::nine_in_ten(Duration::from_millis(1))).check_that(
        "without delay or rate: what the server reads",
        format_args!("{ENOUGH} Mbit/s or more, which the other experiments need"),
        format_args!("{observed:.0} Mbit/s"),
        observed >= ENOUGH,
    );

    let columns = ["link", "expected", "observed", "half_within_ms", "nine_in_ten_ms", "worst_ms"];
    let mut table = Table::new(columns);
    for Measured { name, expected, observed, late, .. } in &all {
        let ms = |late: Duration| format!("{:.4}", late.as_secs_f64() * 1e3);
        table.row(&[
            name,
            &format!("{expected:.4}"),
            &format!("{observed:.4}"),
            &ms(late.median()),
            &ms(late.of(0.9)),
            &ms(late.worst()),
        ]);
    }
    run.table("", &table)?;
    run.picture("", &picture(&all))
}

/// The median, and the shortest in milliseconds.
fn round_trips(run: &Run, ms: u64, times: u32) -> anyhow::Result<(Measured, f64)> {
    let delay = Duration::from_millis(ms) / 2;
    let world = run.world(&LinkConfig { delay, ..LinkConfig::default() })?;
    let (mut client, server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| traffic::answer(server, 1, 1));
        let mut took = Vec::new();
        for _ in 0..times {
            // By the link's clock, which another may be set right beside.
            let begin = clock::now();
            client.write_all(b"x")?;
            client.read_exact(&mut [0])?;
            took.push((clock::now() - begin) as f64 / 1e6);
        }
        drop(client);
        server.join().expect("the server's thread does not panic")?;
        let shortest = took.iter().copied().fold(f64::INFINITY, f64::min);
        let late = world.link.lateness();
        let name = format!("round trip {ms} ms");
        let paused = Duration::ZERO; // the link's own delay
        Ok((Measured { name, expected: ms as f64, observed: median(took), late, paused }, shortest))
    })
}

/// What a link of a rate carries of a stream, in Mbit/s.
fn rate(run: &Run, mbit: u64, seconds: f64) -> anyhow::Result<Measured> {
    let config = LinkConfig {
        rate: Some(mbit * 1_000_000),
        queue: Some(Queue::Packets(100_000)), // nothing is lost
        ..LinkConfig::default()
    };
    let expected = mbit as f64 * SHARE;
    let bytes = (expected * 1e6 / 8.0 * seconds) as usize;
    // Four packets: less is the link's own pace.
    let pace = Duration::from_micros(4 * 12_000 / mbit).max(Duration::from_millis(2));
    let (observed, paused, late) = goodput(&run.world(&config)?, bytes, pace)?;
    Ok(Measured { name: format!("rate {mbit} Mbit/s"), expected, observed, late, paused })
}

/// Mbit/s of a stream from the client to the server, from the first read to the last; and how much
/// of that went by between reads that were further apart than `pace`.
fn goodput(
    world: &World,
    bytes: usize,
    pace: Duration,
) -> anyhow::Result<(f64, Duration, Lateness)> {
    let (mut client, server) = traffic::pair(world, traffic::plain, traffic::plain)?;
    std::thread::scope(|scope| {
        let sender = scope.spawn(move || client.write_all(&vec![b'x'; bytes]));
        let mut buf = vec![0; 256 * 1024];
        // What came with the first read has taken its time before.
        let first = traffic::read(&server, &mut buf)?;
        let (begin, mut got) = (Instant::now(), first);
        let (mut last, mut paused) = (begin, Duration::ZERO);
        while got < bytes {
            let n = traffic::read(&server, &mut buf)?;
            anyhow::ensure!(n > 0, "the sender has closed");
            got += n;
            let gap = last.elapsed();
            paused += if gap > pace { gap } else { Duration::ZERO };
            last += gap;
        }
        let took = begin.elapsed().as_secs_f64();
        sender.join().expect("the sender's thread does not panic")?;
        Ok(((bytes - first) as f64 * 8.0 / 1e6 / took, paused, world.link.lateness()))
    })
}

fn picture(all: &[Measured]) -> Picture {
    let ms = |late: Duration| (late.as_secs_f64() * 1e3).max(0.001);
    let worst = all.iter().map(|of| ms(of.late.worst())).fold(1.0, f64::max);
    let series = all.iter().enumerate().map(|(colour, of)| Series {
        name: of.name.clone(),
        mark: Mark::Steps,
        colour,
        points: of.late.shares().into_iter().map(|(late, of)| (ms(late), of * 100.0)).collect(),
    });
    Picture {
        title: "How late the link hands packets over on this machine".into(),
        x: Axis::new("at most so late, ms", Scale::log(0.001, worst * 1.2)),
        y: Axis::new("share of the packets, %", Scale::linear(0.0, 105.0)),
        series: series.collect(),
        labels: Vec::new(),
    }
}
