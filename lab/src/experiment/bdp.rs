//! Article 9.1: how much has to be under way to fill a link. Claims P1, P2. man: tcp(7).
//!
//! The link carries 10 Mbit/s, a round trip is 100 ms, a packet 1000 bytes: 948 of a message, 52 of
//! headers (IP 20, TCP 20, timestamps 12). The client keeps W messages unanswered: it sends one
//! more for each answer of 4 bytes. W = 1 is stop-and-wait. What is measured is the
//! share of the link's rate that the client's packets take, once slow start is over.
//!
//! A packet needs 0.8 ms to get onto the link and 100 ms to be answered, so W packets a 100.8 ms
//! take W / 126 of the link: 125 cover the round trip, and one is being sent.

use std::io::Write;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::plot::{Axis, Mark, Picture, Series};
use super::report::Verdict;
use super::scale::Scale;
use super::table::Table;
use super::tolerance::Tolerance;
use super::{Run, in_parallel, median, traffic, within};
use crate::link::{LinkConfig, Queue};

const RATE: u64 = 10_000_000;
const RTT: Duration = Duration::from_millis(100);
const PACKET: usize = 1000;
const MESSAGE: usize = PACKET - 52;
const ANSWER: usize = 4;
/// What covers the round trip, in packets: rate times round trip, over the packet's size.
const BDP: f64 = RATE as f64 / 8.0 * 0.1 / PACKET as f64;
/// And the one that is being sent.
const FULL: f64 = BDP + 1.0;

/// Each way, of the 100 ms of a round trip: 1 % of what is measured.
const TOLERANCE: Tolerance = Tolerance::nine_in_ten(Duration::from_micros(500));

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let windows: Vec<usize> = run.either(
        vec![1, 64, 125, 160],
        vec![1, 2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 120, 124, 125, 126, 128, 132, 140, 160, 192],
    );
    let warm_up = run.either(Duration::from_millis(1200), Duration::from_millis(2500));
    let time = run.either(Duration::from_millis(1800), Duration::from_secs(5));
    let at_once = 4;
    // A machine that does other things, too, is late now and then.
    let bound = run.either(0.06, 0.03);
    let each = (warm_up + time) / at_once as u32;
    let progress = run.progress(each * windows.len() as u32);
    let shares = in_parallel(&windows, at_once, |&window| {
        let share = measure(run, window, warm_up, time)?;
        progress.spent(each, &format!("window {window}"));
        Ok(share)
    })?;
    drop(progress);
    let points: Vec<(usize, f64)> = windows.into_iter().zip(shares).collect();

    let one = points[0].1;
    let mut timed = run.on_time(TOLERANCE);
    timed.check_that(
        "stop-and-wait: its share of the link",
        format_args!("1/{FULL} within {:.0} %", bound * 100.0),
        format_args!("1/{:.1}", 1.0 / one),
        within(bound, 1.0 / FULL, one),
    );
    let below = |window: usize| window as f64 <= FULL * 0.96;
    let above = |window: usize| window as f64 >= FULL * 1.1;
    let worst = |points: &mut dyn Iterator<Item = f64>| points.fold(0.0f64, |a, b| a.max(b.abs()));
    let off =
        worst(&mut points.iter().filter(|p| below(p.0)).map(|p| p.1 * FULL / p.0 as f64 - 1.0));
    timed.check_that(
        "below the knee: the share is window/126",
        format_args!("within {:.0} %", bound * 100.0),
        format_args!("off by {:.1} % at most", off * 100.0),
        off <= bound,
    );
    let off = worst(&mut points.iter().filter(|p| above(p.0)).map(|p| p.1 - 1.0));
    timed.check_that(
        "above it: the whole link",
        format_args!("within {:.0} %", bound * 100.0),
        format_args!("off by {:.1} % at most", off * 100.0),
        off <= bound,
    );
    let slope = median(points.iter().filter(|p| below(p.0)).map(|p| p.1 / p.0 as f64).collect());
    let plateau = median(points.iter().filter(|p| above(p.0)).map(|p| p.1).collect());
    let knee = plateau / slope;
    timed.check_that(
        "where the two lines meet",
        format_args!("{FULL} packets within {:.0} %", bound * 100.0),
        format_args!("{knee:.1} packets"),
        within(bound, FULL, knee),
    );
    timed.claim(
        "P1",
        Verdict::holds_if(within(bound, BDP, knee - 1.0)),
        "125 packets of 1000 bytes, and the one being sent, fill the link",
    );
    let times = 1.0 / one;
    timed.claim(
        "P2",
        Verdict::holds_if((times - BDP).abs() < (times - FULL).abs())
            .or_when(within(bound, FULL, times), "the packet's own time on the link is left out"),
        "1/126 of the link",
    );

    let mut table =
        Table::new(["window_packets", "share_of_link", "goodput_bit_per_s", "theory_share"]);
    for (window, share) in &points {
        let goodput = share * RATE as f64 * MESSAGE as f64 / PACKET as f64;
        table.row(&[
            window,
            &format!("{share:.5}"),
            &goodput.round(),
            &format!("{:.5}", theory(*window as f64)),
        ]);
    }
    run.table("", &table)?;
    run.picture("", &picture(&points))
}

