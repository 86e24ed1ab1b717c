//! The trace as text while it happens.
//!
//! The sources report on threads of their own, so events are held back for a moment and then come
//! in order: a segment when it has arrived, a call when it has returned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::output::text::Printer;
use crate::record::{About, Event, Nanos, What};
use crate::rules::Rules;
use crate::say;

/// Longer than a source takes from an event to its report.
const HELD: Duration = Duration::from_millis(20);

/// So many calls and segments are kept, and as many states and processes.
const EVENTS: usize = 20_000;

/// So many bytes of packets are kept.
const BYTES: usize = 8 << 20;

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// By the time at which they began.
    pub events: Vec<Event>,
    /// How many more there were: a picture of so many shows nothing, and memory has an end.
    pub left_out: u64,
}

/// Prints what is sent. The thread ends with the last sender.
///
/// # Errors
/// Standard output cannot be written.
pub fn start(about: &About) -> Result<(Sender<Event>, JoinHandle<Seen>)> {
    let About { server, client, link, .. } = about;
    say::line(format_args!("server: {server}\nclient: {client}\nlink: {link}"));
    say::all_written()?;
    let (events, received) = mpsc::channel();
    let width = terminal_width();
    let thread = thread::Builder::new().name("live".into()).spawn(move || {
        let mut printer = Printer::new(anstream::AutoStream::auto(io::stdout()), width);
        say::note(printer.heading());
        let mut seen = collect(&received, |event| say::note(printer.event(event)));
        seen.events.sort_by_key(|event| (event.at, matches!(event.what, What::State(_))));
        seen
    })?;
    Ok((events, thread))
}

fn collect(received: &Receiver<Event>, mut print: impl FnMut(&Event)) -> Seen {
    let mut seen = Seen::default();
    let mut room = Room::default();
    let mut held = BinaryHeap::new();
    let mut rules = Rules::default();
    // States of which the cause is not known yet.
    let mut open: Vec<usize> = Vec::new();
    // And those that were printed without it.
    let mut guessed: Vec<usize> = Vec::new();
    loop {
        let wait = match held.is_empty() && open.is_empty() {
            true => Duration::from_secs(60),
            false => HELD / 4,
        };
        let ended = match received.recv_timeout(wait) {
            Ok(event) if room.is_there_for(&event) => {
                rules.hear(&event);
                match event.what {
                    What::State(_) => open.push(seen.events.len()),
                    _ => held.push(Reverse((event.order(), seen.events.len()))),
                }
                seen.events.push(event);
                false
            }
            Ok(_) => {
                seen.left_out += 1;
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        };
        let due = clock::now().saturating_sub(HELD.as_nanos() as Nanos);
        open.retain(|&index| {
            let event = &mut seen.events[index];
            let What::State(change) = &event.what else { return false };
            let last = ended || event.at <= due;
            let moment = match rules.moment(change, event.at, false) {
                Some(moment) => moment,
                None if last => {
                    guessed.push(index);
                    rules.moment(change, event.at, true).unwrap_or(event.at)
                }
                None => return true,
            };
            event.at = moment;
            held.push(Reverse((event.order(), index)));
            false
        });
        while let Some(&Reverse(((at, _), index))) = held.peek()
            && (ended || at <= due)
        {
            held.pop();
            print(&seen.events[index]);
        }
        if ended {
            // On a busy machine a cause may be told of later than its effect was printed.
            for index in guessed {
                let event = &mut seen.events[index];
                if let What::State(change) = &event.what {
                    event.at = rules.moment(change, event.at, true).unwrap_or(event.at);
                }
            }
            return seen;
        }
    }
}

/// What was kept so far: calls and segments; states and processes; bytes of packets.
#[derive(Default)]
struct Room {
    traffic: usize,
    rest: usize,
    bytes: usize,
}

impl Room {
    /// Whether this one is kept, too. Once a call or a segment is left out, all are: a gap in the
    /// middle would look as if nothing had been there.
    fn is_there_for(&mut self, event: &Event) -> bool {
        let bytes = match &event.what {
            What::State(_) | What::Process(_) => {
                self.rest += 1;
                return self.rest <= EVENTS;
            }
            What::Segment(segment) => segment.packet.len(),
            What::Call(call) => call.data.len(),
        };
        if self.traffic >= EVENTS || self.bytes >= BYTES {
            return false;
        }
        self.traffic += 1;
        self.bytes += bytes;
        true
    }
}

/// In columns; 100 where standard output is no terminal.
fn terminal_width() -> usize {
    nix::ioctl_read_bad!(window_size, libc::TIOCGWINSZ, libc::winsize);
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize, and `size` is one.
    let known = unsafe { window_size(libc::STDOUT_FILENO, &raw mut size) }.is_ok();
    if known && size.ws_col > 0 { size.ws_col.into() } else { 100 }
}
