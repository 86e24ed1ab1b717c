//! What the link decides, to the nanosecond, with a clock that stands still until a test moves it.

use std::time::Duration;

use etherparse::PacketBuilder;

use super::schedule::{Due, Schedule};
use super::{Carried, LinkConfig, Loss, Nth, Queue};
use crate::record::Host::{Client, Server};
use crate::record::{Host, Nanos};

const MS: Nanos = 1_000_000;

/// A link, what it said to each packet, and what came out at the other end.
struct Run {
    schedule: Schedule,
    /// Fates in words, by the packet's number.
    fates: Vec<(usize, String)>,
    /// When it came, and which: packets are numbered from 1 in the order in which they went in.
    came: Vec<(Nanos, usize)>,
    packets: Vec<Vec<u8>>,
}

impl Run {
    fn new(config: &LinkConfig) -> Run {
        let schedule = Schedule::new(config);
        Run { schedule, fates: Vec::new(), came: Vec::new(), packets: Vec::new() }
    }

    /// Over this link, packets that come at these times; until nothing is under way.
    fn of(config: &LinkConfig, packets: impl IntoIterator<Item = (Nanos, Host, Vec<u8>)>) -> Run {
        let mut run = Run::new(config);
        for (at, from, packet) in packets {
            run.until(at);
            run.take(at, from, packet);
        }
        run.until(Nanos::MAX);
        run
    }

    fn take(&mut self, at: Nanos, from: Host, packet: Vec<u8>) {
        let fate = self.schedule.take(from, at, &packet);
        self.packets.push(packet);
        self.fates.extend(fate.map(|fate| (self.packets.len(), fate)));
    }

    /// Moves the clock from one due time to the next, up to this one.
    fn until(&mut self, end: Nanos) {
        while let Some(next) = self.schedule.next()
            && next <= end
        {
            assert!(self.schedule.due(next - 1, 1).is_none(), "a nanosecond early");
            assert_eq!(self.hand_over(next, 1), 1, "not a nanosecond late");
        }
    }

    /// Hands over what is due at this time; gives how many.
    fn hand_over(&mut self, now: Nanos, most: usize) -> usize {
        let Some(Due { from, packets }) = self.schedule.due(now, most) else { return 0 };
        let count = packets.len();
        for one in packets {
            let which = self.packets.iter().position(|packet| *packet == one.packet);
            self.came.push((now, 1 + which.expect("it went in")));
        }
        self.schedule.handed_over(from, count);
        count
    }

    /// Which came, in this order.
    fn order(&self) -> Vec<usize> {
        self.came.iter().map(|(_, which)| *which).collect()
    }

    /// Which the link has lost.
    fn lost(&self) -> Vec<usize> {
        let lost = self.fates.iter().filter(|(_, fate)| fate.starts_with("lost"));
        lost.map(|(which, _)| *which).collect()
    }

    fn carried(&mut self, from: Host) -> Carried {
        *self.schedule.carried(from)
    }
}

/// A packet of so many bytes, which no other is like.
fn packet(number: u32, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes];
    packet[..4].copy_from_slice(&number.to_be_bytes());
    packet
}

/// Packets of so many bytes that the client sends at these times.
fn packets(times: &[Nanos], bytes: usize) -> Vec<(Nanos, Host, Vec<u8>)> {
    (0..).zip(times).map(|(n, at)| (*at, Client, packet(n, bytes))).collect()
}

/// A TCP segment of one of the client's connections, and when it leaves.
fn segment(at: Nanos, port: u16, seq: u32, len: usize) -> (Nanos, Host, Vec<u8>) {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).tcp(port, 9000, seq, 1);
    // When it left makes it another packet, as TCP's timestamps do.
    let payload = vec![at as u8; len];
    builder.ack(1).write(&mut bytes, &payload).expect("a Vec takes it");
    (at, Client, bytes)
}

/// So many segments of 100 bytes, one a nanosecond from 1.
fn segments(count: u32) -> Vec<(Nanos, Host, Vec<u8>)> {
    (0..count).map(|n| segment((n + 1).into(), 1, 1 + 100 * n, 100)).collect()
}