fn theory(window: f64) -> f64 {
    (window / FULL).min(1.0)
}

/// Message and packet are one and the same: the largest segment holds one message.
fn one_message_a_segment(fd: &std::os::fd::OwnedFd) -> nix::Result<()> {
    let options = 12; // timestamps count as part of TCP_MAXSEG
    setsockopt(fd, sockopt::TcpMaxSeg, &(MESSAGE as u32 + options))
}

/// The share of the link's rate that packets take, of which `window` are unanswered at any time.
fn measure(run: &Run, window: usize, warm_up: Duration, time: Duration) -> anyhow::Result<f64> {
    let world = run.world(&LinkConfig {
        delay: RTT / 2,
        rate: Some(RATE),
        queue: Some(Queue::Packets(1000)),
        cc: Some("reno".into()), // others leave slow start early, or pace
        ..LinkConfig::default()
    })?;
    let (mut client, server) = traffic::pair(&world, one_message_a_segment, one_message_a_segment)?;
    client.set_nodelay(true)?;
    std::thread::scope(|scope| {
        let server = scope.spawn(|| traffic::answer(server, MESSAGE, ANSWER));
        let begin = Instant::now();
        let messages = vec![b'm'; MESSAGE * window];
        let (mut sent, mut answers) = (window, Vec::new());
        client.write_all(&messages)?;
        let (mut buf, mut bytes) = (vec![0; ANSWER * window], 0);
        while answers.len() < sent {
            let n = traffic::read(&client, &mut buf)?;
            anyhow::ensure!(n > 0, "the server has closed");
            let now = begin.elapsed();
            bytes += n;
            let new = bytes / ANSWER - answers.len();
            answers.extend(std::iter::repeat_n(now, new));
            if now < warm_up + time {
                client.write_all(&messages[..new * MESSAGE])?;
                sent += new;
            }
        }
        drop(client);
        server.join().expect("the server's thread does not panic")?;
        rate(&answers, window, warm_up, warm_up + time)
            .map(|rate| rate * PACKET as f64 * 8.0 / RATE as f64)
    })
}

/// Answers a second: a window over the median of the times that windows took. Answers may come in
/// bursts, a window a round trip; and this machine may be late now and then.
fn rate(answers: &[Duration], window: usize, from: Duration, to: Duration) -> anyhow::Result<f64> {
    let measured = answers.iter().filter(|at| (from..to).contains(at)).collect::<Vec<_>>();
    let times = measured.windows(window + 1).map(|w| (*w[window] - *w[0]).as_secs_f64());
    let times: Vec<f64> = times.collect();
    anyhow::ensure!(!times.is_empty(), "no window of {window} was answered in the time");
    Ok(window as f64 / median(times))
}

fn picture(points: &[(usize, f64)]) -> Picture {
    let most = points.iter().map(|p| p.0).max().unwrap_or(1) as f64 * 1.05;
    Picture {
        title: "10 Mbit/s, 100 ms, packets of 1000 bytes: how many fill the link".into(),
        x: Axis::new("window: messages sent and not answered", Scale::linear(0.0, most)),
        y: Axis::new("share of the link, %", Scale::linear(0.0, 110.0)),
        series: vec![
            Series {
                name: "window / 126, at most all".into(),
                mark: Mark::Line,
                colour: 1,
                points: vec![(0.0, 0.0), (FULL, 100.0), (most, 100.0)],
            },
            Series {
                name: "measured".into(),
                mark: Mark::Dot,
                colour: 0,
                points: points.iter().map(|(w, share)| (*w as f64, share * 100.0)).collect(),
            },
        ],
        labels: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_counts_whole_windows() {
        // Three answers together each 100 ms: 30 a second, wherever the measurement begins.
        let ms = Duration::from_millis;
        let answers: Vec<Duration> = (0..30).map(|i| ms(i / 3 * 100)).collect();
        for from in [0, 50, 100, 160] {
            let rate = rate(&answers, 3, ms(from), ms(from + 500)).expect("enough answers");
            assert!((rate - 30.0).abs() < 1e-9, "{rate}");
        }
        assert!(rate(&answers, 100, ms(0), ms(900)).is_err());
    }
}
