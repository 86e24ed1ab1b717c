//! Counts calls of a few libc functions that leave no trace in the kernel, and arranges what the
//! kernel does seldom.
//!
//! They stand here under libc's names, so the linker takes them for libc's, for the answer and for
//! the standard library alike. Each does what libc's does, and counts. What POSIX leaves open is done
//! in the way that shows a mistake: a `close` that succeeds changes errno.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::fs;
use std::hint::black_box;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;
use std::{mem, ptr, slice};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use serde::{Deserialize, Serialize};

use crate::kernel;

/// No multiple of 4 GiB: cut to 32 bits, signed or not, it is 5.
pub const HUGE: usize = (1 << 32) + 5;

/// What an answer has called since [`watch`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Calls by name.
    by_name: BTreeMap<Cow<'static, str>, usize>,
    /// What was changed of a socket that was only lent, if only for a while.
    pub touched: BTreeSet<String>,
    /// Signals whose action was set, if only for a while.
    pub actions: Vec<c_int>,
    /// How often the set of blocked signals was changed, if only for a while.
    pub masks: usize,
    /// SO_RCVTIMEO and SO_SNDTIMEO, on whatever socket.
    pub timeouts: usize,
    /// Options that could not be set.
    pub options_failed: usize,
    /// The most bytes that one `send` or `sendmsg` was offered; 0: none was called.
    pub offered: usize,
    /// The most room that one `recv` or `recvmsg` was offered.
    pub room: usize,
    /// Calls of `poll` that were told not to wait.
    pub looks: usize,
    /// Those that found nothing until their time was over.
    pub over: usize,
    /// The milliseconds of all of those.
    pub waited: i64,
    /// The most milliseconds that one was told to wait.
    pub longest: c_int,
    /// The most microseconds by which one was told to wait for less than is left, see [`until`].
    pub short: u64,
    /// Calls that failed because of [`Seldom::Says`].
    pub failed: usize,
    /// Calls that received into, or sent from, another place than the buffer, see [`lends`].
    pub elsewhere: usize,
    /// Those that offered less than all of the rest, and a `send` less than 4 KiB, a `recv` than a MiB.
    pub pieces: usize,
    /// Bytes that were still to come, see [`Seldom::Moves`].
    pub missing: usize,
    /// Calls of `send` without MSG_NOSIGNAL.
    pub bare: usize,
    /// The flags of every `recv`.
    pub recv_flags: c_int,
    /// The flags of every `send` and `sendmsg`.
    pub flags: c_int,
    /// The length of an address, where it was more than the address has.
    pub too_long: c_uint,
    /// The descriptors that `connect` was called with.
    pub connected: BTreeSet<c_int>,
    /// One of them was not close-on-exec by then.
    pub inherited: bool,
    /// The port that `bind` was last asked for.
    pub port: u16,
    /// Calls of `close` that failed: nothing was open under that number.
    pub closed_nothing: usize,
    /// Calls of `send` and `recv` that said EAGAIN.
    pub would_block: usize,
    /// Bytes that `recv` has brought.
    received: usize,
    /// Each descriptor that they came from, in this order, and how many had come before.
    pub first: Vec<(c_int, usize)>,
    /// The lengths of the first iovecs of the first `sendmsg`.
    pub gathered: Option<Vec<usize>>,
    /// What the last `sendmsg` or `send` has not taken of what it was given.
    left: usize,
    /// The one after that, or a `send`, was given less.
    pub less_than_left: bool,
    /// What the last list of `getaddrinfo` holds, in its order.
    pub addresses: Vec<SocketAddr>,
    /// The lists that `getaddrinfo` has made, each by its head.
    pub lists: Vec<usize>,
    /// Those of them that `freeaddrinfo` was given.
    pub freed: Vec<usize>,
    /// Calls of `freeaddrinfo` with a list that had been freed.
    pub freed_twice: usize,
    /// Calls of `freeaddrinfo` with something else: the middle of a list, or null.
    pub freed_no_list: usize,
}

impl Calls {
    /// How often this was called.
    pub fn of(&self, name: &str) -> usize {
        self.by_name.get(name).copied().unwrap_or_default()
    }

    fn count(&mut self, name: &'static str) {
        *self.by_name.entry(name.into()).or_default() += 1;
    }

    /// Whether the kernel was told to hold bytes back, if only for a while.
    pub fn holds_back(&self) -> bool {
        self.flags & libc::MSG_MORE != 0
    }
}

#[derive(Default)]
struct Log {
    /// With what is open there: a copy of the descriptor is the same socket.
    lent: Vec<(c_int, Option<PathBuf>)>,
    calls: Calls,
    /// What happens in the call that is watched, and in the next one.
    seldom: Seldom,
    next: Seldom,
    buffer: Range<usize>,
    until: Option<Instant>,
}

