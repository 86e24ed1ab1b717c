//! What the programs asked for: each thread's calls in its own order, and which of them cannot have
//! come before which others.

use std::collections::{BTreeMap, BTreeSet};

use super::ways::{Way, Ways, back};
use super::wire::Wire;
use crate::output::args;
use crate::record::{Call, Host, Nanos, Trace, What};

/// Calls that are one step.
pub struct Row {
    /// One, or several in a row: reads of one descriptor, sends that fill a buffer.
    pub events: Vec<usize>,
    pub part: Part,
    pub host: Host,
    /// Which thread made it: an index, the threads of a host in the order of their birth.
    pub thread: usize,
    /// Which connection it is about: from its own end to the other.
    pub way: Option<Way>,
    /// The data that it moved: the number of its first byte in its direction, counted from 1, and
    /// of the one behind its last.
    pub bytes: (u64, u64),
    /// The rows that came before it.
    pub after: Vec<usize>,
    /// Its place in its thread.
    place: usize,
    /// How many rows of each thread came before it, for certain.
    known: Vec<u32>,
}

/// Which part of its call a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    All,
    /// Of a `connect` that waited: it began, it returned.
    Begin,
    Return,
    /// A `poll` that waited for nothing but the peer's end, or for a connection: not drawn, but it
    /// says what its thread has waited for.
    Wait,
}

pub struct Calls<'a> {
    pub trace: &'a Trace,
    /// In the order in which they began.
    pub rows: Vec<Row>,
    /// The rows that put data into a direction, and those that took it out, in its order.
    pub sends: BTreeMap<Way, Vec<usize>>,
    pub reads: BTreeMap<Way, Vec<usize>>,
    /// The directions in which a `send` took less than it was given, and the first that did: how
    /// much fits is chance.
    pub filled: BTreeMap<Way, usize>,
    about: BTreeMap<Way, Vec<usize>>,
    threads: Vec<Vec<usize>>,
}

impl<'a> Calls<'a> {
    pub fn new(trace: &'a Trace, ways: &Ways, wire: &Wire) -> Calls<'a> {
        let threads = threads(trace);
        let mut calls = Calls {
            trace,
            rows: Vec::new(),
            sends: BTreeMap::new(),
            reads: BTreeMap::new(),
            filled: BTreeMap::new(),
            about: BTreeMap::new(),
            threads: vec![Vec::new(); threads.len()],
        };
        let ends = of_calls(trace, ways);
        calls.filled = filled(trace, &ends);
        for (index, event) in trace.events.iter().enumerate() {
            if let What::Call(call) = &event.what {
                let thread = threads[&(call.host, call.pid, call.tid)];
                calls.take(index, call, thread, ends.get(&index).copied());
            }
        }
        calls.count_bytes();
        for row in 0..calls.rows.len() {
            calls.rows[row].after = calls.before(row, wire);
        }
        calls.hear();
        calls
    }

    /// The call of a row; of several the first.
    pub fn call(&self, row: usize) -> &'a Call {
        call(self.trace, self.rows[row].events[0])
    }

