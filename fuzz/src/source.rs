//! A stream of known bytes, cut in a known way.
//!
//! Natively `recv` itself is ours: it gives what is asked for, but never past the next cut, and says
//! EINTR now and then. So each cut is the same on every run, and costs no system call. Miri has a
//! `recv` of its own: there it is a socket on the loopback, and the stream comes in one piece.

use std::sync::atomic::AtomicU64;

use tcp_stream_io::UniqueFd;

/// Bytes of all streams so far.
pub static STREAMED: AtomicU64 = AtomicU64::new(0);

/// Where a stream is cut.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(miri, allow(dead_code))] // there it comes as it comes
pub enum Cuts {
    /// 0: it comes in one piece. 1 to 15: in pieces of that length. Else it is chance, and the byte
    /// is what chance begins with. The pieces of a stream of 128 bytes or more are longer,
    /// so that there are not thousands.
    Pieces(u8),
    /// Once, after so many bytes.
    At(usize),
}

/// The length of the n-th piece, which is at least one byte.
#[cfg(not(miri))]
fn pieces(cuts: Cuts, len: usize) -> impl FnMut() -> usize {
    let (mut n, mut chance) = (0, if let Cuts::Pieces(cuts) = cuts { cuts.into() } else { 0_u32 });
    let scale = 1 + len / 128;
    move || {
        n += 1;
        match cuts {
            Cuts::At(at) if n == 1 => at,
            Cuts::At(_) | Cuts::Pieces(0) => usize::MAX,
            Cuts::Pieces(length @ 1..=15) => scale * usize::from(length),
            Cuts::Pieces(_) => {
                chance = chance.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                match chance >> 28 {
                    0 => 5_000,
                    1 => 300,
                    few => scale * few as usize,
                }
            }
        }
    }
}

#[cfg(not(miri))]
pub use native::with_stream;
#[cfg(miri)]
pub use under_miri::with_stream;

#[cfg(not(miri))]
mod native {
    use std::cell::RefCell;
    use std::ffi::{c_int, c_void};
    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};
    use std::ptr;
    use std::sync::atomic::Ordering::Relaxed;

    use libc::{size_t, ssize_t};

    use super::*;

    struct Stream {
        fd: RawFd,
        bytes: Vec<u8>,
        at: usize,
        piece: Box<dyn FnMut() -> usize>,
        /// What is left of the piece.
        left: usize,
        calls: u32,
    }

    thread_local! {
        static STREAM: RefCell<Option<Stream>> = const { RefCell::new(None) };
        /// Always ready for `poll`, as a stream is that never makes anyone wait.
        static FD: UniqueFd = OwnedFd::from(File::open("/dev/null").expect("/dev/null")).into();
    }

    /// Calls `read` with a descriptor from which `bytes` come, cut as `cuts` says.
    pub fn with_stream<R>(bytes: &[u8], cuts: Cuts, read: impl FnOnce(&UniqueFd) -> R) -> R {
        STREAMED.fetch_add(bytes.len() as u64, Relaxed);
        FD.with(|fd| {
            let piece = Box::new(pieces(cuts, bytes.len()));
            let (fd_number, bytes) = (fd.as_raw_fd(), bytes.to_vec());
            STREAM.set(Some(Stream { fd: fd_number, bytes, at: 0, piece, left: 0, calls: 0 }));
            let result = read(fd);
            STREAM.set(None);
            result
        })
    }

    /// In the place of the C library's.
    ///
    /// # Safety
    /// `buf` is writable for `len` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
        let ours = STREAM.with_borrow_mut(|stream| {
            let stream = stream.as_mut().filter(|stream| stream.fd == fd)?;
            // Every fourth call is interrupted, if it begins a piece.
            stream.calls += 1;
            if stream.left == 0 {
                stream.left = (stream.piece)();
                if stream.calls.is_multiple_of(4) {
                    errno(libc::EINTR);
                    return Some(-1);
                }
            }
            let n = len.min(stream.left).min(stream.bytes.len() - stream.at);
            // SAFETY: `buf` is writable for `len` bytes, by the caller's promise.
            unsafe { ptr::copy_nonoverlapping(stream.bytes[stream.at..].as_ptr(), buf.cast(), n) };
            stream.at += n;
            stream.left -= n;
            Some(n as ssize_t)
        });
        // SAFETY: the caller's promise, and null for the address that is not asked for.
        ours.unwrap_or_else(|| unsafe {
            libc::recvfrom(fd, buf, len, flags, ptr::null_mut(), ptr::null_mut())
        })
    }

    fn errno(value: c_int) {
        // SAFETY: it points at this thread's errno.
        unsafe { *libc::__errno_location() = value };
    }
}

#[cfg(miri)]
mod under_miri {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::OwnedFd;

    use super::*;

    /// Calls `read` with a descriptor from which `bytes` come.
    pub fn with_stream<R>(bytes: &[u8], _cuts: Cuts, read: impl FnOnce(&UniqueFd) -> R) -> R {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (conn, _) = listener.accept().unwrap();
        peer.write_all(bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        // All of it is there by now, the end too, for which a blocking `recv` of Miri was seen to wait for ever.
        conn.set_nonblocking(true).unwrap();
        read(&UniqueFd::from(OwnedFd::from(conn)))
    }
}