impl Log {
    fn begin(&mut self, seldom: Seldom) {
        (self.calls, self.seldom) = (Calls::default(), seldom);
    }
}

static LOG: LazyLock<Mutex<Log>> = LazyLock::new(Mutex::default);

/// This is to happen in the next call of the answer.
pub fn next_time(seldom: Seldom) {
    LOG.lock().unwrap().next = seldom;
}

/// Each call of the answer that sends or receives is to use this buffer.
pub fn lends(buffer: &[u8]) {
    let at = buffer.as_ptr().addr();
    LOG.lock().unwrap().buffer = at..at + buffer.len();
}

/// What is waited for comes until then.
pub fn until(deadline: Instant) {
    LOG.lock().unwrap().until = Some(deadline);
}

/// Watches a call that these descriptors are lent to.
pub fn watch(lent: &[c_int]) {
    let lent = lent.iter().map(|&fd| (fd, kernel::identity(fd))).collect();
    let log = &mut *LOG.lock().unwrap();
    log.lent = lent;
    let next = mem::take(&mut log.next);
    log.begin(next);
    ANSWERS.store(true, Relaxed);
}

/// Counts from here on, where this happens.
pub fn start_with(seldom: Seldom) {
    LOG.lock().unwrap().begin(seldom);
    spoil_stack();
}

/// What has been counted.
pub fn counted() -> Calls {
    ANSWERS.store(false, Relaxed);
    let log = &mut *LOG.lock().unwrap();
    if let Seldom::Taken(fd) = mem::take(&mut log.seldom) {
        // SAFETY: it takes a number; who has opened it here closes it.
        unsafe { REAL(libc::SYS_close, fd) };
    }
    mem::take(&mut log.calls)
}

fn note(what: impl FnOnce(&mut Calls)) {
    what(&mut LOG.lock().unwrap().calls);
}

fn count(name: &'static str) {
    note(|calls| calls.count(name));
}

/// Notes a length that is more than this address has; its port.
///
/// # Safety
/// `at` is null, or an address of `len` bytes, or of those of its family.
unsafe fn addressed(at: *const libc::sockaddr, len: c_uint) -> u16 {
    // SAFETY: the caller's contract; both families have the port at the same place.
    let at = unsafe { at.cast::<libc::sockaddr_in>().as_ref() }.filter(|_| len >= 16);
    let longest = match at.map(|at| at.sin_family.into()) {
        Some(libc::AF_INET) => 16,
        Some(libc::AF_INET6) => 28,
        _ => len,
    };
    if len > longest {
        note(|calls| calls.too_long = len);
    }
    at.map_or(0, |at| u16::from_be(at.sin_port))
}

/// Notes what is changed of a socket that was lent, under whatever descriptor.
fn touch(fd: c_int, what: &str) {
    let it = kernel::identity(fd);
    let is_it = |(lent, of): &(c_int, _)| *of == it && (what != INHERITED || *lent == fd);
    let is_lent = it.is_some() && LOG.lock().unwrap().lent.iter().any(is_it);
    if is_lent {
        note(|calls| _ = calls.touched.insert(what.into()));
    }
}

/// The status flags, by name.
pub const FLAGS: &str = "the status flags (O_NONBLOCK among them)";

/// The flag of one descriptor alone.
const INHERITED: &str = "close-on-exec";

/// Those that F_SETFL wipes out where they were not read before.
const OTHER_FLAGS: &str = "the status flags other than O_NONBLOCK";

