//! refused: "after EINTR close is not called again"

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
        let fd = self.into_raw();
        loop {
            if unsafe { libc::close(fd) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn reset(&mut self, fd: RawFd) {
        *self = UniqueFd(fd);
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
