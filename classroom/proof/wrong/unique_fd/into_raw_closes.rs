//! refused: "into_raw gives the descriptor away, but Drop still ran"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        unsafe { libc::close(self.0) };
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
        self.0
    }

    fn close(self) -> io::Result<()> {
        let fd = self.0;
        std::mem::forget(self);
        match unsafe { libc::close(fd) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn reset(&mut self, fd: RawFd) {
        *self = UniqueFd(fd);
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
