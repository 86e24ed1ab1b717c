//! `--connection N`: which events belong to the connection that was chosen, or to all.
//!
//! | event | told |
//! | --- | --- |
//! | of a connection: segment, state, call, the `accept` that gave it | if it is the chosen one |
//! | a call on a socket that is not connected yet | once it has become that, or a listener |
//! | `accept` that gave nothing, a wait that found nothing | no |
//! | a wait that found descriptors | if it is among them, or a listener that then gives it |
//! | of a listener, of a process | yes |

use std::collections::{HashMap, HashSet};

use crate::link::Ends;
use crate::record::{Call, Event, Host, Nanos, What};

/// A process and a descriptor of it.
type Descriptor = (i32, i32);

/// The one connection that is told.
#[derive(Default)]
pub struct Chosen {
    wanted: u32,
    /// The connections in the order in which they began.
    begun: HashMap<Ends, u32>,
    /// The chosen one, the smaller end first, once it has begun.
    pub ends: Option<Ends>,
    /// How many events were not told.
    pub others: u64,
    connected: HashMap<Descriptor, Ends>,
    /// A child has its parent's descriptors, so no process stands here.
    listeners: HashSet<(Host, i32)>,
    /// What a word of epoll_event(3type) stands for.
    watched: HashMap<(Descriptor, String), i32>,
    /// Calls that belong to what their descriptor will become or give.
    open: HashMap<Descriptor, Vec<Event>>,
}

impl Chosen {
    /// The connection that begins as the `wanted`-th.
    pub fn new(wanted: u32) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Takes an event in and gives those that are to be told now.
    pub fn sift(&mut self, event: Event) -> Vec<Event> {
        let own = match &event.what {
            What::Process(_) => true,
            What::Segment(segment) => self.is_it((segment.source, segment.destination)),
            What::State(change) => change.peer.is_none_or(|peer| self.is_it((change.local, peer))),
            What::Call(call) => {
                let call = call.clone();
                return self.call(&call, event);
            }
        };
        self.tell(own, Vec::new(), event)
    }

    /// When the first of those ended that are kept back.
    pub fn since(&self) -> Option<Nanos> {
        self.open.values().flatten().map(Event::complete).min()
    }

    /// What is still kept back has become nothing.
    pub fn end(&mut self) {
        self.others += self.open.drain().map(|(_, kept)| kept.len() as u64).sum::<u64>();
    }

    fn is_it(&mut self, (one, other): Ends) -> bool {
        let ends = (one.min(other), one.max(other));
        let count = self.begun.len() as u32;
        let is_it = *self.begun.entry(ends).or_insert(count + 1) == self.wanted;
        self.ends = self.ends.or(is_it.then_some(ends));
        is_it
    }

    /// These and this: told or counted.
    fn tell(&mut self, told: bool, mut before: Vec<Event>, event: Event) -> Vec<Event> {
        before.push(event);
        if !told {
            self.others += before.len() as u64;
            before.clear();
        }
        before
    }

    fn call(&mut self, call: &Call, event: Event) -> Vec<Event> {
        let number = || call.result.as_ref()?.parse().ok();
        let Some(fd) = call.fd.or_else(|| number().filter(|_| call.name == "socket")) else {
            return self.tell(call.name != "socket", Vec::new(), event);
        };
        let descriptor = (call.pid, fd);
        if call.waits() {
            return self.wait(call, descriptor, event);
        }
        if call.name == "epoll_ctl" {
            self.watch(call, fd);
        }
        let early = |this: &mut Self| this.open.remove(&descriptor).unwrap_or_default();
        match (&*call.name, call.conn) {
            ("socket", _) => {
                self.others += early(self).len() as u64; // it was closed where nobody looked
                self.open.insert(descriptor, vec![event]);
                Vec::new()
            }
            ("accept" | "accept4", conn) => {
                let given = number().map(|fd| (call.pid, fd));
                self.connected.extend(given.zip(conn));
                let (told, early) = (conn.is_some_and(|ends| self.is_it(ends)), early(self));
                self.tell(told, early, event)
            }
            ("listen", _) => {
                self.listeners.insert((call.host, fd));
                let early = early(self);
                self.tell(true, early, event)
            }
            (name, Some(ends)) => {
                match name {
                    "close" => self.connected.remove(&descriptor),
                    _ => self.connected.insert(descriptor, ends),
                };
                let told = self.is_it(ends);
                // A child may connect what its parent has made.
                let parents = |made: &&Descriptor| told && name == "connect" && made.1 == fd;
                let from = match self.open.contains_key(&descriptor) {
                    true => Some(descriptor),
                    false => self.open.keys().find(parents).copied(),
                };
                let early = from.and_then(|from| self.open.remove(&from)).unwrap_or_default();
                self.tell(told, early, event)
            }
            (_, None) if self.listeners.contains(&(call.host, fd)) => {
                self.tell(true, Vec::new(), event)
            }
            ("close", None) if self.open.contains_key(&descriptor) => {
                let early = early(self);
                self.tell(false, early, event)
            }
            (_, None) => match self.open.get_mut(&descriptor) {
                Some(early) => {
                    early.push(event);
                    Vec::new()
                }
                None => self.tell(true, Vec::new(), event),
            },
        }
    }

