//! What went over the wire: taps at both hosts' `eth0`, with the kernel's times.

use std::sync::mpsc::Receiver;

use crate::record::{Event, Nanos};
use crate::world::World;

/// Two taps, and what they have seen.
pub struct Capture {}

impl Capture {
    /// Opens the taps. From now on each segment becomes an event, as soon as it has arrived or is
    /// known to be lost.
    pub fn start(_world: &World) -> anyhow::Result<Capture> {
        todo!()
    }

    /// The events as they come, in the order in which they became complete. Only the first call
    /// gets the channel; what it takes, `finish` does not give.
    pub fn live(&mut self) -> Option<Receiver<Event>> {
        todo!()
    }

    /// Every segment that left before this moment has been sent to the channel.
    pub fn complete_until(&self) -> Nanos {
        todo!()
    }

    /// Closes the taps. Gives what nobody has taken from `live`, by the time of departure. A
    /// segment that is still under way did not arrive.
    pub fn finish(self) -> Vec<Event> {
        todo!()
    }
}
