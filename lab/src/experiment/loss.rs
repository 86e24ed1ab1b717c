//! What TCP does about a lost segment: fast retransmit, tail loss, timeouts. man: tcp(7).
//! RFC 5681 (three duplicate ACKs), RFC 6298 (timeouts), RFC 8985 (RACK-TLP).
//!
//! The link drops data segments by number. The pictures show where in the stream each segment was,
//! over time, and how far the peer had acknowledged.

use std::io::{Read, Write};
use std::time::Duration;

use super::plot::{Axis, Mark, Picture, Series};
use super::report::Timed;
use super::scale::Scale;
use super::table::Table;
use super::tolerance::Tolerance;
use super::wire::{Seen, Wire, ms};
use super::{Run, in_parallel, joined, traffic, within};
use crate::link::{LinkConfig, Nth};
use crate::record::{Host, Nanos};

const RTT: f64 = 40.0;
/// 2.4 ms a segment, so that the acknowledgements come one after the other.
const RATE: u64 = 5_000_000;
const SEGMENT: u32 = 1448;
/// The SACK of a probe tells of the other loss only if it cannot be that of the first transmission:
/// TCP takes its word where it took no less than the shortest round trip (RFC 8985, 6.2). That was
/// the SYN's, shorter by the 2.4 ms of a segment. Late both ways by half of that, it would not be.
const TOLERANCE: Tolerance = Tolerance::all(Duration::from_millis(1));
/// The least that Linux waits before it retransmits by timeout, beyond the round trip (RTO).
const RTO_MIN: f64 = 200.0;

/// What is sent, and which of its segments are lost.
struct Case {
    name: &'static str,
    title: &'static str,
    segments: u32,
    drop: &'static [u32],
    times: u32,
    /// Tail loss probes, which come before a timeout.
    probes: bool,
    check: fn(Timed, &Case, &[Seen]) -> anyhow::Result<()>,
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    let cases = [
        Case {
            name: "fast",
            title: "The 14th of 40 segments is lost: fast retransmit",
            segments: 40,
            drop: &[14],
            times: 1,
            probes: true,
            check: fast,
        },
        Case {
            name: "tail",
            title: "The last two of 10 segments are lost: a tail loss probe",
            segments: 10,
            drop: &[9, 10],
            times: 1,
            probes: true,
            check: tail,
        },
        Case {
            name: "timeout",
            title: "The last segment is lost again and again: timeouts",
            segments: 10,
            drop: &[10],
            times: run.either(3, 5),
            probes: false,
            check: timeouts,
        },
    ];
    let last = Duration::from_millis(300) * (1 << cases[2].times); // the timeouts take longest
    let progress = run.progress(last);
    let transfers = in_parallel(&cases, cases.len(), |case| {
        let seen = transfer(run, case)?;
        progress.spent(if case.times > 1 { last } else { Duration::ZERO }, case.name);
        Ok(seen)
    })?;
    drop(progress);
    for (case, seen) in cases.iter().zip(&transfers) {
        (case.check)(run.on_time(TOLERANCE), case, seen)?;
        run.table(case.name, &table(seen))?;
        run.picture(case.name, &picture(case, seen))?;
    }
    Ok(())
}

