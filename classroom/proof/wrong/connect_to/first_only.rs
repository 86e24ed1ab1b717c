//! refused: an address further down the list accepts

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    let fd = unsafe { libc::socket(list.ai_family, list.ai_socktype | libc::SOCK_CLOEXEC, 0) };
    match unsafe { libc::connect(fd, list.ai_addr, list.ai_addrlen) } {
        0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
