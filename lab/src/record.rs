//! What a trace is: events in the order in which they happened. Every output reads this alone.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Nanoseconds of CLOCK_REALTIME, as the kernel stamps packets with it.
pub type Nanos = u64;

/// So many bytes of source are kept at most, of whole files.
const SOURCES: usize = 2 << 20;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// The one that ran `--server`.
    Server,
    /// The one that ran `--client`.
    Client,
}

/// A whole trace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Trace {
    /// What was run, over what.
    pub about: About,
    /// The threads that the programs made, processes' first ones included.
    #[serde(default)]
    pub births: Vec<Birth>,
    /// The files that the calls' lines are in.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// By the time at which they began.
    pub events: Vec<Event>,
    /// What the sockets' own figures were, as they changed, by time.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

impl Trace {
    /// Reads the files that the calls' lines are in, as they are now.
    pub fn read_sources(&mut self) {
        let calls = self.events.iter().filter_map(|event| match &event.what {
            What::Call(call) => Some(call),
            _ => None,
        });
        let lines = calls.flat_map(|call| &call.lines);
        let files: BTreeSet<&str> =
            lines.filter_map(|line| Some(line.rsplit_once(':')?.0)).collect();
        let mut room = SOURCES;
        let sources = files.into_iter().filter_map(|file| {
            let text = String::from_utf8_lossy(&fs::read(file).ok()?).into_owned();
            room = room.checked_sub(text.len())?;
            Some(Source { file: file.to_owned(), text })
        });
        self.sources = sources.collect();
    }
}

/// A file of source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name, as the calls' lines have it.
    pub file: String,
    /// All of it.
    pub text: String,
}

/// What was run, over what, and at what price.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct About {
    /// A short name: that of the example, or the client's program.
    pub title: String,
    /// The server's command line.
    pub server: String,
    /// The client's command line.
    pub client: String,
    /// The link in words: "delay 50 ms, loss 1 %"; "as fast as it goes".
    pub link: String,
    /// What tracing cost in this run: "38 µs a traced call".
    pub cost: String,
    /// How late the link was: "median 0.06 ms late, worst 1.32 ms; …".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub late: String,
    /// What this trace lacks, and why: "system calls: ptrace is not allowed here".
    pub missing: Vec<String>,
    /// What its reader has to know: an accept queue that was full, an address that is not the peer's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Which rules of order it breaks (`rules`), a line each: none, or the lab is wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub broken: Vec<String>,
}

/// A thread was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// When.
    pub at: Nanos,
    /// The thread; of a process, the first one.
    pub tid: i32,
    /// The thread that made it.
    pub by: i32,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// When it began.
    pub at: Nanos,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

impl Event {
    /// When all of it was known: a call returned or was cut off, a segment arrived.
    pub fn complete(&self) -> Nanos {
        let end = match &self.what {
            What::Call(call) => call.returned.or(call.cut_off),
            What::Segment(segment) => segment.arrived,
            What::State(_) | What::Process(_) => None,
        };
        end.unwrap_or(self.at)
    }

    /// What to sort by: when all of it was known; in the same moment what arrives comes before the
    /// state that it causes, and that before a return.
    pub fn order(&self) -> (Nanos, u8) {
        let rank = match &self.what {
            What::Segment(_) => 0,
            What::State(_) => 1,
            What::Call(_) => 2,
            What::Process(_) => 3,
        };
        (self.complete(), rank)
    }
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    /// A system call.
    Call(Call),
    /// A segment, on its way from one host to the other.
    Segment(Segment),
    /// A socket has changed its TCP state.
    State(StateChange),
    /// A process has begun, ended, or received a signal.
    Process(Process),
}

/// A system call. It began at the event's `at`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Where.
    pub host: Host,
    /// The process.
    pub pid: i32,
    /// The thread: the same as `pid` for the first one.
    pub tid: i32,
    /// "sendto", as the kernel names it.
    pub name: String,
    /// "4, \"hello\", 5, MSG_NOSIGNAL": as strace(1) would write them.
    pub args: String,
    /// The descriptor that it is about.
    pub fd: Option<i32>,
    /// Which connection that is, once it has both ends: local, peer.
    pub conn: Option<(SocketAddr, SocketAddr)>,
    /// When it returned; `None`: it never did.
    pub returned: Option<Nanos>,
    /// When its thread ended inside it, if it never returned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_off: Option<Nanos>,
    /// What it returned, as strace(1) would write it: "5", "-1 EPIPE (Broken pipe)".
    pub result: Option<String>,
    /// The bytes that it moved, as many as are kept (64 at most).
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "crate::hex")]
    pub data: Vec<u8>,
    /// How often a signal interrupted it and the kernel began it anew (SA_RESTART).
    #[serde(default)]
    pub restarts: u32,
    /// How many it stands for: waits in a row from the same lines that ended with nothing, in a
    /// program that wakes by a timer. It began with the first and returned with the last.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: u32,
    /// The lines of source that led to it, in the program's own files, the outermost first:
    /// "src/sys.rs:77". None: the program has no debug information.
    #[serde(default)]
    pub lines: Vec<String>,
}

fn once() -> u32 {
    1
}

fn is_once(count: &u32) -> bool {
    *count == 1
}

