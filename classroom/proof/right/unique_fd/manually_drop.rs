//! `ManuallyDrop` instead of `forget`, and `swap`.

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
        std::mem::ManuallyDrop::new(self).0
    }

    fn close(self) -> io::Result<()> {
        let this = std::mem::ManuallyDrop::new(self);
        let rc = unsafe { libc::close(this.0) };
        if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn reset(&mut self, fd: RawFd) {
        let mut other = UniqueFd(fd);
        std::mem::swap(self, &mut other);
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
