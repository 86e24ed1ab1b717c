//! The link is what it was told to be: delay, rate, losses, duplicates, order.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use lab::link::{LinkConfig, Loss, Nth, Queue};
use lab::record::Host;
use lab::world::World;

mod common;
use common::in_a_world;

/// A connected pair: the client's end, the server's.
fn connected(world: &World) -> (TcpStream, TcpStream) {
    let listener = world.server.run(|| TcpListener::bind("0.0.0.0:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let address = SocketAddr::from((world.server.address, port));
    let client = world.client.run(|| TcpStream::connect(address).unwrap());
    let (server, _) = listener.accept().unwrap();
    for stream in [&client, &server] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    (client, server)
}

fn median_round_trip(config: &LinkConfig, rounds: usize) -> Duration {
    let world = World::new(config).unwrap();
    let (mut client, mut server) = connected(&world);
    let echo = thread::spawn(move || {
        let mut byte = [0];
        while server.read(&mut byte).unwrap() > 0 {
            server.write_all(&byte).unwrap();
        }
    });
    let mut times: Vec<_> = (0..rounds)
        .map(|_| {
            let begin = Instant::now();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            begin.elapsed()
        })
        .collect();
    drop(client);
    echo.join().unwrap();
    times.sort();
    times[rounds / 2]
}

/// Sends so many bytes from the client; gives bits of the stream a second, as the server saw them.
fn goodput(world: &World, bytes: usize) -> f64 {
    let (mut client, mut server) = connected(world);
    let sender = thread::spawn(move || client.write_all(&vec![7; bytes]).unwrap());
    let mut buffer = vec![0; 1 << 20];
    // The clock starts with the first bytes: the handshake is not goodput.
    let first = server.read(&mut buffer).unwrap();
    let begin = Instant::now();
    let mut got = 0;
    loop {
        match server.read(&mut buffer).unwrap() {
            0 => break,
            n => got += n,
        }
    }
    sender.join().unwrap();
    assert_eq!(first + got, bytes);
    got as f64 * 8.0 / begin.elapsed().as_secs_f64()
}

#[test]
fn a_round_trip_takes_twice_the_delay() {
    in_a_world("a_round_trip_takes_twice_the_delay", || {
        for (rtt, rounds, most) in [(1, 101, 1.25), (10, 31, 1.05), (50, 7, 1.05), (100, 3, 1.05)] {
            let delay = Duration::from_millis(rtt) / 2;
            let config = LinkConfig { delay, ..LinkConfig::default() };
            let median = median_round_trip(&config, rounds).as_secs_f64() * 1e3;
            println!("rtt {rtt} ms: median {median:.3} ms");
            assert!(median >= rtt as f64 && median < rtt as f64 * most, "{rtt} ms: {median} ms");
        }
    });
}

#[test]
fn a_rate_is_met() {
    in_a_world("a_rate_is_met", || {
        for (rate, bytes) in [(1_000_000, 60_000), (10_000_000, 1_500_000), (100_000_000, 12 << 20)]
        {
            let config = LinkConfig {
                rate: Some(rate),
                queue: Some(Queue::Packets(10_000)),
                ..LinkConfig::default()
            };
            let world = World::new(&config).unwrap();
            let share = goodput(&world, bytes) / (rate as f64 * 1448.0 / 1500.0);
            println!("{rate} bit/s: {share:.4} of what the headers leave");
            assert!((share - 1.0).abs() < 0.01, "{rate}: {share}");
        }
    });
}

#[test]
fn as_fast_as_it_goes() {
    in_a_world("as_fast_as_it_goes", || {
        let world = World::new(&LinkConfig::default()).unwrap();
        let gigabits = goodput(&world, 100 << 20) / 1e9;
        println!("{gigabits:.2} Gbit/s, {:?}", world.link.stats().from_client);
        assert_eq!(world.link.stats().from_client.missed, 0);
        // A slow machine under load; alone it is ten times that.
        assert!(gigabits > 0.1);
    });
}
