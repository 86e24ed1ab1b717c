//! Which state each connection is in: sock_diag(7), asked after everything that can change one.
//!
//! Timers aside, a TCP state changes in a system call or when a packet arrives. The tracer asks at
//! the first, the link at the second, so nothing is polled, and no state is missed that lasts
//! until the next packet. With the answer come the socket's own figures: its queues, its congestion
//! window, its round-trip time.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::Sender;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_SOCK_DIAG;

use crate::clock;
use crate::link::Ends;
use crate::record::{Event, Host, Nanos, PathInfo, Sample, StateChange, What};
use crate::world::World;

/// By their numbers in the kernel: net/tcp_states.h.
pub(crate) const NAMES: [&str; 13] = [
    "CLOSED",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSED",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "SYN_RECV",
];

/// All of them but BOUND_INACTIVE, which is no state of TCP's.
const ALL: u32 = 0x1ffe;

/// So many samples are kept.
const SAMPLES: usize = 20_000;

/// A connection's two ends; a listener has no peer.
type Key = (SocketAddr, Option<SocketAddr>);

/// Both hosts' connections, as they were when last asked for.
pub struct States {
    server: HostStates,
    client: HostStates,
    events: Sender<Event>,
    /// The accept queues that were seen full.
    full: BTreeMap<(Host, SocketAddr), Full>,
    samples: Samples,
}

/// What the sockets' figures were, as they changed.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// By time.
    pub kept: Vec<Sample>,
    /// How many more there were.
    pub left_out: u64,
    /// The last of each socket.
    last: HashMap<(Host, Key), Figures>,
}

/// Both queues, received first, and what else a connection knows.
type Figures = (u32, u32, Option<PathInfo>);

impl Samples {
    /// Keeps it, if it is news.
    fn note(&mut self, host: Host, at: Nanos, key: Key, figures: Figures) {
        if self.last.insert((host, key), figures) == Some(figures) {
            return;
        }
        let ((local, peer), (recv_queue, send_queue, path)) = (key, figures);
        match self.kept.len() < SAMPLES {
            true => self.kept.push(Sample { at, host, local, peer, recv_queue, send_queue, path }),
            false => self.left_out += 1,
        }
    }
}

/// An accept queue that was full: a SYN or the last ACK of a handshake was dropped then.
#[derive(Clone, Copy, Debug)]
pub struct Full {
    /// When it was seen so first.
    pub at: Nanos,
    /// The connections that waited in it, at most.
    pub waiting: u32,
    /// What `listen` had asked for.
    pub backlog: u32,
}

struct HostStates {
    socket: Socket,
    known: HashMap<Key, &'static str>,
    /// When the last look at all connections began.
    looked: Nanos,
    /// The accept queues that the last look found: how many waited, and the backlog.
    queues: Vec<(SocketAddr, u32, u32)>,
    /// The figures of the connection that the last look was for.
    figures: Option<(Key, Figures)>,
    /// And, by connection, at one alone since then.
    looked_at: HashMap<Key, Nanos>,
    buffer: Vec<u8>,
}

impl States {
    /// Opens a socket on each host; changes go to `events`.
    ///
    /// # Errors
    /// EPROTONOSUPPORT, ENOENT: this kernel has no sock_diag.
    pub fn open(world: &World, events: Sender<Event>) -> io::Result<States> {
        let open = |host| world.node(host).run(HostStates::open);
        let mut states = States {
            server: open(Host::Server)?,
            client: open(Host::Client)?,
            events,
            full: BTreeMap::new(),
            samples: Samples::default(),
        };
        states.server.list()?;
        states.client.list()?;
        Ok(states)
    }

