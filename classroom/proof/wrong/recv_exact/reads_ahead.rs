//! refused: "it took bytes out of the stream that belong to the next message"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        let mut chunk = [0; 4096];
        match unsafe { libc::recv(fd, chunk.as_mut_ptr().cast(), chunk.len(), 0) } {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n if n > 0 => {
                let n = (n as usize).min(buf.len() - got);
                buf[got..got + n].copy_from_slice(&chunk[..n]);
                got += n;
            }
            _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            _ => return Err(io::Error::last_os_error()),
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::recv_exact::grade(recv_exact)
}
