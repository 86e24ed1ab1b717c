//! The link on the real kernel: packets arrive, in their order, with their fates, and never sooner
//! than the link allows. When they are due is tested to the nanosecond in `src/link/tests.rs`; how
//! late a busy machine makes them is what `lab experiment link` shows.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use lab::capture::Capture;
use lab::clock;
use lab::link::{LATE, LinkConfig, Loss, Nth, Queue};
use lab::output::words;
use lab::record::{Host, Segment, What};
use lab::world::World;

mod common;
use common::in_a_world;

/// Catches a hang, and nothing else.
const HANGS: Duration = Duration::from_secs(60);

/// A connected pair: the client's end, the server's.
fn connected(world: &World) -> (TcpStream, TcpStream) {
    let listener = world.server.run(|| TcpListener::bind("0.0.0.0:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddr::from((world.server.address, port));
    let client = world.client.run(|| TcpStream::connect(address).unwrap());
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(HANGS)).unwrap();
    }
    (client, server)
}

/// Sends so many bytes from the client, and looks at each as it comes. Gives what it took, by the
/// clock that the link goes by: from before the connection until the last byte was there.
fn transfer(world: &World, bytes: usize) -> Duration {
    let begin = clock::now();
    let (mut client, mut server) = connected(world);
    let pattern = |at: usize| (at % 251) as u8;
    let sent: Vec<u8> = (0..bytes).map(pattern).collect();
    let sender = thread::spawn(move || client.write_all(&sent).unwrap());
    let mut buffer = vec![0; 1 << 20];
    let mut got = 0;
    while got < bytes {
        let n = server.read(&mut buffer).unwrap();
        assert!(n > 0, "the stream ended after {got} of {bytes} bytes");
        let wrong = (0..n).find(|at| buffer[*at] != pattern(got + at));
        assert_eq!(wrong.map(|at| got + at), None, "another byte was sent there");
        got += n;
    }
    let end = clock::now();
    sender.join().unwrap();
    Duration::from_nanos(end - begin)
}

/// What packets with so many bytes of a stream take at this rate, headers included: IP 20, TCP 20,
/// timestamps 12 to at most 1448 bytes.
fn least(bytes: usize, rate: u64) -> Duration {
    let packets = bytes.div_ceil(1448);
    Duration::from_nanos((bytes + packets * 52) as u64 * 8_000_000_000 / rate)
}

#[test]
fn no_round_trip_is_shorter_than_twice_the_delay() {
    in_a_world("no_round_trip_is_shorter_than_twice_the_delay", || {
        for (rtt, rounds) in [(1, 100), (10, 20), (50, 5), (100, 2)] {
            let delay = Duration::from_millis(rtt) / 2;
            let world = World::new(&LinkConfig { delay, ..LinkConfig::default() }).unwrap();
            let (mut client, mut server) = connected(&world);
            let echo = thread::spawn(move || {
                let mut byte = [0];
                while server.read(&mut byte).unwrap() > 0 {
                    server.write_all(&byte).unwrap();
                }
            });
            for round in 0..rounds {
                let begin = clock::now();
                client.write_all(&[round]).unwrap();
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                let took = Duration::from_nanos(clock::now() - begin);
                assert_eq!(byte, [round]);
                assert!(took >= 2 * delay, "faster than the link: {took:?} of {rtt} ms");
            }
            drop(client);
            echo.join().unwrap();
            println!("round trip {rtt} ms: {}", world.link.lateness());
        }
    });
}

#[test]
fn no_transfer_is_faster_than_the_rate() {
    in_a_world("no_transfer_is_faster_than_the_rate", || {
        for (rate, bytes) in [(1_000_000, 30_000), (10_000_000, 300_000), (100_000_000, 3_000_000)]
        {
            let config = LinkConfig { rate: Some(rate), ..LinkConfig::default() };
            let world = World::new(&config).unwrap();
            let took = transfer(&world, bytes);
            println!("{rate} bit/s: {took:?}, {}", world.link.lateness());
            assert!(took >= least(bytes, rate), "faster than the link: {took:?}");
        }
    });
}

#[test]
fn every_byte_arrives_as_it_was_sent() {
    in_a_world("every_byte_arrives_as_it_was_sent", || {
        let world = World::new(&LinkConfig::default()).unwrap();
        transfer(&world, 20 << 20);
        let from_client = world.link.stats().from_client;
        println!("{from_client:?}, {}", world.link.lateness());
        // More than the stream: every packet has its headers.
        assert!(from_client.bytes > 20 << 20 && from_client.delivered == from_client.packets);
        assert_eq!((from_client.lost, from_client.dropped, from_client.overflowed), (0, 0, 0));
    });
}

