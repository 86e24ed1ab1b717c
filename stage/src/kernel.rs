//! What the kernel is doing, and ways to wait until it has done it.

use std::collections::BTreeSet;
use std::ffi::{c_int, c_long, c_short};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use std::{fs, mem, ptr};

use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};
use tcp_stream_io::{UniqueFd, resolve, stream, sys};

use crate::time::HANG;

/// How long a wait for the kernel may take before it is an error, if the stage has said it.
static LIMIT: OnceLock<Duration> = OnceLock::new();

/// A wait hangs before its role does, and so can say what it waits for.
pub(crate) fn roles_hang_after(limit: Duration) {
    let _ = LIMIT.set(limit / 2); // once in a process
}

fn give_up() -> Instant {
    Instant::now() + *LIMIT.get().unwrap_or(&HANG)
}

/// Bytes that have arrived and not been read: FIONREAD, tcp(7).
pub fn unread(fd: &UniqueFd) -> io::Result<usize> {
    ioctl(fd, libc::FIONREAD)
}

/// Bytes in the send buffer that the peer has not acknowledged: SIOCOUTQ, tcp(7).
pub fn unacked(fd: &UniqueFd) -> io::Result<usize> {
    ioctl(fd, libc::TIOCOUTQ) // the same number as SIOCOUTQ
}

fn ioctl(fd: &UniqueFd, request: libc::Ioctl) -> io::Result<usize> {
    let mut count: c_int = 0;
    // SAFETY:
    // - both requests write one int, and `count` is one.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, &mut count) } {
        0 => Ok(count as usize),
        _ => Err(sys::last_errno()),
    }
}

/// What the kernel tells of a connection: TCP_INFO, tcp(7).
pub fn tcp_info(fd: &UniqueFd) -> io::Result<libc::tcp_info> {
    // SAFETY: tcp_info is integers: zero is a valid value, and so is whatever the kernel writes.
    unsafe {
        let mut info: libc::tcp_info = mem::zeroed();
        get_any_option(fd, libc::SOL_TCP, libc::TCP_INFO, &mut info)?;
        Ok(info)
    }
}

/// Reads an option. Returns how many bytes of it the kernel filled in.
///
/// # Safety
/// Any bytes that the kernel may write are a valid `T`.
unsafe fn get_any_option<T: Copy>(
    fd: &UniqueFd,
    level: c_int,
    name: c_int,
    value: &mut T,
) -> io::Result<usize> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY:
    // - `value` is writable for `len` bytes, and the kernel writes no more than that.
    let rc = unsafe {
        let at = ptr::from_mut(value).cast();
        libc::getsockopt(fd.as_raw_fd(), level, name, at, &mut len)
    };
    if rc == 0 { Ok(len as usize) } else { Err(sys::last_errno()) }
}

/// Sets an option.
///
/// # Safety
/// `value` is what the kernel expects there, and so is whatever it points at.
unsafe fn set_any_option<T>(fd: &UniqueFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (at, len) = (ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY:
    // - the pointer and the length are those of `value`, which the call only reads.
    let rc = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, at, len) };
    if rc == 0 { Ok(()) } else { Err(sys::last_errno()) }
}

/// The states of RFC 9293 as Linux numbers and spells them.
const STATES: [&str; 13] = [
    "?",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

/// The connection's state by its name in RFC 9293, as Linux spells it.
pub fn tcp_state(fd: &UniqueFd) -> io::Result<&'static str> {
    Ok(STATES.get(usize::from(tcp_info(fd)?.tcpi_state)).unwrap_or(&"?"))
}

/// A connection by its two ports, as one end sees it. So it can be found where it has no
/// descriptor: nobody has accepted it yet, or it is closed and in TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// This end's port.
    pub local: u16,
    /// The other end's port.
    pub remote: u16,
}

impl Ports {
    /// Those of a connected socket.
    pub fn of(fd: &UniqueFd) -> io::Result<Ports> {
        let (local, remote) = (sys::getsockname(fd)?.port(), sys::getpeername(fd)?.port());
        Ok(Ports { local, remote })
    }

