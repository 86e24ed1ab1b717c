//! `UniqueFd`: a file descriptor that closes itself. The article's `unique_fd`, section 7.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::sys;

/// The one owner of an open descriptor. Dropping it calls `close(2)`.
///
/// It cannot be copied, so it cannot be closed twice. A move is all that passing it on takes:
/// the compiler forgets the old variable, and no `-1` has to mark it empty.
///
/// ```
/// use tcp_stream_io::{fd::UniqueFd, sys};
/// # fn main() -> std::io::Result<()> {
/// let a: UniqueFd = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
/// let b = a; // a move: `a` can no longer be used
/// b.close()  // Drop would do it too, but could not report an error
/// # }
/// ```
#[derive(Debug)]
pub struct UniqueFd(RawFd);

impl UniqueFd {
    /// Closes now and reports an error, which `Drop` cannot. man: close(2). Errors: EIO.
    ///
    /// EINTR: not an error and never retried. On Linux the descriptor is gone by then, and its
    /// number may already belong to another thread.
    pub fn close(self) -> io::Result<()> {
        let fd = self.into_raw_fd(); // so that Drop does not close it a second time
        // SAFETY:
        // - `fd` was ours alone, and nobody can use it after this line.
        match sys::zero_or_errno(unsafe { libc::close(fd) }) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }
}

impl Drop for UniqueFd {
    fn drop(&mut self) {
        // SAFETY:
        // - `self.0` is open and owned by `self`, which is going away.
        unsafe { libc::close(self.0) };
    }
}

/// Lends the descriptor: it stays open for as long as the borrow lasts.
impl AsFd for UniqueFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY:
        // - the descriptor stays open while `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl AsRawFd for UniqueFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Takes over a number that a system call has just returned.
impl FromRawFd for UniqueFd {
    unsafe fn from_raw_fd(fd: RawFd) -> UniqueFd {
        debug_assert!(fd >= 0);
        UniqueFd(fd)
    }
}

/// Gives the number away; whoever takes it has to close it.
impl IntoRawFd for UniqueFd {
    fn into_raw_fd(self) -> RawFd {
        let fd = self.0;
        mem::forget(self);
        fd
    }
}

impl From<UniqueFd> for OwnedFd {
    fn from(fd: UniqueFd) -> OwnedFd {
        // SAFETY:
        // - `into_raw_fd` gives up an open descriptor that nobody else owns.
        unsafe { OwnedFd::from_raw_fd(fd.into_raw_fd()) }
    }
}

impl From<OwnedFd> for UniqueFd {
    fn from(fd: OwnedFd) -> UniqueFd {
        UniqueFd(fd.into_raw_fd())
    }
}
