//! Article 5: how a connection ends. Claims C1, C2. man: tcp(7), shutdown(2), close(2).
//! RFC 9293, section 3.6.
//!
//! The close over a slow link, so that each state lasts; CLOSE_WAIT, which lasts as long as the
//! application likes; TIME_WAIT and the bind after it; and the reset that unread data causes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{SockaddrIn, bind, listen, setsockopt, sockopt};

use super::plot::{Axis, Mark, Picture, Series};
use super::report::Verdict;
use super::scale::Scale;
use super::states::{self, Change};
use super::table::Table;
use super::traffic::{self, PORT, Setup};
use super::wire::{self, Seen, Wire};
use super::{Run, joined};
use crate::link::LinkConfig;
use crate::record::Host;
use crate::world::World;

const RTT: Duration = Duration::from_millis(60);

fn link() -> LinkConfig {
    LinkConfig { delay: RTT / 2, ..LinkConfig::default() }
}

pub fn run(run: &mut Run) -> anyhow::Result<()> {
    four_way(run)?;
    close_wait(run)?;
    bind_after_time_wait(run)?;
    unread_data(run)
}

/// The client closes; the server, some time later, too.
fn four_way(run: &mut Run) -> anyhow::Result<()> {
    let world = run.world(&link())?;
    let (client, server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
    let port = traffic::port(client.local_addr())?;
    let wire = Wire::watch(&world)?;
    let ((), changes) = states::watch(&world, PORT, port, || {
        states::until(&world.client, port, PORT, "ESTABLISHED")?;
        client.shutdown(Shutdown::Write)?;
        anyhow::ensure!(traffic::read(&server, &mut [0])? == 0, "nothing was sent");
        // The server has heard of the end. It closes once its ACK has been seen to arrive.
        states::until(&world.client, port, PORT, "FIN_WAIT2")?;
        std::thread::sleep(RTT); // FIN_WAIT2 and CLOSE_WAIT last as long as the server likes
        drop(server);
        states::until(&world.client, port, PORT, "TIME_WAIT")?;
        states::until(&world.server, PORT, port, "CLOSED")
    })?;
    let seen = wire.until("the last ACK", |seen| {
        let fin = seen.iter().find(|s| s.segment.from == Host::Server && s.has('F'));
        fin.is_some_and(|fin| {
            let acked = Some(fin.segment.seq + 1);
            seen.iter().any(|s| s.segment.from == Host::Client && s.segment.ack == acked)
        })
    })?;
    let order = wire::order(&seen);
    let expected = "client FIN+ACK, server ACK, server FIN+ACK, client ACK";
    run.tally.check("a close on the wire", expected, &order);
    // If the server's FIN was sent again, a RST may have ended TIME_WAIT.
    let active = states::names(&changes, Host::Client);
    let active = active.strip_suffix(", CLOSED").unwrap_or(&active);
    let passive = states::names(&changes, Host::Server);
    let (want_active, want_passive) = (
        "ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT",
        "ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSED",
    );
    run.tally.check("the side that closes first", want_active, active);
    run.tally.check("the other side", want_passive, &passive);
    run.tally.claim(
        "C1",
        Verdict::holds_if(active == want_active && passive == want_passive && order == expected),
        format_args!("{order}; active {active}; passive {passive}"),
    );
    let mut table = Table::new(["host", "state", "from_ms"]);
    for Change { at, host, now } in &changes {
        table.row(&[&name(*host), now, &format!("{:.1}", at.as_secs_f64() * 1e3)]);
    }
    run.table("", &table)?;
    run.picture("", &picture(&changes))
}

fn name(host: Host) -> &'static str {
    match host {
        Host::Client => "client",
        Host::Server => "server",
    }
}