    /// What the kernel's table says of it; `None` if nothing.
    pub fn row(self) -> io::Result<Option<Row>> {
        let [local, remote] = [self.local, self.remote].map(|port| format!(":{port:04X} "));
        let table = fs::read_to_string(TCP_TABLE)?;
        // As text first: a busy machine has thousands of rows.
        let lines = table.lines().filter(|line| line.contains(&local) && line.contains(&remote));
        Ok(lines.filter_map(row).find(|row| row.ports == self))
    }

    /// Its state; "gone" if the kernel knows nothing of it (any more).
    pub fn state(self) -> io::Result<&'static str> {
        Ok(self.row()?.map_or("gone", |row| row.state))
    }
}

/// A row of the kernel's table of TCP sockets.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Both ports; the remote one of a listener is 0.
    pub ports: Ports,
    /// As [`tcp_state`] has it.
    pub state: &'static str,
    /// Bytes that the peer has not acknowledged: the Send-Q of `ss`.
    pub unacked: usize,
    /// Bytes that have not been read; of a listener, connections that wait for `accept`: the
    /// Recv-Q of `ss`.
    pub unread: usize,
    /// The time left on the timer that runs: retransmission, keepalive, TIME_WAIT, window probe.
    pub timer: Option<Duration>,
}

const TCP_TABLE: &str = "/proc/net/tcp";

/// The kernel's table of TCP sockets over IPv4: `/proc/net/tcp`, proc(5).
pub fn tcp_table() -> io::Result<Vec<Row>> {
    // The kernel writes it page by page: a socket stands there twice, if others come meanwhile.
    let table = fs::read_to_string(TCP_TABLE)?;
    let mut known = BTreeSet::new();
    let addresses = |line: &&str| line.split_whitespace().skip(1).take(2).collect::<String>();
    let once = table.lines().filter(|line| known.insert(addresses(line)));
    Ok(once.filter_map(row).collect())
}

/// `0: 0100007F:8F1A 0100007F:C2E4 06 00000000:00000000 03:00001770 …`: number, local and remote
/// address, state, queues (out:in), timer (which:ticks left); all but the number in hex.
fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let hex = |text| usize::from_str_radix(text, 16).ok();
    let pair = |field: usize| fields.get(field)?.split_once(':');
    let ports = Ports { local: hex(pair(1)?.1)? as u16, remote: hex(pair(2)?.1)? as u16 };
    let (timer, ticks) = pair(5)?;
    // SAFETY:
    // - sysconf passes no memory.
    let ticks_per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
    let left = Duration::from_secs_f64(hex(ticks)? as f64 / ticks_per_second);
    Some(Row {
        ports,
        state: STATES.get(hex(fields.get(3)?)?).unwrap_or(&"?"),
        unacked: hex(pair(4)?.0)?,
        unread: hex(pair(4)?.1)?,
        timer: (timer != "00").then_some(left),
    })
}

/// Connections that wait for `accept`: the listener's TCP_INFO has them in a field of another name.
pub fn queued(listener: &UniqueFd) -> io::Result<usize> {
    Ok(tcp_info(listener)?.tcpi_unacked as usize)
}

/// Waits until `count` connections wait for `accept`.
pub fn wait_until_queued(listener: &UniqueFd, count: usize) -> io::Result<()> {
    wait_for("connections in the queue", || Ok(queued(listener)? >= count))
}

/// A connection that was just made, once it waits for `accept`, or was accepted: `connect` returns
/// before its last ACK has arrived. Of a listener in another network nothing is known here, and
/// nothing is waited for.
pub fn wait_until_in_queue(conn: UniqueFd) -> io::Result<UniqueFd> {
    let Ports { local, remote } = Ports::of(&conn)?;
    let there = Ports { local: remote, remote: local };
    wait_for("the handshake's last ACK", || Ok(there.state()? != "SYN_RECV"))?;
    Ok(conn)
}