    /// `poll`, `select`, `epoll_wait`.
    fn wait(&mut self, call: &Call, (pid, fd): Descriptor, event: Event) -> Vec<Event> {
        let Some(ready) = self.ready(call, (pid, fd)) else {
            return self.tell(true, Vec::new(), event);
        };
        let ends = |this: &Self, ready| match call.conn {
            Some(ends) if ready == fd => Some(ends),
            _ => this.connected.get(&(pid, ready)).copied(),
        };
        let of: Vec<_> = ready.iter().filter_map(|ready| ends(self, *ready)).collect();
        let told = of.into_iter().any(|ends| self.is_it(ends));
        let later = ready.into_iter().find(|ready| {
            let gives = self.listeners.contains(&(call.host, *ready));
            gives || self.open.contains_key(&(pid, *ready))
        });
        match later.filter(|_| !told) {
            Some(ready) => {
                self.open.entry((pid, ready)).or_default().push(event);
                Vec::new()
            }
            None => self.tell(told, Vec::new(), event),
        }
    }

    /// The descriptors that a wait found; `None`: nobody knows.
    fn ready(&self, call: &Call, descriptor: Descriptor) -> Option<Vec<i32>> {
        let result = call.result.as_deref().unwrap_or_default();
        if result.starts_with('-') || call.found_nothing() {
            return Some(Vec::new());
        }
        let fds = |text: &str, mark: &str| -> Vec<i32> {
            let numbers = text
                .split(mark)
                .skip(1)
                .filter_map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
            numbers.collect()
        };
        if call.name.contains("poll") && !call.name.starts_with("epoll") {
            return Some(fds(result, "fd="));
        }
        if call.name.contains("select") {
            let (_, sets) = result.split_once('(').unwrap_or_default();
            let numbers = sets.split(|c: char| !c.is_ascii_digit());
            return Some(numbers.filter_map(|number| number.parse().ok()).collect());
        }
        let known = self.watched.keys().any(|(watching, _)| *watching == descriptor);
        let data = call.args.split("data=").skip(1);
        let data = data.filter_map(|rest| rest.split('}').next());
        let found = data.filter_map(|data| self.watched.get(&(descriptor, data.to_owned())));
        (known && !call.args.contains("...")).then(|| found.copied().collect())
    }

