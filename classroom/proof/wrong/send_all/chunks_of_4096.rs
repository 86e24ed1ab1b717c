//! refused: "bytes are missing in the middle"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    for chunk in buf.chunks(4096) {
        loop {
            let (at, len) = (chunk.as_ptr().cast(), chunk.len());
            if unsafe { libc::send(fd, at, len, libc::MSG_NOSIGNAL) } >= 0 {
                break;
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
