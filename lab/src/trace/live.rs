//! The trace as text while it happens.
//!
//! The sources report on threads of their own, so events are held back for a moment and then come
//! in order: a segment when it has arrived, a call when it has returned.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

use crate::clock;
use crate::output::args;
use crate::output::text::{self, Printer};
use crate::record::{About, Call, Event, Host, Nanos, Process, What};
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
pub fn start(about: &About, lines: bool) -> Result<(Sender<Event>, JoinHandle<Seen>)> {
    let About { server, client, link, .. } = about;
    say::line(format_args!("server: {server}\nclient: {client}\nlink: {link}"));
    say::all_written()?;
    let (events, received) = mpsc::channel();
    let width = text::terminal_width();
    let thread = thread::Builder::new().name("live".into()).spawn(move || {
        let printer = Printer::new(anstream::AutoStream::auto(io::stdout()), width);
        let mut printer = printer.with_lines(lines);
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
    // By thread: waits in a row that ended with nothing, while nothing else happens.
    let mut idle: HashMap<i32, usize> = HashMap::new();
    // When to look next at what is open or held: not at each event.
    let mut look = 0;
    let place = |events: &[Event], index: usize| Reverse((events[index].order(), index));
    loop {
        let wait = match held.is_empty() && open.is_empty() {
            true => Duration::from_secs(60),
            false => HELD / 4,
        };
        let ended = match received.recv_timeout(wait) {
            Ok(event) if fold(&mut seen.events, &idle, &event) => false,
            Ok(event) if room.is_there_for(&event) => {
                rules.hear(&event);
                if let Some(call) = found_nothing(&event) {
                    let other = idle.insert(call.tid, seen.events.len());
                    held.extend(other.map(|index| place(&seen.events, index)));
                    seen.events.push(event);
                    continue;
                }
                held.extend(idle.drain().map(|(_, index)| place(&seen.events, index)));
                match event.what {
                    What::State(_) => open.push(seen.events.len()),
                    _ => held.push(Reverse((event.order(), seen.events.len()))),
                }
                seen.events.push(event);
                false
            }
            Ok(_) => {
                seen.left_out += 1;
                if seen.left_out == 1 {
                    let last = seen.events.iter().map(Event::complete).max();
                    let gap = gap(last.unwrap_or(0), "events");
                    held.push(Reverse((gap.order(), seen.events.len())));
                    seen.events.push(gap);
                }
                false
            }
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                held.extend(idle.drain().map(|(_, index)| place(&seen.events, index)));
                true
            }
        };
        let now = clock::now();
        if now < look && !ended {
            continue;
        }
        look = now + (HELD / 4).as_nanos() as Nanos;
        let due = now.saturating_sub(HELD.as_nanos() as Nanos);
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
            held.push(place(&seen.events, index));
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
            let is_gap =
                |event: &&mut Event| matches!(&event.what, What::Process(one) if one.pid == 0);
            if let Some(place) = seen.events.iter_mut().find(is_gap) {
                *place = gap(place.at, &format!("{} events", seen.left_out));
            }
            return seen;
        }
    }
}

/// What stands at the place where these are left out.
fn gap(at: Nanos, what: &str) -> Event {
    let text = format!("{what} left out here");
    Event { at, what: What::Process(Process { host: Host::Server, pid: 0, text }) }
}

/// The call, if it is a wait that ended with nothing.
fn found_nothing(event: &Event) -> Option<&Call> {
    match &event.what {
        What::Call(call) if call.found_nothing() => Some(call),
        _ => None,
    }
}

/// Makes one of this wait and of its thread's wait before, if both come from the same lines and
/// ended with nothing, and nothing else has happened since. `false`: it stands for itself.
fn fold(events: &mut [Event], idle: &HashMap<i32, usize>, event: &Event) -> bool {
    let Some(call) = found_nothing(event) else { return false };
    let before = idle.get(&call.tid).and_then(|index| events.get_mut(*index));
    let Some(Event { what: What::Call(before), .. }) = before else { return false };
    if (&before.name, before.fd, &before.lines) != (&call.name, call.fd, &call.lines) {
        return false;
    }
    // A timeout that differs is left out.
    let (one, other) = (args::split(&before.args), args::split(&call.args));
    let both = one.iter().zip(&other);
    let args: Vec<&str> = both.map(|(one, other)| if one == other { one } else { "…" }).collect();
    (before.args, before.returned) = (args.join(", "), call.returned);
    before.count += 1;
    true
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A wait of this thread, over at that time.
    fn wait(at: Nanos, tid: i32, name: &str, args: &str, result: &str) -> Event {
        let call = Call {
            host: Host::Server,
            pid: 1,
            tid,
            name: name.to_owned(),
            args: args.to_owned(),
            fd: Some(5),
            conn: None,
            returned: Some(at + 9),
            cut_off: None,
            result: Some(result.to_owned()),
            data: Vec::new(),
            restarts: 0,
            count: 1,
            lines: Vec::new(),
        };
        Event { at, what: What::Call(call) }
    }

    #[test]
    fn waits_for_nothing_in_a_row_are_one() {
        let (events, received) = mpsc::channel();
        let something = || Process { host: Host::Client, pid: 2, text: "exits with 0".to_owned() };
        for event in [
            wait(10, 1, "epoll_wait", "5, [], 9, 100", "0"),
            wait(15, 2, "poll", "[{fd=3}], 1, 7", "0 (Timeout)"),
            wait(20, 1, "epoll_wait", "5, [], 9, 99", "0"),
            wait(30, 1, "epoll_wait", "5, [], 9, 100", "0"),
            Event { at: 40, what: What::Process(something()) },
            wait(50, 1, "epoll_wait", "5, [], 9, 100", "0"),
            wait(60, 1, "select", "5, NULL, NULL, NULL, NULL", "0 (Timeout)"),
            wait(70, 1, "epoll_wait", "5, [{}], 9, 100", "1"),
        ] {
            events.send(event).expect("somebody listens");
        }
        let mut elsewhere = wait(80, 1, "epoll_wait", "5, [], 9, 100", "0");
        events.send(elsewhere.clone()).expect("somebody listens");
        elsewhere.at = 90;
        if let What::Call(call) = &mut elsewhere.what {
            call.returned = Some(99);
            call.lines.push("main.c:7".to_owned());
        }
        events.send(elsewhere).expect("somebody listens");
        drop(events);
        let mut printed = Vec::new();
        let seen = collect(&received, |event| {
            printed.push(match &event.what {
                What::Call(call) => (event.at, call.returned, call.args.clone(), call.count),
                _ => (event.at, None, String::new(), 0),
            });
        });
        let args = |text: &str| text.to_owned();
        let expected = [
            (15, Some(24), args("[{fd=3}], 1, 7"), 1),
            (10, Some(39), args("5, [], 9, …"), 3),
            (40, None, String::new(), 0),
            (50, Some(59), args("5, [], 9, 100"), 1),
            (60, Some(69), args("5, NULL, NULL, NULL, NULL"), 1),
            (70, Some(79), args("5, [{}], 9, 100"), 1),
            (80, Some(89), args("5, [], 9, 100"), 1),
            (90, Some(99), args("5, [], 9, 100"), 1),
        ];
        assert_eq!(printed, expected);
        assert_eq!(seen.events.len(), expected.len());
    }
}
