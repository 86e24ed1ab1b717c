//! A look at the segments themselves: a packet socket on the loopback, packet(7).

use std::ffi::c_int;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind};

use crate::retry_eintr;
use tcp_stream_io::{UniqueFd, sys};

/// Sees every IPv4 packet of this network, which had better be one of one's own
/// ([`child::own_network`](crate::child::own_network)): it takes CAP_NET_RAW there.
#[derive(Debug)]
pub struct Capture(UniqueFd);

/// A TCP segment, as far as an example wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The port it came from.
    pub from: u16,
    /// The port it went to.
    pub to: u16,
    /// SYN, ACK, FIN and RST, as far as they are set, with a + in between.
    pub flags: String,
    /// The bytes of the stream that it carried.
    pub payload: Vec<u8>,
}

impl Capture {
    /// Begins.
    pub fn start() -> io::Result<Capture> {
        // For one protocol, and so only packets that come in. A socket for all of them sees each
        // packet on the loopback twice: as it leaves, too (unless PACKET_IGNORE_OUTGOING is set).
        let protocol = c_int::from((libc::ETH_P_IP as u16).to_be());
        Ok(Capture(sys::socket(libc::AF_PACKET, libc::SOCK_DGRAM, protocol)?))
    }

    /// The segments since the last call, in order.
    pub fn segments(&self) -> io::Result<Vec<Segment>> {
        let (mut segments, mut packet) = (Vec::new(), vec![0; 0x10000]);
        loop {
            match retry_eintr(|| sys::recv(&self.0, &mut packet, libc::MSG_DONTWAIT)) {
                Ok(n) => segments.extend(Segment::parse(&packet[..n])),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(segments),
                Err(e) => return Err(e),
            }
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

impl Capture {
    /// The same in words, for a server at `port`: "client SYN, server SYN+ACK".
    pub fn in_words(&self, port: u16) -> io::Result<String> {
        let who = |segment: &Segment| if segment.to == port { "client" } else { "server" };
        let words = |segment: &Segment| format!("{} {segment}", who(segment));
        Ok(self.segments()?.iter().map(words).collect::<Vec<_>>().join(", "))
    }
}

impl Segment {
    /// The segment in an IPv4 packet.
    pub fn parse(packet: &[u8]) -> Option<Segment> {
        let packet = packet.get(..usize::from(word(packet, 2)?))?; // the total length
        let is_tcp = packet.get(9) == Some(&(libc::IPPROTO_TCP as u8));
        let tcp = packet.get(usize::from(packet[0] & 0xf) * 4..).filter(|_| is_tcp)?;
        Segment::parse_tcp(tcp)
    }

    /// The segment that begins with this TCP header.
    pub fn parse_tcp(tcp: &[u8]) -> Option<Segment> {
        let set = *tcp.get(13)?;
        let names = [("SYN", 2), ("FIN", 1), ("RST", 4), ("ACK", 16)];
        let flags: Vec<&str> =
            names.iter().filter(|(_, bit)| set & bit != 0).map(|(name, _)| *name).collect();
        Some(Segment {
            from: word(tcp, 0)?,
            to: word(tcp, 2)?,
            flags: flags.join("+"),
            payload: tcp.get(usize::from(tcp[12] >> 4) * 4..)?.to_vec(),
        })
    }
}

impl Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.flags)?;
        match self.payload.len() {
            0 => Ok(()),
            n => write!(f, " {n} bytes \"{}\"", self.payload.escape_ascii()),
        }
    }
}
