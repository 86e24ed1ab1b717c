//! What the kernel is doing, and ways to wait until it has done it.

use std::ffi::{c_int, c_long};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use std::{fs, mem, ptr};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};
use tcp_stream_io::{stream, sys};

/// How long a wait for the kernel may take before it is an error.
const PATIENCE: Duration = Duration::from_secs(5);

/// Bytes that have arrived and not been read: FIONREAD, tcp(7).
pub fn unread(fd: impl AsFd) -> io::Result<usize> {
    ioctl(fd, libc::FIONREAD)
}

/// Bytes in the send buffer that the peer has not acknowledged: SIOCOUTQ, tcp(7).
pub fn unacked(fd: impl AsFd) -> io::Result<usize> {
    ioctl(fd, libc::TIOCOUTQ) // the same number as SIOCOUTQ
}

fn ioctl(fd: impl AsFd, request: libc::Ioctl) -> io::Result<usize> {
    let mut count: c_int = 0;
    // SAFETY:
    // - both requests write one int, and `count` is one.
    match unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), request, &mut count) } {
        0 => Ok(count as usize),
        _ => Err(sys::last_errno()),
    }
}

/// What the kernel tells of a connection: TCP_INFO, tcp(7).
pub fn tcp_info(fd: impl AsFd) -> io::Result<libc::tcp_info> {
    // SAFETY:
    // - tcp_info is integers, for which zero is a valid value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = size_of_val(&info) as libc::socklen_t;
    // SAFETY:
    // - `info` is writable for `len` bytes, and the kernel writes no more than that.
    let rc = unsafe {
        let at = (&raw mut info).cast();
        libc::getsockopt(fd.as_fd().as_raw_fd(), libc::SOL_TCP, libc::TCP_INFO, at, &mut len)
    };
    if rc == 0 { Ok(info) } else { Err(sys::last_errno()) }
}

/// Reads an option of any plain type. Returns how many bytes of it the kernel filled in.
fn get_any_option<T: Copy>(
    fd: impl AsFd,
    level: c_int,
    name: c_int,
    value: &mut T,
) -> io::Result<usize> {
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY:
    // - `value` is writable for `len` bytes, and the kernel writes no more than that.
    let rc = unsafe {
        let at = ptr::from_mut(value).cast();
        libc::getsockopt(fd.as_fd().as_raw_fd(), level, name, at, &mut len)
    };
    if rc == 0 { Ok(len as usize) } else { Err(sys::last_errno()) }
}

/// The connection's state by its name in RFC 9293, as Linux spells it.
pub fn tcp_state(fd: impl AsFd) -> io::Result<&'static str> {
    Ok(state_name(tcp_info(fd)?.tcpi_state))
}

fn state_name(state: u8) -> &'static str {
    const NAMES: [&str; 13] = [
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
    NAMES.get(usize::from(state)).unwrap_or(&"?")
}

/// A line of `/proc/net/tcp`, proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcNetTcp {
    /// As [`tcp_state`] spells it.
    pub state: &'static str,
    /// Bytes in the send buffer that the peer has not acknowledged: the Send-Q of `ss`.
    pub tx_queue: usize,
    /// Bytes that have not been read, and for a listener connections that have not been accepted:
    /// the Recv-Q of `ss`.
    pub rx_queue: usize,
    /// Which timer runs: 0 none, 1 retransmission, 2 another, 3 TIME_WAIT, 4 zero window probe.
    pub timer: u8,
    /// When it ends, in hundredths of a second.
    pub timer_left: usize,
}

/// The IPv4 socket of this machine that has these two ports; a listener's remote port is 0.
/// Sockets without a process are there, too: TIME_WAIT, LAST_ACK after `close`.
pub fn proc_net_tcp(local_port: u16, remote_port: u16) -> io::Result<Option<ProcNetTcp>> {
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().skip(1).find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(words.next()?.rsplit(':').next()?, 16).ok();
        if (port()?, port()?) != (local_port, remote_port) {
            return None;
        }
        let state = u8::from_str_radix(words.next()?, 16).ok()?;
        let pair = |word: &str| {
            let (first, second) = word.split_once(':')?;
            let number = |text| usize::from_str_radix(text, 16).ok();
            Some((number(first)?, number(second)?))
        };
        let (tx_queue, rx_queue) = pair(words.next()?)?;
        let (timer, timer_left) = pair(words.next()?)?;
        let state = state_name(state);
        Some(ProcNetTcp { state, tx_queue, rx_queue, timer: timer as u8, timer_left })
    }))
}

/// Makes the kernel lose each segment that comes in with this probability, at random: a filter of
/// five instructions before TCP, SO_ATTACH_FILTER, socket(7). A listener's connections inherit it.
pub fn lose_at_random(fd: impl AsFd, probability: f64) -> io::Result<()> {
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
    set_any_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
}

/// The congestion control of a connection, by name: TCP_CONGESTION, tcp(7).
pub fn congestion_control(fd: impl AsFd) -> io::Result<String> {
    let mut name = [0; 16];
    get_any_option(fd, libc::SOL_TCP, libc::TCP_CONGESTION, &mut name)?;
    let len = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..len]).into_owned())
}

