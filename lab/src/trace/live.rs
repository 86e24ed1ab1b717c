//! The trace as text while it happens.
//!
//! The sources report on threads of their own, so events are held back for a moment and then come
//! in order: a segment when it has arrived, a call when it has returned.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::chosen::Chosen;
use crate::clock;
use crate::link::Ends;
use crate::output::args;
use crate::output::text::Printer;
use crate::record::{About, Call, Event, Host, Nanos, Process, What};
use crate::rules::Rules;
use crate::say;
use crate::values::whole;

/// Longer than a source takes from an event to its report.
const HELD: Duration = Duration::from_millis(20);

/// So many calls and segments are kept, and as many states and processes.
const EVENTS: usize = 20_000;

/// So many bytes of packets are kept.
const BYTES: usize = 8 << 20;

/// What to keep.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct Choice {
    /// Where there are more events than a trace keeps: the first ones, or the first and the last
    #[arg(long, value_enum, default_value_t)]
    pub keep: Keep,

    /// Keep one connection alone: the N-th that begins
    #[arg(long, value_name = "N", value_parser = whole::<u32>(1..=1_000_000))]
    pub connection: Option<u32>,
}

/// What a trace keeps where it cannot keep all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Keep {
    /// What comes first.
    #[default]
    First,
    /// The first three quarters, and the last.
    Ends,
}

/// What was seen.
#[derive(Default)]
pub struct Seen {
    /// By the time at which they began.
    pub events: Vec<Event>,
    /// How many more there were: a picture of so many shows nothing, and memory has an end.
    pub left_out: u64,
    /// The connection that was chosen, the smaller end first, once it has begun.
    pub only: Option<Ends>,
    /// How many events of others were left out for it.
    pub others: u64,
}

/// Prints what is sent. The thread ends with the last sender.
///
/// # Errors
/// Standard output cannot be written.
pub fn start(
    about: &About,
    lines: bool,
    choice: Choice,
) -> Result<(Sender<Event>, JoinHandle<Seen>)> {
    let About { server, client, link, .. } = about;
    say::line(format_args!("server: {server}\nclient: {client}\nlink: {link}"));
    say::all_written()?;
    let (events, received) = mpsc::channel();
    let thread = thread::Builder::new().name("live".into()).spawn(move || {
        let mut printer = Printer::to_stdout().with_lines(lines);
        say::note(printer.heading());
        let mut seen = collect(received, choice, |event| say::note(printer.event(event)));
        seen.events.sort_by_key(|event| (event.at, matches!(event.what, What::State(_))));
        seen
    })?;
    Ok((events, thread))
}

