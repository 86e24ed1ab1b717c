//! What the link is to be like: the flags, and the same in words.

use std::fmt;
use std::time::Duration;

use clap::Args;

use crate::record::Host;
use crate::values::whole;

/// What the link, and TCP on both its hosts, are to be like. The default: as fast as it goes.
#[derive(Args, Clone, Debug, Default, PartialEq)]
#[command(next_help_heading = "The link")]
pub struct LinkConfig {
    /// How long a packet is under way, each way: 50ms, 200us, 1.5s
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "0ms")]
    #[arg(hide_default_value = true)]
    pub delay: Duration,

    /// Bits a second, each way, IP headers included: 10mbit, 64kbit, 1gbit
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub rate: Option<u64>,

    /// What may wait where there is a rate: 100kb, or 30p for packets [default: 1000p]
    #[arg(long, value_name = "SIZE", value_parser = queue, requires = "rate")]
    pub queue: Option<Queue>,

    /// Lose packets at random: 1%, both ways; client:1%, those that the client sends
    #[arg(long, value_name = "[HOST:]P", value_parser = loss, default_value = "0%")]
    #[arg(hide_default_value = true)]
    pub loss: Loss,

    /// What chance begins with: the same seed, the same losses
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(0..=u64::MAX))]
    pub seed: u64,

    /// Drop the client's N-th data segment; server:3, the server's; 3x2, its first two tries
    #[arg(long, value_name = "[HOST:]N[xTIMES]", value_parser = nth, value_delimiter = ',')]
    pub drop: Vec<Nth>,

    /// Deliver the N-th data segment twice; 2x3: and two times more
    #[arg(long, value_name = "[HOST:]N[xTIMES]", value_parser = nth, value_delimiter = ',')]
    pub dup: Vec<Nth>,

    /// Let the next packet overtake the N-th data segment; 4x3: the next three
    #[arg(long, value_name = "[HOST:]N[xTIMES]", value_parser = nth, value_delimiter = ',')]
    pub reorder: Vec<Nth>,

    /// The largest IP packet in bytes, 68 to 65535 [default: 1500]
    #[arg(long, value_name = "BYTES", value_parser = whole::<u32>(68..=65535))]
    pub mtu: Option<u32>,

    /// The congestion control of both hosts: reno, cubic, bbr [default: the system's]
    #[arg(long, value_name = "NAME", value_parser = word)]
    pub cc: Option<String>,

    /// Hosts with IPv6 addresses, too: client fd00::1, server fd00::2, for which {server} stands
    #[arg(long)]
    pub ipv6: bool,

    /// A setting for both hosts: net.ipv4.tcp_sack=0
    #[arg(long, value_name = "NAME=VALUE", value_parser = sysctl)]
    pub sysctl: Vec<(String, String)>,
}

impl LinkConfig {
    /// The largest IP packet in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu.unwrap_or(1500)
    }

    /// The rules as a segment's fate names them: "drop server:3x2".
    pub fn rules(&self) -> Vec<String> {
        let all = [("drop", &self.drop), ("dup", &self.dup), ("reorder", &self.reorder)];
        let named = |(name, rules): (&str, &Vec<Nth>)| -> Vec<String> {
            rules.iter().map(|nth| nth.rule(name)).collect()
        };
        all.into_iter().flat_map(named).collect()
    }

    /// What may wait where there is a rate.
    pub fn queue(&self) -> Queue {
        self.queue.unwrap_or(Queue::Packets(1000))
    }
}

/// The n-th data segment that a host sends, over all its connections, retransmissions not counted.
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

impl Nth {
    /// The flag that made the rule: "drop server:3x2".
    pub(super) fn rule(self, name: &str) -> String {
        let Nth { from, nth, times } = self;
        let from = if from == Host::Server { "server:" } else { "" };
        let times = if times > 1 { format!("x{times}") } else { String::new() };
        format!("{name} {from}{nth}{times}")
    }
}

/// How much waits for its turn; what comes on top is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// So many bytes, IP headers included.
    Bytes(u64),
    /// So many packets.
    Packets(u64),
}

/// The probability that a packet is lost, 0 to 1, by the host that sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loss {
    /// Of a packet from the client.
    pub from_client: f64,
    /// Of a packet from the server.
    pub from_server: f64,
}

impl Loss {
    /// The same both ways.
    pub fn both(probability: f64) -> Loss {
        Loss { from_client: probability, from_server: probability }
    }
}

/// A number and its unit, in small letters: "1.5 S" is (1.5, "s"). Only a number that is not
/// negative.
fn number_and_unit(text: &str) -> Option<(f64, String)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, text[end..].trim_matches(' ').to_lowercase()))
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text).unwrap_or_default();
    let seconds = match &*unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" | "µs" => 1e-6,
        _ => return Err("write a number and its unit: 200us, 50ms, 1.5s".into()),
    } * number;
    match seconds {
        0.0..=60.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("at most 60s".into()),
    }
}

