//! Fill a buffer to the last byte, in as many `recv` calls as it takes.

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;

/// Receives exactly `buf.len()` bytes.
fn recv_exact(fd: RawFd, buf: &mut [u8]) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        let rest = &mut buf[got..];
        // SAFETY:
        // - `rest` is writable for its whole length.
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
        match n {
            1.. => got += n as usize, // what had arrived by now
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
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
