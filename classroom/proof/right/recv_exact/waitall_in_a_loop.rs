//! MSG_WAITALL spares calls; the loop is still needed.

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        let (at, len) = (rest.as_mut_ptr().cast(), rest.len());
        let n = unsafe { libc::recv(fd, at, len, libc::MSG_WAITALL) };
        match n {
            1.. => got += n as usize,
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
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
