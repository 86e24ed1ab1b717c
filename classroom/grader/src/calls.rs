//! Counts calls of a few libc functions that leave no trace in the kernel, and arranges what the
//! kernel does seldom.
//!
//! They stand here under libc's names, so the linker takes them for libc's, for the answer and for
//! the standard library alike. Each does what libc's does, and counts. What POSIX leaves open is done
//! in the way that shows a mistake: a `close` that succeeds changes errno.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::mem;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use serde::{Deserialize, Serialize};

/// What has been counted since [`start`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
    /// Calls by name.
    pub by_name: BTreeMap<String, usize>,
    /// What was changed of a socket that was only lent, if only for a while.
    pub touched: Vec<String>,
    /// Signals whose action was set, if only for a while.
    pub actions: Vec<c_int>,
    /// SO_RCVTIMEO and SO_SNDTIMEO, on whatever socket.
    pub timeouts: usize,
    /// Calls of `poll` that were told not to wait.
    pub looks: usize,
    /// Those that found nothing until their time was over.
    pub over: usize,
    /// Calls of `close`.
    pub closes: usize,
    /// Those of them that failed: nothing was open under that number.
    pub closed_nothing: usize,
    /// Calls of `connect`.
    pub connects: usize,
    /// Calls of `socket`.
    pub sockets: usize,
    /// Calls of `send` and `recv`.
    pub transfers: usize,
    /// Those of them that said EAGAIN.
    pub would_block: usize,
    /// Lists that `getaddrinfo` has made.
    pub lists: usize,
    /// What the last of them holds, in its order.
    pub addresses: Vec<String>,
    /// Lists that `freeaddrinfo` was given, each by its head and once.
    pub freed: usize,
    /// Calls of `freeaddrinfo` with a list that had been freed.
    pub freed_twice: usize,
    /// Calls of `freeaddrinfo` with something else: the middle of a list, or null.
    pub freed_no_list: usize,
}

/// What is counted by name, since [`watch`].
static LOG: Mutex<Log> = Mutex::new(Log::new());

struct Log {
    /// The sockets' own numbers: a copy of the descriptor is the same socket.
    lent: Vec<Option<u64>>,
    by_name: BTreeMap<&'static str, usize>,
    touched: Vec<String>,
    actions: Vec<c_int>,
    timeouts: usize,
    looks: usize,
    over: usize,
}

impl Log {
    const fn new() -> Log {
        Log {
            lent: Vec::new(),
            by_name: BTreeMap::new(),
            touched: Vec::new(),
            actions: Vec::new(),
            timeouts: 0,
            looks: 0,
            over: 0,
        }
    }
}

/// Watches a call that these descriptors are lent to.
pub fn watch(lent: &[c_int]) {
    TRANSFERS.store(0, Relaxed);
    WOULD_BLOCK.store(0, Relaxed);
    *LOG.lock().unwrap() = Log { lent: lent.iter().copied().map(number).collect(), ..Log::new() };
}

fn count(name: &'static str) {
    *LOG.lock().unwrap().by_name.entry(name).or_default() += 1;
}

/// What is open under a descriptor, by its number in the kernel.
fn number(fd: c_int) -> Option<u64> {
    // SAFETY:
    // - all zeros is a stat, and it is writable.
    unsafe {
        let mut stat: libc::stat = mem::zeroed();
        (libc::fstat(fd, &mut stat) == 0).then_some(stat.st_ino)
    }
}

/// Notes what is changed of a socket that was lent, under whatever descriptor.
fn touch(fd: c_int, what: &str) {
    let number = number(fd);
    let log = &mut *LOG.lock().unwrap();
    if number.is_some()
        && log.lent.contains(&number)
        && !log.touched.iter().any(|other| other == what)
    {
        log.touched.push(what.into());
    }
}

static CLOSES: AtomicUsize = AtomicUsize::new(0);
static CONNECTS: AtomicUsize = AtomicUsize::new(0);
static CLOSED_NOTHING: AtomicUsize = AtomicUsize::new(0);
static SOCKETS: AtomicUsize = AtomicUsize::new(0);
static TRANSFERS: AtomicUsize = AtomicUsize::new(0);
static WOULD_BLOCK: AtomicUsize = AtomicUsize::new(0);
static SELDOM: Mutex<Seldom> = Mutex::new(Seldom::Nothing);
static LISTS: Mutex<Lists> = Mutex::new(Lists::new());

