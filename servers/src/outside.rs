//! A server seen from outside: what the kernel tells of another process and of its sockets.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use std::{fs, io, ptr, thread};

use tcp_stream_io::sys::{self, last_errno};

/// Looks again every few milliseconds until it is `Ok` or the time is over: for what another
/// process does, of which no event tells us.
pub fn within<T, E>(time: Duration, mut look: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let until = Instant::now() + time;
    loop {
        match look() {
            Err(_) if Instant::now() < until => thread::sleep(Duration::from_millis(2)),
            result => return result,
        }
    }
}

/// Its open descriptors: `/proc/PID/fd`, proc(5). Empty where that cannot be known.
pub fn descriptors(pid: u32) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// How many threads it has. 0 where that cannot be known.
pub fn threads(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |threads| threads.count())
}

/// The number that its next descriptor gets: the lowest that is free.
pub fn next_descriptor(pid: u32) -> i32 {
    let open = descriptors(pid);
    (0..).find(|fd| !open.contains(fd)).unwrap_or(0)
}

/// Lets it open descriptors below `limit` only, and returns what it was. man: prlimit(2).
pub fn limit_descriptors(pid: u32, limit: u64) -> io::Result<u64> {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let pid = pid as libc::pid_t;
    // SAFETY: `before` is writable, and no new limit is given.
    if unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, ptr::null(), &mut before) } < 0 {
        return Err(last_errno());
    }
    let new = libc::rlimit { rlim_cur: limit, ..before };
    // SAFETY: `new` is readable, and the old limit is not asked for.
    match unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &new, ptr::null_mut()) } {
        0 => Ok(before.rlim_cur),
        _ => Err(last_errno()),
    }
}

/// How often it has gone to sleep so far, if all its threads sleep now: the state and the voluntary
/// context switches in `/proc/PID/task/TID/status`, proc(5).
pub fn sleeps(pid: u32) -> Option<u64> {
    let mut switches = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let status = fs::read_to_string(thread.ok()?.path().join("status")).ok()?;
        let word = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next())
        };
        if word("State:")? != "S" {
            return None;
        }
        switches += word("voluntary_ctxt_switches:")?.parse::<u64>().ok()?;
    }
    Some(switches)
}

/// The processor time that its threads have had: `/proc/PID/task/TID/schedstat`, proc(5).
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = match fs::read_to_string(thread?.path().join("schedstat")) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => continue, // it has just ended
            text => text?,
        };
        nanoseconds += text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Whether all its threads sleep, and go on sleeping: five looks find no difference.
pub fn stays_asleep(pid: u32) -> bool {
    let before = sleeps(pid);
    let sleeps_on = || {
        thread::sleep(Duration::from_millis(2));
        before == sleeps(pid)
    };
    before.is_some() && (0..5).all(|_| sleeps_on())
}

/// Whether it sleeps nearly all of the next 50 ms: no thread wants a processor for half of them, or at
/// their beginning and at their end, or wakes more often than once in 10 ms. Who only waits for a
/// processor wants it, too: so a busy machine makes nobody who goes round and round look asleep, and
/// no sleeper awake.
pub fn sleeps_mostly(pid: u32) -> bool {
    let began = Instant::now();
    let Some(before) = activity(pid) else { return false };
    thread::sleep(Duration::from_millis(50));
    let (Some(after), took) = (activity(pid), began.elapsed()) else { return false };
    after.iter().all(|(thread, now)| {
        let before = before.get(thread).copied().unwrap_or_default();
        let wanted = now.wanted.saturating_sub(before.wanted);
        let rarely = u128::from(now.woke.saturating_sub(before.woke)) <= took.as_millis() / 10;
        rarely && wanted < took / 2 && !(before.runs && now.runs)
    })
}

/// Of a thread.
#[derive(Clone, Copy, Default)]
struct Activity {
    /// It runs, or waits for a processor: how long it has waited is told only once it runs.
    runs: bool,
    /// How long it has run, or waited for a processor.
    wanted: Duration,
    /// How often it has gone to sleep.
    woke: u64,
}

