//! A call's arguments in words, as strace(1) writes them.

use std::net::{Ipv4Addr, Ipv6Addr};

use nix::errno::Errno;

use super::memory::Memory;
use super::names;
use super::table::{Arg, Spec, Subject};

/// How many bytes of data are kept, and how many of them are written into the arguments.
const KEPT: usize = 64;
const SHOWN: usize = 32;

/// How many pieces, descriptors or events of a list are written.
const LISTED: usize = 8;

/// The arguments of one call, as far as they are known.
pub struct Text {
    memory: Memory,
    raw: [u64; 6],
    spec: &'static Spec,
    /// One a argument; `None`: known once the call is over.
    parts: Vec<Option<String>>,
    /// The lengths that the kernel is to overwrite, as they were before.
    lengths: [i32; 6],
    /// The bytes that it moves, as many as are kept.
    pub data: Vec<u8>,
}

impl Text {
    /// At the entry: what the program has said.
    pub fn at_entry(spec: &'static Spec, pid: i32, raw: [u64; 6]) -> Self {
        let mut text = Self {
            memory: Memory(pid),
            raw,
            spec,
            parts: Vec::new(),
            lengths: [0; 6],
            data: Vec::new(),
        };
        text.parts = (0..spec.args.len()).map(|index| text.entry(index)).collect();
        text
    }

    /// At the exit: what the kernel has answered, if it did not fail.
    pub fn at_exit(&mut self, returned: Option<u64>) {
        for index in 0..self.parts.len() {
            if self.parts[index].is_none() {
                self.parts[index] = Some(match returned {
                    Some(value) => {
                        self.exit(index, value).unwrap_or_else(|| pointer(self.raw[index]))
                    }
                    None => self.failed(index),
                });
            }
        }
    }

    /// "4, \"hello\", 5, MSG_NOSIGNAL". What is not known yet is left out.
    pub fn joined(&self) -> String {
        let shown = self.parts.iter();
        let shown: Vec<_> = shown.map(|part| part.as_deref().unwrap_or("...")).collect();
        shown.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
    }

    fn entry(&mut self, index: usize) -> Option<String> {
        let value = self.raw[index];
        let next = self.raw.get(index + 1).copied().unwrap_or(0);
        let known = match self.spec.args[index] {
            Arg::Fd | Arg::Int => (value as i32).to_string(),
            Arg::Size => value.to_string(),
            Arg::Domain => names::domain(value),
            Arg::Type => names::socket_type(value),
            Arg::Protocol => names::protocol(value),
            Arg::SockFlags => names::sock_flags(value),
            Arg::MsgFlags => names::msg_flags(value),
            Arg::How => names::how(value),
            Arg::Level => names::level(value),
            Arg::Option => names::option(self.raw[index - 1], value),
            Arg::OptionIn => self.option(index, next)?,
            Arg::EpollOp => names::epoll_op(value),
            Arg::Command => names::command(value).unwrap_or_else(|| value.to_string()),
            Arg::Request => names::request(value).unwrap_or_else(|| pointer(value)),
            Arg::SpliceFlags => names::splice(value),
            Arg::Pointer => pointer(value),
            Arg::Hidden => String::new(),
            Arg::Operand => match self.raw[index - 1] as i32 {
                libc::F_SETFL => names::status(value),
                libc::F_GETFL => String::new(),
                _ => (value as i32).to_string(),
            },
            Arg::Reply if self.raw[index - 1] != libc::FIONBIO => return None,
            Arg::Reply => format!("[{}]", self.memory.int(value)?),
            Arg::AddrIn => self.address(value, next as usize)?,
            Arg::BytesIn => {
                let data = self.memory.bytes(value, (next as usize).min(KEPT));
                self.quoted(data, next as usize).unwrap_or_else(|| pointer(value))
            }
            Arg::IovIn => self.iov(value, next as usize, u64::MAX)?,
            Arg::MsgIn => self.message(value, u64::MAX)?,
            Arg::MmsgIn => self.messages(value, next as usize, false)?,
            Arg::Pollfds => self.pollfds(value, next as usize, false)?,
            Arg::Fdset => self.fdset(value)?,
            Arg::Timeval => self.time(value, "tv_usec")?,
            Arg::Timespec => self.time(value, "tv_nsec")?,
            Arg::EpollIn => self.epoll(value, 1)?,
            Arg::LenOut => {
                self.lengths[index] = self.memory.int(value).unwrap_or(0);
                return None;
            }
            Arg::OptionOut
            | Arg::AddrOut
            | Arg::BytesOut
            | Arg::IovOut
            | Arg::MsgOut
            | Arg::MmsgOut
            | Arg::EpollOut => return None,
        };
        Some(known)
    }

