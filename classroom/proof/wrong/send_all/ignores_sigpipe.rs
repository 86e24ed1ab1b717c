//! refused: "changed something for the whole process"

use std::io;
use std::os::fd::RawFd;
use std::process::ExitCode;

fn send_all(fd: RawFd, mut buf: &[u8]) -> io::Result<()> {
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    while !buf.is_empty() {
        let n = unsafe { libc::send(fd, buf.as_ptr().cast(), buf.len(), 0) };
        if n < 0 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(io::Error::last_os_error());
        }
        buf = &buf[n as usize..];
    }
    Ok(())
}

fn main() -> ExitCode {
    grader::send_all::grade(send_all)
}
