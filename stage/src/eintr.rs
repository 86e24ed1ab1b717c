//! EINTR, and a timeout per call, for examples whose subject is something else.

use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::time::Duration;

use tcp_stream_io::UniqueFd;

/// Makes one call, and makes it again for as long as it says EINTR: glibc's TEMP_FAILURE_RETRY.
/// Not for `connect` and `close`, which must not be called twice.
pub fn retry_eintr<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            result => return result,
        }
    }
}

/// Sets `SO_RCVTIMEO` or `SO_SNDTIMEO`: how long one call may wait; zero: for ever. man: socket(7).
/// Rounded up to microseconds, which the kernel counts in, and cut at the longest it knows.
pub fn set_timeout(fd: &UniqueFd, name: libc::c_int, timeout: Duration) -> io::Result<()> {
    let micros = timeout.as_nanos().div_ceil(1000);
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    let tv = libc::timeval { tv_sec: seconds as _, tv_usec: (micros % 1_000_000) as _ };
    let (at, len) = ((&raw const tv).cast(), size_of::<libc::timeval>() as libc::socklen_t);
    // SAFETY: `at` is readable for `len` bytes.
    match unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, at, len) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
