//! What has to come before what: RFC 9293's state diagram (3.3.2), and what a return or a segment
//! implies. States get their moments by it ([`Rules::moment`]), and a finished trace is checked
//! against it ([`check`]).
//!
//! | state | what must have happened to the connection |
//! | --- | --- |
//! | SYN_RECV | the peer's SYN has come |
//! | ESTABLISHED | and the own one is acknowledged |
//! | FIN_WAIT2 | the own FIN is acknowledged |
//! | CLOSE_WAIT, CLOSING, LAST_ACK | the peer's FIN has come, and every byte before it |
//! | TIME_WAIT | both |
//! | CLOSED after LAST_ACK | the own FIN is acknowledged, or a RST has come |
//! | LISTEN, SYN_SENT, FIN_WAIT1, LAST_ACK | a call has begun: `listen`, `connect`, `close` … |
//!
//! | what is seen | what it implies |
//! | --- | --- |
//! | `accept`, `connect` return a connection | ESTABLISHED |
//! | `recv` returns bytes | they have come |
//! | `recv` returns 0 | the peer's FIN or RST has come, or `shutdown` ended this side's reading |
//! | a segment leaves with bytes | the call that sends them has begun |
//! | a segment leaves with an acknowledgement | what it acknowledges has come |
//!
//! A state between two looks may be missed, so a way through the diagram may skip states.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use crate::output::{args, words};
use crate::record::{Call, Event, Host, Nanos, StateChange, Trace, What};

/// A connection, seen from one side: local, peer.
type Ends = (SocketAddr, SocketAddr);

/// What can have happened to a connection, seen from one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fact {
    SynCame,
    SynAcked,
    FinCame,
    FinAcked,
}

impl Fact {
    fn words(self) -> &'static str {
        match self {
            Fact::SynCame => "the peer's SYN has come",
            Fact::SynAcked => "its SYN is acknowledged",
            Fact::FinCame => "the peer's FIN has come",
            Fact::FinAcked => "its FIN is acknowledged",
        }
    }
}

/// What a state needs to have happened.
fn needs(state: &str) -> &'static [Fact] {
    match state {
        "SYN_RECV" => &[Fact::SynCame],
        "ESTABLISHED" => &[Fact::SynCame, Fact::SynAcked],
        "FIN_WAIT2" => &[Fact::FinAcked],
        "CLOSE_WAIT" | "CLOSING" | "LAST_ACK" => &[Fact::FinCame],
        "TIME_WAIT" => &[Fact::FinCame, Fact::FinAcked],
        _ => &[],
    }
}

/// The arrows of the diagram. TIME_WAIT to an opening state: the same ports again (RFC 6191).
const ARROWS: [(&str, &[&str]); 11] = [
    ("CLOSED", &["LISTEN", "SYN_SENT", "SYN_RECV"]),
    ("LISTEN", &["SYN_RECV", "SYN_SENT", "CLOSED"]),
    ("SYN_SENT", &["SYN_RECV", "ESTABLISHED", "CLOSED"]),
    ("SYN_RECV", &["ESTABLISHED", "FIN_WAIT1", "CLOSE_WAIT", "CLOSED"]),
    ("ESTABLISHED", &["FIN_WAIT1", "CLOSE_WAIT", "CLOSED"]),
    ("FIN_WAIT1", &["FIN_WAIT2", "CLOSING", "TIME_WAIT", "CLOSED"]),
    ("FIN_WAIT2", &["TIME_WAIT", "CLOSED"]),
    ("CLOSING", &["TIME_WAIT", "CLOSED"]),
    ("TIME_WAIT", &["CLOSED", "SYN_SENT", "SYN_RECV"]),
    ("CLOSE_WAIT", &["LAST_ACK", "CLOSED"]),
    ("LAST_ACK", &["CLOSED"]),
];

/// Whether arrows lead from one state to the other, with CLOSED at the ends alone.
fn leads(from: &str, to: &str) -> bool {
    let mut reached = vec![from];
    let mut next = 0;
    while let Some(&state) = reached.get(next) {
        next += 1;
        if state == "CLOSED" && next > 1 {
            continue;
        }
        let arrows = ARROWS.iter().find(|(name, _)| *name == state).map_or(&[][..], |(_, to)| to);
        if arrows.contains(&to) {
            return true;
        }
        let fresh: Vec<_> = arrows.iter().filter(|state| !reached.contains(state)).collect();
        reached.extend(fresh);
    }
    false
}

