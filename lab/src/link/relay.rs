//! The thread that moves the packets.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::eventfd::EventFd;
use nix::sys::prctl;
use nix::sys::time::TimeSpec;

use super::packet::PacketSocket;
use super::schedule::{Due, Schedule};
use super::{Delivered, Fate, LATE, LinkConfig, Shared, ends, key, lock};
use crate::clock;
use crate::record::Host;

/// So many packets at once: enough to save calls, few enough to keep both directions moving.
const BATCH: usize = 64;

/// The hardware addresses of both hosts' `eth0`.
#[derive(Clone, Copy)]
pub struct Macs {
    /// The client's.
    pub client: [u8; 6],
    /// The server's.
    pub server: [u8; 6],
}

/// The two ends, what is between them, and the hooks that hear of each packet.
pub struct Relay {
    client: Side,
    server: Side,
    schedule: Schedule,
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
}

/// One end of the link.
struct Side {
    /// The host here.
    host: Host,
    socket: PacketSocket,
    /// The hardware address of the host here.
    mac: [u8; 6],
}

impl Relay {
    /// Between the interfaces `client` and `server` of this thread's namespace.
    pub fn new(
        config: &LinkConfig,
        macs: Macs,
        shared: Arc<Shared>,
        stop: Arc<EventFd>,
    ) -> io::Result<Relay> {
        let side = |host, interface, mac| -> io::Result<Side> {
            Ok(Side { host, socket: PacketSocket::open(interface, config.mtu(), false)?, mac })
        };
        let client = side(Host::Client, "client", macs.client)?;
        let server = side(Host::Server, "server", macs.server)?;
        Ok(Relay { client, server, schedule: Schedule::new(config), shared, stop })
    }

    /// Moves packets until it is told to stop.
    pub fn run(mut self) {
        // Else the kernel may wake us 50 µs late. See PR_SET_TIMERSLACK in prctl(2).
        let _ = prctl::set_timerslack(1);
        loop {
            match self.step() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    *lock(&self.shared.failed) = Some(error.to_string());
                    return;
                }
            }
        }
    }

    /// Takes in what has come, hands over what is due, waits for more. `false`: stop.
    fn step(&mut self) -> io::Result<bool> {
        for side in [&mut self.client, &mut self.server] {
            side.take_in(&mut self.schedule, &self.shared);
        }
        self.hand_over()?;
        self.tell_stats();

        let wait = self.schedule.next().map(|at| at.saturating_sub(clock::now()));
        let wait = wait.map(|nanos| TimeSpec::from(Duration::from_nanos(nanos)));
        let poll = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let (client, server) = (self.client.socket.as_fd(), self.server.socket.as_fd());
        let mut fds = [poll(client), poll(server), poll(self.stop.as_fd())];
        match ppoll(&mut fds, wait, None) {
            Ok(_) | Err(Errno::EINTR) => Ok(!fds[2].any().unwrap_or(false)),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands over what is due.
    fn hand_over(&mut self) -> io::Result<()> {
        let now = clock::now();
        let mut hook = lock(&self.shared.delivered_hook);
        // The hook is to find the host's TCP as this one packet has left it.
        let most = if hook.is_some() { 1 } else { BATCH };
        while let Some(Due { from, packets }) = self.schedule.due(now, most) {
            let to = if from == Host::Client { &self.server } else { &self.client };
            // Told before it is there, as all fates are.
            for one in packets.clone() {
                let late = clock::now().saturating_sub(one.due);
                if u128::from(late) > LATE.as_nanos()
                    && let Some(fates) = lock(&self.shared.fates).as_mut()
                {
                    let (key, text) = (key(&one.packet), String::new());
                    fates.push(Fate { from, key, text, late: Some(late) });
                }
            }
            to.socket.send(to.mac, packets.clone().map(|one| &one.packet[..]))?;
            let (at, count) = (clock::now(), packets.len());
            let mut late = lock(&self.shared.late);
            packets.clone().for_each(|one| late.add(one.due, at));
            drop(late);
            if let Some(hook) = hook.as_mut() {
                packets.for_each(|one| hook(Delivered { at, to: to.host, packet: &one.packet }));
            }
            self.schedule.handed_over(from, count);
        }
        Ok(())
    }

    fn tell_stats(&mut self) {
        let mut stats = lock(&self.shared.stats);
        stats.from_client = *self.schedule.carried(Host::Client);
        stats.from_server = *self.schedule.carried(Host::Server);
    }
}

impl Side {
    /// Takes in what has come.
    fn take_in(&mut self, schedule: &mut Schedule, shared: &Shared) {
        let mut taken = 0;
        let mut hook = lock(&shared.taken_hook);
        let mut connections = Vec::new();
        while taken < BATCH
            && let Some(packet) = self.socket.peek(taken)
        {
            taken += 1;
            let ends = hook.as_ref().and_then(|_| ends(packet.bytes));
            connections.extend(ends.filter(|ends| !connections.contains(ends)));
            let fate = schedule.take(self.host, packet.at, packet.bytes);
            if let (Some(text), Some(fates)) = (fate, lock(&shared.fates).as_mut()) {
                fates.push(Fate { from: self.host, key: key(packet.bytes), text, late: None });
            }
        }
        self.socket.release(taken);
        if taken > 0
            && let Some(hook) = hook.as_mut()
        {
            hook(self.host, &connections);
        }
        if taken == BATCH {
            // Only a relay that falls behind can have missed a packet, and then batches are full.
            schedule.carried(self.host).missed += self.socket.missed();
        }
    }
}