impl Call {
    /// The bytes that it moved, where it moves bytes.
    pub fn moved(&self) -> u64 {
        let result = self.result.as_deref().unwrap_or_default();
        let number = match self.name.as_str() {
            // It returns how many messages: "2 (12 bytes)".
            "sendmmsg" | "recvmmsg" => result.split_once('(').map_or("", |(_, bytes)| bytes),
            _ => result,
        };
        number.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Whether its descriptor is the first of its arguments.
    fn is_first(&self) -> bool {
        let first = self.args.split(',').next().and_then(|first| first.parse().ok());
        first == self.fd
    }

    /// Whether it takes bytes out of a stream, or looks at them.
    pub fn receives(&self) -> bool {
        match self.name.as_str() {
            "read" | "readv" | "preadv2" | "recvfrom" | "recvmsg" | "recvmmsg" => true,
            "splice" => self.is_first(),
            _ => false,
        }
    }

    /// Whether it puts bytes into a stream.
    pub fn sends(&self) -> bool {
        match self.name.as_str() {
            "write" | "writev" | "pwritev2" | "sendto" | "sendmsg" | "sendmmsg" => true,
            "sendfile" => self.is_first(),
            "splice" => !self.is_first(),
            _ => false,
        }
    }

    /// Whether it waits for descriptors.
    pub fn waits(&self) -> bool {
        let waits =
            ["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"];
        waits.contains(&self.name.as_str())
    }

    /// Whether it waited for descriptors and none was ready in time.
    pub fn found_nothing(&self) -> bool {
        self.waits() && matches!(self.result.as_deref(), Some("0" | "0 (Timeout)"))
    }
}

fn is_on_time(late: &Nanos) -> bool {
    *late == 0
}

/// A TCP segment. It left at the event's `at`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// A number of its own, from 1.
    pub id: u64,
    /// The host that it left.
    pub from: Host,
    /// When the other host got it; `None`: it never did.
    pub arrived: Option<Nanos>,
    /// What the link did with it: "lost by the link (rule: drop 3)", "queue full", "duplicated".
    /// Empty: nothing but carry it.
    #[serde(default)]
    pub fate: String,
    /// By how much the link handed it over later than it was due, where that is more than
    /// [`LATE`](crate::link::LATE): this machine had other things to do.
    #[serde(default, skip_serializing_if = "is_on_time")]
    pub late: Nanos,
    /// The sender's address.
    pub source: SocketAddr,
    /// The receiver's address.
    pub destination: SocketAddr,
    /// Packetdrill's letters in its order: "S", "S.", ".", "P.", "F.", "R", "R.".
    pub flags: String,
    /// The sequence number of its first byte, counted from the sender's initial one.
    pub seq: u32,
    /// The next byte that the sender expects, counted from the peer's initial number.
    pub ack: Option<u32>,
    /// The sender's initial sequence number, as far as it is known.
    pub initial: Option<u32>,
    /// The window, scaled: bytes.
    pub window: u64,
    /// The bytes of the stream that it carries.
    pub len: u32,
    /// Its options, packetdrill's way: "mss 1460,sackOK,TS val 1 ecr 0,nop,wscale 7".
    pub options: String,
    /// Carries again what an earlier segment has carried.
    #[serde(default)]
    pub again: bool,
    /// The packet from its IP header on.
    #[serde(with = "crate::hex")]
    pub packet: Vec<u8>,
}

/// A socket has changed its TCP state; `at` is the moment of what caused it: see `rules`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StateChange {
    /// Where.
    pub host: Host,
    /// The socket's own address.
    pub local: SocketAddr,
    /// Its peer; `None` for a listener.
    pub peer: Option<SocketAddr>,
    /// The state before: "CLOSED" for a socket that was not there.
    pub before: String,
    /// The state now: "SYN_SENT", "TIME_WAIT", as tcp(7) and RFC 9293 name them.
    pub now: String,
    /// When the look before began, which did not see it yet, and when the one that did was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looks: Option<(Nanos, Nanos)>,
}

/// What a socket's own figures were when it was looked at, where one of them differs from those of
/// the look before. See INET_DIAG_INFO in sock_diag(7), and TCP_INFO in tcp(7).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When the look was over.
    pub at: Nanos,
    /// Where.
    pub host: Host,
    /// The socket's own address.
    pub local: SocketAddr,
    /// Its peer; `None` for a listener.
    pub peer: Option<SocketAddr>,
    /// Bytes that have come and that the program has not taken; of a listener, the connections that
    /// wait in its accept queue.
    pub recv_queue: u32,
    /// Bytes that the program has sent and the peer has not acknowledged; of a listener, the backlog.
    pub send_queue: u32,
    /// What a connection knows besides.
    #[serde(flatten)]
    pub path: Option<PathInfo>,
}

/// What a connection knows of the way to its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// The congestion window, in segments.
    pub cwnd: u32,
    /// The slow start threshold, in segments; `None`: no loss has set one yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssthresh: Option<u32>,
    /// The smoothed round-trip time, in microseconds; 0: not measured yet.
    pub rtt: u32,
    /// How many segments it has sent again so far.
    pub retransmits: u32,
}

/// A process has begun, ended, or received a signal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Where.
    pub host: Host,
    /// Which; 0: none, for the lab says how much it has left out here.
    pub pid: i32,
    /// "runs python3", "exits with 0", "is killed by SIGPIPE", "gets SIGUSR1".
    pub text: String,
}
