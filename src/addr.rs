//! Names to addresses and back: `resolve`, `AddrList`, `Addr`. The article's section 7.

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::{fmt, iter, mem, ptr};

use errno::{Errno, errno, set_errno};
use libc::{EMFILE, ENFILE, addrinfo, sockaddr, sockaddr_storage, socklen_t};

/// Asks for the stream addresses of a host and a port. No host means this machine: any of its
/// addresses with `AI_PASSIVE`, the loopback without. man: getaddrinfo(3).
///
/// `family` is `AF_UNSPEC` (any), `AF_INET` or `AF_INET6`. Of the flags leave AI_ADDRCONFIG out: it
/// hides addresses where only the loopback is up. The port is a number, for the C library takes
/// the text "99999" as port 34463.
///
/// Errors: the text of the EAI code, of kind `NotFound` for EAI_NONAME; errno itself for
/// EAI_SYSTEM and for a full table of descriptors; `InvalidInput` for a name with a NUL byte.
pub fn resolve(host: Option<&str>, port: u16, family: c_int, flags: c_int) -> io::Result<AddrList> {
    let name = host.map(CString::new).transpose()?;
    let service = CString::new(port.to_string()).expect("digits hold no NUL");

    // SAFETY: addrinfo is a C struct of integers and pointers: all zeroes is a valid value.
    let mut ai: addrinfo = unsafe { mem::zeroed() };
    ai.ai_family = family;
    ai.ai_socktype = libc::SOCK_STREAM;
    ai.ai_flags = flags | libc::AI_NUMERICSERV;

    // getaddrinfo sets errno only sometimes. Zero before the call shows whether it did.
    let mut head = ptr::null_mut();
    let name_ptr = name.as_ref().map_or(ptr::null(), |name| name.as_ptr());
    set_errno(Errno(0));
    // SAFETY: both strings end in NUL and outlive the call; `ai` and `head` are valid for it.
    let code = unsafe { libc::getaddrinfo(name_ptr, service.as_ptr(), &ai, &mut head) };
    let errno = errno().0;
    match code {
        0 => Ok(AddrList { head }),
        libc::EAI_SYSTEM if errno != 0 => Err(io::Error::from_raw_os_error(errno)),
        // Without a descriptor glibc cannot open its files, and says that the name is unknown.
        _ if errno == EMFILE || errno == ENFILE => Err(io::Error::from_raw_os_error(errno)),
        // "No such host" is not "try again later". The article makes EINVAL of both.
        _ => {
            let no_such = code == libc::EAI_NONAME;
            let kind = if no_such { ErrorKind::NotFound } else { ErrorKind::Other };
            // SAFETY: gai_strerror returns a constant string that ends in NUL, whatever the code.
            let text = unsafe { CStr::from_ptr(libc::gai_strerror(code)) }.to_string_lossy();
            Err(io::Error::new(kind, format!("{}: {text}", host.unwrap_or("this machine"))))
        }
    }
}

/// The list that `getaddrinfo` allocated. Dropping it calls `freeaddrinfo`. The article's can be
/// neither copied nor moved, so its `resolve` does not compile. Here a move is the default.
#[derive(Debug)]
pub struct AddrList {
    head: *mut addrinfo,
}

impl AddrList {
    /// Lends each address, in the order that the C library prefers. RFC 6724, section 6.
    pub fn iter(&self) -> impl Iterator<Item = Addr<'_>> {
        let mut next = self.head;
        iter::from_fn(move || {
            // SAFETY: `next` is null or a node of the list, which lives while `self` is borrowed.
            let ai = unsafe { next.as_ref() }?;
            next = ai.ai_next;
            Some(Addr { sa: ai.ai_addr, len: ai.ai_addrlen, list: PhantomData })
        })
    }
}

impl Drop for AddrList {
    fn drop(&mut self) {
        // SAFETY: `head` came from getaddrinfo, never changed, and no `Addr` outlives `self`.
        unsafe { libc::freeaddrinfo(self.head) }
    }
}

/// A borrowed socket address: a `sockaddr` and its length, for as long as the list lives.
#[derive(Clone, Copy, Debug)]
pub struct Addr<'a> {
    sa: *const sockaddr,
    len: socklen_t,
    list: PhantomData<&'a sockaddr>,
}

impl Addr<'_> {
    /// `AF_INET`, `AF_INET6`, or whatever else the socket is.
    pub fn family(&self) -> c_int {
        // SAFETY: `sa` points at a sockaddr that lives as long as this borrow.
        c_int::from(unsafe { (*self.sa).sa_family })
    }

    /// What `bind` and `connect` take.
    pub fn as_ptr(&self) -> (*const sockaddr, socklen_t) {
        (self.sa, self.len)
    }
}

/// The article's `to_string_sa`: `127.0.0.1:9000`, and `[::1]:9000`, for `::1:9000` is an IPv6
/// address without a port. man: getnameinfo(3).
impl fmt::Display for Addr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only these two have a host and a port. A Unix socket's path is neither.
        let family = self.family();
        if family != libc::AF_INET && family != libc::AF_INET6 {
            return write!(f, "(unknown: address family {family})");
        }
        let (mut host, mut port) = ([0 as c_char; 128], [0 as c_char; 8]);
        let numbers = libc::NI_NUMERICHOST | libc::NI_NUMERICSERV;
        // SAFETY: `sa` is readable for `len` bytes. Each buffer is writable for the length given
        // with it, and holds a string that ends in NUL: at first an empty one.
        let (host, port) = unsafe {
            let (host, host_len) = (host.as_mut_ptr(), host.len() as _);
            let (port, port_len) = (port.as_mut_ptr(), port.len() as _);
            libc::getnameinfo(self.sa, self.len, host, host_len, port, port_len, numbers);
            (CStr::from_ptr(host).to_string_lossy(), CStr::from_ptr(port).to_string_lossy())
        };
        if family == libc::AF_INET6 {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// An address that the kernel fills in: by `accept`, `getsockname` or `getpeername`.
#[derive(Clone, Copy, Debug)]
pub struct SockAddr {
    storage: sockaddr_storage,
    len: socklen_t,
}

impl SockAddr {
    /// Room for any address. The kernel is told how much, and says how much it had to tell.
    pub(crate) fn empty() -> SockAddr {
        // SAFETY: sockaddr_storage is plain data: all zeroes is a valid value.
        let storage = unsafe { mem::zeroed() };
        SockAddr { storage, len: size_of::<sockaddr_storage>() as socklen_t }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> (*mut sockaddr, *mut socklen_t) {
        ((&raw mut self.storage).cast(), &mut self.len)
    }

    /// Lends it in the form that `bind` and `connect` take.
    pub fn as_addr(&self) -> Addr<'_> {
        // The kernel names the address's full length, also where the room was too small for it.
        let len = self.len.min(size_of::<sockaddr_storage>() as socklen_t);
        Addr { sa: (&raw const self.storage).cast(), len, list: PhantomData }
    }

    /// The port: what stands after the last colon. 0 where the family has none.
    pub fn port(&self) -> u16 {
        let text = self.to_string();
        text.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_addr().fmt(f)
    }
}
