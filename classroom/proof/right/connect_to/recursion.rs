//! The rest of the list by recursion, the socket in an OwnedFd.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

fn connect_to(list: &libc::addrinfo) -> io::Result<RawFd> {
    match (connect_one(list), unsafe { list.ai_next.as_ref() }) {
        (Ok(fd), _) => Ok(fd.into_raw_fd()),
        (Err(_), Some(rest)) => connect_to(rest),
        (Err(e), None) => Err(e),
    }
}

fn connect_one(node: &libc::addrinfo) -> io::Result<OwnedFd> {
    let kind = node.ai_socktype | libc::SOCK_CLOEXEC;
    let fd = match unsafe { libc::socket(node.ai_family, kind, node.ai_protocol) } {
        -1 => return Err(io::Error::last_os_error()),
        fd => unsafe { OwnedFd::from_raw_fd(fd) },
    };
    match unsafe { libc::connect(fd.as_raw_fd(), node.ai_addr, node.ai_addrlen) } {
        0 => Ok(fd),
        _ => Err(io::Error::last_os_error()),
    }
}

fn main() -> ExitCode {
    grader::connect_to::grade(connect_to)
}
