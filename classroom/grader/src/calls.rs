//! Counts calls of a few libc functions that leave no trace in the kernel, and arranges what the
//! kernel does seldom.
//!
//! They stand here under libc's names, so the linker takes them for libc's, for the answer and for
//! the standard library alike. Each does what libc's does, and counts. What POSIX leaves open is done
//! in the way that shows a mistake: a `close` that succeeds changes errno.

use std::ffi::{c_char, c_int, c_void};
use std::mem;
use std::net::{SocketAddrV4, SocketAddrV6};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};
use serde::{Deserialize, Serialize};

/// What has been counted since [`start`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Calls {
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

/// The next `close` closes, and says EINTR: what close(2) says of Linux, where no TCP socket does it.
pub fn interrupt_next_close() {
    *SELDOM.lock().unwrap() = Seldom::CloseSaysEintr;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seldom {
    /// Nothing of all this.
    Nothing,
    /// `getaddrinfo` sorts the other way round, as gai.conf(5) may have it.
    ReversedList,
    /// `getaddrinfo` fails with this code.
    Fails(c_int),
    /// The next `close` closes, and says EINTR.
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
    let lists = LISTS.lock().unwrap();
    Calls {
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
    // SAFETY:
    // - close takes a number; whose it is, the caller knows.
    let rc = unsafe { libc::syscall(libc::SYS_close, fd) } as c_int;
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
    // SAFETY:
    // - socket takes numbers.
    unsafe { libc::syscall(libc::SYS_socket, family, kind, protocol) as c_int }
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn bind(fd: c_int, at: *const libc::sockaddr, len: libc::socklen_t) -> c_int {
    // SAFETY:
    // - the caller keeps the contract of `bind`; the rival is a socket of the grader's.
    unsafe {
        let rc = libc::syscall(libc::SYS_bind, fd, at, len) as c_int;
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
    // SAFETY:
    // - the caller keeps the contract of `send`.
    counted_transfer(unsafe { libc::syscall(libc::SYS_sendto, fd, at, len, flags, nobody, 0) })
}

// SAFETY:
// - the signature is libc's, and it does what libc's does.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, at: *mut c_void, len: usize, flags: c_int) -> isize {
    let nobody = ptr::null::<c_void>();
    // SAFETY:
    // - the caller keeps the contract of `recv`.
    counted_transfer(unsafe {
        libc::syscall(libc::SYS_recvfrom, fd, at, len, flags, nobody, nobody)
    })
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
    // SAFETY:
    // - the caller keeps the contract of connect.
    unsafe { libc::syscall(libc::SYS_connect, fd, to, len) as c_int }
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
        let at = libc::dlsym(libc::RTLD_NEXT, c"getaddrinfo".as_ptr());
        let real: Option<GetAddrInfo> = mem::transmute(at);
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
