//! `UniqueFd`: a descriptor that closes itself. The article's `unique_fd`, section 7.

use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

/// The one owner of an open descriptor. Dropping it calls `close(2)`. It cannot be copied, so it
/// cannot be closed twice; passing it on is a move, and no `-1` has to mark the old variable.
#[derive(Debug)]
pub struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is open and belongs to `self`, which is going away.
        unsafe { libc::close(self.0) };
    }
}

impl UniqueFd {
    /// Closes now, and reports the error that `Drop` cannot. man: close(2). Errors: EIO. EINTR is
    /// success: on Linux the descriptor is gone by then, and its number may be another thread's.
    pub fn close(self) -> io::Result<()> {
        let fd = self.0;
        mem::forget(self); // else Drop would close the number a second time
        // SAFETY: `fd` is open and was ours alone; nobody can use it after this call.
        let closed = unsafe { libc::close(fd) } == 0;
        let e = io::Error::last_os_error();
        if closed || e.kind() == ErrorKind::Interrupted { Ok(()) } else { Err(e) }
    }
}

/// The number, for a call into the kernel: the article's `get`.
impl AsRawFd for UniqueFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

/// Takes over a number that a system call has just returned.
impl FromRawFd for UniqueFd {
    unsafe fn from_raw_fd(fd: RawFd) -> UniqueFd {
        UniqueFd(fd)
    }
}

impl AsFd for UniqueFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open while `self` is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl From<UniqueFd> for OwnedFd {
    fn from(fd: UniqueFd) -> OwnedFd {
        let number = fd.0;
        mem::forget(fd);
        // SAFETY: `number` is open, and its owner has just given it up.
        unsafe { OwnedFd::from_raw_fd(number) }
    }
}

impl From<OwnedFd> for UniqueFd {
    fn from(fd: OwnedFd) -> UniqueFd {
        UniqueFd(fd.into_raw_fd())
    }
}