    pub fn all(&self, row: usize) -> impl Iterator<Item = &'a Call> {
        self.rows[row].events.iter().map(|event| call(self.trace, *event))
    }

    pub fn began(&self, row: usize) -> Nanos {
        self.trace.events[self.rows[row].events[0]].at
    }

    pub fn over(&self, row: usize) -> Nanos {
        let row = &self.rows[row];
        let last = &self.trace.events[row.events[row.events.len() - 1]];
        if row.part == Part::Begin { last.at } else { last.complete() }
    }

    /// Whether `later` cannot have come before `earlier`.
    pub fn knows(&self, later: usize, earlier: usize) -> bool {
        let earlier = &self.rows[earlier];
        self.rows[later].known[earlier.thread] as usize > earlier.place
    }

    /// How many bytes of a direction the receiver had taken, for certain, when `row` began.
    pub fn known_to_be_read(&self, way: Way, row: usize) -> u64 {
        let reads = self.reads.get(&way).map(Vec::as_slice).unwrap_or_default();
        let known = reads.iter().rev().find(|read| self.knows(row, **read));
        known.map_or(0, |read| self.rows[*read].bytes.1 - 1)
    }

    /// The rows about one end of a connection.
    pub fn about(&self, way: Way) -> impl DoubleEndedIterator<Item = usize> {
        self.about.get(&way).into_iter().flatten().copied()
    }

    /// Takes in the next call: as a row, or as a part of its thread's last one.
    fn take(&mut self, index: usize, call: &Call, thread: usize, way: Option<Way>) {
        let result = call.result.as_deref().unwrap_or_default();
        let before = self.threads[thread].last().map(|last| self.call(*last));
        let parts: &[Part] = match call.name.as_str() {
            "connect" if result == "0" => &[Part::Begin, Part::Return],
            "poll" | "ppoll" if waits_for_one_thing(call, before) => &[Part::Wait],
            _ if !counts(call) => &[],
            _ => &[Part::All],
        };
        for &part in parts {
            let more = self.threads[thread].last().copied().filter(|last| {
                self.rows[*last].way == way && self.continues(self.call(*last), call, way)
            });
            if let Some(row) = more {
                self.rows[row].events.push(index);
                continue;
            }
            if let Some(way) = way {
                self.about.entry(way).or_default().push(self.rows.len());
            }
            self.threads[thread].push(self.rows.len());
            self.rows.push(Row {
                events: vec![index],
                part,
                host: call.host,
                thread,
                way,
                bytes: (0, 0),
                after: Vec::new(),
                place: self.threads[thread].len() - 1,
                known: Vec::new(),
            });
        }
    }

    /// Whether a call is more of what its thread has just done.
    fn continues(&self, before: &Call, next: &Call, way: Option<Way>) -> bool {
        let moves = |call: &Call| moved(call).is_some_and(|moved| moved > 0);
        let reads = |call: &Call| reads(call) && moves(call) && !peeks(call);
        let fills = |call: &Call| sends(call) && moves(call);
        let same = before.name == next.name && before.fd == next.fd;
        let filled = way.is_some_and(|way| self.filled.contains_key(&way));
        (reads(before) && reads(next) && same && how_it_takes(before) == how_it_takes(next))
            || (filled && fills(before) && fills(next))
    }

    /// Gives the data of each direction its numbers.
    fn count_bytes(&mut self) {
        let mut totals: BTreeMap<(Way, bool), u64> = BTreeMap::new();
        for index in 0..self.rows.len() {
            let (row, call) = (&self.rows[index], self.call(index));
            let (Some(way), true) = (row.way, sends(call) || reads(call)) else { continue };
            let moved = row.events.iter().filter_map(|event| moved(self::call(self.trace, *event)));
            let moved: u64 = moved.sum();
            if moved == 0 {
                continue;
            }
            let way = if sends(call) { way } else { back(way) };
            let total = totals.entry((way, sends(call))).or_insert(0);
            self.rows[index].bytes = (*total + 1, *total + 1 + moved);
            if peeks(call) {
                continue; // it leaves what it takes
            }
            *total += moved;
            let list = if sends(call) { &mut self.sends } else { &mut self.reads };
            list.entry(way).or_default().push(index);
        }
    }

    /// The row that put byte number `byte` into a direction.
    pub fn sender_of(&self, way: Way, byte: u64) -> Option<usize> {
        let sends = self.sends.get(&way)?;
        sends.iter().copied().find(|row| self.rows[*row].bytes.1 > byte)
    }

    /// The rows before `index`, as far as the calls alone tell.
    fn before(&self, index: usize, wire: &Wire) -> Vec<usize> {
        let row = &self.rows[index];
        let mut after = Vec::new();
        match row.place {
            // The client starts when the server listens.
            0 if row.host == Host::Client => after.extend((0..self.rows.len()).find(|row| {
                self.rows[*row].host == Host::Server && self.call(*row).name == "listen"
            })),
            0 => {}
            place => after.push(self.threads[row.thread][place - 1]),
        }
        after.extend(self.made_or_awaited(index));
        let Some(way) = row.way else { return after };
        let other = back(way);
        if accepts(self.call(index)) {
            after.extend(self.about(other).find(|row| self.call(*row).name == "connect"));
            return after;
        }
        // Whichever thread takes it on: the connection is accepted before it is used.
        after.extend(self.about(way).find(|row| *row != index && accepts(self.call(*row))));
        match self.heard(index, wire) {
            Heard::Data(last) => after.extend(self.sender_of(other, last)),
            Heard::End => after.extend(self.ends(other, wire)),
            Heard::Reset => after.extend(self.resets(other, wire)),
            Heard::Nothing | Heard::Answer | Heard::OwnReset => {}
        }
        after.retain(|before| *before != index);
        after
    }

    /// Of a thread's first row: what its maker did before. Of the first row of a maker behind the
    /// last one of a thread that it made: that one, for it has waited for it.
    fn made_or_awaited(&self, index: usize) -> Vec<usize> {
        let row = &self.rows[index];
        let tid = self.call(index).tid;
        let before = row.place.checked_sub(1).map(|place| self.threads[row.thread][place]);
        let mut found = Vec::new();
        for birth in &self.trace.births {
            if birth.tid == tid && row.place == 0 {
                let mut of_maker = self.of_thread(row.host, birth.by).iter().rev();
                found.extend(of_maker.find(|row| self.began(**row) <= birth.at));
            }
            if birth.by == tid
                && let Some(&last) = self.of_thread(row.host, birth.tid).last()
                && self.began(index) >= self.over(last)
                && before.is_none_or(|before| self.began(before) < self.over(last))
            {
                found.push(last);
            }
        }
        found
    }

    fn of_thread(&self, host: Host, tid: i32) -> &[usize] {
        let is_it = |rows: &&Vec<usize>| {
            rows.first()
                .is_some_and(|row| self.rows[*row].host == host && self.call(*row).tid == tid)
        };
        self.threads.iter().find(is_it).map_or(&[], Vec::as_slice)
    }

    /// What a row says of the peer.
    pub fn heard(&self, index: usize, wire: &Wire) -> Heard {
        let row = &self.rows[index];
        let Some(way) = row.way else { return Heard::Nothing };
        let (call, over) = (self.call(index), self.over(index));
        let result = call.result.as_deref().unwrap_or_default();
        let arrived = |event: Option<usize>| {
            event.is_some_and(|event| wire.segment(event).arrived.is_some_and(|at| at <= over))
        };
        let from = wire.direction(back(way));
        let reset = arrived(from.and_then(|from| from.reset));
        let ended = arrived(from.and_then(|from| from.fin));
        let end = match (ended, reset) {
            (true, _) => Heard::End,
            (false, true) => Heard::Reset,
            (false, false) => Heard::Nothing,
        };
        // Its own end of a direction.
        let stopped = |other_way: &str| {
            let rows = self.about(way).filter(|row| self.over(*row) <= self.began(index));
            rows.map(|row| self.call(row)).any(|call| shuts(call) && how(call) != other_way)
        };
        let refusal = ["ECONNRESET", "ECONNREFUSED", "ENOTCONN", "ECONNABORTED"];
        match row.part {
            Part::Wait if call.args.contains("events=POLLOUT") => Heard::Answer,
            Part::Wait => end,
            Part::Return => Heard::Answer,
            Part::Begin => Heard::Nothing,
            Part::All if reads(call) && row.bytes.1 > 0 => Heard::Data(row.bytes.1 - 1),
            Part::All if reads(call) && result == "0" && given(call) != Some(0) => {
                if stopped("SHUT_WR") { Heard::Nothing } else { end }
            }
            Part::All => {
                let text = if call.name == "getsockopt" { &call.args } else { result };
                let told = refusal.iter().any(|error| text.contains(error))
                    || (text.contains("EPIPE") && !stopped("SHUT_RD"));
                let own = wire.direction(way).and_then(|this| this.reset);
                let own = own.is_some_and(|event| self.trace.events[event].at <= over);
                match (told, reset, own) {
                    (true, true, _) => Heard::Reset,
                    (true, false, true) => Heard::OwnReset,
                    _ => Heard::Nothing,
                }
            }
        }
    }

    /// The row that ended a direction with a FIN.
    pub fn ends(&self, way: Way, wire: &Wire) -> Option<usize> {
        let left = self.trace.events[wire.direction(way)?.fin?].at;
        let shuts = |row: &usize| {
            let call = self.call(*row);
            shuts(call) && how(call) != "SHUT_RD" && self.began(*row) <= left
        };
        // What still had to leave may hold it up. Or a process ended: then whatever it did last.
        let ended = self.during(way, left).or_else(|| self.about(way).find(shuts));
        ended.or_else(|| self.last_before(way, left))
    }

    /// The row that ended a direction with a reset, or left nobody there for what came.
    pub fn resets(&self, way: Way, wire: &Wire) -> Option<usize> {
        let direction = wire.direction(way)?;
        let left = self.trace.events[direction.reset?].at;
        let before = |row: &usize| self.over(*row) <= left;
        let shuts = |row: &usize| shuts(self.call(*row)) && how(self.call(*row)) != "SHUT_WR";
        let ended = self.during(way, left);
        let ended = ended.or_else(|| self.about(way).filter(before).find(shuts));
        let ended = ended.or_else(|| self.last_before(way, left));
        ended.or_else(|| {
            // Nobody has accepted it: the listener's close.
            let closes = |row: &usize| {
                let (host, way) = (self.rows[*row].host, self.rows[*row].way);
                host == direction.from && way.is_none() && self.call(*row).name == "close"
            };
            (0..self.rows.len()).rev().filter(closes).find(|row| self.began(*row) <= left)
        })
    }

    fn last_before(&self, way: Way, time: Nanos) -> Option<usize> {
        let rows = self.about(way).filter(|row| self.over(*row) <= time);
        rows.max_by_key(|row| self.over(*row))
    }

    /// Whether a row ends a direction, or would.
    pub fn ends_it(&self, row: usize) -> bool {
        ["close", "shutdown"].contains(&self.call(row).name.as_str())
    }

    /// The `close` or `shutdown` that was running at that time.
    fn during(&self, way: Way, time: Nanos) -> Option<usize> {
        let runs = |row: &usize| self.began(*row) <= time && time <= self.over(*row);
        self.about(way).filter(|row| self.ends_it(*row)).find(runs)
    }

    /// Works out what each row knows of each thread.
    fn hear(&mut self) {
        for index in order_of(self.rows.iter().map(|row| row.after.as_slice())) {
            let mut known = vec![0; self.threads.len()];
            for &before in &self.rows[index].after {
                let row = &self.rows[before];
                for (mine, theirs) in known.iter_mut().zip(&row.known) {
                    *mine = (*mine).max(*theirs);
                }
                known[row.thread] = known[row.thread].max(row.place as u32 + 1);
            }
            self.rows[index].known = known;
        }
    }
}

