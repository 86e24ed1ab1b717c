//! Article 4: SYN, SYN+ACK, ACK; a round trip to connect, another for the first answer.
//! Claims H1, H2, H3. man: tcp(7), connect(2). RFC 9293, section 3.5.
//!
//! Two ways to ask: a connection for each request, or one that is kept. Over a link with a delay
//! the first takes two round trips, the second one.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::plot::{Axis, Mark, Picture, Series};
use super::report::Verdict;
use super::scale::Scale;
use super::table::Table;
use super::tolerance::Tolerance;
use super::wire::{self, Seen, Wire, ms};
use super::{Run, lower_quartile, traffic, within};
use crate::link::LinkConfig;

const REQUEST: usize = 64;
const ANSWER: usize = 64;

/// A round trip crosses the link twice: 1 ms of the 20 of one, and of the 3 ms that they may be off.
const TOLERANCE: Tolerance = Tolerance::nine_in_ten(Duration::from_micros(500));

/// What things took over a link, in milliseconds: lower quartiles.
struct Point {
    rtt: f64,
    connect: f64,
    new: f64,
    kept: f64,
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    segments(run)?;
    latency(run)
}

/// Two connections on the wire.
fn segments(run: &mut Run) -> anyhow::Result<()> {
    let rtt = 20.0;
    let world = run.world(&link(rtt))?;
    let wire = Wire::watch(&world)?;
    let listener = traffic::listener(&world, traffic::plain)?;
    let mut ends = Vec::new();
    for _ in 0..2 {
        let client = traffic::connection(&world, traffic::plain)?;
        ends.push((client, listener.accept()?.0));
    }
    let seen = wire.until("two handshakes", |seen| {
        seen.iter().filter(|s| s.segment.flags == ".").count() >= 2
    })?;
    let port = traffic::port(ends[0].0.local_addr())?;
    let of_first: Vec<&Seen> = seen
        .iter()
        .filter(|s| s.segment.source.port() == port || s.segment.destination.port() == port)
        .collect();
    let order = wire::order(of_first.iter().copied());
    run.tally.check("a connection on the wire", "client SYN, server SYN+ACK, client ACK", &order);
    let took = ms(of_first[0].at, of_first[of_first.len() - 1].at);
    run.on_time(TOLERANCE).check_that(
        "from the SYN to the client's ACK",
        format_args!("one round trip, {rtt} ms"),
        format_args!("{took:.1} ms"),
        within(0.1, rtt, took),
    );
    let numbers: BTreeSet<u32> =
        seen.iter().filter(|s| s.has('S')).filter_map(|s| s.segment.initial).collect();
    run.tally.check(
        "initial sequence numbers of 2 connections, both ends",
        "4 different",
        format_args!("{} different", numbers.len()),
    );
    let three = order == "client SYN, server SYN+ACK, client ACK";
    run.tally.claim("H1", Verdict::holds_if(three), format_args!("on the wire {order}"));
    run.tally.claim(
        "H2",
        Verdict::holds_if(numbers.len() == 4),
        format_args!("2 connections, {} different numbers in 4 SYNs", numbers.len()),
    );
    Ok(())
}

fn link(rtt: f64) -> LinkConfig {
    LinkConfig { delay: Duration::from_secs_f64(rtt / 2e3), ..LinkConfig::default() }
}