fn nth(nth: u32, times: u32) -> Vec<Nth> {
    vec![Nth { from: Client, nth, times }]
}

// ---- when ----

#[test]
fn a_packet_arrives_after_the_delay() {
    for delay in [0, 1, 250_000, 50 * MS] {
        let config = LinkConfig { delay: Duration::from_nanos(delay), ..LinkConfig::default() };
        let run = Run::of(&config, packets(&[10, 11, 11, 3 * MS], 1500));
        let expected = [10, 11, 11, 3 * MS].map(|at| at + delay);
        assert_eq!(run.came, (1..).zip(expected).map(|(n, at)| (at, n)).collect::<Vec<_>>());
    }
}

/// What a packet's last bit takes to get onto the link: bits over rate, rounded up.
#[test]
fn a_packet_takes_its_own_time() {
    for (rate, bytes, takes) in [
        (1_000, 40, 320 * MS),
        (64_000, 1500, 187_500_000),
        (1_000_000, 1500, 12 * MS),
        (10_000_000, 1000, 800_000),
        (10_000_000, 52, 41_600),
        (100_000_000, 1500, 120_000),
        (1_000_000_000, 1500, 12_000),
        (7_000_000, 1500, 1_714_286), // and 5 sevenths of a nanosecond less
        (100_000_000_000, 65_535, 5_243),
    ] {
        for delay in [0, 20 * MS] {
            let config = LinkConfig {
                rate: Some(rate),
                delay: Duration::from_nanos(delay),
                ..LinkConfig::default()
            };
            // At once; then a gap that ends when the link has just become free; then a longer one.
            let times = [5, 5, 5, 5 + 3 * takes, 5 + 9 * takes, 5 + 9 * takes + takes / 2];
            let ends = [1, 2, 3, 4, 10, 11].map(|n| 5 + n * takes + delay);
            let run = Run::of(&config, packets(&times, bytes));
            let expected: Vec<_> = (1..).zip(ends).map(|(n, at)| (at, n)).collect();
            assert_eq!(run.came, expected, "{bytes} bytes at {rate} bit/s, delay {delay}");
        }
    }
}

#[test]
fn a_long_stream_has_the_rate_to_the_nanosecond() {
    let rate = Some(10_000_000);
    let queue = Some(Queue::Packets(2000));
    let run = Run::of(&LinkConfig { rate, queue, ..LinkConfig::default() }, {
        packets(&[0; 2000], 1500)
    });
    assert_eq!(run.came.last(), Some(&(2400 * MS, 2000)), "2000 times 1.2 ms");
}

#[test]
fn small_and_large_packets_share_the_link() {
    let config = LinkConfig { rate: Some(8_000_000), ..LinkConfig::default() }; // 1 µs a byte
    let sizes = [1500, 40, 1000, 52];
    let run = Run::of(&config, (0..).zip(sizes).map(|(n, size)| (0, Client, packet(n, size))));
    assert_eq!(run.came, [(1_500_000, 1), (1_540_000, 2), (2_540_000, 3), (2_592_000, 4)]);
}

#[test]
fn the_two_directions_do_not_wait_for_each_other() {
    let config = LinkConfig {
        rate: Some(8_000_000),
        delay: Duration::from_millis(2),
        ..LinkConfig::default()
    };
    let run = Run::of(
        &config,
        [
            (0, Client, packet(1, 1500)),
            (100, Server, packet(2, 1000)),
            (200, Client, packet(3, 100)),
            (300, Server, packet(4, 1000)),
        ],
    );
    assert_eq!(run.came, [(3_000_100, 2), (3_500_000, 1), (3_600_000, 3), (4_000_100, 4)]);
}

