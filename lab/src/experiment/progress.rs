//! How far an experiment has come, and how long it still takes.

use std::fmt::Write;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::say;

/// A bar with the time left; where standard error is not a terminal, a plain line now and then.
///
/// It counts the time that an experiment has to spend on the wire, not its steps: these differ.
pub struct Progress {
    name: &'static str,
    total: Duration,
    begin: Instant,
    state: Arc<Mutex<State>>,
    /// None without a terminal.
    bar: Option<ProgressBar>,
}

struct State {
    /// How much of the total is done.
    spent: Duration,
    /// How long it takes from `since` on, at the pace so far.
    left: Duration,
    since: Instant,
    /// Without a terminal: when to say something next.
    next_line: Instant,
}

/// Without a terminal, a line this often is enough.
const EVERY: Duration = Duration::from_secs(5);

impl Progress {
    /// For an experiment that will spend `total` in all, by its own estimate.
    pub fn new(name: &'static str, total: Duration) -> Progress {
        let begin = Instant::now();
        let next_line = begin + EVERY;
        let state = State { spent: Duration::ZERO, left: total, since: begin, next_line };
        let state = Arc::new(Mutex::new(state));
        let bar = std::io::stderr().is_terminal().then(|| bar(name, total, &state));
        Progress { name, total, begin, state, bar }
    }

    /// So much of the total has been spent, on what `step` says. Any thread may say so.
    pub fn spent(&self, time: Duration, step: &str) {
        let mut state = lock(&self.state);
        state.spent += time;
        state.since = Instant::now();
        let to_do = self.total.saturating_sub(state.spent).as_secs_f64();
        let pace = self.begin.elapsed().as_secs_f64() / state.spent.as_secs_f64().max(1e-3);
        state.left = Duration::from_secs_f64(to_do * pace);
        let left = state.left.as_secs();
        if let Some(bar) = &self.bar {
            let spent = state.spent.as_millis() as u64;
            drop(state); // drawing takes the lock, too
            bar.set_message(step.to_owned());
            bar.set_position(spent);
        } else if Instant::now() >= state.next_line {
            state.next_line = Instant::now() + EVERY;
            say::error(format_args!("  {}: {step}, about {left} s left", self.name));
        }
    }
}

fn bar(name: &'static str, total: Duration, state: &Arc<Mutex<State>>) -> ProgressBar {
    let state = Arc::clone(state);
    let left = move |_: &ProgressState, out: &mut dyn Write| {
        let state = lock(&state);
        let left = state.left.saturating_sub(state.since.elapsed());
        let _ = write!(out, "about {} s left", left.as_secs_f64().ceil());
    };
    let style = ProgressStyle::with_template("  {prefix} {bar:30} {left}  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .with_key("left", left);
    let bar = ProgressBar::new(total.as_millis() as u64).with_style(style).with_prefix(name);
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

/// A thread that panicked while it held the lock has left nothing half done.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