/// A listener that `listen` makes at any free port, and what keeps others off this port in the
/// other family: another program's listener there would answer who is to be refused. `None` without
/// IPv6. Errors: those of `listen`, and of the socket that keeps the port.
pub fn with_port_to_itself(
    listen: impl Fn() -> io::Result<UniqueFd>,
) -> io::Result<(UniqueFd, Option<UniqueFd>)> {
    for _ in 0..100 {
        let listener = listen()?;
        let own = sys::getsockname(&listener)?;
        let other = if own.as_addr().family() == libc::AF_INET { "::" } else { "0.0.0.0" };
        match bind_only(other, own.port()) {
            Ok(held) => return Ok((listener, Some(held))),
            Err(e) if e.kind() == ErrorKind::AddrInUse => {} // so another port
            Err(e) if has_no_family(&e) => return Ok((listener, None)),
            Err(e) => return Err(e),
        }
    }
    Err(ErrorKind::AddrInUse.into())
}

/// This machine has no such addresses: it was built, or is set, to have none.
fn has_no_family(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}

/// A socket that is bound, for its own family alone, and does not listen.
fn bind_only(host: &str, port: u16) -> io::Result<UniqueFd> {
    let addrs = resolve(Some(host), port, libc::AF_UNSPEC, libc::AI_NUMERICHOST)?;
    let addr = addrs.iter().next().ok_or(ErrorKind::NotFound)?;
    let fd = sys::socket(addr.family(), libc::SOCK_STREAM, 0)?;
    if addr.family() == libc::AF_INET6 {
        sys::set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    sys::bind(&fd, addr)?;
    Ok(fd)
}

/// The SYN that began an accepted connection, from the TCP header on: TCP_SAVED_SYN, once. The
/// listener must have had TCP_SAVE_SYN set when the SYN came.
pub fn saved_syn(conn: &UniqueFd) -> io::Result<Vec<u8>> {
    let mut bytes = [0_u8; 256];
    // SAFETY: any bytes are valid bytes.
    let len = unsafe { get_any_option(conn, libc::SOL_TCP, libc::TCP_SAVED_SYN, &mut bytes) }?;
    let mut syn = bytes[..len].to_vec();
    let ip_header = match syn.first().map(|byte| (byte >> 4, byte & 15)) {
        Some((4, words)) => 4 * usize::from(words),
        Some((6, _)) => 40,
        _ => return Err(io::Error::other("the kernel kept no SYN")),
    };
    Ok(syn.split_off(ip_header))
}

/// Sends until the peer's window is closed and the send buffer full, and both stay so: whatever is
/// queued from now on cannot leave before the peer reads. Returns how many bytes `send` took.
pub fn fill(conn: &UniqueFd) -> io::Result<usize> {
    let piece = [b'x'; 64 * 1024];
    let mut taken = 0;
    wait_for("the peer's window to close", || {
        // An acknowledgement that is still to come would make room again after EAGAIN.
        let settled = tcp_info(conn)?.tcpi_unacked == 0;
        loop {
            match sys::send(conn, &piece, sys::NO_SIGPIPE | libc::MSG_DONTWAIT) {
                Ok(n) => taken += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        let info = tcp_info(conn)?; // tcpi_unacked: segments on their way
        Ok(settled && info.tcpi_unacked == 0 && info.tcpi_notsent_bytes > 0)
    })?;
    Ok(taken)
}

/// Makes the kernel lose each segment that comes in with this probability, at random: a filter of
/// five instructions before TCP, SO_ATTACH_FILTER, socket(7). A listener's connections inherit it.
pub fn lose_at_random(fd: &UniqueFd, probability: f64) -> io::Result<()> {
    /// SKF_AD_OFF + SKF_AD_RANDOM of linux/filter.h: a load from there gives a random number.
    const RANDOM: u32 = (-0x1000_i32 + 56) as u32;
    let step = |code: u32, jt, k| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let keep_from = (probability * f64::from(u32::MAX)) as u32;
    let mut program = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, RANDOM),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, keep_from), // skips the next one
        step(libc::BPF_RET | libc::BPF_K, 0, 0),                         // keep no byte of it
        step(libc::BPF_RET | libc::BPF_K, 0, u32::MAX),                  // keep all
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: `program` points at as many instructions as it says.
    unsafe { set_any_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program) }
}