    fn exit(&mut self, index: usize, returned: u64) -> Option<String> {
        let value = self.raw[index];
        let next = self.raw.get(index + 1).copied().unwrap_or(0);
        if value == 0 {
            return Some("NULL".to_owned());
        }
        match self.spec.args[index] {
            Arg::BytesOut => {
                let data = self.memory.bytes(value, (returned as usize).min(KEPT));
                self.quoted(data, returned as usize)
            }
            Arg::IovOut => self.iov(value, next as usize, returned),
            Arg::MsgOut => self.message(value, returned),
            Arg::MmsgOut => self.messages(value, returned as usize, true),
            Arg::AddrOut => {
                let room = self.lengths[index + 1];
                let len = self.memory.int(next)?.min(room);
                self.address(value, usize::try_from(len).ok()?)
            }
            Arg::LenOut => {
                let (before, now) = (self.lengths[index], self.memory.int(value)?);
                let same = before == now;
                Some(if same { format!("[{now}]") } else { format!("[{before} => {now}]") })
            }
            Arg::OptionOut => {
                let len = self.memory.int(next)?;
                self.option(index, u64::try_from(len).ok()?)
            }
            Arg::EpollOut => self.epoll(value, returned as usize),
            Arg::Reply => Some(format!("[{}]", self.memory.int(value)?)),
            _ => None,
        }
    }

    /// An argument of a call that failed: what it would have brought is not there.
    fn failed(&self, index: usize) -> String {
        match (self.spec.args[index], self.raw[index]) {
            (_, 0) => "NULL".to_owned(),
            (Arg::LenOut, _) => format!("[{}]", self.lengths[index]),
            (_, value) => pointer(value),
        }
    }

    /// What a call returned that did not fail: "5", "1 ([{fd=3, revents=POLLIN}])".
    pub fn result(&self, returned: u64) -> String {
        match self.in_words(returned) {
            Some(words) => format!("{returned} ({words})"),
            None => (returned as i64).to_string(),
        }
    }

    fn in_words(&self, returned: u64) -> Option<String> {
        let waits = matches!(self.spec.about, Subject::Poll | Subject::Select);
        Some(match self.spec.args {
            _ if waits && returned == 0 => "Timeout".to_owned(),
            [Arg::Pollfds, ..] => self.pollfds(self.raw[0], self.raw[1] as usize, true)?,
            [Arg::Fd, Arg::MmsgIn | Arg::MmsgOut, ..] => {
                let at = |index: u64| self.raw[1] + 64 * index + 56; // its msg_len
                let lengths = (0..returned.min(1024)).map(|index| self.memory.int(at(index)));
                let all: Option<Vec<i32>> = lengths.collect();
                format!("{} bytes", all?.into_iter().map(i64::from).sum::<i64>())
            }
            [Arg::Fd, Arg::Command, ..] if self.raw[1] == libc::F_GETFL as u64 => {
                names::status(returned)
            }
            [Arg::Int, Arg::Fdset, ..] => {
                let sets = ["in", "out", "except"].iter().zip(1..4);
                let sets = sets.filter(|(_, index)| self.raw[*index] != 0);
                let sets: Option<Vec<_>> = sets
                    .map(|(name, index)| Some(format!("{name} {}", self.fdset(self.raw[index])?)))
                    .collect();
                sets?.into_iter().filter(|set| !set.ends_with("[]")).collect::<Vec<_>>().join(", ")
            }
            _ => return None,
        })
    }

    /// The descriptors that a `poll` or `select` asks about.
    pub fn polled(spec: &Spec, pid: i32, raw: &[u64; 6]) -> Vec<i32> {
        let memory = Memory(pid);
        match spec.args {
            [Arg::Pollfds, ..] => {
                let all = pollfds(memory, raw[0], raw[1] as usize).unwrap_or_default();
                all.iter().map(|(fd, _, _)| *fd).collect()
            }
            _ => (1..4).flat_map(|index| fdset(memory, raw[index], raw[0])).collect(),
        }
    }

