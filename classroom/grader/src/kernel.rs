//! What a process is doing, as the kernel tells it in `/proc`. man: proc(5).

use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};
use say::say;

/// One look at a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// `R` runs, `S` sleeps, `D` sleeps where no signal wakes it, `Z` has ended.
    pub state: char,
    /// It is in the answer's call, not in what the grader does before and after it.
    pub answering: bool,
    /// The system call it is in and the call's first argument, which mostly is a descriptor.
    pub call: Option<(i64, i32)>,
    /// Milliseconds after which `poll` and its like return by themselves; negative: never.
    pub timeout: Option<i32>,
    /// How often it went to sleep by itself: every sleep is one more.
    pub sleeps: u64,
    /// Processor time used, in clock ticks of 10 ms.
    pub ticks: u64,
    /// Memory that it has touched, in pages.
    pub pages: u64,
}

/// The name of a process in the answer's call: PR_SET_NAME of prctl(2).
pub const ANSWERING: &str = "answering";

/// Looks at the main thread of `pid`.
pub fn look(pid: i32) -> io::Result<Look> {
    let (stat, status) = (read(pid, "stat")?, read(pid, "status")?);
    // The name, in parentheses, may hold anything; the state comes after it.
    let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
    let state = fields.next().and_then(|f| f.chars().next()).unwrap_or('?');
    let numbers: Vec<u64> = fields.skip(10).take(11).filter_map(|f| f.parse().ok()).collect();
    let (ticks, pages) = match numbers[..] {
        [user, system, .., pages] => (user + system, pages), // utime, stime … rss
        _ => (0, 0),
    };
    let mut lines = status.rsplit('\n');
    let sleeps = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    // `45 0x4 0x7ffc… …` in a call, `running` outside of one.
    let line = if state == 'R' { None } else { read(pid, "syscall").ok() }.unwrap_or_default();
    let argument = |at: usize| {
        let hex = line.split_ascii_whitespace().nth(at)?.strip_prefix("0x")?;
        u64::from_str_radix(hex, 16).ok()
    };
    // Asleep outside of a call, as where a page is missing, it is -1.
    let call = line.split_ascii_whitespace().next().and_then(|number| number.parse().ok());
    let call = call.filter(|number: &i64| *number >= 0).zip(argument(1).map(|first| first as i32));
    let timeout = call.and_then(|(number, _)| match known(number)?.2? {
        Timeout::Milliseconds(at) => Some(argument(at)? as i32),
        Timeout::Time(at, parts) => milliseconds(pid, argument(at)?, parts),
    });
    Ok(Look {
        answering: stat.contains(&format!("({ANSWERING})")),
        state,
        timeout,
        call,
        sleeps: sleeps.and_then(|n| n.trim().parse().ok()).unwrap_or(0),
        ticks,
        pages,
    })
}

/// A file of this process in `/proc`, as it was when its first byte was read.
fn read(pid: i32, name: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{name}"))
}

/// What is open under a number of this process: `socket:[4711]`.
pub fn identity(fd: RawFd) -> Option<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{fd}")).ok()
}

/// What stands at this address of the process: seconds, and parts of one, of which a second has a
/// thousand times so many. Nowhere is no timeout.
fn milliseconds(pid: i32, at: u64, parts: i64) -> Option<i32> {
    if at == 0 {
        return Some(-1);
    }
    let mut time = [0; 16];
    File::open(format!("/proc/{pid}/mem")).ok()?.read_exact_at(&mut time, at).ok()?;
    let [seconds, part] =
        [0, 8].map(|n| i64::from_ne_bytes(time[n..n + 8].try_into().expect("eight bytes")));
    let ms = seconds.saturating_mul(1000).saturating_add((part + parts - 1) / parts);
    Some(ms.min(i32::MAX.into()) as i32)
}

