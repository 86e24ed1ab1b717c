//! How far an experiment has come, and how long it still takes.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with the time left; where standard error is not a terminal, a plain line now and then.
///
/// It counts the time that an experiment has to spend on the wire, not its steps: these differ.
pub struct Progress {
    name: &'static str,
    bar: ProgressBar,
    /// Without a terminal: when to say something next.
    plain: Option<Mutex<Instant>>,
}

/// Without a terminal, a line this often is enough.
const EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// For an experiment that will spend `total` in all, by its own estimate.
    pub fn new(name: &'static str, total: Duration) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = ProgressBar::new(total.as_millis() as u64);
        if terminal {
            let style = ProgressStyle::with_template("  {prefix} {bar:30} {msg} about {eta} left");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name);
            bar.enable_steady_tick(Duration::from_millis(250));
        } else {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let plain = (!terminal).then(|| Mutex::new(Instant::now() + EVERY));
        Progress { name, bar, plain }
    }

    /// So much of the total has been spent, on what `step` says. Any thread may say so.
    pub fn spent(&self, time: Duration, step: &str) {
        self.bar.inc(time.as_millis() as u64);
        self.bar.set_message(step.to_owned());
        let Some(next) = &self.plain else { return };
        // A thread that panicked while it held the lock has left nothing half done.
        let mut next = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if Instant::now() >= *next {
            let left = self.bar.eta().as_secs();
            eprintln!("  {}: {step}, about {left} s left", self.name);
            *next = Instant::now() + EVERY;
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
