//! The time.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::record::Nanos;

/// Now, by the clock with which the kernel stamps packets.
pub fn now() -> Nanos {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as Nanos)
}
