//! A trace put together by hand: a handshake, a frame, a loss, a half-close, the end, TIME_WAIT.
//! For the outputs alone; what the sources see is tested with the kernel.

use std::net::SocketAddr;

use lab::record::{About, Call, Event, Host, Process, Segment, StateChange, Trace, What};

/// 2026-01-01 in nanoseconds.
const START: u64 = 1_767_225_600_000_000_000;

/// Builds a trace; times are microseconds since its start.
pub struct Script {
    pub trace: Trace,
    segments: u64,
}

pub fn client() -> SocketAddr {
    "10.0.0.1:40000".parse().unwrap()
}

pub fn server() -> SocketAddr {
    "10.0.0.2:9000".parse().unwrap()
}

impl Script {
    pub fn new(title: &str) -> Script {
        let about = About {
            title: title.to_owned(),
            server: "./server 10.0.0.2 9000".to_owned(),
            client: "./client 10.0.0.2 9000 <hello>".to_owned(),
            link: "delay 10 ms, drop 2".to_owned(),
            cost: "38 µs a traced call".to_owned(),
            late: "median 0.06 ms late, worst 0.31 ms; no segment more than 1 ms".to_owned(),
            missing: Vec::new(),
            broken: Vec::new(),
            notes: Vec::new(),
        };
        Script { trace: Trace { about, ..Trace::default() }, segments: 0 }
    }

    fn push(&mut self, at: u64, what: What) {
        self.trace.events.push(Event { at: START + at * 1000, what });
    }

    pub fn process(&mut self, at: u64, host: Host, text: &str) {
        let pid = pid(host);
        self.push(at, What::Process(Process { host, pid, text: text.to_owned() }));
    }

    /// `end` 0: it never returned.
    pub fn call(&mut self, at: u64, end: u64, host: Host, call: (&str, &str, &str), data: &[u8]) {
        let (name, args, result) = call;
        let ends = [(client(), server()), (server(), client())];
        let call = Call {
            host,
            pid: pid(host),
            tid: pid(host),
            name: name.to_owned(),
            args: args.to_owned(),
            fd: args.split(',').next().and_then(|fd| fd.trim().parse().ok()),
            conn: (at > 1000 || name == "accept4")
                .then_some(ends[usize::from(host == Host::Server)]),
            returned: (end > 0).then_some(START + end * 1000),
            cut_off: None,
            result: (!result.is_empty()).then(|| result.to_owned()),
            data: data.to_vec(),
            restarts: 0,
            count: 1,
            lines: Vec::new(),
        };
        self.push(at, What::Call(call));
    }

    /// `end` 0: lost. `seq` and `ack` are relative.
    pub fn segment(
        &mut self,
        (at, end): (u64, u64),
        from: Host,
        (flags, seq, ack): (&str, u32, u32),
        data: &[u8],
        fate: &str,
    ) {
        self.segments += 1;
        let (source, destination, initial) = match from {
            Host::Client => (client(), server(), 0x1000_0000u32),
            Host::Server => (server(), client(), 0x2000_0000),
        };
        let peer_initial = 0x3000_0000 - initial;
        let acks = flags.contains('.');
        let packet = packet(
            (source, destination),
            flags,
            initial.wrapping_add(seq),
            if acks { peer_initial.wrapping_add(ack) } else { 0 },
            data,
        );
        let segment = Segment {
            id: self.segments,
            from,
            arrived: (end > 0).then_some(START + end * 1000),
            fate: fate.to_owned(),
            late: 0,
            source,
            destination,
            flags: flags.to_owned(),
            seq,
            ack: acks.then_some(ack),
            initial: Some(initial),
            window: if flags.starts_with('S') { 64240 } else { 64256 },
            len: data.len() as u32,
            options: if flags.starts_with('S') {
                "mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7".to_owned()
            } else {
                "nop,nop,TS val 2 ecr 1".to_owned()
            },
            again: fate.contains("again"),
            packet,
        };
        let segment = Segment { fate: segment.fate.replace("again", ""), ..segment };
        self.push(at, What::Segment(segment));
    }

    pub fn state(&mut self, at: u64, host: Host, listener: bool, before: &str, now: &str) {
        let (local, peer) = match host {
            Host::Client => (client(), server()),
            Host::Server => (server(), client()),
        };
        let change = StateChange {
            host,
            local,
            peer: (!listener).then_some(peer),
            before: before.to_owned(),
            now: now.to_owned(),
            looks: None,
        };
        self.push(at, What::State(change));
    }
}

fn pid(host: Host) -> i32 {
    match host {
        Host::Client => 4712,
        Host::Server => 4711,
    }
}

/// An IPv4 packet with right checksums.
fn packet(ends: (SocketAddr, SocketAddr), flags: &str, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
    let address = |end: SocketAddr| match end {
        SocketAddr::V4(end) => end.ip().octets(),
        SocketAddr::V6(_) => unreachable!("the script speaks IPv4"),
    };
    let builder = etherparse::PacketBuilder::ipv4(address(ends.0), address(ends.1), 64).tcp(
        ends.0.port(),
        ends.1.port(),
        seq,
        64240,
    );
    let builder = if flags.contains('S') { builder.syn() } else { builder };
    let builder = if flags.contains('F') { builder.fin() } else { builder };
    let builder = if flags.contains('P') { builder.psh() } else { builder };
    let builder = if flags.contains('.') { builder.ack(ack) } else { builder };
    let mut packet = Vec::new();
    builder.write(&mut packet, data).unwrap();
    packet
}

