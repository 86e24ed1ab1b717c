//! -1 stands for "nothing", as in C++.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

use grader::unique_fd::Owner;

struct UniqueFd(RawFd);

impl Drop for UniqueFd {
    fn drop(&mut self) {
        if self.0 >= 0 {
            unsafe { libc::close(self.0) };
        }
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
        std::mem::replace(&mut { self }.0, -1)
    }

    fn close(self) -> io::Result<()> {
        let fd = self.into_raw();
        let rc = unsafe { libc::close(fd) };
        if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn reset(&mut self, fd: RawFd) {
        let old = std::mem::replace(&mut self.0, fd);
        drop(UniqueFd(old));
    }
}

fn main() -> ExitCode {
    grader::unique_fd::grade::<UniqueFd>()
}
