//! refused: "your unique_fd panicked at"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        assert_eq!(unsafe { libc::close(self.0) }, 0, "close");
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
        let rc = unsafe { libc::close(self.0) };
        std::mem::forget(self);
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn reset(&mut self, fd: RawFd) {
        *self = UniqueFd(fd);
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
