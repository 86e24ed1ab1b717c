//! What each connection carried, as its receivers got it: in order, each byte once.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use serde::Serialize;

use crate::hex;
use crate::output::words;
use crate::record::{Host, Segment, Trace, What};

/// So many bytes of a connection are kept.
pub const MOST: usize = 64 << 10;

/// Both directions of a connection.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Stream {
    /// The client's port, which tells it from others.
    pub conn: u16,
    /// "10.0.0.1:40000".
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// In the order in which a receiver could read them.
    pub chunks: Vec<Chunk>,
    /// The bytes that are not in `chunks`: more than [`MOST`], or never captured.
    pub more: u64,
}

/// The new bytes that a segment brought.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Chunk {
    /// Who sent them.
    pub from: Host,
    /// The segment, by its place in the trace.
    pub event: usize,
    /// The bytes, as hexadecimal text.
    pub hex: String,
}

/// The streams that carried something, by when their first byte arrived.
pub fn streams(trace: &Trace) -> Vec<Stream> {
    let mut segments: Vec<(usize, &Segment)> = trace
        .events
        .iter()
        .enumerate()
        .filter_map(|(index, event)| match &event.what {
            What::Segment(segment) if segment.arrived.is_some() => Some((index, segment)),
            _ => None,
        })
        .collect();
    segments.sort_by_key(|(_, segment)| segment.arrived);
    let mut all: Vec<Building> = Vec::new();
    for (event, segment) in segments {
        let (client, server) = match segment.from {
            Host::Client => (segment.source, segment.destination),
            Host::Server => (segment.destination, segment.source),
        };
        let ends = |one: &Building| (one.stream.client, one.stream.server) == (client, server);
        // A SYN begins a connection, also between two ends that had one before.
        let fresh = segment.flags == "S" && !segment.again;
        let place = all.iter().rposition(ends).filter(|_| !fresh).unwrap_or_else(|| {
            let (conn, chunks) = (client.port(), Vec::new());
            let stream = Stream { conn, client, server, chunks, more: 0 };
            all.push(Building { stream, next: HashMap::new(), early: Vec::new(), bytes: 0 });
            all.len() - 1
        });
        all[place].take(event, segment);
    }
    all.into_iter()
        .map(|building| building.stream)
        .filter(|stream| !stream.chunks.is_empty() || stream.more > 0)
        .collect()
}

struct Building<'a> {
    stream: Stream,
    /// The byte that each host's receiver waits for.
    next: HashMap<Host, u32>,
    /// What came before its turn.
    early: Vec<(usize, &'a Segment)>,
    bytes: usize,
}

impl<'a> Building<'a> {
    fn take(&mut self, event: usize, segment: &'a Segment) {
        if segment.len == 0 {
            return;
        }
        self.early.push((event, segment));
        // What it brought, and what had waited for it.
        while let Some(place) = self.early.iter().position(|(_, one)| !self.is_early(one)) {
            let (event, segment) = self.early.remove(place);
            self.append(event, segment);
        }
    }

    fn next(&self, segment: &Segment) -> u32 {
        // Before the handshake was seen, the first byte that is seen is the first.
        let first = if segment.initial.is_some() { 1 } else { segment.seq };
        self.next.get(&segment.from).copied().unwrap_or(first)
    }

    fn is_early(&self, segment: &Segment) -> bool {
        segment.seq.wrapping_sub(self.next(segment)) as i32 > 0
    }

    fn append(&mut self, event: usize, segment: &Segment) {
        let next = self.next(segment);
        let end = segment.seq.wrapping_add(segment.len);
        let fresh = end.wrapping_sub(next) as i32;
        if fresh <= 0 {
            return; // all of it was there
        }
        self.next.insert(segment.from, end);
        let known = next.wrapping_sub(segment.seq) as usize;
        let bytes = payload(segment).get(known..).unwrap_or_default();
        let bytes = &bytes[..bytes.len().min(MOST - self.bytes)];
        self.bytes += bytes.len();
        self.stream.more += (fresh as usize - bytes.len()) as u64;
        if !bytes.is_empty() {
            let hex = hex::text(bytes);
            self.stream.chunks.push(Chunk { from: segment.from, event, hex });
        }
    }
}

/// The bytes of the stream in the packet, as many as were captured.
fn payload(segment: &Segment) -> &[u8] {
    let packet = &segment.packet[..];
    let nibble = |at: usize, shift: u32| {
        packet.get(at).map_or(0, |byte| usize::from(byte >> shift & 15) * 4)
    };
    let ip = if segment.source.is_ipv6() { 40 } else { nibble(0, 0) };
    let bytes = packet.get(ip + nibble(ip + 12, 4)..).unwrap_or_default();
    &bytes[..bytes.len().min(segment.len as usize)]
}

/// Each event's connection, by the client's port; none for what belongs to no single one. A call
/// before its socket had a peer (`socket`, `setsockopt`) belongs to the connection that it became.
pub fn connections(trace: &Trace) -> Vec<Option<u16>> {
    let mut later: BTreeMap<(Host, i32, i32), u16> = BTreeMap::new();
    let mut connections: Vec<Option<u16>> = trace
        .events
        .iter()
        .rev()
        .map(|event| {
            let What::Call(call) = &event.what else { return words::client_port(event) };
            let known = call.conn.map(|(local, peer)| match call.host {
                Host::Client => local.port(),
                Host::Server => peer.port(),
            });
            if call.name == "socket" {
                let fd = call.result.as_deref().and_then(|result| result.parse().ok());
                return fd.and_then(|fd| later.remove(&(call.host, call.pid, fd)));
            }
            let key = (call.host, call.pid, call.fd?);
            match known {
                // The listener's own descriptor carries nothing.
                Some(port) if !call.name.starts_with("accept") => {
                    later.insert(key, port);
                    known
                }
                Some(_) => known,
                None => later.get(&key).copied(),
            }
        })
        .collect();
    connections.reverse();
    connections
}