    /// Looks at the connections of `host` now, and tells what has changed since the last look. What
    /// it was asked after, a call or a delivery, was at `at`.
    ///
    /// # Errors
    /// What the kernel says; none is known once it has answered the first time.
    pub fn ask(&mut self, host: Host, at: Nanos) -> io::Result<()> {
        let states = self.of_mut(host);
        let begun = clock::now();
        let now = states.list()?;
        let over = clock::now();
        let looked_at = std::mem::take(&mut states.looked_at);
        let looked = std::mem::replace(&mut states.looked, begun);
        let queues = std::mem::take(&mut states.queues);
        let mut changes = Vec::new();
        let mut tell = |(local, peer), before: &str, now: &str| {
            let (before, now) = (before.to_owned(), now.to_owned());
            let since = looked_at.get(&(local, peer)).copied().unwrap_or(looked);
            let looks = Some((since, over));
            changes.push(StateChange { host, local, peer, before, now, looks });
        };
        for (&(local, peer), &before) in &states.known {
            if !now.contains_key(&(local, peer)) {
                tell((local, peer), before, "CLOSED");
            }
        }
        for (&(local, peer), &state) in &now {
            let before = states.known.get(&(local, peer)).copied().unwrap_or("CLOSED");
            if before != state {
                tell((local, peer), before, state);
            }
        }
        states.known = now;
        changes.sort_by_key(|change| (change.local, change.peer));
        for change in changes {
            let _ = self.events.send(Event { at, what: What::State(change) });
        }
        queues.into_iter().for_each(|queue| self.note_queue(host, at, queue));
        Ok(())
    }

    /// The accept queues that were full when asked, each with its listener.
    pub fn full(&self) -> &BTreeMap<(Host, SocketAddr), Full> {
        &self.full
    }

    /// What the sockets' figures were so far; they are kept no longer.
    pub fn take_samples(&mut self) -> Samples {
        let mut samples = std::mem::take(&mut self.samples);
        samples.kept.sort_by_key(|sample| sample.at);
        samples
    }

    /// Keeps in mind what waited in a listener's accept queue, where that was full: it is so with
    /// one more than the backlog.
    pub fn note_queue(&mut self, host: Host, at: Nanos, queue: (SocketAddr, u32, u32)) {
        let (local, waiting, backlog) = queue;
        self.samples.note(host, at, (local, None), (waiting, backlog, None));
        if waiting > backlog {
            let full = self.full.entry((host, local));
            let full = full.or_insert(Full { at, waiting, backlog });
            full.waiting = full.waiting.max(waiting);
        }
    }

    /// The same for one connection: however many there are, it takes no longer.
    ///
    /// # Errors
    /// As [`States::ask`].
    pub fn ask_about(&mut self, host: Host, at: Nanos, (local, peer): Ends) -> io::Result<()> {
        let states = self.of_mut(host);
        let key = (local, Some(peer));
        let begun = clock::now();
        let now = states.find(local, peer)?;
        let since = states.looked_at.insert(key, begun).unwrap_or(states.looked);
        let over = clock::now();
        let looks = Some((since, over));
        let figures = states.figures.take().filter(|(of, _)| *of == key);
        let before = match now {
            Some(now) => states.known.insert(key, now),
            None => states.known.remove(&key),
        };
        let [before, now] = [before, now].map(|state| state.unwrap_or("CLOSED").to_owned());
        if before != now && now == "ESTABLISHED" {
            // It may have filled a queue. Nobody's connection to nobody is the listener's.
            let nobody = match local {
                SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                SocketAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
            };
            states.find(local, SocketAddr::new(nobody, 0))?;
        }
        let queues = std::mem::take(&mut states.queues);
        if let Some((_, figures)) = figures {
            self.samples.note(host, over, key, figures);
        }
        if before != now {
            let change = StateChange { host, local, peer: Some(peer), before, now, looks };
            let _ = self.events.send(Event { at, what: What::State(change) });
        }
        queues.into_iter().for_each(|queue| self.note_queue(host, over, queue));
        Ok(())
    }

    /// Whether `host` had a connection that still could carry something, when last asked.
    pub fn connected(&self, host: Host) -> bool {
        let mut states = self.of(host).known.values();
        states.any(|state| !matches!(*state, "LISTEN" | "TIME_WAIT" | "CLOSED"))
    }

    /// Whether `host` had a listener, when last asked.
    pub fn listening(&self, host: Host) -> bool {
        self.of(host).known.values().any(|state| *state == "LISTEN")
    }

    fn of_mut(&mut self, host: Host) -> &mut HostStates {
        match host {
            Host::Server => &mut self.server,
            Host::Client => &mut self.client,
        }
    }

