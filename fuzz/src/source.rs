//! A stream of known bytes, cut in a known way.
//!
//! Natively `recv` itself is ours: it gives what is asked for, but never past the next cut, and says
//! EINTR now and then. So each cut is the same on every run, and costs no system call. Miri has a
//! `recv` of its own: there it is a socket on the loopback, and the stream comes in one piece.

use tcp_stream_io::UniqueFd;

/// The length of the n-th piece, which is at least one byte. 0: the stream comes in one piece.
/// 1 to 15: in pieces of that length. Else it is chance, and the byte is what chance begins with.
#[cfg(not(miri))]
fn pieces(cuts: u8) -> impl FnMut() -> usize {
    let mut state = u32::from(cuts);
    move || match cuts {
        0 => usize::MAX,
        1..=15 => cuts.into(),
        _ => {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 28 {
                0 => 5_000,
                1 => 300,
                few => few as usize,
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
    use std::cell::{Cell, RefCell};
    use std::ffi::{c_int, c_void};
    use std::fs::File;
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};
    use std::ptr;

    use libc::{size_t, ssize_t};

    use super::*;

    struct Stream {
        fd: RawFd,
        bytes: Vec<u8>,
        at: usize,
        piece: Box<dyn FnMut() -> usize>,
        /// What is left of the piece.
        left: usize,
    }

    thread_local! {
        static STREAM: RefCell<Option<Stream>> = const { RefCell::new(None) };
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }

    /// Calls `read` with a descriptor from which `bytes` come, cut as `cuts` says.
    pub fn with_stream<R>(bytes: &[u8], cuts: u8, read: impl FnOnce(&UniqueFd) -> R) -> R {
        // Always ready for `poll`, as a stream is that never makes anyone wait.
        let fd = UniqueFd::from(OwnedFd::from(File::open("/dev/null").expect("/dev/null")));
        let piece = Box::new(pieces(cuts));
        let (at, left, bytes) = (0, 0, bytes.to_vec());
        let stream = Stream { fd: fd.as_raw_fd(), bytes, at, piece, left };
        STREAM.set(Some(stream));
        let result = read(&fd);
        STREAM.set(None);
        result
    }

    /// In the place of the C library's.
    ///
    /// # Safety
    /// `buf` is writable for `len` bytes.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: size_t, flags: c_int) -> ssize_t {
        let ours = STREAM.with_borrow_mut(|stream| {
            let stream = stream.as_mut().filter(|stream| stream.fd == fd)?;
            // Every fourth call of a stream in pieces by chance is interrupted.
            CALLS.set(CALLS.get().wrapping_add(1));
            if stream.left == 0 {
                stream.left = (stream.piece)();
                if stream.left < 4 && CALLS.get().is_multiple_of(4) {
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
    pub fn with_stream<R>(bytes: &[u8], _cuts: u8, read: impl FnOnce(&UniqueFd) -> R) -> R {
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
