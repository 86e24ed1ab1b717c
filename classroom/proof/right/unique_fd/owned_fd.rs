//! The standard library's owner inside.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(OwnedFd);

impl Owner for UniqueFd {
    fn new(fd: RawFd) -> UniqueFd {
        UniqueFd(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn get(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn into_raw(self) -> RawFd {
        self.0.into_raw_fd()
    }

    fn close(self) -> io::Result<()> {
        match unsafe { libc::close(self.into_raw()) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn reset(&mut self, fd: RawFd) {
        self.0 = UniqueFd::new(fd).0;
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
