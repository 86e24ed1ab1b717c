//! How long something takes.

use std::time::Duration;

/// What takes so long hangs, on whatever machine. It is no measure of anything else.
pub const HANG: Duration = Duration::from_secs(60);

/// As text, in milliseconds: "88.0 ms".
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
