//! For Wireshark: both ends of the wire and both programs' calls on one timeline, in nanoseconds.
//!
//! Four interfaces: "client eth0" and "server eth0" have each segment when it leaves; "client system
//! calls" and "server system calls" carry records of text, which `dissector/tcp-stream-io.lua`
//! takes apart. A record is lines of `name: value`, in UTF-8. A call makes two: one when it begins,
//! one when it returns. A segment's arrival is a record, too: as a packet it would be there twice,
//! and Wireshark would take the second one for a retransmission.

use std::borrow::Cow;
use std::io::Write;
use std::time::Duration;

use anyhow::Result;
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};

use crate::output::words;
use crate::record::{Event, Host, Nanos, Trace, What};

/// The interfaces, by their numbers in the file.
const INTERFACES: [(&str, DataLink); 4] = [
    ("client eth0", DataLink::RAW),
    ("server eth0", DataLink::RAW),
    ("client system calls", DataLink::USER0),
    ("server system calls", DataLink::USER0),
];

/// One packet of the file.
struct Packet<'a> {
    at: Nanos,
    interface: u32,
    data: Cow<'a, [u8]>,
    comment: String,
}

/// Writes the trace.
pub fn write(trace: &Trace, mut out: impl Write) -> Result<()> {
    let mut writer = PcapNgWriter::new(&mut out)?;
    for (name, linktype) in INTERFACES {
        let options = vec![
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfTsResol(9), // nanoseconds
        ];
        let interface = InterfaceDescriptionBlock { linktype, snaplen: 0, options };
        writer.write_block(&interface.into_block())?;
    }
    let mut packets: Vec<Packet> = trace.events.iter().flat_map(packets).collect();
    packets.sort_by_key(|packet| packet.at);
    for packet in packets {
        let comment = (!packet.comment.is_empty())
            .then(|| EnhancedPacketOption::Comment(packet.comment.into()));
        let block = EnhancedPacketBlock {
            interface_id: packet.interface,
            timestamp: Duration::from_nanos(packet.at),
            original_len: packet.data.len() as u32,
            data: packet.data,
            options: comment.into_iter().collect(),
        };
        writer.write_block(&block.into_block())?;
    }
    out.flush()?;
    Ok(())
}

/// What one event becomes: one packet or two.
fn packets(event: &Event) -> Vec<Packet<'_>> {
    let at = event.at;
    match &event.what {
        What::Segment(segment) => {
            let (from, to) = match segment.from {
                Host::Client => (0, Host::Server),
                Host::Server => (1, Host::Client),
            };
            let leaves = Packet {
                at,
                interface: from,
                data: Cow::Borrowed(&segment.packet[..]),
                comment: words::fate(segment),
            };
            let arrives = segment.arrived.map(|arrived| {
                let fields = [
                    ("kind", "arrival".to_owned()),
                    ("text", words::segment(segment)),
                    ("took", words::duration(arrived.saturating_sub(at))),
                    ("local", segment.destination.to_string()),
                    ("peer", segment.source.to_string()),
                ];
                record(arrived, to, &fields)
            });
            [leaves].into_iter().chain(arrives).collect()
        }
        What::Call(call) => {
            let common = [
                ("call", call.name.clone()),
                ("process", call.pid.to_string()),
                ("thread", call.tid.to_string()),
                ("descriptor", call.fd.map(|fd| fd.to_string()).unwrap_or_default()),
                ("local", call.conn.map(|ends| ends.0.to_string()).unwrap_or_default()),
                ("peer", call.conn.map(|ends| ends.1.to_string()).unwrap_or_default()),
            ];
            let begins = [("kind", "call".to_owned()), ("text", words::call_begins(call, 400))];
            let mut both = vec![record(at, call.host, &[&begins[..], &common[..]].concat())];
            if let Some(end) = call.returned {
                let returns = [
                    ("kind", "return".to_owned()),
                    ("text", words::call(call)),
                    ("result", call.result.clone().unwrap_or_default()),
                    ("took", words::duration(end.saturating_sub(at))),
                    ("data", call.data.escape_ascii().to_string()),
                ];
                both.push(record(end, call.host, &[&returns[..], &common[..]].concat()));
            }
            both
        }
        What::State(change) => vec![record(
            at,
            change.host,
            &[
                ("kind", "state".to_owned()),
                ("text", words::state(change)),
                ("before", change.before.clone()),
                ("now", change.now.clone()),
                ("local", change.local.to_string()),
                ("peer", change.peer.map(|peer| peer.to_string()).unwrap_or_default()),
            ],
        )],
        What::Process(process) => vec![record(
            at,
            process.host,
            &[
                ("kind", "process".to_owned()),
                ("text", words::process(process)),
                ("process", process.pid.to_string()),
            ],
        )],
    }
}

/// A record of a host's own: `name: value` lines, empty values left out.
fn record(at: Nanos, host: Host, fields: &[(&str, String)]) -> Packet<'static> {
    let mut text = format!("host: {}\n", words::host(host));
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        // A value is one line, whatever a program put into it.
        text += &format!("{name}: {}\n", value.replace(['\n', '\r'], " "));
    }
    let interface = if host == Host::Client { 2 } else { 3 };
    Packet { at, interface, data: Cow::Owned(text.into_bytes()), comment: String::new() }
}
