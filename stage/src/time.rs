//! How long something takes.

use std::io;
use std::time::{Duration, Instant};

/// What takes so long hangs, on whatever machine. It is no measure of anything else.
pub const HANG: Duration = Duration::from_secs(60);

/// Does `round` so many times, and returns the least that it took from the third time on.
///
/// A busy machine makes any round longer and none shorter: where a timer of the kernel is waited
/// for every time, the least is no less than that timer; where it is not, one quick round shows it.
/// The first two are apart, for a new connection is acknowledged at once.
pub fn fastest(rounds: usize, mut round: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut least = Duration::MAX;
    for n in 0..rounds {
        let start = Instant::now();
        round()?;
        if n >= 2 {
            least = least.min(start.elapsed());
        }
    }
    Ok(least)
}

/// As text, in milliseconds: "88.0 ms".
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
