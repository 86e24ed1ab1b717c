//! A log that nobody reads stops no server.
//!
//! A write to standard error can wait for ever: in a full pipe, at a stopped terminal. So a line is
//! put into a queue, and a thread of its own does the waiting. A full queue takes no more lines.
//! They are counted, and the log says how many it lost as soon as somebody reads again.

use std::fmt::Display;
use std::io::{self, Write};
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow};

/// How many lines may wait.
pub const ROOM: usize = 256;

struct Queue {
    lines: Vec<String>,
    /// How many more there were, after these.
    lost: usize,
    /// The thread has taken lines out, and they are not written yet.
    writing: bool,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { lines: Vec::new(), lost: 0, writing: false });
static CHANGED: Condvar = Condvar::new();

fn queue() -> MutexGuard<'static, Queue> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread. It takes no signal: which thread gets one is for the server to say.
pub fn start() -> io::Result<()> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = thread::Builder::new().name("log".into()).spawn(write);
    before.thread_set_mask()?;
    started.map(drop)
}

/// Puts a line into the log. It never waits for a reader.
pub fn line(text: impl Display) {
    let mut queue = queue();
    if queue.lines.len() < ROOM {
        queue.lines.push(format!("{text}\n"));
    } else {
        queue.lost += 1;
    }
    CHANGED.notify_all();
}

/// Waits until all is written; for so long at most, for perhaps nobody reads.
pub fn flush(limit: Duration) {
    let is_busy = |queue: &mut Queue| queue.writing || !queue.lines.is_empty();
    drop(CHANGED.wait_timeout_while(queue(), limit, is_busy));
}

/// What the thread does.
fn write() {
    let mut lost = 0;
    loop {
        let is_empty = |queue: &mut Queue| queue.lines.is_empty();
        let waited = CHANGED.wait_while(queue(), is_empty);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
        let lines = mem::take(&mut queue.lines);
        lost += mem::take(&mut queue.lost);
        queue.writing = true;
        drop(queue); // while this thread waits, the others go on

        let mut text = lines.concat();
        if lost > 0 {
            text += &format!("(lines of the log that were lost: {lost})\n");
        }
        lost = match io::stderr().write_all(text.as_bytes()) {
            Ok(()) => 0,
            Err(_) => lost + lines.len(), // the disk may be full now, and not later
        };
        self::queue().writing = false;
        CHANGED.notify_all();
    }
}

/// The log as something to write to: each `write` is a line.
#[derive(Clone, Copy, Debug)]
pub struct Writer;

impl Write for Writer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        line(String::from_utf8_lossy(text).trim_end());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
