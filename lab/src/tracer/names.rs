//! Names of constants, as strace(1) writes them.

use std::ffi::c_int;

/// A list of (value, name) pairs out of libc's constants.
macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name as u64, stringify!($name))),*] };
}

type Names = &'static [(u64, &'static str)];

const DOMAINS: Names = names!(AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET);
const TYPES: Names = names!(SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_SEQPACKET);
const SOCK_FLAGS: Names = names!(SOCK_NONBLOCK SOCK_CLOEXEC);
const PROTOCOLS: Names = names!(IPPROTO_IP IPPROTO_TCP IPPROTO_UDP IPPROTO_ICMP IPPROTO_MPTCP);
const HOWS: Names = names!(SHUT_RD SHUT_WR SHUT_RDWR);
const MSG_FLAGS: Names = names!(
    MSG_OOB MSG_PEEK MSG_DONTROUTE MSG_CTRUNC MSG_TRUNC MSG_DONTWAIT MSG_EOR MSG_WAITALL
    MSG_CONFIRM MSG_NOSIGNAL MSG_MORE MSG_WAITFORONE MSG_FASTOPEN MSG_ZEROCOPY MSG_CMSG_CLOEXEC
    MSG_ERRQUEUE
);
const SOCKET_OPTIONS: Names = names!(
    SO_REUSEADDR SO_TYPE SO_ERROR SO_BROADCAST SO_SNDBUF SO_RCVBUF SO_KEEPALIVE SO_OOBINLINE
    SO_LINGER SO_REUSEPORT SO_RCVLOWAT SO_SNDLOWAT SO_RCVTIMEO SO_SNDTIMEO SO_ACCEPTCONN
    SO_SNDBUFFORCE SO_RCVBUFFORCE SO_PROTOCOL SO_DOMAIN SO_INCOMING_CPU SO_ZEROCOPY SO_BUSY_POLL
    SO_TIMESTAMP SO_TIMESTAMPNS SO_BINDTODEVICE SO_PRIORITY SO_MARK
);
const TCP_OPTIONS: Names = names!(
    TCP_NODELAY TCP_MAXSEG TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2
    TCP_DEFER_ACCEPT TCP_WINDOW_CLAMP TCP_INFO TCP_QUICKACK TCP_CONGESTION TCP_USER_TIMEOUT
    TCP_FASTOPEN TCP_NOTSENT_LOWAT TCP_FASTOPEN_CONNECT TCP_ULP
);
const IP_OPTIONS: Names = names!(IP_TOS IP_TTL IP_MTU_DISCOVER IP_RECVERR IP_MTU IP_FREEBIND);
const IPV6_OPTIONS: Names = names!(IPV6_V6ONLY IPV6_RECVERR IPV6_TCLASS IPV6_UNICAST_HOPS);
const POLL: Names = names!(
    POLLIN POLLPRI POLLOUT POLLERR POLLHUP POLLNVAL POLLRDNORM POLLRDBAND POLLWRNORM POLLWRBAND
    POLLRDHUP
);
const EPOLL: Names = names!(
    EPOLLIN EPOLLPRI EPOLLOUT EPOLLERR EPOLLHUP EPOLLRDNORM EPOLLRDBAND EPOLLWRNORM EPOLLWRBAND
    EPOLLMSG EPOLLRDHUP EPOLLEXCLUSIVE EPOLLWAKEUP EPOLLONESHOT
);
const EPOLL_OPS: Names = names!(EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD);
const COMMANDS: Names = names!(F_DUPFD F_GETFL F_SETFL F_DUPFD_CLOEXEC F_SETOWN);
const STATUS: Names = names!(O_APPEND O_NONBLOCK O_ASYNC);
const REQUESTS: Names = names!(FIONBIO FIONREAD TIOCOUTQ);
const SPLICE: Names = names!(SPLICE_F_MOVE SPLICE_F_NONBLOCK SPLICE_F_MORE SPLICE_F_GIFT);

fn one(names: Names, value: u64) -> String {
    match names.iter().find(|(constant, _)| *constant == value) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("{value:#x}"),
    }
}

/// Flags joined by `|`; what has no name in hexadecimal; `zero` for none.
fn flags(names: Names, value: u64, zero: &str) -> String {
    let mut left = value;
    let mut parts = Vec::new();
    for (constant, name) in names {
        if *constant != 0 && left & constant == *constant {
            left &= !constant;
            parts.push((*name).to_owned());
        }
    }
    if left != 0 {
        parts.push(format!("{left:#x}"));
    }
    if parts.is_empty() { zero.to_owned() } else { parts.join("|") }
}

pub fn domain(value: u64) -> String {
    one(DOMAINS, value)
}

pub fn socket_type(value: u64) -> String {
    let bits = (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u64;
    let base = one(TYPES, value & !bits);
    if value & bits == 0 { base } else { format!("{base}|{}", sock_flags(value & bits)) }
}

pub fn sock_flags(value: u64) -> String {
    flags(SOCK_FLAGS, value, "0")
}

pub fn protocol(value: u64) -> String {
    one(PROTOCOLS, value)
}

pub fn how(value: u64) -> String {
    one(HOWS, value)
}

pub fn msg_flags(value: u64) -> String {
    flags(MSG_FLAGS, value, "0")
}

pub fn level(value: u64) -> String {
    match value as c_int {
        libc::SOL_SOCKET => "SOL_SOCKET".to_owned(),
        libc::IPPROTO_TCP => "SOL_TCP".to_owned(),
        libc::IPPROTO_IP => "SOL_IP".to_owned(),
        libc::IPPROTO_IPV6 => "SOL_IPV6".to_owned(),
        other => other.to_string(),
    }
}

pub fn option(level: u64, value: u64) -> String {
    let names = match level as c_int {
        libc::SOL_SOCKET => SOCKET_OPTIONS,
        libc::IPPROTO_TCP => TCP_OPTIONS,
        libc::IPPROTO_IP => IP_OPTIONS,
        libc::IPPROTO_IPV6 => IPV6_OPTIONS,
        _ => &[],
    };
    one(names, value)
}

pub fn poll(value: u64) -> String {
    flags(POLL, value, "0")
}

pub fn epoll(value: u64) -> String {
    let edge = libc::EPOLLET as u32 as u64; // bit 31: negative as an int
    match (value & edge != 0, value & !edge) {
        (false, value) => flags(EPOLL, value, "0"),
        (true, 0) => "EPOLLET".to_owned(),
        (true, value) => format!("{}|EPOLLET", flags(EPOLL, value, "0")),
    }
}

pub fn epoll_op(value: u64) -> String {
    one(EPOLL_OPS, value)
}

/// The commands of fcntl(2) that concern TCP: those with a name here.
pub fn command(value: u64) -> Option<String> {
    COMMANDS.iter().any(|(constant, _)| *constant == value).then(|| one(COMMANDS, value))
}

/// The requests of ioctl(2) that concern TCP: those with a name here.
pub fn request(value: u64) -> Option<String> {
    REQUESTS.iter().any(|(constant, _)| *constant == value).then(|| one(REQUESTS, value))
}

/// What F_SETFL sets and F_GETFL returns.
pub fn status(value: u64) -> String {
    let access = ["O_RDONLY", "O_WRONLY", "O_RDWR"];
    let access = access.get((value & 3) as usize).unwrap_or(&"3");
    match value & !3 {
        0 => (*access).to_owned(),
        rest => format!("{access}|{}", flags(STATUS, rest, "")),
    }
}

pub fn splice(value: u64) -> String {
    flags(SPLICE, value, "0")
}