/// The relay may come late: then all is due, and goes in the order of its times.
#[test]
fn who_is_late_hands_over_what_has_been_due_longest() {
    let mut run = Run::new(&LinkConfig::default());
    let (a, b) = (Client, Server);
    for (number, (at, from)) in (0..).zip([(1, a), (2, a), (3, b), (4, a), (4, b), (5, b), (6, a)])
    {
        run.take(at, from, packet(number, 100));
    }
    assert_eq!(run.schedule.next(), Some(1));
    assert_eq!(run.hand_over(0, 9), 0);
    while run.hand_over(5, 1) > 0 {}
    assert_eq!(run.order(), [1, 2, 3, 4, 5, 6], "one by one");
    assert_eq!(run.schedule.next(), Some(6));

    let mut run = Run::new(&LinkConfig::default());
    for (number, (at, from)) in (0..).zip([(1, a), (2, a), (3, b), (4, a), (9, a)]) {
        run.take(at, from, packet(number, 100));
    }
    let counts: Vec<_> = (0..4).map(|_| run.hand_over(5, 2)).collect();
    assert_eq!((counts, run.order()), (vec![2, 1, 1, 0], vec![1, 2, 3, 4]), "two at a time");
}

// ---- the queue ----

/// One is being sent, and so many wait.
#[test]
fn a_queue_in_packets() {
    let config = LinkConfig {
        rate: Some(8_000_000), // 1 ms for 1000 bytes
        queue: Some(Queue::Packets(3)),
        ..LinkConfig::default()
    };
    // Five at once: the fifth finds three that wait. When the second's turn has come, two do.
    let times = [0, 0, 0, 0, 0, MS - 1, MS, MS];
    let mut run = Run::of(&config, packets(&times, 1000));
    assert_eq!(run.lost(), [5, 6, 8]);
    assert_eq!(run.came, [(MS, 1), (2 * MS, 2), (3 * MS, 3), (4 * MS, 4), (5 * MS, 7)]);
    assert!(run.fates.iter().all(|(_, fate)| fate == "lost by the link (queue full)"));
    let carried = run.carried(Client);
    assert_eq!((carried.packets, carried.overflowed, carried.delivered), (8, 3, 5));
    assert_eq!((carried.bytes, carried.lost, carried.dropped, carried.missed), (8000, 0, 0, 0));
    assert_eq!(run.carried(Server), Carried::default());
}

#[test]
fn a_queue_in_bytes() {
    let config = LinkConfig {
        rate: Some(8_000_000), // 1 µs a byte
        queue: Some(Queue::Bytes(1500)),
        ..LinkConfig::default()
    };
    // The first is sent at once, and takes no room.
    let sizes = [1500, 1000, 501, 500, 4];
    let mut run = Run::of(&config, (0..).zip(sizes).map(|(n, size)| (0, Client, packet(n, size))));
    assert_eq!(run.lost(), [3, 5]);
    assert_eq!(run.came, [(1_500_000, 1), (2_500_000, 2), (3_000_000, 4)]);
    assert_eq!(run.carried(Client).overflowed, 2);
}

#[test]
fn without_a_rate_nothing_waits() {
    let config = LinkConfig { queue: Some(Queue::Packets(1)), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, packets(&[7; 2000], 1500)).came.last(), Some(&(7, 2000)));
}

#[test]
fn a_thousand_packets_wait_where_nothing_else_is_said() {
    let config = LinkConfig { rate: Some(1_000_000), ..LinkConfig::default() };
    let run = Run::of(&config, packets(&[0; 1003], 100));
    assert_eq!(run.lost(), [1002, 1003], "1 and 1000");
}

// ---- which ----

#[test]
fn the_nth_data_segment_is_dropped() {
    for which in [1, 2, 3, 10] {
        let config = LinkConfig { drop: nth(which, 1), ..LinkConfig::default() };
        let mut run = Run::of(&config, segments(10));
        let fate = format!("lost by the link (rule: drop {which})");
        assert_eq!(run.fates, [(which as usize, fate)]);
        let rest: Vec<_> = (1..=10).filter(|n| *n != which as usize).collect();
        assert_eq!(run.order(), rest);
        assert_eq!((run.carried(Client).dropped, run.carried(Client).delivered), (1, 9));
    }
}

