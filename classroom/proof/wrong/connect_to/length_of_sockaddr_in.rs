//! refused: "an IPv6 address is longer than an IPv4 address"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    let mut last = io::Error::other("no address");
    let mut node: *const libc::addrinfo = list;
    while !node.is_null() {
        let here = unsafe { &*node };
        node = here.ai_next;
        let kind = here.ai_socktype | libc::SOCK_CLOEXEC;
        let fd = unsafe { libc::socket(here.ai_family, kind, here.ai_protocol) };
        if fd < 0 {
            last = io::Error::last_os_error();
            continue;
        }
        if unsafe { libc::connect(fd, here.ai_addr, size_of::<libc::sockaddr_in>() as u32) } == 0 {
            return Ok(fd);
        }
        last = io::Error::last_os_error();
        unsafe { libc::close(fd) };
    }
    Err(last)
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