/// Sets a socket's congestion control, TCP_CONGESTION, tcp(7). ENOENT: the kernel has none of that
/// name. EPERM: it has, but not for everyone.
pub fn set_congestion_control(fd: &UniqueFd, name: &str) -> io::Result<()> {
    let mut bytes = [0_u8; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the option is a name of up to 16 bytes.
    unsafe { set_any_option(fd, libc::SOL_TCP, libc::TCP_CONGESTION, &bytes) }
}

/// Data segments sent on a connection so far, what was sent again not counted: TCP_INFO, tcp(7).
pub fn segments_sent(fd: &UniqueFd) -> io::Result<usize> {
    let info = tcp_info(fd)?;
    // A FIN that is sent again counts there as well, and has no data.
    let again = if info.tcpi_bytes_retrans > 0 { info.tcpi_total_retrans } else { 0 };
    Ok(info.tcpi_data_segs_out.saturating_sub(again) as usize)
}

/// Waits until `count` bytes have arrived, or the peer has ended: `poll` with SO_RCVLOWAT.
pub fn wait_until_unread(fd: &UniqueFd, count: usize) -> io::Result<()> {
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, count as c_int)?;
    poll_for(fd, libc::POLLIN, format_args!("{count} unread bytes"))?;
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1)
}

/// Waits until the peer's FIN or reset has arrived, whatever is still unread: `poll`, POLLRDHUP.
pub fn wait_until_peer_ended(fd: &UniqueFd) -> io::Result<()> {
    poll_for(fd, libc::POLLRDHUP, "the peer's end")
}

fn poll_for(fd: &UniqueFd, event: c_short, what: impl Display) -> io::Result<()> {
    let result = stream::wait_ready(fd, event, Some(give_up()));
    result.map_err(|e| match e.kind() {
        ErrorKind::TimedOut => in_vain(format_args!("{what} on fd {}", fd.as_raw_fd())),
        _ => e,
    })
}

fn in_vain(what: impl Display) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("waited in vain for {what}"))
}

/// Waits until the peer's kernel has acknowledged all that was sent.
pub fn wait_until_acked(fd: &UniqueFd) -> io::Result<()> {
    wait_for("the acknowledgement", || Ok(unacked(fd)? == 0))?;
    // What else the acknowledgement changes, the state among it, is done under the socket's lock.
    // TCP_INFO waits for that lock, but only after it has read the state: the next one has it.
    tcp_info(fd).map(drop)
}

/// Waits until all that was sent from one end has been read at the other. A sleeper that `send` has
/// to wake may look asleep for a moment after it.
pub fn wait_until_read(from: &UniqueFd, to: &UniqueFd) -> io::Result<()> {
    wait_until_acked(from)?;
    wait_for("the reader", || Ok(unread(to)? == 0))
}

/// Makes `close` send a reset instead of a FIN: SO_LINGER with zero seconds, socket(7).
pub fn reset_on_close(fd: &UniqueFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: SO_LINGER is a `linger`.
    unsafe { set_any_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger) }
}

/// Waits for something that the kernel has no event for, by asking every 100 microseconds.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let until = give_up();
    while !is_so()? {
        if Instant::now() > until {
            return Err(in_vain(what));
        }
        thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// Runs `act` as soon as the calling thread is blocked in the system call `number`
/// (`libc::SYS_recvfrom` …), on a thread of its own, which asks `/proc` where the caller is.
pub fn when_blocked_in<'scope>(
    scope: &'scope Scope<'scope, '_>,
    number: c_long,
    act: impl FnOnce(Caller) -> io::Result<()> + Send + 'scope,
) -> ScopedJoinHandle<'scope, io::Result<()>> {
    let tid = gettid();
    scope.spawn(move || {
        let what = format!("the thread to block in system call {number}");
        wait_for(&what, || Ok(is_blocked_in(tid, number)))?;
        act(Caller(tid))
    })
}