fn rate(text: &str) -> Result<u64, String> {
    let (number, unit) = number_and_unit(text).unwrap_or_default();
    // "10Mbit/s" and "10Mbps" are the same.
    let short = unit.strip_suffix("/s").unwrap_or(&unit);
    let bits = match short.strip_suffix("bit").or(unit.strip_suffix("bps")) {
        Some("") => 1.0,
        Some("k") => 1e3,
        Some("m") => 1e6,
        Some("g") => 1e9,
        _ => return Err("write a number and its unit: 64kbit, 10mbit, 1gbit".into()),
    } * number;
    match bits {
        1000.0..=100e9 => Ok(bits as u64),
        _ => Err("1kbit to 100gbit".into()),
    }
}

fn queue(text: &str) -> Result<Queue, String> {
    let (number, unit) = number_and_unit(text).unwrap_or_default();
    let bytes = match &*unit {
        "p" if number >= 1.0 && number.fract() == 0.0 => return Ok(Queue::Packets(number as u64)),
        "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        _ => return Err("write a number and its unit: 100kb, 1mb, or 30p for packets".into()),
    } * number;
    if bytes < 1.0 { Err("at least 1b or 1p".into()) } else { Ok(Queue::Bytes(bytes as u64)) }
}

/// The host before the colon, where there is one, and the rest.
fn host_and_rest(text: &str) -> Result<(Option<Host>, &str), String> {
    match text.split_once(':') {
        None => Ok((None, text)),
        Some(("client", rest)) => Ok((Some(Host::Client), rest)),
        Some(("server", rest)) => Ok((Some(Host::Server), rest)),
        Some((other, _)) => Err(format!("{other:?} is no host: client or server")),
    }
}

fn loss(text: &str) -> Result<Loss, String> {
    let (host, text) = host_and_rest(text)?;
    let probability = match number_and_unit(text) {
        Some((percent, unit)) if unit == "%" => percent / 100.0,
        _ => return Err("write a percentage: 1%, 0.1%".into()),
    };
    if probability > 1.0 {
        return Err("at most 100%".into());
    }
    let of = |side| if host.is_none_or(|host| host == side) { probability } else { 0.0 };
    Ok(Loss { from_client: of(Host::Client), from_server: of(Host::Server) })
}

fn nth(text: &str) -> Result<Nth, String> {
    let (host, rest) = host_and_rest(text)?;
    let (nth, times) = rest.split_once('x').unwrap_or((rest, "1"));
    match (nth.parse(), times.parse()) {
        (Ok(nth @ 1..), Ok(times @ 1..=100)) => {
            Ok(Nth { from: host.unwrap_or(Host::Client), nth, times })
        }
        _ => Err("write which data segment, from 1: 3, server:3, 3x2".into()),
    }
}

fn word(text: &str) -> Result<String, String> {
    let ok = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !text.is_empty() && text.chars().all(ok) { Ok(text.into()) } else { Err("a name".into()) }
}

fn sysctl(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE: net.ipv4.tcp_sack=0")?;
    // Anything else is the machine's, not the host's.
    let ok = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if !name.starts_with("net.") || name.contains("..") || !name.chars().all(ok) {
        return Err("only net.* belongs to a host".into());
    }
    if value.trim().is_empty() || value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("write a value on one line: net.ipv4.tcp_sack=0".into());
    }
    Ok((name.into(), value.into()))
}

/// In words, for a page: "delay 50 ms each way, loss 1 %"; "as fast as it goes".
impl fmt::Display for LinkConfig {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let mut words = Vec::new();
        if self.ipv6 {
            words.push("IPv6".to_owned());
        }
        if !self.delay.is_zero() {
            words.push(format!("delay {} ms each way", self.delay.as_secs_f64() * 1e3));
        }
        if let Some(rate) = self.rate {
            words.push(format!("rate {}", scaled(rate, "bit/s")));
            words.push(match self.queue() {
                Queue::Bytes(bytes) => format!("queue {}", scaled(bytes, "B")),
                Queue::Packets(packets) => format!("queue {packets} packets"),
            });
        }
        let Loss { from_client, from_server } = self.loss;
        match (from_client * 100.0, from_server * 100.0) {
            (0.0, 0.0) => {}
            (client, server) if client == server => words.push(format!("loss {client} %")),
            (client, server) => words.push(format!("loss {client} % up, {server} % down")),
        }
        let rules =
            [(&self.drop, "dropped"), (&self.dup, "duplicated"), (&self.reorder, "overtaken")];
        for (rules, done) in rules {
            for Nth { from, nth, times } in rules {
                let from = if *from == Host::Client { "client" } else { "server" };
                let times = if *times > 1 { format!(" {times} times") } else { String::new() };
                words.push(format!("the {from}'s data segment {nth} {done}{times}"));
            }
        }
        words.extend(self.mtu.map(|mtu| format!("mtu {mtu}")));
        words.extend(self.cc.as_ref().map(|cc| format!("congestion control {cc}")));
        words.extend(self.sysctl.iter().map(|(name, value)| format!("{name}={value}")));
        if words.is_empty() {
            words.push("as fast as it goes".into());
        }
        out.write_str(&words.join(", "))
    }
}

