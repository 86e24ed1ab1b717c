//! refused: "it keeps memory after it has returned"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let own = Box::leak(vec![0_u8; buf.len().min(65_536)].into_boxed_slice());
    let mut got = 0;
    while got < buf.len() {
        let room = own.len().min(buf.len() - got);
        let n = unsafe { libc::recv(fd, own.as_mut_ptr().cast(), room, 0) };
        match n {
            1.. => {
                buf[got..got + n as usize].copy_from_slice(&own[..n as usize]);
                got += n as usize;
            }
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
