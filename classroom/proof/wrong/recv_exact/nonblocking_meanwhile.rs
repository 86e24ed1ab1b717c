//! refused: "it changes the status flags (O_NONBLOCK among them) while it runs"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    let result = recv_loop(fd, buf, flags & libc::O_NONBLOCK != 0);
    unsafe { libc::fcntl(fd, libc::F_SETFL, flags) };
    result
}

fn recv_loop(fd: RawFd, buf: &mut [u8], was: bool) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got += n as usize,
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::WouldBlock && !was {
                    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
                    unsafe { libc::poll(&mut poll, 1, -1) };
                } else if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