/// SYN, bare ACK, another protocol: none of it is a data segment.
#[test]
fn what_carries_no_data_is_not_counted() {
    let mut all = vec![segment(1, 1, 0, 0), segment(2, 1, 1, 0), (3, Client, packet(9, 60))];
    all.extend([segment(4, 1, 1, 100), segment(5, 1, 101, 0), segment(6, 1, 101, 100)]);
    let config = LinkConfig { drop: nth(2, 1), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, all).lost(), [6]);
}

#[test]
fn a_rule_is_for_one_host() {
    let both = |(at, _, packet): (Nanos, Host, Vec<u8>)| {
        let mut other = packet.clone();
        other[15] = 2; // another source: another packet
        [(at, Client, packet), (at, Server, other)]
    };
    let drop = vec![Nth { from: Server, nth: 2, times: 1 }];
    let config = LinkConfig { drop, ..LinkConfig::default() };
    let run = Run::of(&config, segments(3).into_iter().flat_map(both));
    assert_eq!(run.fates, [(4, "lost by the link (rule: drop server:2)".to_owned())]);
}

/// A segment that is sent again is not the next one, however late it comes.
#[test]
fn retransmissions_are_not_counted() {
    let all = [
        segment(1, 1, 1, 100),
        segment(2, 1, 101, 100),
        segment(3, 1, 1, 100),   // again
        segment(4, 1, 101, 100), // again
        segment(5, 1, 201, 100), // the third
        segment(6, 1, 301, 100),
    ];
    let config = LinkConfig { drop: nth(3, 1), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, all).lost(), [5]);
}

#[test]
fn a_segment_with_one_new_byte_is_counted() {
    let all = [segment(1, 1, 1, 100), segment(2, 1, 1, 101), segment(3, 1, 102, 100)];
    let config = LinkConfig { drop: nth(2, 1), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, all).lost(), [2]);
}

#[test]
fn segments_are_counted_over_all_connections() {
    let all = [
        segment(1, 1, 1, 100),
        segment(2, 2, 1, 100), // the same numbers, but another connection
        segment(3, 1, 101, 100),
        segment(4, 2, 101, 100),
    ];
    let config = LinkConfig { drop: nth(3, 1), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, all).lost(), [3]);
}

/// RFC 9293, 3.4: after the largest sequence number comes 0.
#[test]
fn sequence_numbers_wrap() {
    let all = [
        segment(1, 1, u32::MAX - 149, 100),
        segment(2, 1, u32::MAX - 49, 100), // ends at 50
        segment(3, 1, 50, 100),
        segment(4, 1, u32::MAX - 49, 100), // again
        segment(5, 1, 150, 100),
    ];
    let config = LinkConfig { drop: nth(4, 1), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, all).lost(), [5]);
}

#[test]
fn the_first_tries_are_dropped() {
    let all = [
        segment(1, 1, 1, 100),
        segment(2, 1, 101, 100), // the second
        segment(3, 1, 201, 100),
        segment(4, 1, 101, 100), // its second try
        segment(5, 1, 301, 100),
        segment(6, 1, 51, 100), // its third, cut in another way: its first byte is in it
        segment(7, 1, 151, 100),
        segment(8, 1, 101, 100), // its fourth
    ];
    for (times, lost) in [(1, vec![2]), (2, vec![2, 4]), (3, vec![2, 4, 6]), (4, vec![2, 4, 6, 8])]
    {
        let config = LinkConfig { drop: nth(2, times), ..LinkConfig::default() };
        let run = Run::of(&config, all.clone());
        assert_eq!(run.lost(), lost, "drop 2x{times}");
    }
}

#[test]
fn the_nth_data_segment_comes_twice_or_more() {
    for times in [1, 3] {
        let delay = Duration::from_millis(1);
        let config = LinkConfig { dup: nth(2, times), delay, ..LinkConfig::default() };
        let mut run = Run::of(&config, segments(3));
        let mut expected = vec![(MS + 1, 1)];
        expected.extend((0..=times).map(|_| (MS + 2, 2)));
        expected.push((MS + 3, 3));
        assert_eq!(run.came, expected);
        let rule = if times == 1 { "dup 2" } else { "dup 2x3" };
        assert_eq!(run.fates, [(2, format!("duplicated by the link (rule: {rule})"))]);
        assert_eq!(run.carried(Client).delivered, 3 + u64::from(times));
    }
}