/// The options that an answer might change on its way: level, option, name.
pub const OPTIONS: [(c_int, c_int, &str); 11] = [
    (libc::SOL_SOCKET, libc::SO_ZEROCOPY, "SO_ZEROCOPY"),
    (libc::SOL_SOCKET, libc::SO_KEEPALIVE, "SO_KEEPALIVE"),
    (libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT"),
    (libc::SOL_SOCKET, libc::SO_RCVTIMEO, "SO_RCVTIMEO"),
    (libc::SOL_SOCKET, libc::SO_SNDTIMEO, "SO_SNDTIMEO"),
    (libc::SOL_SOCKET, libc::SO_RCVLOWAT, "SO_RCVLOWAT"),
    (libc::SOL_SOCKET, libc::SO_LINGER, "SO_LINGER"),
    (libc::SOL_SOCKET, libc::SO_BUF_LOCK, "SO_SNDBUF or SO_RCVBUF"),
    (libc::IPPROTO_TCP, libc::TCP_NODELAY, "TCP_NODELAY"),
    (libc::IPPROTO_TCP, libc::TCP_CORK, "TCP_CORK"),
    (libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT"),
];

/// What happens seldom, and may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seldom {
    /// Nothing of all this.
    #[default]
    Nothing,
    /// `getaddrinfo` sorts the other way round, as gai.conf(5) may have it.
    ReversedList,
    /// `getaddrinfo` fails with this code.
    Fails(c_int),
    /// The next `close` closes, and says EINTR: so close(2), though no TCP socket of Linux does it.
    CloseSaysEintr,
    /// `accept` has so many descriptors left to give.
    Descriptors(usize),
    /// It has, and another descriptor has the number by now.
    Taken(c_int),
    /// This socket begins to listen between the answer's `bind` and its `listen`.
    Rival(c_int),
    /// So many calls that send, receive or accept say this errno, and take so many microseconds
    /// each; with `true` those of `poll` as well.
    Says(c_int, usize, u32, bool),
    /// `recv` gives so many bytes at most, and takes so many microseconds.
    Gives(usize, u32),
    /// Each that sends or receives moves bytes of [`HUGE`] that nobody has seen, as many as the
    /// kernel moves at most, but for 5 at first; so many are left.
    Moves(usize),
    /// `send` takes 1000 bytes less than it is offered, where it is offered more.
    TakesLess,
    /// The first `send` or `sendmsg` takes so many bytes at most, and the second one so many; 0 is all.
    Parts(usize, usize),
    /// `poll` says once that there is something where there is nothing.
    FalseAlarm,
    /// The time of each `poll` is over at once: the clock is as much later, or an hour.
    Over,
}

/// errno after a `close` that succeeded: what this call left, nobody else does.
pub const AFTER_CLOSE: Errno = Errno::ENOTTY;

/// Leaves errno as a call that has succeeded may, where that is the subject.
pub fn spoil_errno() {
    if SPOILS.load(Relaxed) && ANSWERS.load(Relaxed) {
        AFTER_CLOSE.set();
    }
}

/// What the answer finds where nobody has written to yet is not zero, and ends no text.
#[inline(never)]
pub fn spoil_stack() {
    black_box([b'9'; 1 << 15]);
}

/// A call that succeeds, and memory that is taken or given back, changes errno.
pub static SPOILS: AtomicBool = AtomicBool::new(false);

/// libc's own `syscall`, which the one below hides.
static REAL: LazyLock<unsafe extern "C" fn(c_long, ...) -> c_long> =
    // SAFETY: libc has a `syscall`, and this is its type.
    LazyLock::new(|| unsafe { next(c"syscall") });

/// libc's own function of this name, which the one that stands here hides.
///
/// # Safety
/// libc has it, and `F` is a pointer to a function of its type.
unsafe fn next<F>(name: &CStr) -> F {
    // SAFETY: a name that ends with a zero; the caller's contract.
    unsafe { mem::transmute_copy(&libc::dlsym(libc::RTLD_NEXT, name.as_ptr())) }
}

/// Ends the process, whatever stands in the way.
pub fn leave(code: c_int) -> ! {
    loop {
        // SAFETY: it takes a number, and does not return.
        unsafe { REAL(libc::SYS_exit_group, code) };
    }
}

/// Notes a call that is to send so many bytes.
fn sends(name: &'static str, len: usize, flags: c_int) {
    note(|calls| {
        calls.count(name);
        calls.offered = len.max(calls.offered);
        calls.flags |= flags;
        calls.bare += usize::from(flags & libc::MSG_NOSIGNAL == 0);
        calls.less_than_left |= len < calls.left;
    });
}

/// So many bytes were sent, of so many.
fn sent(bytes: c_long, len: usize) -> isize {
    let bytes = noted(bytes) as isize;
    note(|calls| calls.left = len.saturating_sub(bytes.max(0) as usize));
    bytes
}

/// It is so many microseconds later by the clock.
fn takes(micros: u32) {
    AHEAD.fetch_add(i64::from(micros) * 1000, Relaxed);
}

/// What happens in this call.
fn seldom() -> Seldom {
    LOG.lock().unwrap().seldom
}

/// Whether this call, which may be a `poll`, is one that fails.
fn fails(polls: bool) -> bool {
    let Log { seldom, calls, .. } = &mut *LOG.lock().unwrap();
    match seldom {
        Seldom::Says(errno, left, micros, all) if *left > 0 && (*all || !polls) => {
            *left -= 1;
            calls.failed += 1;
            takes(*micros);
            Errno::set_raw(*errno);
            true
        }
        _ => false,
    }
}

/// What a call that is to move so many bytes says where the kernel is not asked.
fn instead(len: usize) -> Option<isize> {
    if fails(false) {
        return Some(-1);
    }
    let Log { seldom: Seldom::Moves(left), calls, .. } = &mut *LOG.lock().unwrap() else {
        return None;
    };
    let n = if *left == HUGE { 5 } else { len.min(*left).min(0x7fff_f000) };
    *left -= n;
    calls.missing = *left;
    if n == 0 {
        Errno::EPIPE.set();
        return Some(-1);
    }
    Some(n as isize)
}

/// What a call takes of so many bytes at most.
fn part(len: usize) -> usize {
    match &mut LOG.lock().unwrap().seldom {
        Seldom::TakesLess if len > 1000 => len - 1000,
        Seldom::Parts(first, then) if *first > 0 => mem::replace(first, mem::take(then)).min(len),
        _ => len,
    }
}

/// The room that `recv` has of this.
fn room(len: usize) -> usize {
    match seldom() {
        Seldom::Gives(most, micros) => {
            takes(micros);
            len.min(most)
        }
        _ => len,
    }
}

/// Notes whether so many bytes at this address are of the buffer, and all of it that is left, or
/// `enough`.
fn uses(at: *const c_void, len: usize, enough: usize) {
    let Log { buffer: Range { start, end }, calls, .. } = &mut *LOG.lock().unwrap();
    if len > 0 && !(*start..=*end).contains(&at.addr()) {
        calls.elsewhere += usize::from(start != end);
    } else if len < enough.min(end.saturating_sub(at.addr())) {
        calls.pieces += 1;
    }
}

/// EAGAIN is counted, whoever said it.
fn noted(back: c_long) -> c_long {
    if back < 0 && Errno::last() == Errno::EAGAIN {
        note(|calls| calls.would_block += 1);
    }
    back
}

/// Functions under libc's names.
macro_rules! instead_of_libcs {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $back:ty $body:block)*) => {$(
        // SAFETY: the signature is libc's, and it does what libc's does.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $kind),*) -> $back {
            // SAFETY: the caller keeps the contract of libc's.
            unsafe { $body }
        }
    )*};
}

