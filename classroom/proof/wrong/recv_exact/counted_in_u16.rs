//! refused: "is blocked in recv on fd 4 in the middle of 3000001 bytes"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got: u16 = 0;
    while (got as usize) < buf.len() {
        let rest = &mut buf[got as usize..];
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got = got.wrapping_add(n as u16),
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
