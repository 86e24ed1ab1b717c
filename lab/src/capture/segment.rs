//! A packet as a segment of its connection: numbers counted from the initial ones, the window
//! scaled, the options in packetdrill's words.

use std::collections::HashMap;
use std::net::SocketAddr;

use etherparse::{SlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};

use crate::link;
use crate::record::{Host, Segment};

/// The connections so far, and each side of them: by its own address, then its peer's.
#[derive(Default)]
pub struct Connections {
    sides: HashMap<(SocketAddr, SocketAddr), Side>,
    ids: u64,
}

/// What one side has said.
#[derive(Clone, Copy)]
struct Side {
    /// Its initial sequence number.
    initial: u32,
    /// Whether that was seen, or guessed from a segment in the middle.
    seen: bool,
    /// The window scale that its SYN offered. See RFC 7323, 2.2.
    scale: Option<u8>,
    /// The number after the last that it has sent.
    end: u32,
}

impl Connections {
    /// The next segment's number, from 1.
    pub fn next_id(&mut self) -> u64 {
        self.ids += 1;
        self.ids
    }

    /// Reads a packet that has left `from`. Packets must come in the order in which they left.
    /// `None`: no TCP.
    pub fn segment(&mut self, from: Host, packet: &[u8]) -> Option<Segment> {
        let sliced = SlicedPacket::from_ip(packet).ok()?;
        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { return None };
        let (source, destination) = link::addresses(sliced.net.as_ref()?)?;
        let source = SocketAddr::from((source, tcp.source_port()));
        let destination = SocketAddr::from((destination, tcp.destination_port()));

        let len = tcp.payload().len() as u32;
        let space = len + u32::from(tcp.syn()) + u32::from(tcp.fin());
        let side = self.side(source, destination, tcp);
        let seq = tcp.sequence_number();
        let end = seq.wrapping_add(space);
        let again = space > 0 && before(seq, side.end);
        if before(side.end, end) {
            side.end = end;
        }
        let side = *side;
        let peer = self.sides.get(&(destination, source)).copied();
        let peer_initial = peer.map_or(0, |peer| peer.initial);
        // Both must have offered it, and in a SYN the window is never scaled.
        let scale = match (side.scale, peer.and_then(|peer| peer.scale)) {
            (Some(scale), Some(_)) if !tcp.syn() => scale,
            _ => 0,
        };
        Some(Segment {
            id: self.next_id(),
            from,
            arrived: None,
            fate: String::new(),
            late: 0,
            source,
            destination,
            flags: flags(tcp),
            seq: seq.wrapping_sub(side.initial),
            ack: tcp.ack().then(|| tcp.acknowledgment_number().wrapping_sub(peer_initial)),
            initial: side.seen.then_some(side.initial),
            window: u64::from(tcp.window_size()) << scale,
            len,
            options: options(tcp, peer_initial),
            again,
            packet: packet.to_vec(),
        })
    }

    /// What the sender has said so far; a SYN begins anew.
    fn side(&mut self, source: SocketAddr, destination: SocketAddr, tcp: &TcpSlice) -> &mut Side {
        let seq = tcp.sequence_number();
        let key = (source, destination);
        let known = self.sides.get(&key).copied();
        let fresh = match known {
            // A SYN with another number: the ports are used again.
            Some(side) => tcp.syn() && side.initial != seq,
            None => true,
        };
        if fresh {
            let initial = if tcp.syn() { seq } else { seq.wrapping_sub(1) };
            let side = Side { initial, seen: tcp.syn(), scale: scale(tcp), end: seq };
            self.sides.insert(key, side);
            if tcp.syn() && !tcp.ack() {
                // What the peer said in an earlier connection is over.
                self.sides.remove(&(destination, source));
            }
        }
        self.sides.get_mut(&key).expect("it is there or was put there")
    }
}

/// Sequence numbers wrap: RFC 9293, 3.4.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn scale(tcp: &TcpSlice) -> Option<u8> {
    tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::WindowScale(shift)) => Some(shift.min(14)),
        _ => None,
    })
}

/// Packetdrill's letters in its order.
fn flags(tcp: &TcpSlice) -> String {
    let letters = [
        (tcp.fin(), 'F'),
        (tcp.syn(), 'S'),
        (tcp.rst(), 'R'),
        (tcp.psh(), 'P'),
        (tcp.ack(), '.'),
        (tcp.urg(), 'U'),
        (tcp.ece(), 'E'),
        (tcp.cwr(), 'W'),
    ];
    letters.into_iter().filter_map(|(set, letter)| set.then_some(letter)).collect()
}

/// "mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7". What a SACK names is counted from the peer's
/// initial number.
fn options(tcp: &TcpSlice, peer_initial: u32) -> String {
    let words = tcp.options_iterator().map(|option| match option {
        Ok(TcpOptionElement::Noop) => "nop".into(),
        Ok(TcpOptionElement::MaximumSegmentSize(size)) => format!("mss {size}"),
        Ok(TcpOptionElement::WindowScale(shift)) => format!("wscale {shift}"),
        Ok(TcpOptionElement::SelectiveAcknowledgementPermitted) => "sackOK".into(),
        Ok(TcpOptionElement::SelectiveAcknowledgement(first, rest)) => {
            let blocks = std::iter::once(first).chain(rest.into_iter().flatten());
            let blocks = blocks.map(|(from, to)| {
                let from = from.wrapping_sub(peer_initial);
                format!("{from}:{}", to.wrapping_sub(peer_initial))
            });
            format!("sack {}", blocks.collect::<Vec<_>>().join(" "))
        }
        Ok(TcpOptionElement::Timestamp(value, echo)) => format!("TS val {value} ecr {echo}"),
        Err(_) => "unknown".into(),
    });
    words.collect::<Vec<_>>().join(",")
}
