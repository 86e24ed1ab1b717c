//! refused: "after reset it still has the number of the old descriptor"

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
        let fd = self.0;
        std::mem::forget(self);
        fd
    }

    fn close(self) -> io::Result<()> {
        match unsafe { libc::close(self.into_raw()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn reset(&mut self, fd: RawFd) {
        unsafe {
            libc::dup2(fd, self.0);
            libc::close(fd);
        }
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
