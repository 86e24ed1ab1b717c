//! refused: "the socket that it returned is not connected"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    let mut at: *const libc::addrinfo = list;
    while !at.is_null() {
        let ai = unsafe { &*at };
        let kind = ai.ai_socktype | libc::SOCK_CLOEXEC;
        let fd = unsafe { libc::socket(ai.ai_family, kind, ai.ai_protocol) };
        if fd >= 0 {
            unsafe { libc::connect(fd, ai.ai_addr, ai.ai_addrlen) };
            return Ok(fd);
        }
        at = ai.ai_next;
    }
    Err(io::Error::last_os_error())
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