/// What a row says of its peer: it cannot have come before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// The answer to a SYN, whatever it was.
    Answer,
    /// The peer's data, up to this byte.
    Data(u64),
    /// The peer's FIN.
    End,
    /// The peer's reset.
    Reset,
    /// The reset of its own side, for what came when nobody was to read any more.
    OwnReset,
}

/// Every step behind those that it comes after; where they go round in a circle, which would be an
/// error of ours, in the order in which they are.
pub fn order_of<'a>(after: impl Iterator<Item = &'a [usize]>) -> Vec<usize> {
    let after: Vec<&[usize]> = after.collect();
    let (mut order, mut state) = (Vec::new(), vec![0u8; after.len()]);
    for begin in 0..after.len() {
        let mut path = vec![begin];
        while let Some(&step) = path.last() {
            if state[step] == 0 {
                state[step] = 1;
                path.extend(after[step].iter().copied().filter(|before| state[*before] == 0));
            } else {
                path.pop();
                if std::mem::replace(&mut state[step], 2) == 1 {
                    order.push(step);
                }
            }
        }
    }
    order
}

fn call(trace: &Trace, event: usize) -> &Call {
    match &trace.events[event].what {
        What::Call(call) => call,
        _ => unreachable!("a row has calls only"),
    }
}

/// The threads, numbered.
fn threads(trace: &Trace) -> BTreeMap<(Host, i32, i32), usize> {
    let calls = trace.events.iter().filter_map(|event| match &event.what {
        What::Call(call) => Some((call.host, call.pid, call.tid)),
        _ => None,
    });
    let all: BTreeSet<_> = calls.collect();
    all.into_iter().enumerate().map(|(number, thread)| (thread, number)).collect()
}

