//! Counts the memory that the program allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::c_int;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::Relaxed};

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use crate::calls;

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

/// What an answer may hold at once, in bytes.
pub const LIMIT: usize = 1 << 29;

/// The exit code of a process that has taken more.
pub const TOO_MUCH: c_int = 86;

static LIMITED: AtomicBool = AtomicBool::new(false);
static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Blocks of so many bytes are filled when they are given back, and kept for a while: who reads a
/// text afterwards finds no text in it, every time.
const SMALL: usize = 64;
static KEPT: [AtomicPtr<u8>; 256] = [const { AtomicPtr::new(ptr::null_mut()) }; 256];
static FREED: AtomicUsize = AtomicUsize::new(0);

fn grown(by: usize) {
    let now = NOW.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(now, Relaxed);
    if now > LIMIT && LIMITED.load(Relaxed) {
        calls::leave(TOO_MUCH)
    }
}

/// From here on [`LIMIT`] holds; and this for all memory, wherever it comes from. With more, malloc
/// and mmap fail: RLIMIT_DATA, getrlimit(2).
pub fn limit(bytes: u64) {
    LIMITED.store(true, Relaxed);
    let _ = setrlimit(Resource::RLIMIT_DATA, bytes, RLIM_INFINITY);
}

// SAFETY: every call goes to `System` as it came; the counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        let at = unsafe { System.alloc(layout) };
        calls::spoil_errno();
        at
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        grown(new_size.saturating_sub(layout.size()));
        NOW.fetch_sub(layout.size().saturating_sub(new_size), Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, new_size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        calls::spoil_errno();
        if layout.size() <= SMALL {
            // SAFETY: the block is the caller's until here, and of this size.
            unsafe { at.write_bytes(0xdd, layout.size()) };
            let place = FREED.fetch_add(1, Relaxed) % KEPT.len();
            let oldest = KEPT[place].swap(at, Relaxed);
            // SAFETY: `System` made it, by malloc(3), and nobody else has it; or it is null.
            return unsafe { libc::free(oldest.cast()) };
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Bytes allocated at this moment.
pub fn now() -> usize {
    NOW.load(Relaxed)
}

/// Runs `work`; says how many bytes it held at most, over what was held before.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = now();
    PEAK.store(before, Relaxed);
    let done = work();
    (done, PEAK.load(Relaxed).saturating_sub(before))
}