/// Whether a call can end a stream, and with it bring about FIN_WAIT1 or LAST_ACK.
fn ends_a_stream(name: &str) -> bool {
    matches!(name, "close" | "close_range" | "shutdown" | "dup2" | "dup3")
}

/// What a segment says, for the rules.
#[derive(Clone, Copy)]
struct Said {
    from: SocketAddr,
    at: Nanos,
    arrived: Option<Nanos>,
    syn: bool,
    fin: bool,
    rst: bool,
    seq: u32,
    len: u32,
    ack: Option<u32>,
}

impl Said {
    /// The number after the last that it takes.
    fn end(&self) -> u32 {
        self.seq.wrapping_add(self.len + u32::from(self.syn) + u32::from(self.fin))
    }
}

/// One connection between two ends, which may have others later.
struct Life {
    begun: Nanos,
    segments: Vec<Said>,
}

impl Life {
    fn from(&self, side: SocketAddr) -> impl Iterator<Item = &Said> {
        self.segments.iter().filter(move |said| said.from == side)
    }

    /// What `side` has sent, as it came: each moment, and the number up to which all had come then.
    /// Empty where its SYN was not seen.
    fn came(&self, side: SocketAddr) -> Vec<(Nanos, u32)> {
        let mut arrivals: Vec<_> = self
            .from(side)
            .filter_map(|said| Some((said.arrived?, said.seq, said.end())))
            .collect();
        arrivals.sort_unstable();
        let (mut next, mut ahead, mut came) = (0, BTreeMap::new(), Vec::new());
        for (at, seq, end) in arrivals.into_iter().filter(|(_, seq, end)| end > seq) {
            ahead.entry(seq).and_modify(|known: &mut u32| *known = end.max(*known)).or_insert(end);
            let before = next;
            while let Some(first) = ahead.first_entry()
                && *first.key() <= next
            {
                next = first.remove().max(next);
            }
            if next > before {
                came.push((at, next));
            }
        }
        came
    }

    /// When all numbers of `side` below `number` had come.
    fn came_up_to(&self, side: SocketAddr, number: u32) -> Option<Nanos> {
        self.came(side).into_iter().find(|(_, next)| *next >= number).map(|(at, _)| at)
    }

    /// When an acknowledgement of `peer` up to `number` first came.
    fn acked(&self, peer: SocketAddr, number: u32) -> Option<Nanos> {
        let acks = self.from(peer).filter(|said| said.ack.is_some_and(|ack| ack >= number));
        acks.filter_map(|said| said.arrived).min()
    }

    /// The number after the FIN of `side`.
    fn fin(&self, side: SocketAddr) -> Option<u32> {
        self.from(side).find(|said| said.fin).map(Said::end)
    }

    fn reset_came(&self, peer: SocketAddr) -> impl Iterator<Item = Nanos> {
        self.from(peer).filter(|said| said.rst).filter_map(|said| said.arrived)
    }

    /// When it was first so.
    fn when(&self, fact: Fact, ends: Ends) -> Option<Nanos> {
        match fact {
            Fact::SynCame => self.came_up_to(ends.1, 1),
            Fact::SynAcked => self.acked(ends.1, 1),
            Fact::FinCame => self.came_up_to(ends.1, self.fin(ends.1)?),
            Fact::FinAcked => self.acked(ends.1, self.fin(ends.0)?),
        }
    }
}

/// What is known of a trace so far.
#[derive(Default)]
pub struct Rules {
    /// By both ends, the smaller one first.
    lives: HashMap<Ends, Vec<Life>>,
    /// When `accept` or `connect` gave a connection.
    opened: HashMap<Ends, Vec<Nanos>>,
}