fn collect(received: Receiver<Event>, choice: Choice, mut print: impl FnMut(&Event)) -> Seen {
    let mut seen = Seen::default();
    let mut room = Room::new(choice.keep);
    let mut source = Source {
        received,
        chosen: choice.connection.map(Chosen::new),
        sifted: VecDeque::new(),
        tail: Tail::new(choice.keep),
        is_over: false,
    };
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
        let ended = match source.next(wait) {
            Ok(event) if fold(&mut seen.events, &idle, &event) => false,
            Ok(event) if source.is_over || room.is_there_for(&event) => {
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
            Ok(event) => {
                let before = seen.left_out;
                seen.left_out += source.tail.push(event);
                if before == 0 && seen.left_out > 0 {
                    let kept = seen.events.iter().filter(|event| is_traffic(event));
                    let last = kept.map(Event::complete).max();
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
        // What is kept back comes before what came later.
        let since = source.chosen.as_ref().and_then(Chosen::since);
        let due = since.map_or(due, |since| due.min(since));
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
            if let Some(mut chosen) = source.chosen {
                chosen.end();
                (seen.only, seen.others) = (chosen.ends, chosen.others);
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

/// Where events come from: first as they happen, then what was put by for the end.
struct Source {
    received: Receiver<Event>,
    /// Where one connection alone is told, and what of it comes next.
    chosen: Option<Chosen>,
    sifted: VecDeque<Event>,
    tail: Tail,
    is_over: bool,
}

impl Source {
    fn next(&mut self, wait: Duration) -> Result<Event, RecvTimeoutError> {
        if let Some(event) = self.sifted.pop_front() {
            return Ok(event);
        }
        if !self.is_over {
            match (self.received.recv_timeout(wait), &mut self.chosen) {
                (Err(RecvTimeoutError::Disconnected), _) => self.is_over = true,
                (Ok(event), Some(chosen)) => {
                    self.sifted.extend(chosen.sift(event));
                    return self.sifted.pop_front().ok_or(RecvTimeoutError::Timeout);
                }
                (heard, _) => return heard,
            }
        }
        self.tail.events.pop_front().ok_or(RecvTimeoutError::Disconnected)
    }
}

/// The last events, for which there was no room among the first.
#[derive(Default)]
struct Tail {
    events: VecDeque<Event>,
    bytes: usize,
    /// So many at most, and so many bytes.
    most: (usize, usize),
}

impl Tail {
    fn new(keep: Keep) -> Self {
        let most = if keep == Keep::Ends { (EVENTS / 4, BYTES / 4) } else { (0, 0) };
        Tail { most, ..Tail::default() }
    }

    /// Takes it in, and gives how many had to go for it.
    fn push(&mut self, event: Event) -> u64 {
        self.bytes += bytes(&event);
        self.events.push_back(event);
        let mut gone = 0;
        while self.events.len() > self.most.0 || self.bytes > self.most.1 {
            let Some(event) = self.events.pop_front() else { break };
            self.bytes -= bytes(&event);
            gone += 1;
        }
        gone
    }
}

fn is_traffic(event: &Event) -> bool {
    matches!(event.what, What::Call(_) | What::Segment(_))
}

/// What it takes to keep it.
fn bytes(event: &Event) -> usize {
    match &event.what {
        What::Segment(segment) => segment.packet.len(),
        What::Call(call) => call.data.len(),
        What::State(_) | What::Process(_) => 0,
    }
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

/// The room that is left: for calls and segments, for states and processes, for bytes of packets.
struct Room {
    traffic: usize,
    rest: usize,
    bytes: usize,
}

impl Room {
    fn new(keep: Keep) -> Self {
        let tail = Tail::new(keep).most;
        Room { traffic: EVENTS - tail.0, rest: EVENTS, bytes: BYTES - tail.1 }
    }

    /// Whether this one is kept, too. Once a call or a segment is left out, all are: a gap in the
    /// middle would look as if nothing had been there.
    fn is_there_for(&mut self, event: &Event) -> bool {
        let room = if is_traffic(event) { &mut self.traffic } else { &mut self.rest };
        if *room == 0 {
            return false;
        }
        *room -= 1;
        if is_traffic(event) {
            match self.bytes.checked_sub(bytes(event)) {
                Some(left) => self.bytes = left,
                None => self.traffic = 0,
            }
        }
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
        let seen = collect(received, Choice::default(), |event| {
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

    /// A call of its own, about a connection from this port.
    fn call(at: Nanos, port: u16) -> Event {
        let mut event = wait(at, 1, "recvfrom", "3, 5", "5");
        if let What::Call(call) = &mut event.what {
            call.fd = Some(3);
            call.conn = Some((([10, 0, 0, 1], port).into(), ([10, 0, 0, 2], 9000).into()));
        }
        event
    }

    fn kept(count: u64, keep: Keep, connection: Option<u32>) -> Seen {
        let (events, received) = mpsc::channel();
        for at in 1..=count {
            let mut socket = wait(at, 1, "socket", "AF_INET", "3");
            if let (What::Call(call), Some(_)) = (&mut socket.what, connection) {
                call.fd = None;
                events.send(socket).expect("somebody listens");
            }
            events.send(call(at, 50_000 + (at % 4) as u16)).expect("somebody listens");
        }
        drop(events);
        let mut seen = collect(received, Choice { keep, connection }, |_| {});
        seen.events.sort_by_key(|event| event.at);
        seen
    }

    #[test]
    fn what_is_left_out_says_so_where_it_was_and_can_be_chosen() {
        let count = EVENTS as u64 + 8000;
        for (keep, first) in [(Keep::First, EVENTS), (Keep::Ends, EVENTS * 3 / 4)] {
            let seen = kept(count, keep, None);
            assert_eq!(seen.left_out, 8000);
            assert_eq!(seen.events.len(), EVENTS + 1);
            let is_gap = |event: &Event| match &event.what {
                What::Process(gap) => gap.text == "8000 events left out here",
                _ => false,
            };
            // It ends with the call that was kept last, and begins 9 ns after that one did.
            let place = seen.events.iter().position(is_gap).expect("it says so");
            assert!((first..first + 10).contains(&place), "{keep:?}: {place}");
            let last = seen.events.last().map(|event| event.at);
            assert_eq!(last == Some(count), keep == Keep::Ends, "{last:?}");
        }
    }

    #[test]
    fn one_connection_can_be_chosen() {
        let seen = kept(400, Keep::First, Some(2));
        assert_eq!((seen.events.len(), seen.others, seen.left_out), (200, 600, 0));
        assert_eq!(seen.only.map(|(client, _)| client.port()), Some(50_002));
        assert!(kept(400, Keep::First, Some(9)).only.is_none());
    }
}