/// What a request costs, over links of different delay.
fn latency(run: &mut Run) -> anyhow::Result<()> {
    let rtts = run.either(vec![10.0, 40.0], vec![10.0, 20.0, 50.0, 100.0, 150.0, 200.0]);
    let times = run.either(6, 16);
    let progress = run.progress(cost(&rtts, times));
    let mut points = Vec::new();
    for rtt in rtts {
        points.push(measure(run, rtt, times)?);
        progress.spent(cost(&[rtt], times), &format!("round trip {rtt} ms"));
    }
    drop(progress);
    let mut table = Table::new(["rtt_ms", "connect_ms", "new_connection_ms", "kept_connection_ms"]);
    let (mut all, more) = (true, run.either(3.0, 1.0));
    let mut timed = run.on_time(TOLERANCE);
    for Point { rtt, connect, new, kept } in &points {
        table.row(&[rtt, connect, new, kept]);
        // What the two hosts take themselves counts most where the link is short.
        let about =
            |trips: f64, took: f64| (took - trips * rtt).abs() <= (0.05 * trips * rtt).max(more);
        let ok = about(1.0, *connect) && about(2.0, *new) && about(1.0, *kept);
        all &= ok;
        timed.check_that(
            format_args!(
                "round trip {rtt} ms: connect; request on a new connection; on a kept one"
            ),
            format_args!("{rtt}; {}; {rtt} ms", 2.0 * rtt),
            format_args!("{connect:.1}; {new:.1}; {kept:.1} ms"),
            ok,
        );
    }
    timed.claim(
        "H3",
        Verdict::holds_if(all),
        "connect takes 1 RTT; request and answer 2 on a new connection, 1 on a kept one",
    );
    run.table("", &table)?;
    run.picture("", &picture(&points))
}

fn cost(rtts: &[f64], times: u32) -> Duration {
    Duration::from_secs_f64(rtts.iter().sum::<f64>() / 1e3 * 3.0 * f64::from(times))
}

fn measure(run: &Run, rtt: f64, times: u32) -> anyhow::Result<Point> {
    let world = run.world(&link(rtt))?;
    let listener = traffic::listener(&world, traffic::plain)?;
    let server = traffic::at(&world.server, traffic::PORT);
    // One connection at a time, until one comes that says nothing.
    std::thread::scope(|scope| {
        let serve = scope.spawn(|| -> std::io::Result<()> {
            while traffic::answer(traffic::accept(&listener)?, REQUEST, ANSWER)? > 0 {}
            Ok(())
        });
        let (mut connect, mut new, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..times {
            let fd = traffic::socket_on(&world.client)?; // not what is timed
            let begin = Instant::now();
            let mut client = traffic::connect(fd, server)?;
            connect.push(begin.elapsed());
            ask(&mut client)?;
            new.push(begin.elapsed());
        }
        let mut client = traffic::connection(&world, traffic::plain)?;
        for _ in 0..times {
            let begin = Instant::now();
            ask(&mut client)?;
            kept.push(begin.elapsed());
        }
        drop(client);
        drop(traffic::connection(&world, traffic::plain)?);
        serve.join().expect("the server's thread does not panic")?;
        let typical = |times: Vec<Duration>| {
            lower_quartile(times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
        };
        Ok(Point { rtt, connect: typical(connect), new: typical(new), kept: typical(kept) })
    })
}

fn ask(client: &mut TcpStream) -> std::io::Result<()> {
    client.write_all(&[b'q'; REQUEST])?;
    client.read_exact(&mut [0; ANSWER])
}

fn picture(points: &[Point]) -> Picture {
    let most = points.iter().map(|p| p.rtt).fold(0.0, f64::max);
    let theory = |name: &str, trips: f64, colour| Series {
        name: name.into(),
        mark: Mark::Line,
        colour,
        points: vec![(0.0, 0.0), (most, trips * most)],
    };
    let measured = |name: &str, mark, colour, of: fn(&Point) -> f64| Series {
        name: name.into(),
        mark,
        colour,
        points: points.iter().map(|p| (p.rtt, of(p))).collect(),
    };
    Picture {
        title: "A request and its answer: new connection or kept one".into(),
        x: Axis::new("round trip of the link, ms", Scale::linear(0.0, most * 1.05)),
        y: Axis::new("time until the answer, ms (lower quartile)", Scale::linear(0.0, most * 2.15)),
        series: vec![
            theory("2 round trips", 2.0, 1),
            theory("1 round trip", 1.0, 0),
            measured("a connection a request", Mark::Dot, 1, |p| p.new),
            measured("a kept connection", Mark::Dot, 0, |p| p.kept),
            measured("connect alone", Mark::Ring, 2, |p| p.connect),
        ],
        labels: Vec::new(),
    }
}
