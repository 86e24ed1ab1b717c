//! What an experiment sees of the segments: both taps, until it has seen enough.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::joined;
use crate::capture::Capture;
use crate::output::words;
use crate::record::{Event, Host, Nanos, Segment, What};
use crate::world::World;

/// A segment and when it left.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When it left its host.
    pub at: Nanos,
    /// What it was.
    pub segment: Segment,
}

impl Seen {
    /// Whether it carries bytes of the client's stream.
    pub fn is_data_of(&self, host: Host) -> bool {
        self.segment.from == host && self.segment.len > 0
    }

    /// Where its last byte's successor is in the stream.
    pub fn end(&self) -> u32 {
        self.segment.seq.wrapping_add(self.segment.len)
    }

    /// "client SYN+ACK".
    pub fn in_words(&self) -> String {
        let named = self.segment.flags.chars().map(|letter| match letter {
            'S' => "SYN",
            'F' => "FIN",
            'R' => "RST",
            'P' => "PSH",
            '.' => "ACK",
            _ => "other",
        });
        format!("{} {}", words::host(self.segment.from), named.collect::<Vec<_>>().join("+"))
    }

    /// Whether it carries a letter of packetdrill's: S, F, R, P.
    pub fn has(&self, flag: char) -> bool {
        self.segment.flags.contains(flag)
    }
}

/// The wire, watched.
pub struct Wire {
    capture: Capture,
    live: Receiver<Event>,
    seen: Vec<Seen>,
}

/// Catches a hang: what has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

impl Wire {
    /// Begins to watch.
    pub fn watch(world: &World) -> anyhow::Result<Wire> {
        let mut capture = Capture::start(world)?;
        let live = capture.live().context("the capture's channel was taken before")?;
        Ok(Wire { capture, live, seen: Vec::new() })
    }

    /// Waits until what was seen so far is enough, and gives it by the time of departure.
    /// A segment is seen when it has arrived, or is known to be lost.
    pub fn until(
        mut self,
        what: &str,
        enough: impl Fn(&[Seen]) -> bool,
    ) -> anyhow::Result<Vec<Seen>> {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.seen) {
            match self.live.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => bail!(
                    "{what}: not seen within {} s; {} segments were",
                    PATIENCE.as_secs(),
                    self.seen.len()
                ),
                Err(RecvTimeoutError::Disconnected) => bail!("the capture ended before {what}"),
            }
        }
        let rest = self.capture.finish();
        let more: Vec<Event> = self.live.try_iter().chain(rest).collect();
        for event in more {
            if let What::Segment(segment) = event.what {
                self.seen.push(Seen { at: event.at, segment });
            }
        }
        self.seen.sort_by_key(|seen| seen.at);
        Ok(self.seen)
    }

    fn take(&mut self, event: Event) {
        if let What::Segment(segment) = event.what {
            self.seen.push(Seen { at: event.at, segment });
            self.seen.sort_by_key(|seen| seen.at);
        }
    }
}

/// What left in which order: "client SYN, server SYN+ACK". What TCP sends again on a slow machine
/// stands where it was sent first.
pub fn order<'a>(seen: impl IntoIterator<Item = &'a Seen>) -> String {
    let mut known = Vec::new();
    let mut is_new = |s: &'a Seen| {
        let Segment { from, flags, seq, len, ack, .. } = &s.segment;
        let it = (from, flags, seq, len, ack);
        let new = !known.contains(&it);
        known.push(it);
        new
    };
    joined(seen.into_iter().filter(|s| is_new(s)).map(Seen::in_words))
}

/// From one time to another, in milliseconds.
pub fn ms(from: Nanos, to: Nanos) -> f64 {
    (to as f64 - from as f64) / 1e6
}
