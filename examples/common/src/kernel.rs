//! What the kernel is doing, and ways to wait until it has done it.

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_short};
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};
use std::{fs, mem};

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, gettid};
use tcp_stream_io::{UniqueFd, stream, sys};

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

/// The connection's state by its name in RFC 9293, as Linux spells it.
pub fn tcp_state(fd: impl AsFd) -> io::Result<&'static str> {
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
    Ok(NAMES.get(usize::from(tcp_info(fd)?.tcpi_state)).unwrap_or(&"?"))
}

/// Data segments sent on a connection so far, what was sent again not counted: TCP_INFO, tcp(7).
pub fn segments_sent(fd: impl AsFd) -> io::Result<usize> {
    let info = tcp_info(fd)?;
    Ok((info.tcpi_data_segs_out - info.tcpi_total_retrans) as usize)
}

/// A descriptor that counts the system calls made on it: `sys` borrows it once for each.
#[derive(Debug)]
pub struct Counted {
    fd: UniqueFd,
    calls: Cell<usize>,
}

impl Counted {
    /// Starts at 0.
    pub fn new(fd: UniqueFd) -> Counted {
        Counted { fd, calls: Cell::new(0) }
    }

    /// How many calls there have been.
    pub fn calls(&self) -> usize {
        self.calls.get()
    }

    /// The descriptor itself, for calls that are not to be counted.
    pub fn uncounted(&self) -> &UniqueFd {
        &self.fd
    }
}

impl AsFd for Counted {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.calls.set(self.calls.get() + 1);
        self.fd.as_fd()
    }
}

/// Waits until `count` bytes have arrived, or the peer has ended: `poll` with SO_RCVLOWAT.
pub fn wait_until_unread(fd: impl AsFd, count: usize) -> io::Result<()> {
    sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, count as c_int)?;
    poll_for(&fd, libc::POLLIN, format_args!("{count} unread bytes"))?;
    sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1)
}

/// Waits until the peer's FIN or reset has arrived, whatever is still unread: `poll`, POLLRDHUP.
pub fn wait_until_peer_ended(fd: impl AsFd) -> io::Result<()> {
    poll_for(&fd, libc::POLLRDHUP, "the peer's end")
}

fn poll_for(fd: impl AsFd, event: c_short, what: impl Display) -> io::Result<()> {
    let result = stream::wait_ready(&fd, event, Some(Instant::now() + PATIENCE));
    result.map_err(|e| match e.kind() {
        ErrorKind::TimedOut => in_vain(format_args!("{what} on fd {}", fd.as_fd().as_raw_fd())),
        _ => e,
    })
}

fn in_vain(what: impl Display) -> io::Error {
    io::Error::new(ErrorKind::TimedOut, format!("waited in vain for {what}"))
}

/// Waits until the peer's kernel has acknowledged all that was sent.
pub fn wait_until_acked(fd: impl AsFd) -> io::Result<()> {
    wait_for("the acknowledgement", || Ok(unacked(&fd)? == 0))
}

/// Makes `close` send a reset instead of a FIN: SO_LINGER with zero seconds, socket(7).
pub fn reset_on_close(fd: impl AsFd) -> io::Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY:
    // - the pointer and the length are those of `linger`, which the call only reads.
    let rc = unsafe {
        let (at, len) = ((&raw const linger).cast(), size_of_val(&linger) as libc::socklen_t);
        libc::setsockopt(fd.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_LINGER, at, len)
    };
    if rc == 0 { Ok(()) } else { Err(sys::last_errno()) }
}

/// Waits for something that the kernel has no event for, by asking every 100 microseconds.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
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

pub(crate) fn is_blocked_in(tid: Pid, number: c_long) -> bool {
    blocked_in(tid).is_some_and(|(n, ..)| n == number)
}

/// The system call that a thread is blocked in, and its first two arguments: `/proc/self/task`,
/// proc(5).
fn blocked_in(tid: Pid) -> Option<(c_long, u64, u64)> {
    let line = fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).ok()?;
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
        libc::SYS_accept | libc::SYS_accept4 => "accept",
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