/// Sets it. ENOENT: this kernel has none of that name. EPERM: it has, but not for everyone.
pub fn set_congestion_control(fd: impl AsFd, name: &str) -> io::Result<()> {
    let mut bytes = [0_u8; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    set_any_option(fd, libc::SOL_TCP, libc::TCP_CONGESTION, &bytes)
}

/// The SYN that began an accepted connection, from its IP header on: TCP_SAVED_SYN, tcp(7).
/// The listener must have been asked to keep it, with TCP_SAVE_SYN.
pub fn saved_syn(fd: impl AsFd) -> io::Result<Vec<u8>> {
    let mut syn = [0_u8; 256];
    let len = get_any_option(fd, libc::SOL_TCP, libc::TCP_SAVED_SYN, &mut syn)?;
    Ok(syn[..len].to_vec())
}

/// Waits until `count` bytes have arrived, or the peer has ended: `poll` with SO_RCVLOWAT.
pub fn wait_until_unread(fd: impl AsFd, count: usize) -> io::Result<()> {
    sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, count as c_int)?;
    stream::wait_ready(&fd, libc::POLLIN, Some(Instant::now() + PATIENCE))?;
    sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1)
}

/// Waits until the peer's FIN or reset has arrived, whatever is still unread: `poll`, POLLRDHUP.
pub fn wait_until_peer_ended(fd: impl AsFd) -> io::Result<()> {
    stream::wait_ready(&fd, libc::POLLRDHUP, Some(Instant::now() + PATIENCE))
}

/// Waits until the peer's kernel has acknowledged all that was sent.
pub fn wait_until_acked(fd: impl AsFd) -> io::Result<()> {
    wait_for("the acknowledgement", || Ok(unacked(&fd)? == 0))
}

/// Makes `close` send a reset instead of a FIN: SO_LINGER with zero seconds, socket(7).
pub fn reset_on_close(fd: impl AsFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_any_option(fd, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// Sets an option of any plain type.
fn set_any_option<T>(fd: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (at, len) = (ptr::from_ref(value).cast(), size_of::<T>() as libc::socklen_t);
    // SAFETY:
    // - the pointer and the length are those of `value`, which the call only reads.
    let rc = unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, name, at, len) };
    if rc == 0 { Ok(()) } else { Err(sys::last_errno()) }
}

/// Waits for something that the kernel has no event for, by asking every 100 microseconds.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !is_so()? {
        if Instant::now() > until {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("waited in vain for: {what}")));
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
    let (tid, pthread) = (gettid(), pthread_self());
    scope.spawn(move || {
        let what = format!("the thread to block in system call {number}");
        wait_for(&what, || Ok(is_blocked_in(tid, number)))?;
        act(Caller(pthread))
    })
}

/// The thread that [`when_blocked_in`] watches.
#[derive(Clone, Copy, Debug)]
pub struct Caller(Pthread);

impl Caller {
    /// Sends it a signal.
    pub fn signal(self, signal: Signal) -> io::Result<()> {
        Ok(pthread_kill(self.0, signal)?)
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

/// Bytes of address space that this process has: VmSize in `/proc/self/statm`, proc(5).
pub fn address_space() -> io::Result<usize> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: usize =
        statm.split(' ').next().unwrap_or_default().parse().map_err(io::Error::other)?;
    Ok(pages * 4096)
}

pub(crate) fn is_blocked_in(tid: Pid, number: c_long) -> bool {
    blocked_in(tid).is_some_and(|(n, _)| n == number)
}

/// The system call that a thread is blocked in, and its first argument: `/proc/self/task`, proc(5).
fn blocked_in(tid: Pid) -> Option<(c_long, u64)> {
    let line = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
    let mut words = line.split_whitespace();
    let number = words.next()?.parse().ok()?;
    let first = u64::from_str_radix(words.next()?.trim_start_matches("0x"), 16).ok()?;
    Some((number, first))
}

/// In words, where a thread is: "blocked in recv on fd 4".
pub(crate) fn what_is_it_doing(tid: Pid) -> String {
    let Some((number, first)) = blocked_in(tid) else {
        return "running, not blocked in a system call".into();
    };
    let name = match number {
        libc::SYS_recvfrom => "recv",
        libc::SYS_recvmsg => "recvmsg",
        libc::SYS_read => "read",
        libc::SYS_sendto => "send",
        libc::SYS_sendmsg => "sendmsg",
        libc::SYS_write => "write",
        libc::SYS_accept | libc::SYS_accept4 => "accept",
        libc::SYS_connect => "connect",
        libc::SYS_ppoll => return "blocked in poll".into(),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => return "blocked in poll".into(),
        libc::SYS_wait4 => return "waiting for a child process".into(),
        libc::SYS_futex => return "waiting for another thread".into(),
        libc::SYS_clock_nanosleep => return "asleep".into(),
        other => return format!("blocked in system call {other}"),
    };
    format!("blocked in {name} on fd {first}")
}
