//! How long something takes.

use std::io;
use std::time::{Duration, Instant};

/// What takes so long hangs, on whatever machine. It is no measure of anything else.
pub const HANG: Duration = Duration::from_secs(60);

/// What a number of rounds took.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Does `round` so many times, and forgets two: a new connection is acknowledged at once.
    pub fn of(rounds: usize, mut round: impl FnMut() -> io::Result<()>) -> io::Result<Times> {
        let mut took = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = Instant::now();
            round()?;
            took.push(start.elapsed());
        }
        took.drain(..2);
        took.sort_unstable();
        Ok(Times(took))
    }

    /// What half of them took or more: no busy machine makes it less.
    pub fn median(&self) -> Duration {
        self.0[self.0.len() / 2]
    }

    /// The least. A busy machine makes rounds longer. But one that was quick has shown that no timer
    /// has to be waited for.
    pub fn least(&self) -> Duration {
        self.0[0]
    }
}

/// As text, in milliseconds: "88.0 ms".
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