/// What the link was late by is known of every packet that it has handed over.
#[test]
fn the_link_knows_how_late_it_was() {
    in_a_world("the_link_knows_how_late_it_was", || {
        let world = World::new(&LinkConfig::default()).unwrap();
        assert_eq!(world.link.lateness().packets(), 0);
        // A hook that takes its time makes the answer to its packet late, by that time at least.
        let slow = Duration::from_millis(3);
        world.link.on_delivery(move |_| thread::sleep(slow));
        let (mut client, server) = connected(&world);
        client.write_all(&[0; 10_000]).unwrap();
        (&server).read_exact(&mut [0; 10_000]).unwrap();
        let late = world.link.lateness();
        println!("{late}");
        // The handshake, and 7 segments, of which the last may not be counted yet.
        assert!(late.packets() >= 3 + 6);
        assert!(late.worst() >= slow && late.median() <= late.worst());
    });
}

/// Ten data segments of 1000 bytes from the client, each sent when the one before was sent, and
/// what was captured of them. The server gets every byte. Reno's first window is ten segments, and
/// it does not pace them, however long the handshake took.
fn ten_segments(config: LinkConfig) -> Vec<Segment> {
    let world = World::new(&LinkConfig { cc: Some("reno".into()), ..config }).unwrap();
    ten_segments_in(&world)
}