/// Those that do this, and then all that libc's does.
macro_rules! before_libcs {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $back:ty $body:block)*) => {
        instead_of_libcs! {$(
            fn $name($($arg: $kind),*) -> $back {
                $body
                let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
                let libcs: unsafe extern "C" fn($($kind),*) -> $back = next(name.expect("a name"));
                libcs($($arg),*)
            }
        )*}
    };
}

/// The answer is at work.
static ANSWERS: AtomicBool = AtomicBool::new(false);

/// The exit code of a process that has let time pass.
pub const NAPPED: c_int = 87;

/// Where this call only lets time pass the process ends: no answer may make one.
fn nap(is_one: bool) {
    if is_one && ANSWERS.load(Relaxed) {
        leave(NAPPED)
    }
}

/// A timeout of nothing: it only looks.
///
/// # Safety
/// `time` is null, or points to one.
unsafe fn is_now(time: *const libc::timespec) -> bool {
    // SAFETY: the caller's contract.
    unsafe { time.as_ref() }.is_some_and(|time| (time.tv_sec, time.tv_nsec) == (0, 0))
}

/// Nobody else could wake it.
fn is_alone() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// Whether this epoll has no descriptor to wait for: proc(5).
fn is_empty(epoll: c_int) -> bool {
    fs::read_to_string(format!("/proc/self/fdinfo/{epoll}"))
        .is_ok_and(|info| !info.contains("tfd:"))
}