impl Rules {
    /// Takes an event in.
    pub fn hear(&mut self, event: &Event) {
        match &event.what {
            What::Segment(segment) => {
                let has = |flag| segment.flags.contains(flag);
                let said = Said {
                    from: segment.source,
                    at: event.at,
                    arrived: segment.arrived,
                    syn: has('S'),
                    fin: has('F'),
                    rst: has('R'),
                    seq: segment.seq,
                    len: segment.len,
                    ack: segment.ack,
                };
                let lives = self.lives.entry(sorted((segment.source, segment.destination)));
                let lives = lives.or_default();
                let anew = segment.flags == "S"
                    && !segment.again
                    && lives.last().is_none_or(|life| life.from(said.from).next().is_some());
                if anew || lives.is_empty() {
                    lives.push(Life { begun: event.at, segments: Vec::new() });
                }
                // A segment of the connection before may be told of late.
                let nth = nth(lives, event.at);
                lives[nth].segments.push(said);
            }
            What::Call(call) => {
                if let (Some(ends), Some(returned)) = (call.conn, call.returned)
                    && opens(call)
                {
                    self.opened.entry(ends).or_default().push(returned);
                }
            }
            What::State(_) | What::Process(_) => {}
        }
    }

    fn life(&self, ends: Ends, at: Nanos) -> Option<&Life> {
        let lives = self.lives.get(&sorted(ends))?;
        lives.get(nth(lives, at))
    }

    /// The moment of a state that was asked for after what was at `at`: that of its cause. `None`:
    /// not known yet. `last`: more will not be known.
    pub fn moment(&self, change: &StateChange, at: Nanos, last: bool) -> Option<Nanos> {
        // Who asks may have waited for another's look, which did not see it yet.
        let at = at.max(change.looks.map_or(0, |(since, _)| since));
        self.known(change, at, last).or(last.then_some(at))
    }

    fn known(&self, change: &StateChange, at: Nanos, last: bool) -> Option<Nanos> {
        let (ends, (since, seen)) = ((change.local, change.peer?), change.looks?);
        let life = self.life(ends, seen)?;
        let between = |moment: &Nanos| (since..=seen).contains(moment);
        let came = || life.from(ends.1).filter_map(|said| said.arrived).filter(between).min();
        let left = |flag: fn(&Said) -> bool| {
            life.from(ends.0).find(|said| flag(said)).map(|said| said.at).filter(between)
        };
        let facts: Option<Vec<_>> =
            needs(&change.now).iter().map(|fact| life.when(*fact, ends)).collect();
        let needed = facts?.into_iter().max();
        match change.now.as_str() {
            "SYN_SENT" => Some(left(|said| said.syn)?.min(seen)),
            "FIN_WAIT1" | "LAST_ACK" => {
                let ended = left(|said| said.fin).or(last.then_some(at))?;
                Some(ended.max(needed.unwrap_or(0)))
            }
            "CLOSED" if change.before == "LAST_ACK" => {
                let acked = life.when(Fact::FinAcked, ends).filter(between);
                life.reset_came(ends.1).filter(between).chain(acked).min()
            }
            "CLOSED" => life.reset_came(ends.1).filter(between).min(),
            _ => {
                let needed = needed.filter(|needed| *needed <= seen)?;
                // All was there at the last look, and it was not so: a later segment did it
                // (TCP_DEFER_ACCEPT, a full accept queue).
                let later = match needed < since {
                    true => came().or(last.then_some(at))?,
                    false => needed,
                };
                let opened = self.opened.get(&ends).into_iter().flatten();
                let late = change.now == "ESTABLISHED"
                    && opened.clone().any(|returned| (needed..later).contains(returned));
                Some(if late { needed } else { later })
            }
        }
    }
}

/// Which of these is the one of that time.
fn nth(lives: &[Life], at: Nanos) -> usize {
    lives.partition_point(|life| life.begun <= at).saturating_sub(1)
}

fn sorted((one, other): Ends) -> Ends {
    (one.min(other), one.max(other))
}

/// Whether a call has given a connection.
fn opens(call: &Call) -> bool {
    match call.name.as_str() {
        "accept" | "accept4" => count(call).is_some(),
        "connect" => count(call) == Some(0),
        _ => false,
    }
}

/// What a call that went well has returned.
fn count(call: &Call) -> Option<u64> {
    call.result.as_deref()?.split(' ').next()?.parse().ok()
}

/// Whether a call takes bytes out of a stream.
fn receives(call: &Call) -> bool {
    call.receives() && !call.args.contains("MSG_PEEK") && !call.args.contains("MSG_ERRQUEUE")
}

