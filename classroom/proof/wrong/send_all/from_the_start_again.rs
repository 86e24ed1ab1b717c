//! refused: "after a partial send it goes on at the wrong place"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut left = buf.len();
    while left > 0 {
        let n = unsafe { libc::send(fd, buf.as_ptr().cast(), left, libc::MSG_NOSIGNAL) };
        if n < 0 {
            let e = io::Error::last_os_error();
            if e.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(e);
        }
        left -= n as usize;
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
