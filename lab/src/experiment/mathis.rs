//! Article 9.2: throughput over a link that loses at random. Claim P3. man: tcp(7).
//! M. Mathis and others, The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm, 1997.
//!
//! The law: 1.22 MSS / (RTT sqrt p). The 1.22 is sqrt(3/2), for Reno whose window goes down by half
//! at each loss and up by one segment a round trip. It knows neither timeouts nor another
//! congestion control. Measured is what the server's application reads, without the first seconds.
//! A segment carries 1448 bytes; only those of the client are lost, never an acknowledgement.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::plot::{Axis, Mark, Picture, Series};
use super::progress::Progress;
use super::report::{self, Verdict};
use super::scale::Scale;
use super::table::Table;
use super::tolerance::Tolerance;
use super::{Run, in_parallel, joined, traffic, within};
use crate::link::{LinkConfig, Loss, Queue};

const MSS: f64 = 1448.0;
/// More than the law asks for; without it, who ignores losses takes all the processor gives.
const RATE: u64 = 50_000_000;

/// Each way, of a round trip of 20 ms: a tenth of it, and so of the throughput. And no longer pause
/// than a fortieth of the four seconds.
const TOLERANCE: Tolerance =
    Tolerance::nine_in_ten(Duration::from_millis(1)).and_all(Duration::from_millis(100));

/// What is measured.
struct Plan {
    rtt: Duration,
    skip: Duration,
    time: Duration,
    at_once: usize,
    /// How far Reno may be from the law: 0.25 for 25 %.
    bound: f64,
    runs: Vec<(&'static str, f64, u64)>,
}

/// A mean of runs that differ in their seed alone.
struct Point {
    cc: &'static str,
    loss: f64,
    bit_per_s: f64,
    law: f64,
}

impl Plan {
    fn quick() -> Plan {
        // One run loses some thirty segments: it may be a quarter off by chance, the mean of four an
        // eighth.
        let mut runs = vec![("cubic", 0.02, 1), ("bbr", 0.02, 1)];
        runs.extend((1..=4).flat_map(|seed| [("reno", 0.01, seed), ("reno", 0.02, seed)]));
        Plan {
            rtt: Duration::from_millis(20),
            skip: Duration::from_millis(500),
            time: Duration::from_secs(4),
            at_once: runs.len(),
            bound: 0.4,
            runs,
        }
    }

    fn full() -> Plan {
        let mut runs = Vec::new();
        for (cc, times) in [("reno", 3), ("cubic", 2), ("bbr", 1)] {
            for loss in [0.001, 0.002, 0.005, 0.01, 0.02, 0.05] {
                runs.extend((1..=times).map(|seed| (cc, loss, seed)));
            }
        }
        Plan {
            rtt: Duration::from_millis(50),
            skip: Duration::from_secs(5),
            time: Duration::from_secs(30),
            at_once: 9,
            bound: 0.25,
            runs,
        }
    }

    fn law(&self, loss: f64) -> f64 {
        1.5f64.sqrt() * MSS * 8.0 / (self.rtt.as_secs_f64() * loss.sqrt())
    }
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let mut plan = run.either(Plan::quick(), Plan::full());
    let missing = missing_controls(run)?;
    for (name, why) in &missing {
        report::note(format_args!("left out: {name}, which this kernel does not give: {why}"));
    }
    plan.runs.retain(|(cc, ..)| !missing.iter().any(|(name, _)| name == cc));

    let each = (plan.skip + plan.time) / plan.at_once as u32;
    let progress = run.progress(each * plan.runs.len() as u32);
    let rates = in_parallel(&plan.runs, plan.at_once, |(cc, loss, seed)| {
        measure(run, &plan, cc, *loss, *seed, &progress)
    })?;
    drop(progress);
    let points = means(&plan, &rates);
    check(run, &plan, &points);