/// What happens seldom, and may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seldom {
    /// Nothing of all this.
    Nothing,
    /// `getaddrinfo` sorts the other way round, as gai.conf(5) may have it.
    ReversedList,
    /// `getaddrinfo` fails with this code.
    Fails(c_int),
    /// The next `close` closes, and says EINTR: close(2) says so of Linux, where no TCP socket does it.
    CloseSaysEintr,
    /// This socket begins to listen between the answer's `bind` and its `listen`.
    Rival(c_int),
}

/// errno after a `close` that succeeded: what this call left, nobody else does.
pub const AFTER_CLOSE: Errno = Errno::ENOTTY;

struct Lists {
    /// Head, and whether it has been freed.
    all: Vec<(usize, bool)>,
    addresses: Vec<String>,
    twice: usize,
    no_list: usize,
}

impl Lists {
    const fn new() -> Lists {
        Lists { all: Vec::new(), addresses: Vec::new(), twice: 0, no_list: 0 }
    }
}

/// Counts from here on.
pub fn start() {
    start_with(Seldom::Nothing);
}

/// Counts from here on, where this happens.
pub fn start_with(seldom: Seldom) {
    for counter in [&CLOSES, &CLOSED_NOTHING, &CONNECTS, &SOCKETS, &TRANSFERS, &WOULD_BLOCK] {
        counter.store(0, Relaxed);
    }
    *SELDOM.lock().unwrap() = seldom;
    *LISTS.lock().unwrap() = Lists::new();
}