    fn quoted(&mut self, data: Option<Vec<u8>>, len: usize) -> Option<String> {
        let data = data?;
        let room = KEPT - self.data.len().min(KEPT);
        self.data.extend_from_slice(&data[..data.len().min(room)]);
        Some(quoted(&data, len))
    }

    /// An iovec array that holds `total` bytes at most (what a call returned).
    fn iov(&mut self, address: u64, count: usize, total: u64) -> Option<String> {
        let words = self.memory.words(address, 2 * count.min(LISTED))?;
        let mut left = total;
        let mut parts = Vec::new();
        for &[base, len] in words.as_chunks().0 {
            let filled = len.min(left);
            left -= filled;
            let data = self.memory.bytes(base, (filled as usize).min(KEPT));
            let text = self.quoted(data, filled as usize).unwrap_or_else(|| pointer(base));
            parts.push(format!("{{iov_base={text}, iov_len={len}}}"));
        }
        Some(list(parts, count))
    }

    /// A msghdr. Its layout is the same on both architectures: words, two of them half used.
    fn message(&mut self, address: u64, total: u64) -> Option<String> {
        let words = self.memory.words(address, 7)?;
        let [name, name_len, iov, iov_count, _control, control_len, flags] = words[..] else {
            return None;
        };
        let name_len = name_len as u32 as usize;
        let name = if name == 0 { "NULL".to_owned() } else { self.address(name, name_len)? };
        let iov = self.iov(iov, iov_count as usize, total)?;
        let flags = names::msg_flags(flags & u64::from(u32::MAX));
        Some(format!(
            "{{msg_name={name}, msg_namelen={name_len}, msg_iov={iov}, msg_iovlen={iov_count}, \
             msg_controllen={control_len}, msg_flags={flags}}}"
        ))
    }

    /// An array of mmsghdr: a msghdr of seven words and a length each.
    fn messages(&mut self, address: u64, count: usize, received: bool) -> Option<String> {
        let mut parts = Vec::new();
        for index in 0..count.min(LISTED) {
            let at = address + 64 * index as u64;
            let len = self.memory.int(at + 56)? as u64;
            let message = self.message(at, if received { len } else { u64::MAX })?;
            parts.push(format!("{{msg_hdr={message}}}"));
        }
        Some(list(parts, count))
    }

    fn address(&self, address: u64, len: usize) -> Option<String> {
        if address == 0 {
            return Some("NULL".to_owned());
        }
        sockaddr(&self.memory.bytes(address, len.min(size_of::<libc::sockaddr_storage>()))?)
    }