/// The thread that [`when_blocked_in`] watches.
#[derive(Clone, Copy, Debug)]
pub struct Caller(Pid);

impl Caller {
    /// Sends it a signal.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        signal_thread(self.0, signal)
    }
}

/// Sends a signal to one thread of this process. man: tgkill(2).
pub fn signal_thread(thread: Pid, signal: Signal) -> io::Result<()> {
    // SAFETY:
    // - tgkill takes three numbers.
    match unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread.as_raw(), signal as c_int)
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The open descriptors of this process, the one that lists them aside.
pub fn open_fds() -> Vec<c_int> {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|e| e.file_name().to_str()?.parse().ok());
    let mut fds: Vec<c_int> = numbers.collect();
    // SAFETY:
    // - F_GETFD passes no memory. The listing's own descriptor is closed by now.
    fds.retain(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0);
    fds.sort_unstable();
    fds
}

/// Blocked, and asleep: a thread that a tracer holds at the entry of the call is not yet in it.
pub fn is_blocked_in(thread: Pid, number: c_long) -> bool {
    blocked_in(thread).is_some_and(|(n, ..)| n == number)
        && fs::read_to_string(format!("/proc/{thread}/stat"))
            .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S")))
}

/// The system call that a thread of any process is blocked in, and its first two arguments: proc(5).
fn blocked_in(thread: Pid) -> Option<(c_long, u64, u64)> {
    let line = fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?;
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut arg = || u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok();
    Some((number, arg()?, arg()?))
}

/// The descriptors that a thread waits for in `poll`, from the array of `count` that it passed.
/// It is read as a file, for its owner may go on and the memory away at any moment.
fn polled(array: u64, count: u64) -> io::Result<Vec<c_int>> {
    let mut bytes = vec![0; count as usize * size_of::<libc::pollfd>()];
    fs::File::open("/proc/self/mem")?.read_exact_at(&mut bytes, array)?;
    let pollfds = bytes.chunks_exact(size_of::<libc::pollfd>());
    Ok(pollfds.filter_map(|p| Some(c_int::from_ne_bytes(*p.first_chunk()?))).collect())
}

/// In words, where a thread is: "blocked in recv on fd 4".
pub(crate) fn what_is_it_doing(tid: Pid) -> String {
    let Some((number, first, second)) = blocked_in(tid) else {
        return "running, not blocked in a system call".into();
    };
    let name = match number {
        libc::SYS_recvfrom => "recv",
        libc::SYS_recvmsg => "recvmsg",
        libc::SYS_read => "read",
        libc::SYS_sendto => "send",
        libc::SYS_sendmsg => "sendmsg",
        libc::SYS_write => "write",
        #[cfg(not(target_arch = "x86"))] // the C library there asks for accept4
        libc::SYS_accept => "accept",
        libc::SYS_accept4 => "accept",
        libc::SYS_connect => "connect",
        libc::SYS_ppoll => return in_poll(first, second),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => return in_poll(first, second),
        libc::SYS_wait4 => return "waiting for a child process".into(),
        libc::SYS_futex => return "waiting for another thread".into(),
        libc::SYS_clock_nanosleep => return "asleep".into(),
        other => return format!("blocked in system call {other}"),
    };
    format!("blocked in {name} on fd {first}")
}

fn in_poll(array: u64, count: u64) -> String {
    let fds = polled(array, count).unwrap_or_default();
    let fds: Vec<String> = fds.iter().map(c_int::to_string).collect();
    format!("blocked in poll on fd {}", fds.join(", "))
}