instead_of_libcs! {
    fn socket(family: c_int, kind: c_int, number: c_int) -> c_int {
        count("socket");
        noted(REAL(libc::SYS_socket, family, kind, number)) as c_int
    }

    fn connect(fd: c_int, to: *const libc::sockaddr, len: c_uint) -> c_int {
        count("connect");
        // Who calls itself for it would run into the end of its stack: it runs in circles instead.
        while LOG.lock().unwrap().calls.of("connect") > 5000 {}
        addressed(to, len);
        let flags = REAL(libc::SYS_fcntl, fd, libc::F_GETFD);
        note(|calls| {
            calls.inherited |= flags == 0;
            calls.connected.insert(fd);
        });
        noted(REAL(libc::SYS_connect, fd, to, len)) as c_int
    }

    // libc's takes as many numbers as the call needs, six at most, and all travel alike.
    fn syscall(
        number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long
    ) -> c_long {
        let (fd, len) = (a as c_int, e as c_uint);
        match number {
            libc::SYS_close => close(fd).into(),
            libc::SYS_socket => socket(fd, b as c_int, c as c_int).into(),
            libc::SYS_exit_group => libc::_exit(fd),
            libc::SYS_connect => connect(fd, b as *const _, c as c_uint).into(),
            libc::SYS_sendmsg => sendmsg(fd, b as *const _, c as c_int) as c_long,
            libc::SYS_recvmsg => recvmsg(fd, b as *mut _, c as c_int) as c_long,
            libc::SYS_fcntl => fcntl(fd, b as c_int, c).into(),
            libc::SYS_ioctl => ioctl(fd, b as libc::c_ulong, c).into(),
            libc::SYS_setsockopt => setsockopt(fd, b as c_int, c as c_int, d as *const _, len).into(),
            libc::SYS_bind => bind(fd, b as *const _, c as c_uint).into(),
            libc::SYS_accept4 => accept4(fd, b as *mut _, c as *mut _, d as c_int).into(),
            libc::SYS_sendto => {
                sendto(fd, b as *const _, c as usize, d as c_int, e as *const _, f as c_uint) as c_long
            }
            libc::SYS_sendmmsg => sendmmsg(fd, b as *mut _, c as c_uint, d as c_int).into(),
            libc::SYS_shutdown => shutdown(fd, b as c_int).into(),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_poll => poll(a as *mut _, b as libc::nfds_t, c as c_int).into(),
            libc::SYS_ppoll if d == 0 => {
                ppoll(a as *mut _, b as libc::nfds_t, c as *const _, ptr::null()).into()
            }
            libc::SYS_recvfrom => {
                recvfrom(fd, b as *mut _, c as usize, d as c_int, e as *mut _, f as *mut _) as c_long
            }
            libc::SYS_rt_sigprocmask => {
                note(|calls| calls.masks += usize::from(b != 0));
                REAL(number, a, b, c, d)
            }
            libc::SYS_rt_sigtimedwait => {
                nap(!is_now(c as *const _));
                REAL(number, a, b, c, d)
            }
            _ if naps(number, [a, b, c, d]) => leave(NAPPED),
            // What is not counted is not noted either: a note may have to wait, by such a call.
            _ => REAL(number, a, b, c, d, e, f),
        }
    }

    fn send(fd: c_int, at: *const c_void, len: usize, flags: c_int) -> isize {
        sendto(fd, at, len, flags, ptr::null(), 0)
    }

    fn sendto(
        fd: c_int, at: *const c_void, len: usize, flags: c_int, to: *const libc::sockaddr,
        size: c_uint
    ) -> isize {
        if let Some(said) = instead(len) {
            return said;
        }
        uses(at, len, 4096);
        sends("send", len, flags);
        sent(REAL(libc::SYS_sendto, fd, at, part(len), flags, to, size), len)
    }

    fn sendmmsg(fd: c_int, messages: *mut libc::mmsghdr, n: c_uint, flags: c_int) -> c_int {
        sends("sendmmsg", 0, flags);
        noted(REAL(libc::SYS_sendmmsg, fd, messages, n, flags)) as c_int
    }

    fn shutdown(fd: c_int, how: c_int) -> c_int {
        count("shutdown");
        REAL(libc::SYS_shutdown, fd, how) as c_int
    }

    fn recv(fd: c_int, at: *mut c_void, len: usize, flags: c_int) -> isize {
        recvfrom(fd, at, len, flags, ptr::null_mut(), ptr::null_mut())
    }

    fn recvfrom(
        fd: c_int, at: *mut c_void, len: usize, flags: c_int, from: *mut libc::sockaddr,
        size: *mut c_uint
    ) -> isize {
        if let Some(said) = instead(len) {
            return said;
        }
        uses(at, len, 1 << 20);
        note(|calls| {
            calls.count("recv");
            calls.room = len.max(calls.room);
            calls.recv_flags |= flags;
        });
        let len = room(len);
        let got = noted(REAL(libc::SYS_recvfrom, fd, at, len, flags, from, size)) as isize;
        if got > 0 {
            note(|calls| {
                if calls.first.iter().all(|(other, _)| *other != fd) {
                    calls.first.push((fd, calls.received));
                }
                calls.received += got as usize;
            });
        }
        got
    }

    fn read(fd: c_int, at: *mut c_void, len: usize) -> isize {
        let asked = || noted(REAL(libc::SYS_read, fd, at, room(len))) as isize;
        instead(len).unwrap_or_else(asked)
    }

    // As a print that has succeeded may leave it.
    fn write(fd: c_int, at: *const c_void, len: usize) -> isize {
        let done = REAL(libc::SYS_write, fd, at, len) as isize;
        if done >= 0 {
            spoil_errno();
        }
        done
    }

    fn accept(fd: c_int, at: *mut libc::sockaddr, len: *mut c_uint) -> c_int {
        accept4(fd, at, len, 0)
    }

    fn accept4(fd: c_int, at: *mut libc::sockaddr, len: *mut c_uint, flags: c_int) -> c_int {
        if fails(false) {
            return -1;
        }
        count("accept");
        if seldom() == Seldom::Descriptors(0) {
            Errno::EMFILE.set();
            return -1;
        }
        let conn = noted(REAL(libc::SYS_accept4, fd, at, len, flags)) as c_int;
        if let (0.., Seldom::Descriptors(left)) = (conn, &mut LOG.lock().unwrap().seldom) {
            *left -= 1;
        }
        conn
    }

    fn sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize {
        let message = &*message;
        let pieces: &[libc::iovec] = match message.msg_iovlen {
            0 => &[],
            n => slice::from_raw_parts(message.msg_iov, n),
        };
        let lengths = pieces.iter().map(|piece| piece.iov_len);
        let given = lengths.clone().sum();
        if let Some(said) = instead(given) {
            return said;
        }
        for (at, piece) in pieces.iter().enumerate() {
            uses(piece.iov_base, given, if at == 0 { 4096 } else { 0 });
        }
        sends("sendmsg", given, flags);
        note(|calls| _ = calls.gathered.get_or_insert_with(|| lengths.take(16).collect()));
        let (mut left, mut message, mut cut) = (part(given), *message, Vec::new());
        if left < given {
            for piece in pieces {
                let iov_len = piece.iov_len.min(left);
                left -= iov_len;
                cut.push(libc::iovec { iov_len, ..*piece });
            }
            message.msg_iov = cut.as_mut_ptr();
        }
        sent(REAL(libc::SYS_sendmsg, fd, &raw const message, flags), given)
    }

    fn recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize {
        let lengths = (0..(*message).msg_iovlen).map(|at| (*(*message).msg_iov.add(at)).iov_len);
        let len = lengths.sum();
        if let Some(said) = instead(len) {
            return said;
        }
        note(|calls| {
            calls.count("recvmsg");
            calls.room = len.max(calls.room);
        });
        let (pieces, n, room) = ((*message).msg_iov, (*message).msg_iovlen, room(len));
        let mut first;
        if room < len {
            first = libc::iovec { iov_len: room.min((*pieces).iov_len), ..*pieces };
            ((*message).msg_iov, (*message).msg_iovlen) = (&mut first, 1);
        }
        let got = noted(REAL(libc::SYS_recvmsg, fd, message, flags)) as isize;
        ((*message).msg_iov, (*message).msg_iovlen) = (pieces, n);
        got
    }

    fn close(fd: c_int) -> c_int {
        count("close");
        let rc = REAL(libc::SYS_close, fd) as c_int;
        if rc != 0 {
            note(|calls| calls.closed_nothing += 1);
            return rc;
        }
        let seldom = &mut LOG.lock().unwrap().seldom;
        if *seldom == Seldom::CloseSaysEintr {
            *seldom = Seldom::Taken(fd);
            REAL(libc::SYS_dup3, 0, fd, libc::O_CLOEXEC);
            Errno::EINTR.set();
            return -1;
        }
        AFTER_CLOSE.set();
        0
    }

    fn bind(fd: c_int, at: *const libc::sockaddr, len: libc::socklen_t) -> c_int {
        count("bind");
        let port = addressed(at, len);
        note(|calls| calls.port = port);
        let rc = REAL(libc::SYS_bind, fd, at, len) as c_int;
        if let (0, Seldom::Rival(rival)) = (rc, seldom()) {
            libc::listen(rival, 1);
        }
        rc
    }

    // The last argument of libc's is an int or a pointer, and both travel as a long does.
    fn fcntl(fd: c_int, what: c_int, value: c_long) -> c_int {
        match what {
            libc::F_SETFL => {
                touch(fd, FLAGS);
                let before = REAL(libc::SYS_fcntl, fd, libc::F_GETFL);
                if before & !value & c_long::from(libc::O_APPEND | libc::O_ASYNC) != 0 {
                    touch(fd, OTHER_FLAGS);
                }
            }
            libc::F_SETFD => touch(fd, INHERITED),
            _ => {}
        }
        REAL(libc::SYS_fcntl, fd, what, value) as c_int
    }

    fn ioctl(fd: c_int, request: libc::c_ulong, value: c_long) -> c_int {
        match request as libc::Ioctl {
            libc::FIONBIO => touch(fd, FLAGS),
            libc::FIOCLEX | libc::FIONCLEX => touch(fd, INHERITED),
            _ => {}
        }
        REAL(libc::SYS_ioctl, fd, request, value) as c_int
    }

    fn setsockopt(fd: c_int, level: c_int, option: c_int, at: *const c_void, len: c_uint) -> c_int {
        let known = OPTIONS.iter().find(|known| (known.0, known.1) == (level, option));
        let name = known.map_or("an option", |known| known.2);
        touch(fd, name);
        note(|calls| calls.timeouts += usize::from(name.ends_with("TIMEO")));
        let rc = REAL(libc::SYS_setsockopt, fd, level, option, at, len) as c_int;
        note(|calls| calls.options_failed += usize::from(rc < 0));
        rc
    }

    fn poll(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int {
        count("poll");
        let asked: &mut [libc::pollfd] =
            if fds.is_null() { &mut [] } else { slice::from_raw_parts_mut(fds, n as usize) };
        let until = LOG.lock().unwrap().until.filter(|_| timeout > 0);
        let left = until.map_or(0, |until| (until - Instant::now()).as_micros() as u64);
        note(|calls| {
            calls.looks += usize::from(timeout == 0);
            calls.longest = calls.longest.max(timeout);
            let short = left.min(LONGEST).saturating_sub(1000 * timeout.unsigned_abs() as u64);
            calls.short = calls.short.max(short);
        });
        if fails(true) {
            return -1;
        }
        nap(timeout != 0 && asked.iter().all(|one| one.fd < 0));
        match (seldom(), asked) {
            (Seldom::FalseAlarm, [one, ..]) => {
                LOG.lock().unwrap().seldom = Seldom::Nothing;
                one.revents = libc::POLLIN;
                return 1;
            }
            (Seldom::Over, _) if timeout >= 0 => {
                AHEAD.fetch_add(i64::from(timeout).max(3_600_000) * 1_000_000, Relaxed);
                return 0;
            }
            _ => {}
        }
        let hastened = HASTENED.load(Relaxed);
        let ms = i64::from(if hastened && timeout >= LONG { MOMENT } else { timeout });
        let time = libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
        let at = if ms < 0 { ptr::null() } else { &raw const time };
        let ready = REAL(libc::SYS_ppoll, fds, n, at, ptr::null::<c_void>(), 0) as c_int;
        if ready == 0 {
            note(|calls| (calls.over, calls.waited) = (calls.over + 1, calls.waited + ms));
            if hastened {
                AHEAD.fetch_add(i64::from(timeout) * HASTE * 1_000_000, Relaxed);
            }
        }
        ready
    }

    fn epoll_wait(epoll: c_int, at: *mut libc::epoll_event, n: c_int, timeout: c_int) -> c_int {
        epoll_pwait(epoll, at, n, timeout, ptr::null())
    }

    fn clock_gettime(clock: libc::clockid_t, at: *mut libc::timespec) -> c_int {
        let rc = REAL(libc::SYS_clock_gettime, clock, at) as c_int;
        let ahead = AHEAD.load(Relaxed);
        let is_of_the_cpu = [libc::CLOCK_PROCESS_CPUTIME_ID, libc::CLOCK_THREAD_CPUTIME_ID];
        if rc == 0 && ahead > 0 && !is_of_the_cpu.contains(&clock) {
            let nanos = (*at).tv_nsec + ahead % 1_000_000_000;
            (*at).tv_sec += ahead / 1_000_000_000 + nanos / 1_000_000_000;
            (*at).tv_nsec = nanos % 1_000_000_000;
        }
        rc
    }

    fn getaddrinfo(
        host: *const c_char, service: *const c_char, hints: *const libc::addrinfo,
        list: *mut *mut libc::addrinfo
    ) -> c_int {
        let seldom = seldom();
        if let Seldom::Fails(code) = seldom {
            return code;
        }
        let libcs = next::<unsafe extern "C" fn(_, _, _, _) -> _>(c"getaddrinfo");
        let rc = libcs(host, service, hints, list);
        if rc == 0 {
            let mut nodes = nodes(*list);
            if seldom == Seldom::ReversedList {
                nodes.reverse();
                *list = nodes[0];
                nodes.windows(2).for_each(|two| (*two[0]).ai_next = two[1]);
                nodes.last().into_iter().for_each(|last| (**last).ai_next = ptr::null_mut());
            }
            let addresses = nodes.iter().filter_map(|node| address(*node)).collect();
            note(|calls| {
                calls.lists.push((*list).addr());
                calls.addresses = addresses;
            });
        }
        rc
    }

    // A list is not given back to libc but made unusable: who reads it afterwards finds no address
    // in it, every time.
    fn freeaddrinfo(head: *mut libc::addrinfo) -> () {
        let calls = &mut LOG.lock().unwrap().calls;
        if calls.freed.contains(&head.addr()) {
            return calls.freed_twice += 1;
        } else if !calls.lists.contains(&head.addr()) {
            return calls.freed_no_list += 1;
        }
        calls.freed.push(head.addr());
        for node in nodes(head) {
            ptr::write_bytes((*node).ai_addr.cast::<u8>(), 0xdd, (*node).ai_addrlen as usize);
            (*node).ai_next = ptr::null_mut();
        }
    }
}

before_libcs! {
    fn sigaction(number: c_int, new: *const libc::sigaction, old: *mut libc::sigaction) -> c_int {
        if !new.is_null() {
            note(|calls| calls.actions.push(number));
        }
    }

    fn signal(number: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
        note(|calls| calls.actions.push(number));
    }

    fn pthread_sigmask(how: c_int, new: *const libc::sigset_t, old: *mut libc::sigset_t) -> c_int {
        note(|calls| calls.masks += usize::from(!new.is_null()));
    }

    fn sigprocmask(how: c_int, new: *const libc::sigset_t, old: *mut libc::sigset_t) -> c_int {
        note(|calls| calls.masks += usize::from(!new.is_null()));
    }

    fn ppoll(
        fds: *mut libc::pollfd, n: libc::nfds_t, time: *const libc::timespec,
        mask: *const libc::sigset_t
    ) -> c_int {
        let ms = time.as_ref().map_or(-1, |time| {
            let ms = time.tv_sec.saturating_mul(1000).saturating_add((time.tv_nsec + 999_999) / 1_000_000);
            ms.clamp(-2, c_int::MAX.into())
        });
        if mask.is_null() && (time.is_null() || ms >= 0) {
            return poll(fds, n, ms as c_int);
        }
        nap(n == 0);
        note(|calls| calls.masks += usize::from(!mask.is_null() && *mask.cast::<u64>() != 0));
    }

    fn select(
        n: c_int, read: *mut libc::fd_set, write: *mut libc::fd_set, other: *mut libc::fd_set,
        time: *mut libc::timeval
    ) -> c_int {
        count("poll");
        nap(n == 0 || [read, write, other].iter().all(|set| set.is_null()));
    }

    fn pselect(
        n: c_int, read: *mut libc::fd_set, write: *mut libc::fd_set, other: *mut libc::fd_set,
        time: *const libc::timespec, mask: *const libc::sigset_t
    ) -> c_int {
        count("poll");
        nap(n == 0 || [read, write, other].iter().all(|set| set.is_null()));
    }

    fn epoll_pwait(
        epoll: c_int, at: *mut libc::epoll_event, n: c_int, timeout: c_int,
        mask: *const libc::sigset_t
    ) -> c_int {
        count("poll");
        nap(timeout != 0 && is_empty(epoll));
    }

    fn sigtimedwait(
        set: *const libc::sigset_t, info: *mut libc::siginfo_t, time: *const libc::timespec
    ) -> c_int {
        nap(!is_now(time));
    }

    fn nanosleep(time: *const libc::timespec, left: *mut libc::timespec) -> c_int {
        nap(true);
    }

    fn clock_nanosleep(
        clock: libc::clockid_t, flags: c_int, time: *const libc::timespec,
        left: *mut libc::timespec
    ) -> c_int {
        nap(true);
    }

    fn usleep(micros: c_uint) -> c_int {
        nap(true);
    }

    fn sleep(seconds: c_uint) -> c_uint {
        nap(true);
    }
}

/// Whether a call with this number and these arguments only lets time pass.
fn naps(number: c_long, [a, b, c, d]: [c_long; 4]) -> bool {
    let is_one = || match number {
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => true,
        libc::SYS_ppoll => b == 0,
        libc::SYS_pselect6 => a == 0 || [b, c, d] == [0; 3],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => a == 0 || [b, c, d] == [0; 3],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => d != 0 && is_empty(a as c_int),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => d != 0 && is_empty(a as c_int),
        // A wait for another thread, where there is none.
        libc::SYS_futex => {
            let waits = [libc::FUTEX_WAIT, libc::FUTEX_WAIT_BITSET];
            d != 0 && waits.contains(&(b as c_int & libc::FUTEX_CMD_MASK)) && is_alone()
        }
        _ => false,
    };
    ANSWERS.load(Relaxed) && is_one()
}

/// How far the clock of this process is ahead of the machine's, in nanoseconds.
static AHEAD: AtomicI64 = AtomicI64::new(0);

/// Its time is hastened.
static HASTENED: AtomicBool = AtomicBool::new(false);

/// Who is told to wait for less than is left has a reason where it is for so many microseconds: it
/// looks up now and then.
const LONGEST: u64 = 500_000;

/// A wait that ended because its time was over has taken so many times that time, by the clock: a
/// machine may be as busy as that.
const HASTE: i64 = 20;

/// A `poll` of so many milliseconds or more ...
const LONG: c_int = 5000;

/// ... takes only these: a number that no answer has.
pub const MOMENT: c_int = 503;

/// Hastens the time of this process: who gives up after a time of its own does so at once.
pub fn hasten() {
    HASTENED.store(true, Relaxed);
}

/// The nodes of a list, from this one on.
///
/// # Safety
/// `node` is null, or a node of a list that has not been freed.
unsafe fn nodes(mut node: *mut libc::addrinfo) -> Vec<*mut libc::addrinfo> {
    let mut all = Vec::new();
    while !node.is_null() {
        all.push(node);
        // SAFETY: the caller's contract.
        node = unsafe { (*node).ai_next };
    }
    all
}

/// # Safety
/// `node` is one of a list that has not been freed.
unsafe fn address(node: *const libc::addrinfo) -> Option<SocketAddr> {
    // SAFETY: the caller's contract; a node holds an address of `ai_addrlen` bytes.
    let at = unsafe { SockaddrStorage::from_raw((*node).ai_addr, Some((*node).ai_addrlen)) }?;
    let v4 = at.as_sockaddr_in().map(|v4| SocketAddrV4::from(*v4).into());
    v4.or_else(|| at.as_sockaddr_in6().map(|v6| SocketAddrV6::from(*v6).into()))
}
