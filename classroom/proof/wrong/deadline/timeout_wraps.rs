//! refused: "a deadline 50 days away"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Instant;

fn recv_exact_with_deadline(fd: RawFd, buf: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        wait_readable(fd, deadline)?;
        let rest = &mut buf[got..];
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), libc::MSG_DONTWAIT) };
        match n {
            1.. => got += n as usize,
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {
                let error = io::Error::last_os_error();
                if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

fn wait_readable(fd: RawFd, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let timeout = left.as_nanos().div_ceil(1_000_000) as i32;
        let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        match unsafe { libc::poll(&mut ready, 1, timeout) } {
            0 => return Err(ErrorKind::TimedOut.into()),
            1.. => return Ok(()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

fn main() -> ExitCode {
    grader::deadline::grade(recv_exact_with_deadline)
}
