//! What the link is to be like: the flags, and the same in words.

use std::time::Duration;

use clap::Args;

use crate::record::Host;

/// The n-th data segment that a host sends, retransmissions not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nth {
    /// Who sends it.
    pub from: Host,
    /// Which one, from 1.
    pub nth: u32,
    /// How often. Drop: this many of its transmissions. Dup: this many more copies.
    /// Reorder: this many packets overtake it.
    pub times: u32,
}

/// How much waits before a link of a given rate; what comes on top is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// So many bytes, IP headers included.
    Bytes(u64),
    /// So many packets.
    Packets(u64),
}

/// What the link, and TCP on both its hosts, are to be like.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The link")]
pub struct LinkConfig {
    /// How long a packet is under way, each way.
    #[arg(skip)]
    pub delay: Duration,
    /// Bits a second, each way, IP headers included. `None`: as fast as it goes.
    #[arg(skip)]
    pub rate: Option<u64>,
    /// How much waits for its turn where there is a rate.
    #[arg(skip)]
    pub queue: Option<Queue>,
    /// The probability that a packet from the client is lost, 0 to 1.
    #[arg(skip)]
    pub loss_from_client: f64,
    /// The probability that a packet from the server is lost, 0 to 1.
    #[arg(skip)]
    pub loss_from_server: f64,
    /// What chance begins from: the same seed loses the same packets.
    #[arg(skip)]
    pub seed: u64,
    /// Data segments to drop.
    #[arg(skip)]
    pub drop: Vec<Nth>,
    /// Data segments to deliver more than once.
    #[arg(skip)]
    pub dup: Vec<Nth>,
    /// Data segments that others overtake.
    #[arg(skip)]
    pub reorder: Vec<Nth>,
    /// The largest IP packet, in bytes. `None`: 1500.
    #[arg(skip)]
    pub mtu: Option<u32>,
    /// The congestion control of both hosts: "reno", "cubic". `None`: the system's.
    #[arg(skip)]
    pub cc: Option<String>,
    /// More for both hosts: ("net.ipv4.tcp_sack", "0").
    #[arg(skip)]
    pub sysctl: Vec<(String, String)>,
}
