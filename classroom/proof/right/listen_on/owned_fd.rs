//! The socket in an OwnedFd, closed by every `?`.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::process::ExitCode;

fn check(rc: i32) -> io::Result<i32> {
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

fn listen_on(port: u16) -> io::Result<(RawFd, u16)> {
    let fd = check(unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP) })?;
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    check(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) })?;
    let on = 1_i32;
    let len = mem::size_of_val(&on) as libc::socklen_t;
    let raw = fd.as_raw_fd();
    check(unsafe {
        libc::setsockopt(raw, libc::SOL_SOCKET, libc::SO_REUSEADDR, (&raw const on).cast(), len)
    })?;
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: u16::from_ne_bytes(port.to_be_bytes()),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    };
    let mut len = mem::size_of_val(&address) as libc::socklen_t;
    check(unsafe { libc::bind(raw, (&raw const address).cast(), len) })?;
    check(unsafe { libc::listen(raw, 128) })?;
    if port != 0 {
        return Ok((fd.into_raw_fd(), port));
    }
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    len = mem::size_of_val(&name) as libc::socklen_t;
    check(unsafe { libc::getsockname(raw, name.as_mut_ptr().cast(), &mut len) })?;
    let name = unsafe { name.as_ptr().cast::<libc::sockaddr_in>().read() };
    Ok((fd.into_raw_fd(), u16::from_be(name.sin_port)))
}

fn main() -> ExitCode {
    grader::listen_on::grade(listen_on)
}
