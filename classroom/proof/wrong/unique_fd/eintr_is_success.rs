//! refused: "close said EINTR, and your close said something else"

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
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => Ok(()),
                e => Err(e),
            },
        }
    }

    fn reset(&mut self, fd: RawFd) {
        *self = UniqueFd(fd);
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
