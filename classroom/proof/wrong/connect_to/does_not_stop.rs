//! refused: "it goes on after a connect that succeeded"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    let mut connected = None;
    let mut last = io::Error::other("nothing tried");
    let mut at: *const libc::addrinfo = list;
    while !at.is_null() {
        let ai = unsafe { &*at };
        at = ai.ai_next;
        let kind = ai.ai_socktype | libc::SOCK_CLOEXEC;
        let fd = unsafe { libc::socket(ai.ai_family, kind, ai.ai_protocol) };
        if fd >= 0 && unsafe { libc::connect(fd, ai.ai_addr, ai.ai_addrlen) } == 0 {
            connected.get_or_insert(fd);
            continue;
        }
        last = io::Error::last_os_error();
        if fd >= 0 {
            unsafe { libc::close(fd) };
        }
    }
    connected.ok_or(last)
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