/// Which connection each call is about. One that `connect` has only begun is told by its SYN.
fn of_calls(trace: &Trace, ways: &Ways) -> BTreeMap<usize, Way> {
    let mut found = BTreeMap::new();
    let mut begun: BTreeMap<(i32, i32), Way> = BTreeMap::new();
    for (index, event) in trace.events.iter().enumerate() {
        let What::Call(call) = &event.what else { continue };
        let begins = call.name == "connect" || accepts(call);
        let time = if begins { event.complete() } else { event.at };
        let mut way = call.conn.map(|ends| ways.at(ends, time));
        if let Some(fd) = call.fd {
            let key = (call.pid, fd);
            if call.name == "connect" && way.is_none() {
                let syn = trace.events[index..].iter().take_while(|later| later.at <= time);
                way = syn.clone().find_map(|later| match &later.what {
                    What::Segment(one) if one.flags == "S" && one.from == call.host => {
                        Some(ways.at((one.source, one.destination), later.at))
                    }
                    _ => None,
                });
                begun.extend(way.map(|way| (key, way)));
            }
            if !accepts(call) {
                way = way.or_else(|| begun.get(&key).copied());
            }
            if call.name == "close" {
                begun.remove(&key);
            }
        }
        found.extend(way.map(|way| (index, way)));
    }
    found
}

