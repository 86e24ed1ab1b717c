//! A descriptor that closes itself: once, and not before its last owner goes.
//!
//! `new` and `get` are written. Dropping a `UniqueFd` closes the descriptor. `into_raw` gives it
//! away, open. `close` closes now and says what `libc::close` said, of which Drop can say nothing.
//! `reset` closes what it has and takes over another.
//!
//! Article 7.1 (unique_fd). man: close(2). Given: `fd`, open, and yours from `new` on.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        // TODO: close it. Then the three below.
        grader::yours(self)
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
        // TODO: what has to be kept from running here?
        grader::yours(self)
    }

    fn close(self) -> io::Result<()> {
        // TODO: close now, say what `libc::close` said, and see that Drop does not close again.
        grader::yours(self)
    }

    fn reset(&mut self, fd: RawFd) {
        // TODO: the old descriptor goes, `fd` takes its place.
        grader::yours((self, fd))
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
