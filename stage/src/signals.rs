//! Signals that arrive while a thread is blocked in a system call.

use std::ffi::{c_int, c_long};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::gettid;

use crate::kernel;

static COUNT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn on_signal(_: c_int) {
    COUNT.fetch_add(1, Ordering::SeqCst);
}

/// Installs a handler for `signal` that only counts, with these flags: `SA_RESTART` or not.
pub fn handle(signal: Signal, flags: SaFlags) -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(on_signal), flags, SigSet::empty());
    // SAFETY:
    // - the handler only adds to an atomic, which a handler may do.
    unsafe { sigaction(signal, &action) }?;
    Ok(())
}

/// How many signals the handler has counted since the process began.
pub fn counted() -> usize {
    COUNT.load(Ordering::SeqCst)
}

/// Interrupts a thread each time that it blocks in one system call, until it is stopped.
#[must_use]
#[derive(Debug)]
pub struct Storm {
    over: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
}

impl Storm {
    /// Starts to interrupt the calling thread whenever it is blocked in system call `number`.
    /// At most 1000 times, so that the call may end at last.
    pub fn on_this_thread(signal: Signal, number: c_long) -> io::Result<Storm> {
        let tid = gettid();
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let thread = thread::Builder::new().name("storm".into()).spawn(move || {
            for _ in 0..1000 {
                let before = counted();
                while !kernel::is_blocked_in(tid, number) {
                    if until.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    thread::yield_now();
                }
                kernel::signal_thread(tid, signal)?;
                kernel::wait_for("the handler to run", || Ok(counted() > before))?;
            }
            Ok(())
        })?;
        Ok(Storm { over, thread })
    }

    /// Ends it.
    pub fn stop(self) -> io::Result<()> {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the storm panicked")))
    }
}