/// Whether a call is a step of the diagram.
fn counts(call: &Call) -> bool {
    let result = call.result.as_deref().unwrap_or_default();
    let waits = ["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"];
    let quiet = ["getsockname", "getpeername", "fcntl", "ioctl", "epoll_ctl"];
    match call.name.as_str() {
        name if quiet.contains(&name) => false,
        "getsockopt" => call.args.contains("SO_ERROR"),
        name if waits.contains(&name) => result.starts_with("0 "),
        _ => !result.contains("EAGAIN"),
    }
}

/// Whether a `poll` can only have ended for one reason.
fn waits_for_one_thing(call: &Call, before: Option<&Call>) -> bool {
    let asks = |event: &str| call.args.contains(&format!(", events={event}}}], 1,"));
    let connects = before.is_some_and(|before| before.name == "connect");
    let told = call.result.as_deref().is_some_and(|result| result.starts_with("1 "));
    told && (asks("POLLRDHUP") || (connects && asks("POLLOUT")))
}

pub fn accepts(call: &Call) -> bool {
    call.name.starts_with("accept")
}

fn shuts(call: &Call) -> bool {
    call.name == "shutdown" && call.result.as_deref() == Some("0")
}

/// "SHUT_WR"
fn how(call: &Call) -> &str {
    args::split(&call.args).get(1).copied().unwrap_or_default()
}

pub fn sends(call: &Call) -> bool {
    ["send", "write"].iter().any(|name| call.name.starts_with(name))
}

pub fn reads(call: &Call) -> bool {
    ["recv", "read"].iter().any(|name| call.name.starts_with(name))
}

/// How many bytes a call moved.
fn moved(call: &Call) -> Option<u64> {
    call.result.as_deref()?.parse().ok()
}

/// How many bytes it was given, or room for so many.
fn given(call: &Call) -> Option<u64> {
    args::split(&call.args).get(2)?.parse().ok()
}

/// The flags that change what a read takes: "MSG_PEEK".
pub fn how_it_takes(call: &Call) -> String {
    let flags = match call.name.as_str() {
        "recvfrom" | "recv" => args::split(&call.args).get(3).copied().unwrap_or_default(),
        _ => "",
    };
    let takes = |flag: &&str| ["MSG_PEEK", "MSG_WAITALL", "MSG_OOB", "MSG_TRUNC"].contains(flag);
    flags.split('|').filter(takes).collect::<Vec<_>>().join("|")
}

/// Whether a read leaves what it takes.
fn peeks(call: &Call) -> bool {
    how_it_takes(call).contains("MSG_PEEK")
}

/// The directions in which a `send` took less than it was given.
fn filled(trace: &Trace, ends: &BTreeMap<usize, Way>) -> BTreeMap<Way, usize> {
    let full = |(index, way): (&usize, &Way)| {
        let call = call(trace, *index);
        let result = call.result.as_deref().unwrap_or_default();
        let taken = moved(call).or_else(|| result.contains("EAGAIN").then_some(0))?;
        let full = sends(call) && given(call).map_or(taken == 0, |given| taken < given);
        full.then_some((*way, *index))
    };
    ends.iter().rev().filter_map(full).collect()
}
