//! How long something takes.

use std::time::Duration;

/// As text, in milliseconds: "88.0 ms".
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