/// The whole story.
pub fn half_close() -> Script {
    use Host::{Client, Server};
    let mut s = Script::new("half-close");
    let frame = b"\0\0\0\x05hello";
    s.process(0, Server, "runs ./server");
    s.call(100, 112, Server, ("socket", "AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0", "3"), b"");
    let bind = "3, {sa_family=AF_INET, sin_port=htons(9000), sin_addr=inet_addr(\"10.0.0.2\")}, 16";
    s.call(150, 160, Server, ("bind", bind, "0"), b"");
    s.call(190, 204, Server, ("listen", "3, 128", "0"), b"");
    s.state(205, Server, true, "CLOSED", "LISTEN");
    s.call(230, 31_400, Server, ("accept4", "3, {sa_family=AF_INET, …}, [16]", "4"), b"");
    s.process(900, Client, "runs ./client");
    s.call(1000, 1010, Client, ("socket", "AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0", "3"), b"");
    s.call(1050, 21_500, Client, ("connect", &bind["3, ".len()..].replace('{', "3, {"), "0"), b"");
    s.state(1060, Client, false, "CLOSED", "SYN_SENT");
    s.segment((1080, 11_100), Client, ("S", 0, 0), b"", "");
    s.state(11_120, Server, false, "CLOSED", "SYN_RECV");
    s.segment((11_150, 21_200), Server, ("S.", 0, 1), b"", "");
    s.state(21_230, Client, false, "SYN_SENT", "ESTABLISHED");
    s.segment((21_240, 31_300), Client, (".", 1, 1), b"", "");
    s.state(31_320, Server, false, "SYN_RECV", "ESTABLISHED");
    let args = "3, {msg_iov=[{\"\\0\\0\\0\\5\", 4}, {\"hello\", 5}]}, MSG_NOSIGNAL";
    s.call(21_600, 21_680, Client, ("sendmsg", args, "9"), frame);
    s.segment((21_630, 0), Client, ("P.", 1, 1), frame, "lost by the link (rule: drop 2)");
    s.call(21_720, 21_760, Client, ("shutdown", "3, SHUT_WR", "0"), b"");
    s.segment((21_740, 31_800), Client, ("F.", 10, 1), b"", "");
    s.state(21_741, Client, false, "ESTABLISHED", "FIN_WAIT1");
    s.call(21_800, 266_900, Client, ("recvfrom", "3, \"ok\", 64, 0, NULL, NULL", "2"), b"ok");
    s.call(
        31_700,
        256_350,
        Server,
        ("recvfrom", "4, \"\\0\\0\\0\\5\", 4, 0, NULL, NULL", "4"),
        &frame[..4],
    );
    s.segment((31_820, 41_900), Server, (".", 1, 1), b"", "");
    s.segment((246_000, 256_100), Client, ("P.", 1, 1), frame, "again");
    s.state(256_110, Server, false, "ESTABLISHED", "CLOSE_WAIT");
    s.segment((256_130, 266_200), Server, (".", 1, 11), b"", "");
    s.call(
        256_400,
        256_420,
        Server,
        ("recvfrom", "4, \"hello\", 5, 0, NULL, NULL", "5"),
        &frame[4..],
    );
    s.call(256_450, 256_460, Server, ("recvfrom", "4, \"\", 4, 0, NULL, NULL", "0"), b"");
    s.state(266_210, Client, false, "FIN_WAIT1", "FIN_WAIT2");
    s.call(256_500, 256_550, Server, ("sendto", "4, \"ok\", 2, MSG_NOSIGNAL, NULL, 0", "2"), b"ok");
    s.segment((256_520, 266_600), Server, ("P.", 1, 11), b"ok", "");
    s.segment((266_620, 276_700), Client, (".", 11, 3), b"", "");
    s.call(256_600, 256_650, Server, ("close", "4", "0"), b"");
    s.segment((256_620, 266_950), Server, ("F.", 3, 11), b"", "");
    s.state(256_630, Server, false, "CLOSE_WAIT", "LAST_ACK");
    s.state(266_960, Client, false, "FIN_WAIT2", "TIME_WAIT");
    s.segment((266_980, 277_000), Client, (".", 11, 4), b"", "");
    s.state(277_010, Server, false, "LAST_ACK", "CLOSED");
    s.call(267_000, 267_010, Client, ("recvfrom", "3, \"\", 64, 0, NULL, NULL", "0"), b"");
    s.call(267_100, 267_120, Client, ("close", "3", "0"), b"");
    s.call(
        277_100,
        277_110,
        Server,
        ("sendto", "4, \"x\", 1, 0, NULL, 0", "-1 EBADF (Bad file descriptor)"),
        b"x",
    );
    s.process(267_400, Client, "exits with 0");
    s.process(277_400, Server, "exits with 0");
    s.trace.events.sort_by_key(|event| event.at);
    s
}

/// Many segments and calls within microseconds, both ways.
pub fn crowd(count: u64) -> Script {
    let mut s = Script::new("crowd");
    for n in 0..count {
        let (at, seq) = (n * 3, (n * 10) as u32);
        let host = if n % 3 == 0 { Host::Server } else { Host::Client };
        s.segment((at, at + 40), host, ("P.", seq, 1), b"0123456789", "");
        s.call(
            at,
            at + 2,
            host,
            ("sendto", "3, \"0123456789\", 10, 0, NULL, 0", "10"),
            b"0123456789",
        );
        s.state(at + 1, host, n % 2 == 0, "FIN_WAIT1", "FIN_WAIT2");
    }
    s
}