/// The application that does not close after recv has returned 0.
fn close_wait(run: &mut Run) -> anyhow::Result<()> {
    let world = run.world(&link())?;
    let (client, server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
    let port = traffic::port(client.local_addr())?;
    drop(client);
    anyhow::ensure!(traffic::read(&server, &mut [0])? == 0, "nothing was sent");
    let hold = run.either(Duration::from_millis(500), Duration::from_secs(10));
    let ((), changes) = states::watch(&world, PORT, port, || {
        std::thread::sleep(hold); // this is what is watched: that nothing happens
        drop(server);
        states::until(&world.server, PORT, port, "CLOSED")
    })?;
    let passive: Vec<&Change> = changes.iter().filter(|c| c.host == Host::Server).collect();
    let order = joined(passive.iter().map(|c| c.now));
    let lasted = passive.get(1).map_or(Duration::ZERO, |left| left.at);
    let (long, seconds) = (lasted >= hold, hold.as_secs_f64());
    run.tally.check_that(
        "CLOSE_WAIT of an application that does not close",
        format_args!("CLOSE_WAIT for {seconds} s until it closes, then LAST_ACK"),
        format_args!("{order}; CLOSE_WAIT for {:.2} s", lasted.as_secs_f64()),
        long && order == "CLOSE_WAIT, LAST_ACK, CLOSED",
    );
    run.tally.claim(
        "C2",
        Verdict::holds_if(long && order == "CLOSE_WAIT, LAST_ACK, CLOSED"),
        "CLOSE_WAIT as long as the server kept its descriptor, then LAST_ACK",
    );
    Ok(())
}

fn reusable(fd: &OwnedFd) -> nix::Result<()> {
    setsockopt(fd, sockopt::ReuseAddr, &true)
}

/// A server that has closed first wants its port again.
fn bind_after_time_wait(run: &mut Run) -> anyhow::Result<()> {
    let cases: [(&str, Setup, Setup, &str); 3] = [
        ("without SO_REUSEADDR", traffic::plain, traffic::plain, "EADDRINUSE"),
        ("SO_REUSEADDR set by the new server alone", traffic::plain, reusable, "EADDRINUSE"),
        ("SO_REUSEADDR set by the old server, too", reusable, reusable, "ok"),
    ];
    for (what, old, new, expected) in cases {
        let world = run.world(&LinkConfig::default())?;
        let (client, server) = traffic::pair(&world, old, traffic::plain)?;
        let port = traffic::port(client.local_addr())?;
        drop(server); // and the listener went with `pair`
        states::until(&world.server, PORT, port, "FIN_WAIT2")?;
        drop(client);
        states::until(&world.server, PORT, port, "TIME_WAIT")?;
        let result = listen_again(&world, new);
        let still = states::state(&world.server, PORT, port)?;
        let said = result.map_or_else(|e| format!("{e:?}"), |()| "ok".into());
        run.tally.check(
            format_args!("bind and listen at a port in TIME_WAIT, {what}"),
            format_args!("{expected}, in TIME_WAIT"),
            format_args!("{said}, in {still}"),
        );
    }
    Ok(())
}

fn listen_again(world: &World, setup: Setup) -> Result<(), Errno> {
    let fd = traffic::socket_on(&world.server)?;
    setup(&fd)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(traffic::at(&world.server, PORT)))?;
    listen(&fd, nix::sys::socket::Backlog::new(1)?)
}

/// A close with data that nobody has read: a reset, not a FIN.
fn unread_data(run: &mut Run) -> anyhow::Result<()> {
    for (what, read, expected) in [
        ("with all data read", true, "server FIN+ACK, then 0 bytes"),
        ("with data unread", false, "server RST+ACK, then ECONNRESET"),
    ] {
        let world = run.world(&link())?;
        let (mut client, mut server) = traffic::pair(&world, traffic::plain, traffic::plain)?;
        let wire = Wire::watch(&world)?;
        client.write_all(b"hello")?;
        // Arrived, at any rate; and taken, if this is the case that reads.
        let peeked = server.peek(&mut [0; 5])?;
        anyhow::ensure!(peeked == 5, "5 bytes came as {peeked}");
        if read {
            server.read_exact(&mut [0; 5])?;
        }
        drop(server);
        let then = ended(&client)?;
        let port_done = |s: &Seen| s.segment.from == Host::Server && (s.has('F') || s.has('R'));
        let seen = wire.until("the server's last segment", |seen| seen.iter().any(port_done))?;
        let last = seen.iter().find(|s| port_done(s)).map_or(String::new(), Seen::in_words);
        run.tally.check(
            format_args!("close {what}"),
            expected,
            format_args!("{last}, then {then}"),
        );
    }
    Ok(())
}

/// What the client's recv says.
fn ended(client: &TcpStream) -> anyhow::Result<String> {
    match traffic::read(client, &mut [0; 8]) {
        Ok(n) => Ok(format!("{n} bytes")),
        Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok("ECONNRESET".into()),
        Err(e) => Err(e.into()),
    }
}

fn picture(changes: &[Change]) -> Picture {
    let ms = |at: Duration| at.as_secs_f64() * 1e3;
    let last = changes.iter().map(|c| ms(c.at)).fold(0.0, f64::max);
    let end = last * 1.15;
    let mut series: Vec<Series> = Vec::new();
    for (host, row) in [(Host::Client, 2.0), (Host::Server, 1.0)] {
        let of: Vec<&Change> = changes.iter().filter(|c| c.host == host).collect();
        for (i, change) in of.iter().enumerate() {
            if change.now == "CLOSED" {
                continue;
            }
            let until = of.get(i + 1).map_or(end, |next| ms(next.at));
            let band = [(ms(change.at), row), (until, row)];
            match series.iter_mut().find(|s| s.name == change.now) {
                Some(known) => known.points.extend(band),
                None => series.push(Series {
                    name: change.now.into(),
                    mark: Mark::Band,
                    colour: [5, 4, 1, 3, 0, 2][series.len() % 6],
                    points: band.to_vec(),
                }),
            }
        }
    }
    Picture {
        title: format!(
            "A close over a round trip of {} ms: the client closes first",
            RTT.as_millis()
        ),
        x: Axis::new("time, ms", Scale::linear(0.0, end)),
        y: Axis::named("", &["server".into(), "client".into()]),
        series,
        labels: Vec::new(),
    }
}
