//! Names to addresses and back: `resolve`, `AddrList`, `Addr`. The article's section 7.

use std::ffi::{CStr, CString, c_char, c_int};
use std::marker::PhantomData;
use std::{error, fmt, io, mem, ptr};

use errno::{Errno, errno, set_errno};
use libc::{addrinfo, sockaddr, sockaddr_storage, socklen_t};

/// What to look for: `getaddrinfo`'s hints. The socket type is always `SOCK_STREAM`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// `AF_UNSPEC` (the default), `AF_INET` or `AF_INET6`.
    pub family: c_int,
    /// `AI_PASSIVE`, `AI_NUMERICHOST` and so on. `AI_ADDRCONFIG` is best left out: where only the
    /// loopback is up it takes answers away, even to a numeric address.
    pub flags: c_int,
}

/// Asks for the addresses of a host and port. `None` for the host means "this machine": any
/// address with `AI_PASSIVE`, the loopback without.
///
/// man: getaddrinfo(3). Errors: `InvalidInput` for a name with a NUL byte; else an [`io::Error`]
/// with a [`ResolveError`] inside. `getaddrinfo` retries its own system calls on EINTR.
///
/// The port is a `u16`, because the C library takes the text "99999" for port 34463.
pub fn resolve(host: Option<&str>, port: u16, hints: &Hints) -> io::Result<AddrList> {
    let nul = |_| io::Error::new(io::ErrorKind::InvalidInput, "host name contains a NUL byte");
    let host = host.map(CString::new).transpose().map_err(nul)?;
    let service = CString::new(port.to_string()).expect("digits hold no NUL");

    // SAFETY:
    // - addrinfo is a C struct of integers and pointers, for which all zeroes is a valid value.
    let mut ai: addrinfo = unsafe { mem::zeroed() };
    ai.ai_family = hints.family;
    ai.ai_socktype = libc::SOCK_STREAM;
    ai.ai_flags = hints.flags | libc::AI_NUMERICSERV;

    let mut head = ptr::null_mut();
    let host_ptr = host.as_ref().map_or(ptr::null(), |h| h.as_ptr());
    set_errno(Errno(0)); // so that an errno found afterwards is this call's
    // SAFETY:
    // - both strings end in NUL and outlive the call; `ai` and `head` are valid for it.
    let code = unsafe { libc::getaddrinfo(host_ptr, service.as_ptr(), &ai, &mut head) };
    if code == 0 {
        return Ok(AddrList { head });
    }
    let errno = errno();
    let name = host.map_or(String::new(), |h| h.to_string_lossy().into_owned());
    Err(ResolveError { name, code, errno }.into())
}

/// The list that `getaddrinfo` allocated. Dropping it calls `freeaddrinfo`.
///
/// The article's `addr_list` can be neither copied nor moved, so its `resolve` does not compile.
/// Here a move is the default, and `iter` walks the list without ever advancing `head`.
#[derive(Debug)]
pub struct AddrList {
    head: *mut addrinfo,
}

impl AddrList {
    /// Lends each address, in the order of preference that the C library chose (RFC 6724).
    pub fn iter(&self) -> impl Iterator<Item = Addr<'_>> {
        let mut next = self.head;
        std::iter::from_fn(move || {
            // SAFETY:
            // - `next` is null or a node of the list, which lives as long as `self` is borrowed.
            let ai = unsafe { next.as_ref() }?;
            next = ai.ai_next;
            Some(Addr { sa: ai.ai_addr, len: ai.ai_addrlen, list: PhantomData })
        })
    }
}

impl Drop for AddrList {
    fn drop(&mut self) {
        // SAFETY:
        // - `head` came from getaddrinfo, was never changed, and no `Addr` outlives `self`.
        unsafe { libc::freeaddrinfo(self.head) }
    }
}

/// A borrowed socket address: a `sockaddr` and its length. Prints as `127.0.0.1:9000` or, since
/// `::1:9000` could be read two ways, `[::1]:9000`.
#[derive(Clone, Copy)]
pub struct Addr<'a> {
    sa: *const sockaddr,
    len: socklen_t,
    list: PhantomData<&'a sockaddr>,
}