fn ten_segments_in(world: &World) -> Vec<Segment> {
    let capture = Capture::start(world).unwrap();
    let (mut client, mut server) = connected(world);
    for n in 0..10 {
        client.write_all(&[n; 1000]).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    drop(server);
    // Now all has arrived but the last acknowledgement.
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let sent: Vec<_> = (0..10).flat_map(|n| [n; 1000]).collect();
    assert_eq!(got, sent);
    let segments = capture.finish().into_iter().map(|event| match event.what {
        What::Segment(segment) => segment,
        other => panic!("{other:?}"),
    });
    segments.collect()
}

fn nth(nth: u32, times: u32) -> Vec<Nth> {
    vec![Nth { from: Host::Client, nth, times }]
}

/// Where the segments with this part of the stream are.
fn carrying(segments: &[Segment], seq: u32) -> Vec<&Segment> {
    let carries = |one: &&Segment| {
        one.from == Host::Client && one.len > 0 && (one.seq..one.seq + one.len).contains(&seq)
    };
    segments.iter().filter(carries).collect()
}

#[test]
fn a_capture_has_the_handshake_and_its_order() {
    in_a_world("a_capture_has_the_handshake_and_its_order", || {
        let delay = Duration::from_millis(2);
        let segments = ten_segments(LinkConfig { delay, ..LinkConfig::default() });
        let [syn, syn_ack, ack, first, ..] = &segments[..] else { panic!("{segments:?}") };
        assert_eq!((&syn.flags[..], syn.seq, syn.ack), ("S", 0, None));
        assert_eq!((&syn_ack.flags[..], syn_ack.seq, syn_ack.ack), ("S.", 0, Some(1)));
        assert_eq!((&ack.flags[..], ack.seq, ack.ack), (".", 1, Some(1)));
        assert_eq!((&first.flags[..], first.seq, first.len), ("P.", 1, 1000));
        assert!(syn.options.starts_with("mss 1460,sackOK,TS val "), "{}", syn.options);
        assert!(ack.window > 60_000, "scaled: {}", ack.window);
        assert_ne!(syn.initial, syn_ack.initial);
        let data = segments.iter().filter(|one| one.len > 0 && !one.again);
        let sent: Vec<_> = data.map(|one| (one.seq, one.len, one.arrived.is_some())).collect();
        assert_eq!(sent, (0..10).map(|n| (1 + n * 1000, 1000, true)).collect::<Vec<_>>());
        assert!(segments.iter().all(|one| one.fate.is_empty()), "{segments:?}");
    });
}

#[test]
fn a_dropped_segment_comes_again() {
    in_a_world("a_dropped_segment_comes_again", || {
        let segments = ten_segments(LinkConfig { drop: nth(3, 2), ..LinkConfig::default() });
        let third = carrying(&segments, 2001);
        // Where the machine is slow, TCP may give up waiting and send it once more.
        let [lost, lost_again, came, ..] = &third[..] else { panic!("{third:?}") };
        for lost in [lost, lost_again] {
            assert_eq!(lost.arrived, None);
            assert_eq!(lost.fate, "lost by the link (rule: drop 3x2)");
        }
        assert!(!lost.again && lost_again.again && came.again && came.arrived.is_some());
        let count = segments.iter().filter(|one| one.fate.starts_with("lost")).count();
        assert_eq!(count, 2, "no other was lost");
    });
}

#[test]
fn fates_are_known_however_late_the_link_is() {
    in_a_world("fates_are_known_however_late_the_link_is", || {
        let config = LinkConfig {
            drop: nth(3, 1),
            dup: nth(5, 1),
            reorder: nth(7, 1),
            ..Default::default()
        };
        let world = World::new(&LinkConfig { cc: Some("reno".into()), ..config }).unwrap();
        // What comes in meanwhile has left long before the link looks at it.
        world.link.on_delivery(|_| thread::sleep(Duration::from_millis(10)));
        let segments = ten_segments_in(&world);
        for (seq, fate) in [
            (2001, "lost by the link (rule: drop 3)"),
            (4001, "duplicated by the link (rule: dup 5)"),
            (6001, "overtaken (rule: reorder 7)"),
        ] {
            assert_eq!(carrying(&segments, seq)[0].fate, fate);
        }
        // The answer to the SYN was there when the hook began to sleep.
        let answer = segments.iter().find(|one| one.flags == "S.").expect("a SYN-ACK");
        assert!(Duration::from_nanos(answer.late) > LATE, "{answer:?}");
        assert!(words::fate(answer).contains("ms late"), "{answer:?}");
        let is_marked = |one: &Segment| Duration::from_nanos(one.late) > LATE;
        assert!(segments.iter().all(|one| one.late == 0 || is_marked(one)), "{segments:?}");
    });
}

#[test]
fn a_segment_comes_twice() {
    in_a_world("a_segment_comes_twice", || {
        let segments = ten_segments(LinkConfig { dup: nth(2, 1), ..LinkConfig::default() });
        let second = carrying(&segments, 1001);
        // Where the machine is slow, TCP may give up waiting and send one again.
        let second = second.iter().filter(|one| !one.again);
        let fates: Vec<_> = second.map(|one| (&one.fate[..], one.arrived.is_some())).collect();
        let expected = ["duplicated by the link (rule: dup 2)", "a copy made by the link"];
        assert_eq!(fates, expected.map(|fate| (fate, true)));
    });
}

#[test]
fn a_segment_is_overtaken() {
    in_a_world("a_segment_is_overtaken", || {
        let segments = ten_segments(LinkConfig { reorder: nth(4, 3), ..LinkConfig::default() });
        let fourth = carrying(&segments, 3001)[0];
        assert_eq!(fourth.fate, "overtaken (rule: reorder 4x3)");
        let from_client = segments.iter().filter(|one| one.from == Host::Client);
        let overtook = from_client
            .filter(|one| {
                one.id > fourth.id && one.arrived.is_some() && one.arrived < fourth.arrived
            })
            .count();
        assert_eq!(overtook, 3);
    });
}

#[test]
fn what_chance_loses_is_sent_again() {
    in_a_world("what_chance_loses_is_sent_again", || {
        let loss = Loss { from_client: 0.02, from_server: 0.0 };
        let config = LinkConfig { loss, seed: 5, ..LinkConfig::default() };
        let world = World::new(&config).unwrap();
        transfer(&world, 2 << 20);
        let stats = world.link.stats();
        println!("{stats:?}");
        // Of at least 1449 packets: the seed says which.
        assert!(stats.from_client.lost > 0);
        assert_eq!(stats.from_server.lost, 0);
    });
}

#[test]
fn a_full_queue_drops_what_comes_on_top() {
    in_a_world("a_full_queue_drops_what_comes_on_top", || {
        let (rate, bytes) = (10_000_000, 200_000);
        let config = LinkConfig {
            rate: Some(rate),
            queue: Some(Queue::Packets(4)),
            cc: Some("reno".into()), // whose first window comes at once
            ..LinkConfig::default()
        };
        let world = World::new(&config).unwrap();
        let took = transfer(&world, bytes);
        let stats = world.link.stats().from_client;
        println!("{took:?}, {stats:?}");
        assert!(stats.overflowed > 0 && stats.lost == 0);
        assert!(took >= least(bytes, rate), "faster than the link: {took:?}");
    });
}

#[test]
fn packets_are_as_large_as_the_mtu_allows() {
    in_a_world("packets_are_as_large_as_the_mtu_allows", || {
        for mtu in [576, 9000, 65535] {
            let config = LinkConfig { mtu: Some(mtu), ..LinkConfig::default() };
            let world = World::new(&config).unwrap();
            let capture = Capture::start(&world).unwrap();
            transfer(&world, 1 << 20);
            let segments = capture.finish().into_iter().filter_map(|event| match event.what {
                What::Segment(segment) => Some(segment),
                _ => None,
            });
            let sizes: Vec<_> = segments.map(|segment| segment.packet.len()).collect();
            assert_eq!(sizes.iter().max(), Some(&(mtu as usize)));
        }
    });
}

#[test]
fn when_the_hook_hears_of_a_packet_tcp_has_seen_it() {
    in_a_world("when_the_hook_hears_of_a_packet_tcp_has_seen_it", || {
        let world = World::new(&LinkConfig::default()).unwrap();
        let (mut client, server) = connected(&world);
        server.set_nonblocking(true).unwrap();
        let (told, looked) = mpsc::channel();
        let mut last = None;
        world.link.on_delivery(move |packet| {
            // Behind an IP header of 20 bytes. Where the machine is slow, one may be sent again.
            let seq = packet.packet[24..28].try_into().map(u32::from_be_bytes).unwrap();
            let new = last.is_none_or(|last| (seq.wrapping_sub(last) as i32) > 0);
            if packet.to == Host::Server && packet.packet.len() > 52 && new {
                last = Some(seq);
                let _ = told.send((&server).read(&mut [0; 10]).map_err(|error| error.kind()));
            }
        });
        for _ in 0..500 {
            client.write_all(b"x").unwrap();
            assert_eq!(looked.recv_timeout(HANGS), Ok(Ok(1)));
        }
    });
}