    fn option(&self, index: usize, len: u64) -> Option<String> {
        let (option, address) = (self.raw[index - 1] as i32, self.raw[index]);
        let level = self.raw[index - 2] as i32;
        let bytes = self.memory.bytes(address, (len as usize).min(KEPT))?;
        let ints: Vec<i32> =
            bytes.as_chunks().0.iter().map(|bytes| i32::from_ne_bytes(*bytes)).collect();
        Some(match (level, option, &ints[..]) {
            (libc::SOL_SOCKET, libc::SO_ERROR, [error]) if *error != 0 => {
                format!("[{:?}]", Errno::from_raw(*error))
            }
            (libc::SOL_SOCKET, libc::SO_LINGER, [on, seconds]) => {
                format!("{{l_onoff={on}, l_linger={seconds}}}")
            }
            (libc::SOL_SOCKET, libc::SO_RCVTIMEO | libc::SO_SNDTIMEO, [_, _, _, _]) => {
                self.time(address, "tv_usec")?
            }
            (libc::IPPROTO_TCP, libc::TCP_CONGESTION, _) => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                quoted(&bytes[..end], end)
            }
            (_, _, [value]) => format!("[{value}]"),
            _ => quoted(&bytes, len as usize),
        })
    }

    /// A timeval or timespec: two words.
    fn time(&self, address: u64, fraction: &str) -> Option<String> {
        if address == 0 {
            return Some("NULL".to_owned());
        }
        let words = self.memory.words(address, 2)?;
        Some(format!("{{tv_sec={}, {fraction}={}}}", words[0] as i64, words[1] as i64))
    }

    fn pollfds(&self, address: u64, count: usize, ready: bool) -> Option<String> {
        let all = pollfds(self.memory, address, count)?;
        let all = all.iter().filter(|(_, _, revents)| !ready || *revents != 0);
        let parts: Vec<String> = all
            .map(|(fd, events, revents)| match ready {
                false => format!("{{fd={fd}, events={}}}", names::poll(*events)),
                true => format!("{{fd={fd}, revents={}}}", names::poll(*revents)),
            })
            .collect();
        let count = parts.len();
        Some(list(parts, count))
    }

    fn fdset(&self, address: u64) -> Option<String> {
        if address == 0 {
            return Some("NULL".to_owned());
        }
        let fds: Vec<_> = fdset(self.memory, address, self.raw[0]).collect();
        let fds: Vec<_> = fds.iter().map(i32::to_string).collect();
        Some(format!("[{}]", fds.join(" ")))
    }

    /// An array of epoll_event.
    fn epoll(&self, address: u64, count: usize) -> Option<String> {
        if address == 0 {
            return Some("NULL".to_owned());
        }
        let size = size_of::<libc::epoll_event>();
        let data = std::mem::offset_of!(libc::epoll_event, u64) as u64;
        let mut parts = Vec::new();
        for index in 0..count.min(LISTED) {
            let at = address + (index * size) as u64;
            let events = names::epoll(u64::from(self.memory.int(at)? as u32));
            parts.push(format!("{{events={events}, data={:#x}}}", self.memory.word(at + data)?));
        }
        Some(list(parts, count))
    }
}

/// A failure: "-1 EPIPE (Broken pipe)".
pub fn failure(errno: i32) -> String {
    let errno = Errno::from_raw(errno);
    format!("-1 {errno:?} ({})", errno.desc())
}

fn pollfds(memory: Memory, address: u64, count: usize) -> Option<Vec<(i32, u64, u64)>> {
    let bytes = memory.bytes(address, 8 * count.min(1024))?;
    let all = bytes.as_chunks().0.iter().map(|&[a, b, c, d, e, f, g, h]| {
        let events = u16::from_ne_bytes([e, f]).into();
        let revents = u16::from_ne_bytes([g, h]).into();
        (i32::from_ne_bytes([a, b, c, d]), events, revents)
    });
    Some(all.collect())
}

/// The descriptors in a set for descriptors below `limit`.
fn fdset(memory: Memory, address: u64, limit: u64) -> impl Iterator<Item = i32> {
    let limit = limit.min(libc::FD_SETSIZE as u64) as usize;
    let words = memory.words(address, limit.div_ceil(64)).unwrap_or_default();
    (0..limit as i32).filter(move |fd| {
        words.get(*fd as usize / 64).is_some_and(|word| word >> (fd % 64) & 1 == 1)
    })
}

fn list(mut parts: Vec<String>, count: usize) -> String {
    if count > parts.len() {
        parts.push("...".to_owned());
    }
    format!("[{}]", parts.join(", "))
}

fn pointer(value: u64) -> String {
    if value == 0 { "NULL".to_owned() } else { format!("{value:#x}") }
}

/// Bytes as a C string literal, cut.
fn quoted(data: &[u8], len: usize) -> String {
    let shown = &data[..data.len().min(SHOWN)];
    let more = if len > shown.len() { "..." } else { "" };
    format!("\"{}\"{more}", shown.escape_ascii().to_string().replace("\\'", "'"))
}

fn sockaddr(bytes: &[u8]) -> Option<String> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = || Some(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?));
    Some(match i32::from(family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?);
            let port = port()?;
            format!("{{sa_family=AF_INET, sin_port=htons({port}), sin_addr=inet_addr(\"{ip}\")}}")
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?);
            let port = port()?;
            format!(
                "{{sa_family=AF_INET6, sin6_port=htons({port}), \
                 inet_pton(AF_INET6, \"{ip}\", &sin6_addr)}}"
            )
        }
        _ => format!("{{sa_family={}}}", names::domain(family.into())),
    })
}
