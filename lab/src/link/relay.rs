//! The thread that moves the packets.

use std::collections::VecDeque;
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
use super::shaper::Shaper;
use super::{Delivered, Fate, LinkConfig, Shared, key, lock};
use crate::clock;
use crate::record::{Host, Nanos};

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

/// Two directions, and the hooks that hear of each packet.
pub struct Relay {
    /// From the client, from the server.
    sides: [Side; 2],
    shared: Arc<Shared>,
    stop: Arc<EventFd>,
}

/// One end of the link: its socket, and the direction that begins there.
struct Side {
    /// The host here.
    host: Host,
    socket: PacketSocket,
    /// The hardware address of the host here.
    mac: [u8; 6],
    shaper: Shaper,
    /// What is under way from here, by the time of its delivery.
    line: VecDeque<(Nanos, Vec<u8>)>,
    /// Used packets, to be used again.
    spare: Vec<Vec<u8>>,
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
            Ok(Side {
                host,
                socket: PacketSocket::open(interface, config.mtu(), false)?,
                mac,
                shaper: Shaper::new(config, host),
                line: VecDeque::new(),
                spare: Vec::new(),
            })
        };
        let client = side(Host::Client, "client", macs.client)?;
        let server = side(Host::Server, "server", macs.server)?;
        Ok(Relay { sides: [client, server], shared, stop })
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
        for side in &mut self.sides {
            side.take_in(&self.shared);
        }
        let [client, server] = &mut self.sides;
        client.hand_over(server, &self.shared)?;
        server.hand_over(client, &self.shared)?;
        self.tell_stats();

        let next = self.sides.iter().filter_map(|side| Some(side.line.front()?.0)).min();
        let wait = next.map(|at| Duration::from_nanos(at.saturating_sub(clock::now())));
        let [client, server] = &self.sides;
        let poll = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds =
            [poll(client.socket.as_fd()), poll(server.socket.as_fd()), poll(self.stop.as_fd())];
        match ppoll(&mut fds, wait.map(TimeSpec::from), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(!fds[2].any().unwrap_or(false)),
            Err(error) => Err(error.into()),
        }
    }

    fn tell_stats(&mut self) {
        let [client, server] = &mut self.sides;
        let mut stats = lock(&self.shared.stats);
        stats.from_client = client.shaper.carried;
        stats.from_server = server.shaper.carried;
    }
}

impl Side {
    /// Takes in what has come.
    fn take_in(&mut self, shared: &Shared) {
        let mut taken = 0;
        while taken < BATCH
            && let Some(packet) = self.socket.peek(taken)
        {
            taken += 1;
            let (line, spare) = (&mut self.line, &mut self.spare);
            let fate = self.shaper.offer(packet.at, packet.bytes, |due, bytes| {
                let mut copy = spare.pop().unwrap_or_default();
                copy.clear();
                copy.extend_from_slice(bytes);
                line.push_back((due, copy));
            });
            if let (Some(text), Some(fates)) = (fate, lock(&shared.fates).as_mut()) {
                fates.push(Fate { from: self.host, key: key(packet.bytes), text });
            }
        }
        self.socket.release(taken);
        if taken > 0
            && let Some(hook) = lock(&shared.taken_hook).as_mut()
        {
            hook(self.host);
        }
        if taken == BATCH {
            // Only a relay that falls behind can have missed a packet, and then batches are full.
            self.shaper.carried.missed += self.socket.missed();
        }
    }

    /// Hands over what is due.
    fn hand_over(&mut self, to: &Side, shared: &Shared) -> io::Result<()> {
        let now = clock::now();
        let mut hook = lock(&shared.delivered_hook);
        loop {
            let ready = self.line.iter().take(BATCH).take_while(|(due, _)| *due <= now).count();
            // The hook is to find the host's TCP as this one packet has left it.
            let ready = if hook.is_some() { ready.min(1) } else { ready };
            if ready == 0 {
                return Ok(());
            }
            to.socket.send(to.mac, self.line.iter().take(ready).map(|(_, packet)| &packet[..]))?;
            for (_, packet) in self.line.drain(..ready) {
                if let Some(hook) = hook.as_mut() {
                    hook(Delivered { at: clock::now(), to: to.host, packet: &packet });
                }
                if self.spare.len() < 2 * BATCH {
                    self.spare.push(packet);
                }
            }
        }
    }
}
