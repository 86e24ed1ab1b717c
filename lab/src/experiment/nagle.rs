//! Article 11: a message in two pieces, and what Nagle and delayed acknowledgements make of it.
//! Claims N1, N2, N3, N4. man: tcp(7) (TCP_NODELAY, TCP_CORK, TCP_QUICKACK), send(2) (MSG_MORE).
//!
//! A message is 4 bytes of length and 64 of payload; the answer is as long, and is sent at once.
//! Two plain sends make two small segments. Nagle holds the second until the first is acknowledged;
//! the server, which has nothing to say yet, delays that acknowledgement by 40 ms.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, send, sendmsg, setsockopt};

use super::plot::{Axis, Label, Mark, Picture, Series};
use super::report::{Timed, Verdict};
use super::scale::Scale;
use super::table::Table;
use super::tolerance::Tolerance;
use super::traffic::{Cork, QuickAck};
use super::wire::{Seen, Wire, ms};
use super::{Run, in_parallel, lower_quartile, median, traffic};
use crate::clock;
use crate::link::LinkConfig;
use crate::record::Host;

const RTT: f64 = 10.0;
/// A message and its answer cross the link four times at most: 2 ms of the 4 that they may be late.
const TOLERANCE: Tolerance = Tolerance::nine_in_ten(Duration::from_micros(500));
/// What Linux waits at least before it acknowledges on its own, in milliseconds.
const DELAYED_ACK: f64 = 40.0;
const HEADER: usize = 4;
const PAYLOAD: usize = 64;
const MESSAGE: usize = HEADER + PAYLOAD;

/// A way to send a message.
struct Way {
    name: &'static str,
    pieces: usize,
    send: fn(&TcpStream, &[&[u8]]) -> io::Result<()>,
    nodelay: bool,
    quickack: bool,
    /// What a round trip should take, in milliseconds, and how many segments a message.
    expect: (f64, usize),
}

/// What a way takes: the lower quartile, in milliseconds; and the median of the segments.
struct Point {
    took: f64,
    segments: f64,
}

const PLAIN: Way = Way {
    name: "two sends",
    pieces: 2,
    send: one_by_one,
    nodelay: false,
    quickack: false,
    expect: (2.0 * RTT + DELAYED_ACK, 2),
};

const WAYS: [Way; 9] = [
    PLAIN,
    Way { name: "two sends, TCP_QUICKACK", quickack: true, expect: (2.0 * RTT, 2), ..PLAIN },
    Way { name: "two sends, TCP_NODELAY", nodelay: true, expect: (RTT, 2), ..PLAIN },
    Way { name: "one sendmsg", send: gathered, expect: (RTT, 1), ..PLAIN },
    Way { name: "MSG_MORE", send: more, expect: (RTT, 1), ..PLAIN },
    Way { name: "TCP_CORK", send: corked, expect: (RTT, 1), ..PLAIN },
    Way { name: "eight sends", pieces: 8, ..PLAIN },
    Way { name: "eight sends, TCP_NODELAY", pieces: 8, nodelay: true, expect: (RTT, 8), ..PLAIN },
    Way { name: "eight pieces, one sendmsg", pieces: 8, send: gathered, expect: (RTT, 1), ..PLAIN },
];

fn one_by_one(mut stream: &TcpStream, pieces: &[&[u8]]) -> io::Result<()> {
    pieces.iter().try_for_each(|piece| stream.write_all(piece))
}