/// What has been counted.
pub fn counted() -> Calls {
    let (lists, log) = (LISTS.lock().unwrap(), LOG.lock().unwrap());
    Calls {
        by_name: log.by_name.iter().map(|(&name, &n)| (name.into(), n)).collect(),
        touched: log.touched.clone(),
        actions: log.actions.clone(),
        timeouts: log.timeouts,
        looks: log.looks,
        over: log.over,
        closes: CLOSES.load(Relaxed),
        closed_nothing: CLOSED_NOTHING.load(Relaxed),
        connects: CONNECTS.load(Relaxed),
        sockets: SOCKETS.load(Relaxed),
        transfers: TRANSFERS.load(Relaxed),
        would_block: WOULD_BLOCK.load(Relaxed),
        lists: lists.all.len(),
        addresses: lists.addresses.clone(),
        freed: lists.all.iter().filter(|(_, freed)| *freed).count(),
        freed_twice: lists.twice,
        freed_no_list: lists.no_list,
    }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
extern "C" fn close(fd: c_int) -> c_int {
    CLOSES.fetch_add(1, Relaxed);
    count("close");
    // SAFETY:
    // - close takes a number; whose it is, the caller knows.
    let rc = unsafe { real()(libc::SYS_close, fd) } as c_int;
    if rc != 0 {
        CLOSED_NOTHING.fetch_add(1, Relaxed);
        return rc;
    }
    let seldom = &mut *SELDOM.lock().unwrap();
    if *seldom == Seldom::CloseSaysEintr {
        *seldom = Seldom::Nothing;
        Errno::EINTR.set();
        return -1;
    }
    AFTER_CLOSE.set();
    0
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
extern "C" fn socket(family: c_int, kind: c_int, protocol: c_int) -> c_int {
    SOCKETS.fetch_add(1, Relaxed);
    count("socket");
    // SAFETY:
    // - socket takes numbers.
    unsafe { real()(libc::SYS_socket, family, kind, protocol) as c_int }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn bind(fd: c_int, at: *const libc::sockaddr, len: libc::socklen_t) -> c_int {
    // SAFETY:
    // - the caller keeps the contract of `bind`; the rival is a socket of the grader's.
    unsafe {
        let rc = real()(libc::SYS_bind, fd, at, len) as c_int;
        if let (0, Seldom::Rival(rival)) = (rc, *SELDOM.lock().unwrap()) {
            libc::listen(rival, 1);
        }
        rc
    }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, at: *const c_void, len: usize, flags: c_int) -> isize {
    let nobody = ptr::null::<c_void>();
    count("send");
    // SAFETY:
    // - the caller keeps the contract of `send`.
    counted_transfer(unsafe { real()(libc::SYS_sendto, fd, at, len, flags, nobody, 0) })
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, at: *mut c_void, len: usize, flags: c_int) -> isize {
    let nobody = ptr::null::<c_void>();
    count("recv");
    // SAFETY:
    // - the caller keeps the contract of `recv`.
    counted_transfer(unsafe { real()(libc::SYS_recvfrom, fd, at, len, flags, nobody, nobody) })
}

fn counted_transfer(n: libc::c_long) -> isize {
    TRANSFERS.fetch_add(1, Relaxed);
    if n < 0 && Errno::last() == Errno::EAGAIN {
        WOULD_BLOCK.fetch_add(1, Relaxed);
    }
    n as isize
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn connect(fd: c_int, to: *const libc::sockaddr, len: libc::socklen_t) -> c_int {
    CONNECTS.fetch_add(1, Relaxed);
    count("connect");
    // SAFETY:
    // - the caller keeps the contract of connect.
    unsafe { real()(libc::SYS_connect, fd, to, len) as c_int }
}

type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

/// Where libc has the function of this name, behind the one that stands here.
fn next(name: &CStr) -> usize {
    // SAFETY:
    // - a name that ends with a zero.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) as usize }
}

/// libc's `syscall`, behind the one below.
fn real() -> Syscall {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    let mut at = REAL.load(Relaxed);
    if at == 0 {
        at = next(c"syscall");
        REAL.store(at, Relaxed);
    }
    // SAFETY:
    // - libc has a `syscall`, and this is its type.
    unsafe { mem::transmute::<usize, Syscall>(at) }
}

// SAFETY:
// - libc's takes as many numbers as the call needs, six at most, and all travel alike.
#[unsafe(no_mangle)]
unsafe extern "C" fn syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    c: c_long,
    d: c_long,
    e: c_long,
    f: c_long,
) -> c_long {
    // SAFETY:
    // - the caller keeps the contract of the call, and the functions here do what it does.
    unsafe {
        match number {
            libc::SYS_close => close(a as c_int).into(),
            libc::SYS_exit_group => libc::_exit(a as c_int),
            libc::SYS_connect => connect(a as c_int, b as *const _, c as c_uint).into(),
            libc::SYS_fcntl => fcntl(a as c_int, b as c_int, c).into(),
            libc::SYS_ioctl => ioctl(a as c_int, b as libc::c_ulong, c).into(),
            libc::SYS_setsockopt => {
                setsockopt(a as c_int, b as c_int, c as c_int, d as *const _, e as c_uint).into()
            }
            _ => real()(number, a, b, c, d, e, f),
        }
    }
}

/// Ends the process, whatever stands in the way.
pub fn leave(code: c_int) -> ! {
    loop {
        // SAFETY:
        // - it takes a number, and does not return.
        unsafe { real()(libc::SYS_exit_group, code) };
    }
}

/// Functions under libc's names that only count, and do what libc's do.
macro_rules! counted {
    ($($name:ident = $number:ident($($arg:ident: $kind:ty),*) -> $back:ty;)*) => {$(
        // SAFETY:
        // - the signature is libc's, and it does what libc's does.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $kind),*) -> $back {
            count(stringify!($name));
            // SAFETY:
            // - the caller keeps the contract of the call.
            unsafe { real()(libc::$number, $($arg),*) as $back }
        }
    )*};
}

counted! {
    shutdown = SYS_shutdown(fd: c_int, how: c_int) -> c_int;
    sendmsg = SYS_sendmsg(fd: c_int, message: *const libc::msghdr, flags: c_int) -> isize;
    recvmsg = SYS_recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize;
    accept4 = SYS_accept4(fd: c_int, at: *mut libc::sockaddr, len: *mut c_uint, flags: c_int) -> c_int;
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn accept(fd: c_int, at: *mut libc::sockaddr, len: *mut c_uint) -> c_int {
    count("accept");
    // SAFETY:
    // - the caller keeps the contract of accept.
    unsafe { real()(libc::SYS_accept4, fd, at, len, 0) as c_int }
}

// SAFETY:
// - libc's takes an int or a pointer as its last argument, and both travel as a long does.
#[unsafe(no_mangle)]
unsafe extern "C" fn fcntl(fd: c_int, what: c_int, value: c_long) -> c_int {
    if what == libc::F_SETFL {
        touch(fd, "the status flags (O_NONBLOCK among them)");
    }
    // SAFETY:
    // - the caller keeps the contract of fcntl.
    unsafe { real()(libc::SYS_fcntl, fd, what, value) as c_int }
}

// SAFETY:
// - as `fcntl`.
#[unsafe(no_mangle)]
unsafe extern "C" fn ioctl(fd: c_int, request: libc::c_ulong, value: c_long) -> c_int {
    if request == libc::FIONBIO as libc::c_ulong {
        touch(fd, "the status flags (O_NONBLOCK among them)");
    }
    // SAFETY:
    // - the caller keeps the contract of ioctl.
    unsafe { real()(libc::SYS_ioctl, fd, request, value) as c_int }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn setsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    len: libc::socklen_t,
) -> c_int {
    let name = match (level, option) {
        (libc::SOL_SOCKET, libc::SO_RCVTIMEO) => "SO_RCVTIMEO",
        (libc::SOL_SOCKET, libc::SO_SNDTIMEO) => "SO_SNDTIMEO",
        (libc::SOL_SOCKET, libc::SO_RCVLOWAT) => "SO_RCVLOWAT",
        (libc::SOL_SOCKET, libc::SO_LINGER) => "SO_LINGER",
        (libc::IPPROTO_TCP, libc::TCP_NODELAY) => "TCP_NODELAY",
        (libc::IPPROTO_TCP, libc::TCP_CORK) => "TCP_CORK",
        _ => "an option",
    };
    touch(fd, name);
    LOG.lock().unwrap().timeouts += usize::from(name.ends_with("TIMEO"));
    // SAFETY:
    // - the caller keeps the contract of setsockopt.
    unsafe { real()(libc::SYS_setsockopt, fd, level, option, value, len) as c_int }
}

type Sigaction = unsafe extern "C" fn(c_int, *const libc::sigaction, *mut libc::sigaction) -> c_int;

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn sigaction(
    signal: c_int,
    new: *const libc::sigaction,
    old: *mut libc::sigaction,
) -> c_int {
    if !new.is_null() {
        LOG.lock().unwrap().actions.push(signal);
    }
    // SAFETY:
    // - the next `sigaction` is libc's, and has this type; the caller keeps its contract.
    unsafe { mem::transmute::<usize, Sigaction>(next(c"sigaction"))(signal, new, old) }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn signal(signal: c_int, handler: libc::sighandler_t) -> libc::sighandler_t {
    type Signal = unsafe extern "C" fn(c_int, libc::sighandler_t) -> libc::sighandler_t;
    LOG.lock().unwrap().actions.push(signal);
    // SAFETY:
    // - the next `signal` is libc's, and has this type; the caller keeps its contract.
    unsafe { mem::transmute::<usize, Signal>(next(c"signal"))(signal, handler) }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int {
    count("poll");
    if timeout == 0 {
        LOG.lock().unwrap().looks += 1;
    }
    let hastened = AHEAD.load(Relaxed) >= 0;
    let wait = if hastened && timeout >= LONG { MOMENT } else { timeout };
    // SAFETY:
    // - the caller keeps the contract of poll.
    let ready = unsafe { waited_for(fds, n, wait) };
    if ready == 0 {
        LOG.lock().unwrap().over += 1;
        if hastened {
            AHEAD.fetch_add(i64::from(timeout) * HASTE, Relaxed);
        }
    }
    ready
}

/// How far the clock of this process is ahead of the machine's, in milliseconds, once its time is
/// hastened; -1 before.
static AHEAD: AtomicI64 = AtomicI64::new(-1);

/// A wait that ended because its time was over has taken so many times that time, by the clock: a
/// machine may be as busy as that.
const HASTE: i64 = 20;

/// A `poll` of so many milliseconds or more ...
const LONG: c_int = 5000;

/// ... takes only these.
const MOMENT: c_int = 500;

/// Hastens the time of this process: who gives up after a time of its own does so at once.
pub fn hasten() {
    AHEAD.store(0, Relaxed);
}

// SAFETY:
// - the signature is libc's, and it does what libc's does, with another time.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, at: *mut libc::timespec) -> c_int {
    static REAL: AtomicUsize = AtomicUsize::new(0);
    if REAL.load(Relaxed) == 0 {
        REAL.store(next(c"clock_gettime"), Relaxed);
    }
    type Real = unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;
    // SAFETY:
    // - libc has a `clock_gettime` of this type; `at` is the caller's, and written where it says 0.
    unsafe {
        let rc = mem::transmute::<usize, Real>(REAL.load(Relaxed))(clock, at);
        let ahead = AHEAD.load(Relaxed);
        let is_of_the_cpu = [libc::CLOCK_PROCESS_CPUTIME_ID, libc::CLOCK_THREAD_CPUTIME_ID];
        if rc == 0 && ahead > 0 && !is_of_the_cpu.contains(&clock) {
            (*at).tv_sec += ahead / 1000;
        }
        rc
    }
}

/// # Safety
/// As `poll`.
#[cfg(target_arch = "x86_64")]
unsafe fn waited_for(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int {
    // SAFETY:
    // - the caller's contract.
    unsafe { real()(libc::SYS_poll, fds, n, timeout) as c_int }
}

/// # Safety
/// As `poll`.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn waited_for(fds: *mut libc::pollfd, n: libc::nfds_t, timeout: c_int) -> c_int {
    let ms = i64::from(timeout);
    let time = libc::timespec { tv_sec: ms / 1000, tv_nsec: ms % 1000 * 1_000_000 };
    let at = if ms < 0 { ptr::null() } else { &raw const time };
    // SAFETY:
    // - the caller's contract; `time` lives until the call returns.
    unsafe { real()(libc::SYS_ppoll, fds, n, at, ptr::null::<c_void>(), 0) as c_int }
}

/// The addresses of a list, as text.
///
/// # Safety
/// `node` is null, or a node of a list that has not been freed.
unsafe fn addresses(mut node: *const libc::addrinfo) -> Vec<String> {
    let mut all = Vec::new();
    while !node.is_null() {
        // SAFETY:
        // - the caller's contract; a node holds an address of `ai_addrlen` bytes.
        let address = unsafe {
            let here = &*node;
            node = here.ai_next;
            SockaddrStorage::from_raw(here.ai_addr, Some(here.ai_addrlen))
        };
        all.push(address.map_or_else(|| "?".into(), |address| text(&address)));
    }
    all
}

/// As the standard library writes it.
fn text(address: &SockaddrStorage) -> String {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddrV4::from(*v4).to_string(),
        (_, Some(v6)) => SocketAddrV6::from(*v6).to_string(),
        _ => address.to_string(),
    }
}

/// The last node, before the one that was before it, and so on.
///
/// # Safety
/// `node` is null, or the head of a list that nobody else holds.
unsafe fn reversed(mut node: *mut libc::addrinfo) -> *mut libc::addrinfo {
    let mut head = ptr::null_mut();
    while !node.is_null() {
        // SAFETY:
        // - the caller's contract; each node is visited once.
        let next = unsafe { mem::replace(&mut (*node).ai_next, head) };
        (head, node) = (node, next);
    }
    head
}

type GetAddrInfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const libc::addrinfo,
    *mut *mut libc::addrinfo,
) -> c_int;

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    host: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    list: *mut *mut libc::addrinfo,
) -> c_int {
    let seldom = *SELDOM.lock().unwrap();
    if let Seldom::Fails(code) = seldom {
        return code;
    }
    // SAFETY:
    // - the next `getaddrinfo` after this one is libc's, and has this type;
    // - the caller keeps its contract.
    let rc = unsafe {
        let real: Option<GetAddrInfo> = mem::transmute(next(c"getaddrinfo"));
        real.expect("libc has getaddrinfo")(host, service, hints, list)
    };
    if rc == 0 {
        // SAFETY:
        // - it succeeded, so `*list` is a list; nobody else has seen it yet.
        let (head, addresses) = unsafe {
            if seldom == Seldom::ReversedList {
                *list = reversed(*list);
            }
            (*list, addresses(*list))
        };
        let mut lists = LISTS.lock().unwrap();
        lists.all.push((head as usize, false));
        lists.addresses = addresses;
    }
    rc
}

// SAFETY:
// - the signature is libc's. A list is not given back to libc but made unusable: who reads it
//   afterwards finds no address in it, every time.
#[unsafe(no_mangle)]
unsafe extern "C" fn freeaddrinfo(head: *mut libc::addrinfo) {
    let mut lists = LISTS.lock().unwrap();
    match lists.all.iter_mut().find(|(at, _)| *at == head as usize) {
        Some((_, freed @ false)) => *freed = true,
        Some(_) => return lists.twice += 1,
        None => return lists.no_list += 1,
    }
    let mut node = head;
    while !node.is_null() {
        // SAFETY:
        // - a node of a list that libc made, and that is still allocated; it owns its address.
        unsafe {
            let next = (*node).ai_next;
            ptr::write_bytes((*node).ai_addr.cast::<u8>(), 0xdd, (*node).ai_addrlen as usize);
            (*node).ai_next = ptr::null_mut();
            node = next;
        }
    }
}
