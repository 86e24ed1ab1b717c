//! refused: "it sent bytes behind the end of buf"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, buf: &[u8]) -> io::Result<()> {
    let mut sent = 0;
    while sent < buf.len() {
        let n =
            unsafe { libc::send(fd, buf.as_ptr().add(sent).cast(), buf.len(), libc::MSG_NOSIGNAL) };
        if n < 0 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(io::Error::last_os_error());
        }
        sent += n as usize;
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