fn gathered(stream: &TcpStream, pieces: &[&[u8]]) -> io::Result<()> {
    let slices: Vec<IoSlice> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    sendmsg::<()>(stream.as_raw_fd(), &slices, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(()) // a message of 68 bytes goes in as a whole
}

fn more(stream: &TcpStream, pieces: &[&[u8]]) -> io::Result<()> {
    for (i, piece) in pieces.iter().enumerate() {
        let last = i + 1 == pieces.len();
        let more =
            if last { MsgFlags::empty() } else { MsgFlags::from_bits_retain(libc::MSG_MORE) };
        send(stream.as_raw_fd(), piece, more | MsgFlags::MSG_NOSIGNAL)?;
    }
    Ok(())
}

fn corked(stream: &TcpStream, pieces: &[&[u8]]) -> io::Result<()> {
    setsockopt(stream, Cork, &true)?;
    one_by_one(stream, pieces)?;
    Ok(setsockopt(stream, Cork, &false)?)
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    held_back(run)?;
    let rounds = run.either(8, 40);
    let progress = run.progress(WAYS.iter().map(|way| cost(way, rounds)).sum());
    let points = in_parallel(&WAYS, 3, |way| {
        let point = measure(run, way, rounds)?;
        progress.spent(cost(way, rounds), way.name);
        Ok(point)
    })?;
    drop(progress);
    let mut timed = run.on_time(TOLERANCE);
    let mut table = Table::new(["way", "lower_quartile_ms", "segments_a_message"]);
    for (way, Point { took, segments }) in WAYS.iter().zip(&points) {
        let (expected, number) = way.expect;
        // A timer fires some milliseconds late, and the hosts take their time.
        let (least, most) = (expected - 1.0, expected + (expected * 0.25).max(4.0));
        timed.check_that(
            way.name,
            format_args!("{least} to {most} ms, {number} {}", plural(number)),
            format_args!("{took:.1} ms, {segments} {}", plural(*segments as usize)),
            (least..most).contains(took) && *segments == number as f64,
        );
        table.row(&[&way.name, &format!("{took:.2}"), segments]);
    }
    verdicts(timed, &points);
    run.table("", &table)?;
    run.picture("", &picture(&points))
}

fn verdicts(mut timed: Timed, points: &[Point]) {
    let [two, quick, nodelay, one, .., eight, eight_nodelay, _] = points else { return };
    let less = |than: &Point| two.took - than.took > DELAYED_ACK - 5.0;
    timed.claim(
        "N2",
        Verdict::holds_if(less(nodelay) && less(quick)),
        "over a round trip of 10 ms, Nagle off or delayed ACKs off: more than 35 ms less",
    );
    timed.claim(
        "N3",
        Verdict::holds_if(less(one) && one.segments < two.segments),
        "one sendmsg: more than 35 ms less, 1 segment a message instead of 2",
    );
    let price = eight_nodelay.segments > eight.segments;
    timed.claim(
        "N4",
        Verdict::holds_if(less(nodelay) && price && nodelay.segments > two.segments).or_when(
            less(nodelay) && price,
            "Nagle has something to gather; of two pieces it makes two segments, too",
        ),
        "the delay is gone; 2 pieces: 2 segments either way; 8 pieces: 8 segments instead of 2",
    );
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "segment a message" } else { "segments a message" }
}

fn cost(way: &Way, rounds: u32) -> Duration {
    Duration::from_secs_f64(way.expect.0 / 1e3 * f64::from(rounds + WARM_UP) / 3.0)
}

fn link(rtt: f64) -> LinkConfig {
    LinkConfig { delay: Duration::from_secs_f64(rtt / 2e3), ..LinkConfig::default() }
}

/// A new connection acknowledges its first segments at once; a few round trips later it no longer
/// does.
const WARM_UP: u32 = 5;

fn measure(run: &Run, way: &Way, rounds: u32) -> anyhow::Result<Point> {
    let world = run.world(&link(RTT))?;
    let wire = Wire::watch(&world)?;
    let (client, server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
    client.set_nodelay(way.nodelay)?;
    let message = [b'm'; MESSAGE];
    let mut pieces = vec![&message[..HEADER]];
    let parts = way.pieces - 1;
    pieces.extend(
        (0..parts)
            .map(|i| &message[HEADER + i * PAYLOAD / parts..HEADER + (i + 1) * PAYLOAD / parts]),
    );
    let mut took = Vec::new();
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let server = scope.spawn(|| serve(server, way.quickack));
        for _ in 0..rounds + WARM_UP {
            let begin = Instant::now();
            (way.send)(&client, &pieces)?;
            (&client).read_exact(&mut [0; MESSAGE])?;
            took.push(begin.elapsed().as_secs_f64() * 1e3);
        }
        drop(client);
        Ok(server.join().expect("the server's thread does not panic")?)
    })?;
    let all = (rounds + WARM_UP) as usize * MESSAGE;
    let seen = wire.until("the answers", |seen| {
        bytes(seen, Host::Server) == all && bytes(seen, Host::Client) == all
    })?;
    // By message: a segment belongs to the one in which it begins.
    let mut segments = vec![0.0; (rounds + WARM_UP) as usize];
    for of_client in seen.iter().filter(|s| s.is_data_of(Host::Client) && !s.segment.again) {
        segments[(of_client.segment.seq as usize - 1) / MESSAGE] += 1.0;
    }
    let measured = WARM_UP as usize..;
    Ok(Point {
        took: lower_quartile(took[measured.clone()].to_vec()),
        segments: median(segments[measured].to_vec()),
    })
}