#[test]
fn the_nth_data_segment_is_overtaken() {
    for (times, order) in [(1, [1, 3, 2, 4, 5, 6]), (3, [1, 3, 4, 5, 2, 6])] {
        let delay = Duration::from_millis(1);
        let config = LinkConfig { reorder: nth(2, times), delay, ..LinkConfig::default() };
        let run = Run::of(&config, segments(6));
        assert_eq!(run.order(), order);
        // It comes with the last of those that overtake it.
        let when = run.came.iter().find(|(_, which)| *which == 2);
        assert_eq!(when, Some(&(MS + 2 + Nanos::from(times), 2)));
        let rule = if times == 1 { "reorder 2" } else { "reorder 2x3" };
        assert_eq!(run.fates, [(2, format!("overtaken (rule: {rule})"))]);
    }
}

/// What is lost does not overtake anything.
#[test]
fn rules_of_all_kinds_together() {
    let config =
        LinkConfig { reorder: nth(1, 2), drop: nth(2, 1), dup: nth(3, 1), ..LinkConfig::default() };
    assert_eq!(Run::of(&config, segments(5)).order(), [3, 3, 4, 1, 5]);
}

// ---- chance ----

/// Computed apart from this program, from the definition of SplitMix64: the n-th number of seed
/// 2 s + 1 (client) or 2 s + 2 (server), as a part of 1, is below the loss.
#[test]
fn a_seed_names_the_packets_that_are_lost() {
    let loss = Loss::both(0.1);
    for (seed, from, expected) in [
        (0, Client, vec![21, 22, 26, 29, 56, 62, 67, 68, 93, 96, 99]),
        (0, Server, vec![21, 29, 38, 43, 65, 84]),
        (7, Client, vec![29, 32, 38, 57, 59, 81, 85, 97, 100]),
        (u64::MAX, Client, vec![10, 11, 13, 30, 37, 43, 54, 67, 68, 89, 94, 98]),
    ] {
        let config = LinkConfig { loss, seed, ..LinkConfig::default() };
        let sent = (0..100).map(|n| (1, from, packet(n, 100)));
        let mut run = Run::of(&config, sent);
        assert_eq!(run.lost(), expected, "seed {seed}, {from:?}");
        assert!(run.fates.iter().all(|(_, fate)| fate == "lost by the link (loss 10 %)"));
        assert_eq!(run.carried(from).lost, expected.len() as u64);
    }
}

#[test]
fn of_many_packets_the_share_is_lost() {
    for (share, most) in [(0.0, 0), (0.001, 140), (0.02, 2178), (0.5, 50_633), (1.0, 100_000)] {
        let loss = Loss { from_client: share, from_server: 0.0 };
        let config = LinkConfig { loss, seed: 5, ..LinkConfig::default() };
        let mut run = Run::new(&config);
        for n in 0..100_000 {
            run.schedule.take(Client, 0, &packet(n, 4));
            run.schedule.take(Server, 0, &packet(n, 4));
        }
        let expected = 100_000.0 * share;
        let lost = run.carried(Client).lost;
        // Four standard deviations.
        assert!(
            (2.0 * expected - f64::from(most)..=f64::from(most)).contains(&(lost as f64)),
            "{lost}"
        );
        assert_eq!(run.carried(Server).lost, 0);
    }
}

/// A rule loses what it names and changes nothing else: chance goes on as it would have.
#[test]
fn rules_do_not_change_what_chance_does() {
    let loss = Loss::both(0.3);
    let plain = LinkConfig { loss, seed: 1, ..LinkConfig::default() };
    let by_chance = Run::of(&plain, segments(60)).lost();
    let spared = (1..=60).find(|n| !by_chance.contains(n)).expect("not all are lost");
    let config = LinkConfig { drop: nth(spared as u32, 1), ..plain };
    let mut expected = by_chance;
    expected.push(spared);
    expected.sort_unstable();
    assert_eq!(Run::of(&config, segments(60)).lost(), expected);
}
