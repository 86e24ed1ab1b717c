//! A listener on the loopback, and the port that it has.
//!
//! `socket`, close-on-exec; SO_REUSEADDR; `bind` to 127.0.0.1 and `port`; `listen` with a backlog
//! of 128. Port 0 takes any free port: `getsockname` tells which. Where a step fails, its errno
//! goes to the caller, and nothing stays open.
//!
//! Article 7.1 (listen_on). man: ip(7), bind(2), listen(2), getsockname(2).

//>
use std::ffi::c_int;
//<
use std::io;
//>
use std::net::Ipv4Addr;
//<
use std::os::fd::RawFd;
use std::process::ExitCode;
//>
use std::{mem, ptr};

const BACKLOG: c_int = 128;
//<

/// The listener and its port.
fn listen_on(port: u16) -> io::Result<(RawFd, u16)> {
    //> // TODO: five calls. Which of them has to come before which?
    //> grader::yours(port)
    // SAFETY: socket takes numbers only.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    or_errno(fd)?;
    match bind_and_listen(fd, port) {
        Ok(port) => Ok((fd, port)),
        Err(e) => {
            // SAFETY: the socket is ours, and is not used after this line.
            unsafe { libc::close(fd) };
            Err(e)
        }
    }
}

fn bind_and_listen(fd: RawFd, port: u16) -> io::Result<u16> {
    let yes: c_int = 1;
    // SAFETY: the pointer and the length are those of `yes`.
    or_errno(unsafe {
        let (at, len) = (ptr::from_ref(&yes).cast(), size_of::<c_int>() as libc::socklen_t);
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, at, len)
    })?;
    // SAFETY: sockaddr_in is integers, for which zero is a valid value.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = libc::AF_INET as libc::sa_family_t;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from(Ipv4Addr::LOCALHOST).to_be();
    let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
    // SAFETY: the pointer and the length are those of `address`, which getsockname may write to.
    unsafe {
        let at = ptr::from_mut(&mut address).cast();
        or_errno(libc::bind(fd, at, len))?;
        or_errno(libc::listen(fd, BACKLOG))?;
        or_errno(libc::getsockname(fd, at, &mut len))?;
    }
    Ok(u16::from_be(address.sin_port))
}

fn or_errno(rc: c_int) -> io::Result<()> {
    if rc >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    //<
}

fn main() -> ExitCode {
    grader::listen_on::grade(listen_on)
}
