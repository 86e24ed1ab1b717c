//! How long something takes.

use std::io;
use std::time::{Duration, Instant};

/// Does `round` so many times and returns the median of what it took.
pub fn median(rounds: usize, mut round: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut took = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let start = Instant::now();
        round()?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    Ok(took[rounds / 2])
}

/// As text, in milliseconds: "88.0 ms".
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
