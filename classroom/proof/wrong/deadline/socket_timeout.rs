//! refused: "changed a setting of the socket"

use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::process::ExitCode;
use std::time::Instant;

fn recv_exact_with_deadline(fd: RawFd, buf: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut got = 0;
    while got < buf.len() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let time = libc::timeval {
            tv_sec: left.as_secs() as i64,
            tv_usec: left.subsec_micros().max(1) as i64,
        };
        unsafe {
            let len = size_of_val(&time) as u32;
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVTIMEO,
                (&raw const time).cast(),
                len,
            );
        }
        let rest = &mut buf[got..];
        let n = unsafe { libc::recv(fd, rest.as_mut_ptr().cast(), rest.len(), 0) };
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
        let timeout = left.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
        let mut ready = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        match unsafe { libc::poll(&mut ready, 1, timeout) } {
            0 => {}
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