/// Every rule that the trace breaks, in a line each; the events in their order. What the trace
/// lacks breaks none.
pub fn check(trace: &Trace) -> Vec<String> {
    let mut rules = Rules::default();
    trace.events.iter().for_each(|event| rules.hear(event));
    let start = trace.events.first().map_or(0, |event| event.at);
    let mut check = Check::new(rules, start);
    check.sort(trace);
    check.states(trace);
    check.returns();
    check.segments();
    check.broken
}

/// The bytes on the wire that no call that was drawn has sent, and how they may have come there: a
/// line for each side of a connection.
pub fn uncovered(trace: &Trace, unseen: &BTreeSet<(Host, &'static str)>) -> Vec<String> {
    let mut rules = Rules::default();
    trace.events.iter().for_each(|event| rules.hear(event));
    let mut hosts = HashMap::new();
    // What each side has sent in each of its connections; `None`: a call that never returned.
    let mut sent: HashMap<(Ends, usize), Option<u64>> = HashMap::new();
    for event in &trace.events {
        match &event.what {
            What::Segment(segment) => drop(hosts.insert(segment.source, segment.from)),
            What::Call(Call { conn: Some(ends), .. }) => {
                let What::Call(call) = &event.what else { continue };
                let lives = rules.lives.get(&sorted(*ends));
                let life = lives.map_or(0, |lives| nth(lives, event.at));
                let sum = sent.entry((*ends, life)).or_insert(Some(0));
                *sum = match call.sends() {
                    true => sum.filter(|_| call.result.is_some()).map(|sum| sum + call.moved()),
                    false => *sum,
                };
            }
            _ => {}
        }
    }
    let mut lines = Vec::new();
    for ((one, other), lives) in &rules.lives {
        for (nth, life) in lives.iter().enumerate() {
            for ends in [(*one, *other), (*other, *one)] {
                let last = |said: &Said| u64::from(said.seq) + u64::from(said.len) - 1;
                let carried = life.from(ends.0).filter(|said| said.len > 0).map(last).max();
                let begun = life.from(ends.0).any(|said| said.syn);
                let called = sent.get(&(ends, nth)).copied().unwrap_or(Some(0));
                let (Some(carried), Some(called)) = (carried, called) else { continue };
                let Some(host) = hosts.get(&ends.0).filter(|_| begun && carried > called) else {
                    continue;
                };
                let ways = unseen.iter().filter(|(by, _)| by == host).map(|(_, name)| *name);
                let ways: Vec<_> = ways.collect();
                let how = match ways.is_empty() {
                    true => "it made no call that is traced".to_owned(),
                    false => format!("it uses {}, which makes no such call", ways.join(", ")),
                };
                let (name, port) = (format!("{host:?}").to_lowercase(), ends.0.port());
                lines.push(format!(
                    "the calls that sent {} of {} that the {name} sent from port {port}: {how}",
                    carried - called,
                    words::bytes(carried),
                ));
            }
        }
    }
    lines.sort();
    lines
}

struct Check<'a> {
    /// By connection, or for none: what is looked for among many is looked for here.
    calls: HashMap<Option<Ends>, Vec<(Nanos, &'a Call)>>,
    changes: HashMap<(Host, Ends), Vec<(Nanos, &'a StateChange)>>,
    complete: bool,
    /// From here on events were left out: what is seen later need not be the first of its kind.
    gap: Option<Nanos>,
    rules: Rules,
    start: Nanos,
    broken: Vec<String>,
}

impl<'a> Check<'a> {
    /// At `at` something was seen; it implies what was first so at `cause`.
    fn order(&mut self, (at, seen): (Nanos, String), cause: Option<Nanos>, implied: &str) {
        let ms = |at: Nanos| format!("{:.3} ms", at.saturating_sub(self.start) as f64 / 1e6);
        match cause {
            Some(cause) if cause <= at => {}
            Some(cause) if self.gap.is_some_and(|gap| cause >= gap) => {}
            Some(cause) => self.broken.push(format!(
                "{seen} at {} stands above its cause: {implied}, at {}",
                ms(at),
                ms(cause)
            )),
            None if self.complete => {
                let line = format!("{seen} at {} has no cause: {implied}, nowhere", ms(at));
                self.broken.push(line);
            }
            None => {}
        }
    }

    fn new(rules: Rules, start: Nanos) -> Self {
        let (calls, changes) = (HashMap::new(), HashMap::new());
        Check { calls, changes, complete: true, gap: None, rules, start, broken: Vec::new() }
    }

    fn sort(&mut self, trace: &'a Trace) {
        self.complete = trace.about.missing.is_empty();
        let gap = |event: &&Event| matches!(&event.what, What::Process(one) if one.pid == 0);
        self.gap = trace.events.iter().find(gap).map(|event| event.at);
        for event in &trace.events {
            match &event.what {
                What::Call(call) => {
                    self.calls.entry(call.conn).or_default().push((event.at, call));
                }
                What::State(change @ StateChange { peer: Some(peer), .. }) => {
                    let key = (change.host, (change.local, *peer));
                    self.changes.entry(key).or_default().push((event.at, change));
                }
                _ => {}
            }
        }
    }

    /// In the order of their times, as those of a trace.
    fn calls(&self, conn: Option<Ends>) -> &[(Nanos, &'a Call)] {
        self.calls.get(&conn).map_or(&[], Vec::as_slice)
    }

    fn changes(&self, host: Host, ends: Ends) -> &[(Nanos, &'a StateChange)] {
        self.changes.get(&(host, ends)).map_or(&[], Vec::as_slice)
    }

    fn states(&mut self, trace: &Trace) {
        let mut last: HashMap<(Host, SocketAddr, Option<SocketAddr>), &str> = HashMap::new();
        let changes = trace.events.iter().filter_map(|event| match &event.what {
            What::State(change) => Some((event.at, change)),
            _ => None,
        });
        for (at, change) in changes {
            let side = format!("{:?} {}", change.host, change.local.port()).to_lowercase();
            let seen = |at| (at, format!("{} of {side}", change.now));
            let key = (change.host, change.local, change.peer);
            let before = last.insert(key, &change.now).unwrap_or("CLOSED");
            if before != change.before || !leads(before, &change.now) {
                let (_, seen) = seen(at);
                self.broken.push(format!("{seen}: no way leads to it from {before}"));
            }
            let first = |conn: Option<Ends>, does: fn(&str) -> bool| {
                let mut calls = self.calls(conn).iter();
                let does = |call: &Call| call.host == change.host && does(&call.name);
                calls.find(|(_, call)| does(call)).copied()
            };
            let Some(peer) = change.peer else {
                let mut calls = self.calls(None).iter().filter(|(_, call)| {
                    call.host == change.host && call.name == "listen" && count(call) == Some(0)
                });
                if change.now == "LISTEN"
                    && let Some(&(begun, _)) = calls.next()
                {
                    self.order(seen(at), Some(begun), "`listen` has begun");
                }
                continue;
            };
            let ends = (change.local, peer);
            let begun = match change.now.as_str() {
                // One that failed at first knows no peer.
                "SYN_SENT" => {
                    let connects = |name: &str| name == "connect";
                    let both = [Some(ends), None].map(|conn| first(conn, connects));
                    both.into_iter().flatten().min_by_key(|(begun, _)| *begun)
                }
                "FIN_WAIT1" | "LAST_ACK" => first(Some(ends), ends_a_stream),
                _ => None,
            };
            if let Some((begun, call)) = begun {
                self.order(seen(at), Some(begun), &format!("`{}` has begun", call.name));
            }
            let Some(life) = self.rules.life(ends, at) else { continue };
            let facts: Vec<_> =
                needs(&change.now).iter().map(|fact| (*fact, life.when(*fact, ends))).collect();
            let acked = life.when(Fact::FinAcked, ends);
            let gone = life.reset_came(ends.1).chain(acked).min();
            for (fact, when) in facts {
                self.order(seen(at), when, fact.words());
            }
            // Or it has waited in vain, and nothing has come.
            if (before, &*change.now) == ("LAST_ACK", "CLOSED") && gone.is_some() {
                self.order(seen(at), gone, "its FIN is acknowledged, or a RST has come");
            }
        }
    }

    fn returns(&mut self) {
        let mut calls: Vec<_> = self
            .calls
            .values()
            .flatten()
            .filter_map(|&(_, call)| Some((call.returned?, call, call.conn?, count(call)?)))
            .collect();
        calls.sort_by_key(|(returned, call, ..)| (*returned, call.tid));
        let mut taken: HashMap<(Ends, usize), u64> = HashMap::new();
        for (returned, call, ends, count) in calls {
            let seen = format!("the return of {:?} {}", call.host, call.name).to_lowercase();
            let seen = (returned, seen);
            if opens(call) {
                let open = |(_, change): &&(Nanos, &StateChange)| {
                    !["SYN_SENT", "SYN_RECV", "CLOSED"].contains(&change.now.as_str())
                };
                let changes = self.changes(call.host, ends);
                if !changes.is_empty() {
                    let open = changes.iter().find(open).map(|(at, _)| *at);
                    self.order(seen, open, "ESTABLISHED");
                }
                continue;
            }
            let Some(lives) = self.rules.lives.get(&sorted(ends)) else { continue };
            let nth = nth(lives, returned);
            let life = &lives[nth];
            if !receives(call) || life.came(ends.1).is_empty() {
                continue;
            }
            if count > 0 {
                let taken = taken.entry((ends, nth)).or_default();
                *taken += call.moved();
                let cause = life.came_up_to(ends.1, *taken as u32 + 1);
                self.order(seen, cause, "its bytes have come");
            } else if ["read", "recvfrom"].contains(&call.name.as_str())
                && args::split(&call.args).get(2).is_some_and(|len| *len != "0")
            {
                let shut = self.calls(Some(ends)).iter().filter(|(_, other)| {
                    let reads = args::split(&other.args).get(1) != Some(&"SHUT_WR");
                    other.name == "shutdown" && other.host == call.host && reads
                });
                let end = life.when(Fact::FinCame, ends).into_iter();
                let end = end.chain(life.reset_came(ends.1)).chain(shut.map(|(at, _)| *at)).min();
                self.order(seen, end, "the peer's FIN has come");
            }
        }
    }

    fn segments(&mut self) {
        let rules = std::mem::take(&mut self.rules);
        for ((one, other), lives) in &rules.lives {
            for (nth_life, life) in lives.iter().enumerate() {
                for ends in [(*one, *other), (*other, *one)] {
                    self.acknowledgements(life, ends);
                    self.bytes(lives, nth_life, ends);
                }
            }
        }
        self.broken.sort();
        self.rules = rules;
    }

    fn acknowledgements(&mut self, life: &Life, (local, peer): Ends) {
        let came = life.came(peer);
        for said in life.from(local).filter(|said| !came.is_empty() && !said.rst) {
            let seen = (said.at, format!("a segment of {}", local.port()));
            if let Some(arrived) = said.arrived {
                let arrival = (arrived, format!("an arrival from {}", local.port()));
                self.order(arrival, Some(said.at), "it has left");
            }
            if let Some(ack) = said.ack {
                let place = came.partition_point(|(_, next)| *next < ack);
                let cause = came.get(place).map(|(at, _)| *at);
                self.order(seen, cause, &format!("what it acknowledges ({ack}) has come"));
            }
        }
    }

    /// Only where the calls that were drawn cover the stream.
    fn bytes(&mut self, lives: &[Life], nth_life: usize, ends: Ends) {
        let calls = self.calls(Some(ends)).iter();
        let calls = calls.filter(|(at, call)| call.sends() && nth(lives, *at) == nth_life);
        let mut sent = 0;
        let sent: Vec<(u64, Nanos)> = calls
            .map(|(at, call)| {
                sent += call.moved();
                (sent, *at)
            })
            .collect();
        let life = &lives[nth_life];
        let most = life.from(ends.0).map(|said| u64::from(said.end())).max().unwrap_or(0);
        let fin = u64::from(life.fin(ends.0).is_some());
        if sent.last().is_none_or(|(all, _)| all + 1 + fin < most) {
            return;
        }
        for said in life.from(ends.0).filter(|said| said.len > 0) {
            let last = u64::from(said.seq) + u64::from(said.len) - 1;
            let cause = sent.iter().find(|(all, _)| *all >= last).map(|(_, at)| *at);
            let seen = (said.at, format!("a segment of {}", ends.0.port()));
            self.order(seen, cause, "the call that sends its bytes has begun");
        }
    }
}