/// "10 Mbit/s", "100 kB".
fn scaled(number: u64, unit: &str) -> String {
    let number = number as f64;
    match number {
        1e9.. => format!("{} G{unit}", number / 1e9),
        1e6.. => format!("{} M{unit}", number / 1e6),
        1e3.. => format!("{} k{unit}", number / 1e3),
        _ => format!("{number} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, FromArgMatches};

    use super::*;

    fn parse(args: &[&str]) -> Result<LinkConfig, String> {
        let command = LinkConfig::augment_args(clap::Command::new("link").no_binary_name(true));
        let matches = command.try_get_matches_from(args).map_err(|e| e.to_string())?;
        LinkConfig::from_arg_matches(&matches).map_err(|e| e.to_string())
    }

    #[test]
    fn no_flag_is_the_default() {
        assert_eq!(parse(&[]), Ok(LinkConfig::default()));
        assert_eq!(LinkConfig::default().to_string(), "as fast as it goes");
    }

    #[test]
    fn every_flag() {
        let line = "--delay 1.5ms --rate 10mbit --queue 100kb --loss server:0.5% --seed 7 \
                    --drop 3,server:4x2 --dup 2 --reorder 4x3 --mtu 1400 --cc reno \
                    --ipv6 --sysctl net.ipv4.tcp_sack=0";
        let config = parse(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        let nth = |from, nth, times| Nth { from, nth, times };
        let expected = LinkConfig {
            delay: Duration::from_micros(1500),
            rate: Some(10_000_000),
            queue: Some(Queue::Bytes(100_000)),
            loss: Loss { from_client: 0.0, from_server: 0.005 },
            seed: 7,
            drop: vec![nth(Host::Client, 3, 1), nth(Host::Server, 4, 2)],
            dup: vec![nth(Host::Client, 2, 1)],
            reorder: vec![nth(Host::Client, 4, 3)],
            mtu: Some(1400),
            cc: Some("reno".into()),
            ipv6: true,
            sysctl: vec![("net.ipv4.tcp_sack".into(), "0".into())],
        };
        assert_eq!(config, expected);
        assert_eq!(
            config.to_string(),
            "IPv6, delay 1.5 ms each way, rate 10 Mbit/s, queue 100 kB, loss 0 % up, 0.5 % down, \
             the client's data segment 3 dropped, the server's data segment 4 dropped 2 times, \
             the client's data segment 2 duplicated, the client's data segment 4 overtaken 3 \
             times, mtu 1400, congestion control reno, net.ipv4.tcp_sack=0"
        );
    }

    #[test]
    fn units_as_people_write_them() {
        for text in ["10mbit", "10Mbit", "10 Mbit", "10Mbit/s", "10Mbps", "10000kbit", "0.01Gbit"] {
            assert_eq!(rate(text), Ok(10_000_000), "{text}");
        }
        assert_eq!(queue("100KB"), queue("100kb"));
        assert_eq!(duration("5 MS"), duration("5ms"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let wrong = [
            ("--delay 50", "200us, 50ms, 1.5s"),
            ("--delay=-1ms", "200us, 50ms, 1.5s"),
            ("--delay 61s", "at most 60s"),
            ("--rate 10", "10mbit"),
            ("--rate 1bit", "1kbit to 100gbit"),
            ("--queue 30p", "--rate"),
            ("--rate 1mbit --queue 0b", "at least"),
            ("--loss 1", "percentage"),
            ("--loss 101%", "at most 100%"),
            ("--loss peer:1%", "is no host"),
            ("--drop 0", "from 1"),
            ("--drop 3x0", "from 1"),
            ("--mtu 10", "68 to 65535"),
            ("--cc ../x", "a name"),
            ("--sysctl kernel.panic=1", "only net.*"),
            ("--sysctl net.ipv4.../x=1", "only net.*"),
            ("--sysctl net.ipv4.tcp_sack=", "write a value"),
            ("--sysctl net.ipv4.tcp_sack=0\n1", "on one line"),
            ("--delay 5ms\n", "200us, 50ms, 1.5s"),
            ("--rate 10MB/s", "10mbit"),
            ("--seed=-1", "a whole number, 0 or more"),
        ];
        for (line, words) in wrong {
            let error = parse(&line.split(' ').collect::<Vec<_>>()).unwrap_err();
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
