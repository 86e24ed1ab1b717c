//! Waiting: how long, and what a signal makes of it.

use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// What should not wait at all may wait so long, before a program that watches another calls it
/// hung. No measure of anything.
pub const HANG_LIMIT: Duration = Duration::from_secs(60);

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

/// What `poll` or `epoll_wait` has seen when a signal ended the wait: nothing. Whoever waits then
/// looks at the clock first. Called again with the same timeout, each signal would postpone it.
pub fn or_nothing(waited: io::Result<usize>) -> io::Result<usize> {
    match waited {
        Err(e) if e.kind() == ErrorKind::Interrupted => Ok(0),
        result => result,
    }
}

/// The time until then as `poll` and `epoll_wait` take it (`None`: for ever). Rounded up: rounded
/// down, the last millisecond would be spent spinning.
pub fn millis_until(then: Option<Instant>) -> c_int {
    let left = then.map(|then| then.saturating_duration_since(Instant::now()));
    let millis = left.map(|left| left.as_nanos().div_ceil(1_000_000));
    millis.map_or(-1, |millis| c_int::try_from(millis).unwrap_or(c_int::MAX))
}
