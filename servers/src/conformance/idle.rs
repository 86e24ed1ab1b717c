//! Whether a server has anything left to do.
//!
//! Not by the clock, which runs on while a busy machine lets the server wait. By its threads: one
//! that wants the processor will go on; where all of them sleep, look after look, nothing comes.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use crate::HANG;

/// The pause between two looks, at least.
const PAUSE: Duration = Duration::from_millis(10);

/// A process and those that it has started, as `/proc` shows them.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    pid: u32,
}

impl Watched {
    /// The process of this id, which has not been waited for.
    pub fn new(pid: u32) -> Watched {
        Watched { pid }
    }

    /// Calls `look`, which waits for something for the time that it is given, until it finds it.
    /// `None`: the process has been asleep in so many looks in a row, or it hangs.
    pub fn until_asleep<T>(
        self,
        looks: u32,
        mut look: impl FnMut(Duration) -> Option<T>,
    ) -> Option<T> {
        let (hangs, mut asleep) = (Instant::now() + HANG, 0);
        while asleep < looks && Instant::now() < hangs {
            let found = look(PAUSE);
            if found.is_some() {
                return found;
            }
            asleep = if works(self.pid) { 0 } else { asleep + 1 };
        }
        look(Duration::ZERO)
    }

    /// The same for what no event tells of: asks every millisecond.
    pub fn asks<T>(self, looks: u32, mut question: impl FnMut() -> Option<T>) -> Option<T> {
        self.until_asleep(looks, |time| {
            let until = Instant::now() + time;
            loop {
                match question() {
                    None if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
                    answer => return answer,
                }
            }
        })
    }
}

/// Whether a thread of the process, or of one that it has started, runs or wants to (`R`), or waits
/// for a disk (`D`): proc(5).
fn works(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.map(|thread| thread.path()).any(|thread| {
        let stat = fs::read_to_string(thread.join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
        matches!(state, Some('R' | 'D'))
            || children.split_whitespace().filter_map(|child| child.parse().ok()).any(works)
    })
}