    /// `epoll_ctl`: 3, EPOLL_CTL_ADD, 6, [{events=EPOLLIN, data=0x6}].
    fn watch(&mut self, call: &Call, fd: i32) {
        let epoll = call.args.split(',').next().and_then(|epoll| epoll.parse().ok());
        let data = call.args.split("data=").nth(1).and_then(|rest| rest.split('}').next());
        if let (Some(epoll), Some(data)) = (epoll, data) {
            self.watched.insert(((call.pid, epoll), data.to_owned()), fd);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second connection is chosen. Each call: its process, what it is about, from which of the
    /// client's ports, its words, what it returned; and which of them are told after it, by number.
    type Case = (i32, Option<i32>, Option<u16>, &'static str, &'static str, &'static [usize]);

    const SERVER: i32 = 1;
    const CHILD: i32 = 2;
    const CLIENT: i32 = 3;
    const FORKED: i32 = 4;

    const CASES: &[Case] = &[
        (SERVER, None, None, "socket(AF_INET)", "3", &[]),
        (SERVER, Some(3), None, "bind(3)", "0", &[]),
        (SERVER, Some(3), None, "listen(3)", "0", &[0, 1, 2]),
        (CLIENT, None, None, "socket(AF_INET)", "5", &[]),
        (CLIENT, Some(5), Some(50_001), "connect(5)", "0", &[]),
        (CLIENT, None, None, "socket(AF_INET)", "6", &[]),
        (CLIENT, Some(6), None, "fcntl(6, F_SETFL)", "0", &[]),
        (CLIENT, Some(6), None, "connect(6)", "-1 EINPROGRESS (…)", &[]),
        (CLIENT, Some(6), None, "poll([{fd=6}])", "1 ([{fd=6, revents=POLLOUT}])", &[]),
        (FORKED, Some(6), Some(50_002), "connect(6)", "0", &[5, 6, 7, 8, 9]),
        // Two that woke for the listener: each gets what its accept gives.
        (SERVER, Some(3), None, "poll([{fd=3}])", "1 ([{fd=3, revents=POLLIN}])", &[]),
        (CHILD, Some(3), None, "select(4, [3])", "1 (in [3])", &[]),
        (SERVER, Some(3), Some(50_001), "accept(3)", "4", &[]),
        (CHILD, Some(3), Some(50_002), "accept4(3)", "4", &[11, 13]),
        (SERVER, Some(3), None, "poll([{fd=3}])", "1 ([{fd=3, revents=POLLIN}])", &[]),
        (SERVER, Some(3), None, "accept(3)", "-1 EAGAIN (…)", &[]),
        // A wait for several is told where the chosen one is among those that it found.
        (SERVER, Some(3), None, "poll([{fd=3}, {fd=4}])", "1 ([{fd=4, revents=POLLIN}])", &[]),
        (CHILD, Some(3), None, "poll([{fd=3}, {fd=4}])", "1 ([{fd=4, revents=POLLIN}])", &[17]),
        (CHILD, Some(3), None, "poll([{fd=3}, {fd=4}])", "0 (Timeout)", &[]),
        (CHILD, Some(4), Some(50_002), "epoll_ctl(9, ADD, 4, [{data=0x7f}])", "0", &[19]),
        (CHILD, Some(9), None, "epoll_wait(9, [{events=EPOLLIN, data=0x7f}])", "1", &[20]),
        (CHILD, Some(9), None, "epoll_wait(9, [{events=EPOLLIN, data=0x80}])", "1", &[]),
        (SERVER, Some(8), None, "epoll_wait(8, [{events=EPOLLIN, data=0x80}])", "1", &[22]),
        // A socket that becomes nothing, and one that there was not.
        (CLIENT, None, None, "socket(AF_INET)", "7", &[]),
        (CLIENT, Some(7), None, "close(7)", "0", &[]),
        (CLIENT, None, None, "socket(AF_INET)", "-1 EMFILE (…)", &[]),
        (CLIENT, Some(5), Some(50_001), "close(5)", "0", &[]),
        (CLIENT, Some(6), Some(50_002), "close(6)", "0", &[27]),
        (SERVER, Some(3), None, "close(3)", "0", &[28]),
        (CLIENT, None, None, "socket(AF_INET)", "7", &[]),
    ];

    #[test]
    fn what_belongs_to_no_chosen_connection_is_not_told() {
        let mut chosen = Chosen::new(2);
        let mut told = 0;
        for (at, (pid, fd, port, words, result, expected)) in CASES.iter().enumerate() {
            let (name, args) = words.split_once('(').expect("a call");
            let host = if [CLIENT, FORKED].contains(pid) { Host::Client } else { Host::Server };
            let (client, server) = (([10, 0, 0, 1], port.unwrap_or(0)), ([10, 0, 0, 2], 9000));
            let call = Call {
                host,
                pid: *pid,
                tid: *pid,
                name: name.to_owned(),
                args: args.trim_end_matches(')').to_owned(),
                fd: *fd,
                conn: port.map(|_| (client.into(), server.into())),
                returned: Some(at as Nanos),
                cut_off: None,
                result: Some((*result).to_owned()),
                data: Vec::new(),
                restarts: 0,
                count: 1,
                lines: Vec::new(),
            };
            let now = chosen.sift(Event { at: at as Nanos, what: What::Call(call) });
            let now: Vec<_> = now.iter().map(|event| event.at as usize).collect();
            assert_eq!(now, *expected, "after {at}: {words}");
            assert!(chosen.since().is_none_or(|since| !now.contains(&(since as usize))));
            told += now.len() as u64;
        }
        assert_eq!(chosen.since(), Some(29));
        chosen.end();
        assert_eq!(told + chosen.others, CASES.len() as u64);
        assert_eq!(chosen.ends.map(|(client, _)| client.port()), Some(50_002));
    }
}