/// Sends segments at once over a link that drops one of them, until all have been read.
fn transfer(run: &Run, case: &Case) -> anyhow::Result<Vec<Seen>> {
    let probes = if case.probes { "3" } else { "0" };
    let world = run.world(&LinkConfig {
        delay: Duration::from_secs_f64(RTT / 2e3),
        rate: Some(RATE),
        drop: (case.drop.iter())
            .map(|&nth| Nth { from: Host::Client, nth, times: case.times })
            .collect(),
        cc: Some("reno".into()),
        sysctl: vec![("net.ipv4.tcp_early_retrans".into(), probes.into())],
        ..LinkConfig::default()
    })?;
    let wire = Wire::watch(&world)?;
    let (mut client, mut server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
    let bytes = (SEGMENT * case.segments) as usize;
    client.write_all(&vec![b'x'; bytes])?;
    server.read_exact(&mut vec![0; bytes])?;
    let end = 1 + bytes as u32;
    wire.until("the last acknowledgement", |seen| {
        seen.iter().any(|s| s.segment.from == Host::Server && s.segment.ack == Some(end))
    })
}

/// The first transmission that was lost, and what was sent of it again.
fn lost(seen: &[Seen]) -> anyhow::Result<(&Seen, Vec<&Seen>)> {
    let lost = seen.iter().find(|s| s.is_data_of(Host::Client) && s.segment.arrived.is_none());
    let lost = lost.ok_or_else(|| anyhow::anyhow!("the link has dropped nothing"))?;
    let again = seen.iter().filter(|s| {
        s.is_data_of(Host::Client) && s.at > lost.at && s.segment.seq == lost.segment.seq
    });
    let again: Vec<&Seen> = again.collect();
    anyhow::ensure!(!again.is_empty(), "the lost segment was never sent again");
    Ok((lost, again))
}

/// When acknowledgements reached the client that named the byte that was lost, and told of later
/// ones that were not (SACK).
fn duplicates(seen: &[Seen], lost: &Seen) -> Vec<Nanos> {
    let named = seen.iter().filter(|s| {
        s.segment.from == Host::Server
            && s.segment.ack == Some(lost.segment.seq)
            && s.segment.options.contains("sack")
    });
    named.filter_map(|s| s.segment.arrived).collect()
}

fn fast(mut timed: Timed, _: &Case, seen: &[Seen]) -> anyhow::Result<()> {
    let (lost, again) = lost(seen)?;
    let first = again[0];
    let duplicates = duplicates(seen, lost);
    let before = duplicates.iter().filter(|at| **at <= first.at).count();
    timed.check_that(
        "duplicate ACKs (with SACK) before the retransmission",
        "3, or one or two more",
        before,
        (3..=5).contains(&before),
    );
    let after = ms(lost.at, first.at);
    timed.check_that(
        "when it leaves, after the loss",
        format_args!("a round trip ({RTT} ms) or later, before the least timeout ({RTO_MIN} ms)"),
        format_args!("after {after:.1} ms"),
        (RTT..RTO_MIN).contains(&after),
    );
    timed.check("how often it was sent again", 1, again.len());
    Ok(())
}

/// Nothing comes after the last segments, so no duplicate ACK tells of their loss. RFC 8985, 7.2:
/// two round trips after the last ACK the very last one is sent again, as a probe. Its SACK tells
/// of the other.
fn tail(mut timed: Timed, case: &Case, seen: &[Seen]) -> anyhow::Result<()> {
    let (lost, again) = lost(seen)?;
    let other = again[0];
    let end = 1 + SEGMENT * case.segments;
    let probe = seen.iter().find(|s| s.is_data_of(Host::Client) && s.segment.again);
    let probe = probe.ok_or_else(|| anyhow::anyhow!("nothing was sent again"))?;
    let before = duplicates(seen, lost).iter().filter(|at| **at <= probe.at).count();
    timed.check("duplicate ACKs before anything is sent again", 0, before);
    let which = if probe.end() == end { "the last" } else { "another" };
    timed.check("which segment is sent again first", "the last", which);
    let last_ack = (seen.iter())
        .filter(|s| s.segment.from == Host::Server)
        .filter_map(|s| s.segment.arrived.filter(|at| *at < probe.at))
        .max()
        .unwrap_or(lost.at);
    let after = ms(last_ack, probe.at);
    timed.check_that(
        "when, after the last ACK came",
        format_args!(
            "two round trips ({} ms) or later, before a timeout ({RTO_MIN} ms)",
            2.0 * RTT
        ),
        format_args!("after {after:.1} ms"),
        (2.0 * RTT..RTO_MIN).contains(&after),
    );
    let after = ms(probe.at, other.at);
    timed.check_that(
        "when the other is, after the probe",
        format_args!("a round trip ({RTT} ms) or later, before a timeout ({RTO_MIN} ms)"),
        format_args!("after {after:.1} ms"),
        (RTT..RTO_MIN).contains(&after),
    );
    Ok(())
}

fn timeouts(mut timed: Timed, case: &Case, seen: &[Seen]) -> anyhow::Result<()> {
    let (lost, again) = lost(seen)?;
    timed.check("how often the segment was sent again", case.times, again.len());
    let sent: Vec<Nanos> = std::iter::once(lost.at).chain(again.iter().map(|s| s.at)).collect();
    let waits: Vec<f64> = sent.windows(2).map(|pair| ms(pair[0], pair[1])).collect();
    let text = joined(waits.iter().map(|wait| format!("{wait:.0} ms")));
    timed.check_that(
        "the waits between the transmissions",
        format_args!("the first at least {RTO_MIN} ms, each next one twice the one before"),
        text,
        // The first began anew with the ACK of the segments before.
        waits[0] >= RTO_MIN
            && waits[1..].windows(2).all(|pair| within(0.1, 2.0 * pair[0], pair[1])),
    );
    Ok(())
}

fn table(seen: &[Seen]) -> Table {
    let mut table = Table::new(["time_ms", "from", "flags", "seq", "len", "ack", "fate"]);
    let begin = seen.first().map_or(0, |s| s.at);
    for Seen { at, segment } in seen {
        table.row(&[
            &format!("{:.3}", ms(begin, *at)),
            &if segment.from == Host::Client { "client" } else { "server" },
            &segment.flags,
            &segment.seq,
            &segment.len,
            &segment.ack.unwrap_or(0),
            &segment.fate,
        ]);
    }
    table
}

fn picture(case: &Case, seen: &[Seen]) -> Picture {
    let begin = seen.iter().find(|s| s.is_data_of(Host::Client)).map_or(0, |s| s.at);
    let of_client = || seen.iter().filter(|s| s.is_data_of(Host::Client));
    let place = |s: &Seen| (ms(begin, s.at), f64::from(s.segment.seq + s.segment.len - 1) / 1e3);
    let points = |of: &mut dyn Iterator<Item = &Seen>| of.map(place).collect::<Vec<_>>();
    let acks: Vec<(f64, f64)> = (seen.iter())
        .filter(|s| s.segment.from == Host::Server && s.at > begin)
        .filter_map(|s| {
            Some((ms(begin, s.segment.arrived?), f64::from(s.segment.ack?.max(1) - 1) / 1e3))
        })
        .collect();
    let last = acks.iter().map(|p| p.0).fold(1.0, f64::max);
    let series =
        |name: &str, mark, colour, points| Series { name: name.into(), mark, colour, points };
    Picture {
        title: case.title.into(),
        x: Axis::new("time at the client, ms", Scale::linear(0.0, last * 1.05)),
        y: Axis::new(
            "end of the segment in the stream, kB",
            Scale::linear(0.0, f64::from(SEGMENT * case.segments) / 1e3 * 1.1),
        ),
        series: vec![
            series("acknowledged", Mark::Steps, 2, acks.clone()),
            series("an ACK arrives", Mark::Ring, 2, acks),
            series("sent", Mark::Dot, 0, points(&mut of_client().filter(|s| !s.segment.again))),
            series(
                "sent again",
                Mark::Dot,
                1,
                points(&mut of_client().filter(|s| s.segment.again)),
            ),
            series(
                "lost by the link",
                Mark::Cross,
                3,
                points(&mut of_client().filter(|s| s.segment.arrived.is_none())),
            ),
        ],
        labels: Vec::new(),
    }
}
