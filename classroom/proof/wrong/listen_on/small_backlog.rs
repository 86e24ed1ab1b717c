//! refused: "the second argument of listen says how many may wait"

use std::io;
use std::mem;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn listen_on(port: u16) -> io::Result<(RawFd, u16)> {
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        let yes: libc::c_int = 1;
        let one: *const libc::c_void = (&raw const yes).cast();
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, one, 4);
        let mut sa: libc::sockaddr_in = mem::zeroed();
        sa.sin_family = libc::AF_INET as u16;
        sa.sin_port = port.to_be();
        sa.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
        let mut len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        if libc::bind(fd, (&raw const sa).cast(), len) != 0 {
            let e = io::Error::last_os_error();
            libc::close(fd);
            return Err(e);
        }
        libc::listen(fd, 1);
        libc::getsockname(fd, (&raw mut sa).cast(), &mut len);
        Ok((fd, u16::from_be(sa.sin_port)))
    }
}

fn main() -> ExitCode {
    grader::listen_on::grade(listen_on)
}