/// By thread: `schedstat`, the state and the voluntary context switches in `/proc/PID/task/TID`,
/// proc(5).
fn activity(pid: u32) -> Option<BTreeMap<u32, Activity>> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        let dir = thread.ok()?.path();
        let read = |name| fs::read_to_string(dir.join(name)).ok();
        let (Some(times), Some(status)) = (read("schedstat"), read("status")) else { continue };
        let wanted = times.split(' ').take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        let word = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next())
        };
        let (runs, woke) = (word("State:")? == "R", word("voluntary_ctxt_switches:")?);
        let wanted = Duration::from_nanos(wanted);
        let id = dir.file_name()?.to_str()?.parse().ok()?;
        threads.insert(id, Activity { runs, wanted, woke: woke.parse().ok()? });
    }
    Some(threads)
}

/// The port at which it listens on TCP: the socket in `/proc/net/tcp` whose number is that of one of
/// its descriptors. Those that listen come first there.
pub fn listens_at(pid: u32) -> Option<u16> {
    let of = |fd: i32| fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
    let open: Vec<_> = descriptors(pid).into_iter().filter_map(of).collect();
    TABLES.into_iter().flat_map(|table| rows(table).take_while(|row| row.listens)).find_map(|row| {
        let socket = format!("socket:[{}]", row.number);
        open.iter().any(|link| link.as_os_str() == &*socket).then_some(row.local)
    })
}

/// How many connections wait to be accepted by the socket that listens there.
pub fn queued(listener: SocketAddr) -> u32 {
    let nobody = match listener {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
    };
    queues(listener, nobody).map_or(0, |(waiting, _)| waiting)
}

/// Whether it sleeps over bytes that its socket with these two ends has received, and goes on
/// sleeping: it does not mean to read them now.
pub fn leaves_unread(pid: u32, local: SocketAddr, remote: SocketAddr) -> bool {
    let before = sleeps(pid);
    let waiting = unread(local, remote).is_some_and(|bytes| bytes > 0);
    waiting && before.is_some() && before == sleeps(pid)
}

/// The bytes that wait in the receive buffer of the socket with these two ends.
pub fn unread(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    queues(local, remote).map(|(receive, _)| receive)
}

/// The bytes that were sent and have not arrived: no acknowledgement has come for them.
pub fn under_way(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    queues(local, remote).map(|(_, send)| send)
}

/// Whether the socket with these two ends is still there, and neither side has ended its stream.
pub fn established(local: SocketAddr, remote: SocketAddr) -> bool {
    const TCP_ESTABLISHED: u8 = 1;
    // struct inet_diag_msg, after the header of 16 bytes: idiag_state is its second.
    diagnosed(local, remote).is_ok_and(|answer| answer.get(17) == Some(&TCP_ESTABLISHED))
}

/// Its receive queue and its send queue.
fn queues(local: SocketAddr, remote: SocketAddr) -> Option<(u32, u32)> {
    match diagnosed(local, remote) {
        Ok(answer) => Some(queues_of(&answer)),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => None,
        Err(_) => look_it_up(local.port(), remote.port()), // a kernel without sock_diag
    }
}

/// The same in the answer: idiag_rqueue and idiag_wqueue, bytes 56 to 63 after its header.
fn queues_of(answer: &[u8]) -> (u32, u32) {
    let queue = |at: usize| answer[at..at + 4].try_into().map_or(0, u32::from_ne_bytes);
    (queue(16 + 56), queue(16 + 60))
}