    fn of(&self, host: Host) -> &HostStates {
        match host {
            Host::Server => &self.server,
            Host::Client => &self.client,
        }
    }
}

impl HostStates {
    fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
        let (known, looked_at) = (HashMap::new(), HashMap::new());
        let (queues, buffer) = (Vec::new(), vec![0; 32 * 1024]);
        Ok(Self { socket, known, looked: 0, queues, figures: None, looked_at, buffer })
    }

    /// Every TCP socket of the host but those that were never bound.
    fn list(&mut self) -> io::Result<HashMap<Key, &'static str>> {
        let mut all = HashMap::new();
        for (family, id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            self.request(family, NLM_F_DUMP, ExtensionFlags::empty(), id)?;
            while self.answer(&mut all)? {}
        }
        Ok(all)
    }

    /// The state of one connection; `None`: it is not there.
    fn find(&mut self, local: SocketAddr, peer: SocketAddr) -> io::Result<Option<&'static str>> {
        let id = SocketId {
            source_port: local.port(),
            destination_port: peer.port(),
            source_address: local.ip(),
            destination_address: peer.ip(),
            interface_id: 0,
            cookie: [0xff; 8], // whichever it has
        };
        let family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
        self.request(family, 0, ExtensionFlags::INFO, id)?;
        let mut found = HashMap::new();
        match self.answer(&mut found) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Where there is no such connection, the kernel may answer with the listener.
            answer => answer.map(|_| found.remove(&(local, Some(peer)))),
        }
    }

    fn request(
        &mut self,
        family: u8,
        flags: u16,
        extensions: ExtensionFlags,
        socket_id: SocketId,
    ) -> io::Result<()> {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions,
            states: StateFlags::from_bits_retain(ALL),
            socket_id,
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// One datagram of the answer; `false`: the last one.
    fn answer(&mut self, all: &mut HashMap<Key, &'static str>) -> io::Result<bool> {
        let len = self.socket.recv(&mut &mut self.buffer[..], 0)?;
        let mut rest = &self.buffer[..len];
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let id = &response.header.socket_id;
                    let local = address(id.source_address, id.source_port);
                    let peer = address(id.destination_address, id.destination_port);
                    let peer = (peer.port() != 0).then_some(peer);
                    let state = NAMES.get(usize::from(response.header.state)).unwrap_or(&"?");
                    // Of a listener these are the length of its accept queue, and the backlog.
                    let header = &response.header;
                    let path = response.nlas.iter().find_map(path);
                    if *state == "LISTEN" {
                        self.queues.push((local, header.recv_queue, header.send_queue));
                    } else if path.is_some() {
                        let figures = (header.recv_queue, header.send_queue, path);
                        self.figures = Some(((local, peer), figures));
                    }
                    all.insert((local, peer), state);
                }
                NetlinkPayload::Done(_) => return Ok(false),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
            // Each message begins at a multiple of four.
            let step = (message.header.length as usize).next_multiple_of(4).min(rest.len());
            rest = &rest[step.max(1)..];
        }
        Ok(true)
    }
}

/// What INET_DIAG_INFO says of the way to the peer: a `struct tcp_info`, as long as this kernel's is.
fn path(attribute: &Nla) -> Option<PathInfo> {
    let Nla::TcpInfo(info) = attribute else { return None };
    let field = |at: usize| Some(u32::from_ne_bytes(*info.get(at..)?.first_chunk()?));
    let ssthresh = field(offset_of!(libc::tcp_info, tcpi_snd_ssthresh))?;
    Some(PathInfo {
        cwnd: field(offset_of!(libc::tcp_info, tcpi_snd_cwnd))?,
        // TCP_INFINITE_SSTHRESH of net/tcp.h.
        ssthresh: (ssthresh < 0x7fff_ffff).then_some(ssthresh),
        rtt: field(offset_of!(libc::tcp_info, tcpi_rtt))?,
        retransmits: field(offset_of!(libc::tcp_info, tcpi_total_retrans))?,
    })
}

/// An address as the segments have it: an IPv4 one stays so on an IPv6 socket, too.
fn address(ip: std::net::IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}
