//! `close` by its number.

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        // SAFETY:
        // - the descriptor is open and ours, and `self` is going away.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

impl Owner for UniqueFd {
    fn new(fd: RawFd) -> UniqueFd {
        UniqueFd(fd)
    }

    fn get(&self) -> RawFd {
        self.0
    }

    fn into_raw(self) -> RawFd {
        let fd = self.0;
        mem::forget(self); // or Drop would close it
        fd
    }

    fn close(self) -> io::Result<()> {
        // SAFETY:
        // - `into_raw` has made the descriptor ours alone; nobody uses it after this line.
        match unsafe { libc::syscall(libc::SYS_close, self.into_raw()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()), // and never again: the number is free now
        }
    }

    fn reset(&mut self, fd: RawFd) {
        // The old value is dropped by the assignment: that closes it.
        *self = UniqueFd(fd);
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
