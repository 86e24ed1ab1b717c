//! refused: "it called recv for an empty buffer"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    loop {
        match unsafe { libc::recv(fd, buf[got..].as_mut_ptr().cast(), buf.len() - got, 0) } {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if n > 0 => got += n as usize,
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(io::Error::last_os_error()),
        }
        if got == buf.len() {
            return Ok(());
        }
    }
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
