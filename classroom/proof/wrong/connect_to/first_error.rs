//! refused: "the error is not the one of the last try"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    let mut last = io::Error::other("nothing tried");
    let mut at: *const libc::addrinfo = list;
    while !at.is_null() {
        let ai = unsafe { &*at };
        let kind = ai.ai_socktype | libc::SOCK_CLOEXEC;
        let fd = unsafe { libc::socket(ai.ai_family, kind, ai.ai_protocol) };
        if fd < 0 {
            last = io::Error::last_os_error();
            at = ai.ai_next;
            continue;
        }
        if unsafe { libc::connect(fd, ai.ai_addr, ai.ai_addrlen) } == 0 {
            return Ok(fd);
        }
        let failed = io::Error::last_os_error();
        if last.raw_os_error().is_none() {
            last = failed;
        }
        unsafe { libc::close(fd) };
        at = ai.ai_next;
    }
    Err(last)
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