/// The bytes of a host's stream, each counted once, however often it was sent.
fn bytes(seen: &[Seen], host: Host) -> usize {
    let once = seen.iter().filter(|s| s.is_data_of(host) && !s.segment.again);
    once.map(|s| s.segment.len as usize).sum()
}

/// Answers each message, in one send. Reads what is there, as a server would.
fn serve(mut stream: TcpStream, quickack: bool) -> io::Result<()> {
    let mut got = 0;
    loop {
        if quickack {
            setsockopt(&stream, QuickAck, &true)?; // it does not last
        }
        match traffic::read(&stream, &mut [0; MESSAGE])? {
            0 => return Ok(()),
            n => got += n,
        }
        while got >= MESSAGE {
            stream.write_all(&[b'a'; MESSAGE])?;
            got -= MESSAGE;
        }
    }
}

/// N1 on the wire: two sends, the second small and before the first is acknowledged. Either its
/// segment leaves in the call, or after the acknowledgement has come.
fn held_back(run: &mut Run) -> anyhow::Result<()> {
    // Longer than this machine may take between two sends.
    let rtt = 200.0;
    let (mut held, mut late) = (Vec::new(), None);
    for (first, expected) in [(60, "held back"), (1448, "sent at once")] {
        let world = run.world(&link(rtt))?;
        let wire = Wire::watch(&world)?;
        let (client, _server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
        (&client).write_all(&vec![b'x'; first])?;
        (&client).write_all(&[b'y'; 60])?;
        let returned = clock::now();
        let end = 1 + first as u32 + 60;
        let seen = wire.until("the acknowledgement of both", |seen| {
            seen.iter().any(|s| s.segment.from == Host::Server && s.segment.ack >= Some(end))
        })?;
        let sent = seen.iter().filter(|s| s.is_data_of(Host::Client) && !s.segment.again);
        let [one, two] = sent.collect::<Vec<_>>()[..] else {
            anyhow::bail!("two sends made other than two segments");
        };
        let acked = (seen.iter())
            .filter(|s| s.segment.from == Host::Server && s.segment.ack >= Some(one.end()))
            .filter_map(|s| s.segment.arrived)
            .min()
            .unwrap_or(u64::MAX);
        if returned >= acked {
            late = Some(format!("between two sends this machine took {rtt} ms"));
        }
        let what = match () {
            () if two.at >= acked => "held back",
            () if two.at <= returned => "sent at once",
            () => "sent later, but before the ACK",
        };
        held.push(what == "held back");
        run.tally.timed(late.clone()).check_that(
            format_args!("a segment of 60 bytes behind one of {first} that is not acknowledged"),
            expected,
            format_args!(
                "{what}: {:.1} ms after it, whose ACK came after {:.1} ms",
                ms(one.at, two.at),
                ms(one.at, acked)
            ),
            what == expected,
        );
    }
    run.tally.timed(late).claim(
        "N1",
        Verdict::holds_if(held == [true, true])
            .or_when(held[0], "what is not acknowledged is a small segment, too"),
        "on the wire: behind a small one after its ACK, behind a full one before it",
    );
    Ok(())
}

fn picture(points: &[Point]) -> Picture {
    let names: Vec<String> = WAYS.iter().map(|way| way.name.to_owned()).collect();
    let most = points.iter().map(|p| p.took).fold(0.0, f64::max);
    let row = |i: usize| (WAYS.len() - i) as f64; // the first above
    let names: Vec<String> = names.into_iter().rev().collect();
    let vertical = |x: f64| vec![(x, 0.5), (x, WAYS.len() as f64 + 0.5)];
    let line = |name: &str, x, colour| Series {
        name: name.into(),
        mark: Mark::Line,
        colour,
        points: vertical(x),
    };
    Picture {
        title: "A message in pieces, over a round trip of 10 ms".into(),
        x: Axis::new("until the answer, ms (lower quartile)", Scale::linear(0.0, most * 1.5)),
        y: Axis::named("", &names),
        series: vec![
            Series {
                name: "measured".into(),
                mark: Mark::Band,
                colour: 5,
                points: (points.iter().enumerate())
                    .flat_map(|(i, p)| [(0.0, row(i)), (p.took, row(i))])
                    .collect(),
            },
            line("1 round trip", RTT, 2),
            line("2 round trips", 2.0 * RTT, 6),
            line("2 round trips and a delayed ACK", 2.0 * RTT + DELAYED_ACK, 1),
        ],
        labels: (points.iter().enumerate())
            .map(|(i, p)| Label {
                at: (most * 1.05, row(i)),
                text: format!("{:.1} ms, {} seg.", p.took, p.segments),
            })
            .collect(),
    }
}