/// What sock_diag(7) says of one socket, without a walk through all of them. ENOENT: there is none
/// with these two ends.
fn diagnosed(local: SocketAddr, remote: SocketAddr) -> io::Result<Vec<u8>> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let address = |addr: SocketAddr| match addr.ip() {
        IpAddr::V4(v4) => [&v4.octets()[..], &[0; 12]].concat(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let request = [
        // struct nlmsghdr: length, type, flags, sequence, port.
        &72u32.to_ne_bytes()[..],
        &SOCK_DIAG_BY_FAMILY.to_ne_bytes(),
        &(libc::NLM_F_REQUEST as u16).to_ne_bytes(),
        &[0; 8],
        // struct inet_diag_req_v2: family, protocol, no extensions, every state, which socket.
        &[family as u8, libc::IPPROTO_TCP as u8, 0, 0],
        &[0xff; 4],
        &local.port().to_be_bytes(),
        &remote.port().to_be_bytes(),
        &address(local),
        &address(remote),
        &[0; 4],    // any interface
        &[0xff; 8], // no cookie
    ]
    .concat();
    let netlink = sys::socket(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_SOCK_DIAG)?;
    sys::send(&netlink, &request, 0)?;
    let mut answer = vec![0; 1024];
    let n = sys::recv(&netlink, &mut answer, libc::MSG_DONTWAIT)?;
    answer.truncate(n);
    // Otherwise it is NLMSG_ERROR, which has an errno after its header, below zero.
    if answer.get(4..6).is_some_and(|kind| kind == SOCK_DIAG_BY_FAMILY.to_ne_bytes()) {
        return Ok(answer);
    }
    let errno = answer.get(16..20).and_then(|four| Some(i32::from_ne_bytes(four.try_into().ok()?)));
    Err(io::Error::from_raw_os_error(-errno.unwrap_or(-libc::EPROTO)))
}

/// What the kernel lists of TCP sockets, as text. man: proc(5). Slow where there are many.
const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// A line of them.
struct Row {
    local: u16,
    remote: u16,
    listens: bool,
    receive: u32,
    send: u32,
    number: String,
}

/// Line by line: who has found what it looks for reads no further.
fn rows(table: &str) -> impl Iterator<Item = Row> {
    let lines = File::open(table).into_iter().flat_map(|file| BufReader::new(file).lines());
    lines.map_while(Result::ok).filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let port = |at: usize| u16::from_str_radix(words.get(at)?.rsplit(':').next()?, 16).ok();
        let (send, receive) = words.get(4)?.split_once(':')?;
        let bytes = |hex| u32::from_str_radix(hex, 16).ok();
        Some(Row {
            local: port(1)?,
            remote: port(2)?,
            listens: words[3] == "0A",
            receive: bytes(receive)?,
            send: bytes(send)?,
            number: (*words.get(9)?).into(),
        })
    })
}

fn look_it_up(local: u16, remote: u16) -> Option<(u32, u32)> {
    let mut rows = TABLES.into_iter().flat_map(rows);
    let row = rows.find(|row| (row.local, row.remote) == (local, remote))?;
    Some((row.receive, row.send))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::wait::HANG_LIMIT;

    #[test]
    fn both_ways_to_see_unread_bytes_agree() {
        for addr in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let listener = TcpListener::bind(addr).unwrap();
            let mut to = listener.local_addr().unwrap();
            if to.ip().is_unspecified() {
                to.set_ip([127, 0, 0, 1].into()); // a socket of IPv6 with a client of IPv4
            }
            let mut client = TcpStream::connect(to).unwrap();
            let us = client.local_addr().unwrap();
            let _server = listener.accept().unwrap();
            client.write_all(b"unread").unwrap();
            within(HANG_LIMIT, || {
                if look_it_up(to.port(), us.port()) == Some((6, 0)) { Ok(()) } else { Err(()) }
            })
            .unwrap();
            let asked = |local, remote| queues_of(&diagnosed(local, remote).unwrap());
            assert_eq!(asked(to, us), (6, 0), "{addr}");
            assert_eq!(Some(asked(us, to)), look_it_up(us.port(), to.port()), "{addr}");
        }
    }

    #[test]
    fn who_waits_to_be_accepted_is_counted() {
        for addr in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let listener = TcpListener::bind(addr).unwrap();
            let at = listener.local_addr().unwrap();
            let mut to = at;
            if to.ip().is_unspecified() {
                to.set_ip([127, 0, 0, 1].into());
            }
            assert_eq!(queued(to), 0, "{addr}");
            let client = TcpStream::connect(to).unwrap();
            let us = client.local_addr().unwrap();
            within(HANG_LIMIT, || if queued(to) == 1 { Ok(()) } else { Err(queued(to)) }).unwrap();
            assert_eq!(look_it_up(at.port(), 0).map(|(waiting, _)| waiting), Some(1), "{addr}");
            assert_eq!(listens_at(std::process::id()).map(|port| port > 0), Some(true), "{addr}");
            drop((listener, client));
            let gone = diagnosed(to, us).unwrap_err();
            assert_eq!(gone.raw_os_error(), Some(libc::ENOENT), "{addr}");
        }
    }
}