    let mut table = Table::new(["control", "loss", "goodput_bit_per_s", "law_bit_per_s"]);
    for Point { cc, loss, bit_per_s, law } in &points {
        table.row(&[cc, loss, &bit_per_s.round(), &law.round()]);
    }
    run.table("", &table)?;
    run.picture("", &picture(&plan, &points))
}

/// What may not be set here, and what the kernel says to it.
fn missing_controls(run: &Run) -> anyhow::Result<Vec<(&'static str, Errno)>> {
    let world = run.world(&LinkConfig::default())?;
    let fd = traffic::socket_on(&world.client)?;
    let all = ["reno", "cubic", "bbr"];
    Ok(all
        .into_iter()
        .filter_map(|cc| Some((cc, traffic::congestion_control(&fd, cc).err()?)))
        .collect())
}

/// Bits a second that the server's application reads.
fn measure(
    run: &Run,
    plan: &Plan,
    cc: &'static str,
    loss: f64,
    seed: u64,
    progress: &Progress,
) -> anyhow::Result<f64> {
    let world = run.world(&LinkConfig {
        delay: plan.rtt / 2,
        rate: Some(RATE),
        queue: Some(Queue::Packets(1000)),
        loss: Loss { from_client: loss, from_server: 0.0 },
        seed,
        ..LinkConfig::default()
    })?;
    let (mut client, server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
    traffic::congestion_control(&client, cc)?;
    std::thread::scope(|scope| {
        // The reader's end ends it: EPIPE or ECONNRESET.
        scope.spawn(move || while client.write_all(&[b'x'; 64 * 1024]).is_ok() {});
        let step = format!("{cc} at {}", percent(loss));
        received(server, plan, |time| progress.spent(time / plan.at_once as u32, &step))
    })
}

/// Bits a second, without the first seconds. Says each second how much time went by.
fn received(server: TcpStream, plan: &Plan, spent: impl Fn(Duration)) -> anyhow::Result<f64> {
    let mut buf = vec![0; 256 * 1024];
    let begin = Instant::now();
    let (mut bytes, mut from, mut told) = (0, None, Duration::ZERO);
    loop {
        let n = traffic::read(&server, &mut buf)?;
        anyhow::ensure!(n > 0, "the sender has closed");
        let now = begin.elapsed();
        if now - told >= Duration::from_secs(1) {
            spent(now - told);
            told = now;
        }
        let Some(from) = from else {
            from = (now >= plan.skip).then_some(now);
            continue;
        };
        bytes += n;
        if now - from >= plan.time {
            return Ok(bytes as f64 * 8.0 / (now - from).as_secs_f64());
        }
    }
}

fn means(plan: &Plan, rates: &[f64]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let mut done = Vec::new();
    for &(cc, loss, _) in &plan.runs {
        if done.contains(&(cc, loss.to_bits())) {
            continue;
        }
        done.push((cc, loss.to_bits()));
        let of_this: Vec<f64> = (plan.runs.iter().zip(rates))
            .filter(|((c, l, _), _)| (*c, *l) == (cc, loss))
            .map(|(_, rate)| *rate)
            .collect();
        let bit_per_s = of_this.iter().sum::<f64>() / of_this.len() as f64;
        points.push(Point { cc, loss, bit_per_s, law: plan.law(loss) });
    }
    points
}

fn check(run: &mut Run, plan: &Plan, points: &[Point]) {
    let of = |cc: &str| points.iter().filter(|p| p.cc == cc).collect::<Vec<_>>();
    let text = |of: &[&Point]| {
        joined(of.iter().map(|p| {
            format!("{:+.0} % at {}", (p.bit_per_s / p.law - 1.0) * 100.0, percent(p.loss))
        }))
    };
    let (small, large): (Vec<&Point>, Vec<&Point>) =
        of("reno").into_iter().partition(|p| p.loss <= 0.02);
    let mut timed = run.on_time(TOLERANCE);
    let reno_follows = small.iter().all(|p| within(plan.bound, p.law, p.bit_per_s));
    timed.check_that(
        "reno against 1.22 MSS / (RTT sqrt p), up to 2 % loss",
        format_args!("within {:.0} %", plan.bound * 100.0),
        text(&small),
        reno_follows && !small.is_empty(),
    );
    if small.len() > 2 {
        let slope = slope(&small);
        timed.check_that(
            "the slope of reno's points, both axes logarithmic",
            "-0.5 within 0.1",
            format_args!("{slope:.2}"),
            (slope + 0.5).abs() <= 0.1,
        );
    }
    let off = |p: &Point| p.bit_per_s / p.law - 1.0;
    let before = small.iter().map(|p| off(p)).fold(f64::INFINITY, f64::min);
    if !large.is_empty() {
        timed.check_that(
            "reno beyond 2 %, where a timeout now and then does what the law does not know",
            "more than 15 % below the law, further than at any smaller loss",
            text(&large),
            large.iter().all(|p| off(p) < before.min(-0.15)),
        );
    }
    let mut others_follow = true;
    for cc in ["cubic", "bbr"] {
        let points = of(cc);
        if !points.is_empty() {
            report::note(format_args!("{cc} against the law: {}", text(&points)));
            others_follow &= points.iter().all(|p| within(plan.bound, p.law, p.bit_per_s));
        }
    }
    let bbr = of("bbr");
    if bbr.is_empty() {
        run.tally.no_answer("P3", "it takes bbr, which this kernel does not give");
        return;
    }
    timed.check_that(
        "bbr, which does not take a loss for a full queue",
        "more than three times the law at 2 %",
        text(&bbr),
        bbr.iter().filter(|p| p.loss == 0.02).all(|p| p.bit_per_s > 3.0 * p.law),
    );
    timed.claim(
        "P3",
        Verdict::holds_if(reno_follows && others_follow).or_when(
            reno_follows,
            "the congestion control is Reno, and loss alone limits the window",
        ),
        "reno near 1.22 MSS / (RTT sqrt p) at 1 % and 2 % loss; bbr above three times of it at 2 %",
    );
}

/// Of the straight line through the points, both axes logarithmic (least squares).
fn slope(points: &[&Point]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|p| (p.loss.ln(), p.bit_per_s.ln())).collect();
    let n = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let above: f64 = logs.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    above / logs.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}

fn percent(loss: f64) -> String {
    format!("{} %", Scale::linear(0.0, 1.0).label(loss * 100.0))
}

fn picture(plan: &Plan, points: &[Point]) -> Picture {
    let (least, most) = (0.0008, 0.07);
    let law = |loss: f64| (loss * 100.0, plan.law(loss) / 1e6);
    let mut series = vec![Series {
        name: "1.22 MSS / (RTT sqrt p)".into(),
        mark: Mark::Line,
        colour: 6,
        points: vec![law(least), law(most)],
    }];
    for (colour, cc) in ["reno", "cubic", "bbr"].into_iter().enumerate() {
        let points: Vec<(f64, f64)> = points
            .iter()
            .filter(|p| p.cc == cc)
            .map(|p| (p.loss * 100.0, p.bit_per_s / 1e6))
            .collect();
        if !points.is_empty() {
            // Two of them lie close together where little is lost.
            let mark = if cc == "cubic" { Mark::Ring } else { Mark::Dot };
            series.push(Series { name: cc.into(), mark, colour, points });
        }
    }
    Picture {
        title: format!(
            "What random loss leaves: round trip {} ms, segments of {MSS} bytes",
            plan.rtt.as_millis()
        ),
        x: Axis::new("loss, %", Scale::log(least * 100.0, most * 100.0)),
        y: Axis::new("goodput, Mbit/s", Scale::log(0.5, 100.0)),
        series,
        labels: Vec::new(),
    }
}
