//! What went over the wire: taps at both hosts' `eth0`, with the kernel's times.

mod reader;
mod segment;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::link::packet::PacketSocket;
use crate::record::{Event, Nanos};
use crate::world::World;
use reader::Reader;

/// Two taps, and what they have seen.
pub struct Capture {
    events: Option<Receiver<Event>>,
    complete_until: Arc<AtomicU64>,
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Opens the taps. From now on each segment becomes an event, as soon as it has arrived or is
    /// known to be lost.
    pub fn start(world: &World) -> Result<Capture> {
        let tap = |node: &crate::world::Node| {
            node.run(|| PacketSocket::open("eth0", world.link.config().mtu(), true))
                .with_context(|| format!("a packet socket on the {}", node.name()))
        };
        let (client, server) = (tap(&world.client)?, tap(&world.server)?);
        world.link.note_fates(true);
        let (sender, events) = channel();
        let complete_until = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?);
        let reader = Reader::new(client, server, world.link.fates(), sender);
        let (watermark, ended) = (Arc::clone(&complete_until), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("capture".into())
            .spawn(move || reader.run(&watermark, &ended))?;
        Ok(Capture { events: Some(events), complete_until, stop, thread: Some(thread) })
    }

    /// The events as they come, in the order in which they became complete. Only the first call
    /// gets the channel; what it takes, `finish` does not give. It ends with `finish`.
    pub fn live(&mut self) -> Option<Receiver<Event>> {
        self.events.take()
    }

    /// Every segment that left before this moment has been sent to the channel.
    pub fn complete_until(&self) -> Nanos {
        self.complete_until.load(Ordering::Acquire)
    }

    /// Closes the taps. Gives what nobody has taken from `live`, by the time of departure. A
    /// segment that is still under way did not arrive.
    pub fn finish(mut self) -> Vec<Event> {
        self.end();
        let mut events: Vec<_> = self.events.take().into_iter().flatten().collect();
        events.sort_by_key(|event| event.at);
        events
    }

    fn end(&mut self) {
        let _ = self.stop.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.end();
    }
}