impl Addr<'_> {
    /// `AF_INET` or `AF_INET6`.
    pub fn family(&self) -> c_int {
        // SAFETY:
        // - `sa` points at a sockaddr that lives as long as this borrow.
        c_int::from(unsafe { (*self.sa).sa_family })
    }

    /// What `bind` and `connect` take.
    pub fn as_ptr(&self) -> (*const sockaddr, socklen_t) {
        (self.sa, self.len)
    }

    /// Host and port as numbers in text. man: getnameinfo(3). `None` for a family it cannot print.
    fn numeric(&self) -> Option<(String, String)> {
        let (mut host, mut port) = ([0 as c_char; 128], [0 as c_char; 8]);
        // SAFETY:
        // - `sa` is valid for `len` bytes, and each buffer for the length passed with it.
        let code = unsafe {
            libc::getnameinfo(
                self.sa,
                self.len,
                host.as_mut_ptr(),
                host.len() as socklen_t,
                port.as_mut_ptr(),
                port.len() as socklen_t,
                libc::NI_NUMERICHOST | libc::NI_NUMERICSERV,
            )
        };
        let text = |buf: &[c_char]| {
            // SAFETY:
            // - getnameinfo succeeded, so the buffer holds a string that ends in NUL.
            unsafe { CStr::from_ptr(buf.as_ptr()) }.to_string_lossy().into_owned()
        };
        (code == 0).then(|| (text(&host), text(&port)))
    }
}

impl fmt::Display for Addr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.numeric() {
            Some((host, port)) if self.family() == libc::AF_INET6 => write!(f, "[{host}]:{port}"),
            Some((host, port)) => write!(f, "{host}:{port}"),
            None => f.write_str("(unknown)"),
        }
    }
}

/// An address that the kernel filled in: from `accept`, `getsockname` or `getpeername`.
#[derive(Clone, Copy)]
pub struct SockAddr {
    storage: sockaddr_storage,
    len: socklen_t,
}

impl SockAddr {
    /// Lets a system call fill the space in, whose size it is told and whose length it returns.
    pub(crate) fn filled_by<T>(call: impl FnOnce(*mut sockaddr, *mut socklen_t) -> T) -> (T, Self) {
        // SAFETY:
        // - sockaddr_storage is plain data, for which all zeroes is a valid value.
        let mut storage: sockaddr_storage = unsafe { mem::zeroed() };
        let mut len = size_of::<sockaddr_storage>() as socklen_t;
        let result = call((&raw mut storage).cast(), &mut len);
        (result, SockAddr { storage, len })
    }

    /// Lends it in the form that `bind` and `connect` take.
    pub fn as_addr(&self) -> Addr<'_> {
        Addr { sa: (&raw const self.storage).cast(), len: self.len, list: PhantomData }
    }

    /// The port in host byte order; 0 where the family has none.
    pub fn port(&self) -> u16 {
        self.as_addr().numeric().and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_addr().fmt(f)
    }
}

impl fmt::Debug for SockAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a name did not resolve. The article turned every such failure into `EINVAL`.
///
/// It sits inside an [`io::Error`]: `NotFound` for `EAI_NONAME`, errno's own kind for
/// `EAI_SYSTEM`, `Other` for the rest. [`ResolveError::of`] finds it again.
#[derive(Clone, Debug)]
pub struct ResolveError {
    /// The name that was asked for; empty for "this machine".
    pub name: String,
    /// An `EAI_` code, as `getaddrinfo` returned it.
    pub code: c_int,
    /// errno after the call; 0 if it was not set. Running out of descriptors shows only here.
    pub errno: Errno,
}

impl ResolveError {
    /// The one inside an error that [`resolve`] returned.
    pub fn of(error: &io::Error) -> Option<&ResolveError> {
        error.get_ref()?.downcast_ref()
    }

    /// Whether the same question may get an answer later.
    pub fn is_temporary(&self) -> bool {
        self.code == libc::EAI_AGAIN || self.is_out_of_descriptors()
    }

    fn is_out_of_descriptors(&self) -> bool {
        matches!(self.errno.0, libc::EMFILE | libc::ENFILE)
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        // SAFETY:
        // - gai_strerror returns a constant string that ends in NUL, whatever the code.
        let text = unsafe { CStr::from_ptr(libc::gai_strerror(self.code)) };
        f.write_str(&text.to_string_lossy())?;
        // errno means something for EAI_SYSTEM, and where a full table hides behind another code.
        let counts = self.code == libc::EAI_SYSTEM || self.is_out_of_descriptors();
        if counts { write!(f, " ({})", self.errno) } else { Ok(()) }
    }
}

impl error::Error for ResolveError {}

impl From<ResolveError> for io::Error {
    fn from(e: ResolveError) -> io::Error {
        let kind = match e.code {
            libc::EAI_NONAME => io::ErrorKind::NotFound,
            libc::EAI_SYSTEM => io::Error::from(e.errno).kind(),
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, e)
    }
}
