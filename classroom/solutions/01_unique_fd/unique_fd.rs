//! A descriptor that closes itself: once, and not before its last owner goes.
//!
//! `new` and `get` are written. Dropping a `UniqueFd` closes the descriptor. `into_raw` gives it
//! away, open. `close` closes now and says what `libc::close` said, of which Drop can say nothing.
//! `reset` closes what it has and takes over another.
//!
//! Article 7.1 (unique_fd). man: close(2). Given: `fd`, open, and yours from `new` on.

use std::io;
//>
use std::mem;
//<
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        //> // TODO: close it. Then the three below.
        //> grader::yours(self)
        // SAFETY: the descriptor is open and ours, and `self` is going away.
        unsafe { libc::close(self.0) };
        //<
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
        //> // TODO: what has to be kept from running here?
        //> grader::yours(self)
        let fd = self.0;
        mem::forget(self); // or Drop would close it
        fd
        //<
    }

    fn close(self) -> io::Result<()> {
        //> // TODO: close now, say what `libc::close` said, and see that Drop does not close again.
        //> grader::yours(self)
        // SAFETY: `into_raw` has made the descriptor ours alone; nobody uses it after this line.
        match unsafe { libc::close(self.into_raw()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()), // and never again: the number is free now
        }
        //<
    }

    fn reset(&mut self, fd: RawFd) {
        //> // TODO: the old descriptor goes, `fd` takes its place.
        //> grader::yours((self, fd))
        // The old value is dropped by the assignment: that closes it.
        *self = UniqueFd(fd);
        //<
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