/// The timer of the TCP socket with these two ends: `idiag_timer`. man: sock_diag(7).
pub fn timer(local: SocketAddrV4, remote: SocketAddrV4) -> Option<u8> {
    let ip = |addr: SocketAddrV4| [&addr.ip().octets()[..], &[0; 12]].concat();
    let request = [
        // struct nlmsghdr: length, type (SOCK_DIAG_BY_FAMILY), flags, sequence, port.
        &72u32.to_ne_bytes()[..],
        &20u16.to_ne_bytes(),
        &(libc::NLM_F_REQUEST as u16).to_ne_bytes(),
        &[0; 8],
        // struct inet_diag_req_v2: family, protocol, no extensions; every state; which socket.
        &[libc::AF_INET as u8, libc::IPPROTO_TCP as u8, 0, 0],
        &[0xff; 4],
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &ip(local),
        &ip(remote),
        &[0; 4],    // any interface
        &[0xff; 8], // no cookie
    ]
    .concat();
    let protocol = SockProtocol::NetlinkSockDiag;
    let (kind, flags) = (SockType::Datagram, SockFlag::SOCK_CLOEXEC);
    let netlink = socket(AddressFamily::Netlink, kind, flags, protocol).ok()?;
    let (fd, mut answer) = (netlink.as_raw_fd(), [0; 1024]);
    send(fd, &request, MsgFlags::empty()).ok()?;
    let got = recv(fd, &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
    // After the header of 16 bytes a struct inet_diag_msg; where there is no such socket, an errno.
    (got >= 16 + 72).then_some(answer[16 + 2])
}

/// Which argument of a call says how long it waits.
#[derive(Clone, Copy)]
enum Timeout {
    Milliseconds(usize),
    /// It points to seconds and parts of one, so many in a millisecond.
    Time(usize, i64),
}

/// System calls: number, name, timeout; the first argument of those with `(fd)` is a descriptor.
const CALLS: &[(i64, &str, Option<Timeout>)] = &[
    (libc::SYS_recvfrom, "recv(fd)", None),
    (libc::SYS_recvmsg, "recvmsg(fd)", None),
    (libc::SYS_sendto, "send(fd)", None),
    (libc::SYS_sendmsg, "sendmsg(fd)", None),
    (libc::SYS_read, "read(fd)", None),
    (libc::SYS_readv, "readv(fd)", None),
    (libc::SYS_write, "write(fd)", None),
    (libc::SYS_writev, "writev(fd)", None),
    (libc::SYS_accept, "accept(fd)", None),
    (libc::SYS_accept4, "accept(fd)", None),
    (libc::SYS_connect, "connect(fd)", None),
    (libc::SYS_close, "close(fd)", None),
    (libc::SYS_ppoll, "poll", Some(Timeout::Time(3, 1_000_000))),
    (libc::SYS_pselect6, "select", Some(Timeout::Time(5, 1_000_000))),
    (libc::SYS_epoll_pwait, "epoll_wait(fd)", Some(Timeout::Milliseconds(4))),
    (libc::SYS_epoll_pwait2, "epoll_wait(fd)", Some(Timeout::Time(4, 1_000_000))),
    (libc::SYS_futex, "a wait for another thread", None),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_poll, "poll", Some(Timeout::Milliseconds(3))),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_select, "select", Some(Timeout::Time(5, 1000))),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_epoll_wait, "epoll_wait(fd)", Some(Timeout::Milliseconds(4))),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_pause, "pause", None),
];

fn known(number: i64) -> Option<&'static (i64, &'static str, Option<Timeout>)> {
    CALLS.iter().find(|(known, ..)| *known == number)
}

impl Look {
    /// Asleep until something happens. `D` is short, and no wait of a call's own: for memory, or for
    /// who holds the socket's lock.
    pub fn blocked(&self) -> bool {
        self.state == 'S'
    }

    /// Asleep in a system call that the answer made.
    pub fn answer_waits(&self) -> bool {
        self.blocked() && self.answering && self.call.is_some()
    }

    /// The same in `recv`, `read` and their like.
    pub fn receives(&self) -> bool {
        self.answer_waits() && self.name().starts_with("re")
    }

    /// Stopped by a signal.
    pub fn stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// A call that only the peer can end. The others may have a timeout of their own.
    pub fn waits_for_the_peer(&self) -> bool {
        let calls = ["recv", "send", "read", "write", "accept", "close"];
        self.blocked() && calls.iter().any(|call| self.name().starts_with(call))
    }

    /// A `poll` or its like without a timeout, or a `connect`. What it waits for may be the kernel's
    /// to do, in a second or two.
    pub fn polls_for_ever(&self) -> bool {
        self.blocked() && (self.timeout.is_some_and(|ms| ms < 0) || self.name() == "connect")
    }

    /// One with a timeout.
    pub fn polls_for_a_time(&self) -> bool {
        self.blocked() && self.timeout.is_some_and(|ms| ms > 0)
    }

    fn place_of(&self) -> &'static str {
        let number = self.call.map_or(-1, |(number, _)| number);
        known(number).map_or("a system call", |known| known.1)
    }

    /// The call by its name: `recv`.
    pub fn name(&self) -> &'static str {
        self.place_of().trim_end_matches("(fd)")
    }

    /// `recv on fd 4`, for a message.
    pub fn place(&self) -> String {
        match (self.place_of().strip_suffix("(fd)"), self.call) {
            (Some(call), Some((_, fd))) => say!("{call} on fd {fd}"),
            _ => self.place_of().into(),
        }
    }
}
