//! What the tests share: connected sockets, and how often a thread has called `recv`.

#![allow(dead_code)] // no test file uses all of it

use std::cell::Cell;
use std::ffi::{c_int, c_long, c_void};
use std::io::{self, Write};
use std::sync::Once;
use std::time::{Duration, Instant};
use std::{fs, process, ptr, thread};

use nix::sys::signal::{SaFlags, Signal};
use stage::{kernel, signals};
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, send_all, sys};

/// A deadline for what should end long before it.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

/// A deadline for what cannot end before it.
pub fn at_once() -> Instant {
    Instant::now() + millis(20)
}

/// A deadline that has passed.
pub fn past() -> Instant {
    let now = Instant::now();
    now.checked_sub(Duration::from_secs(5)).unwrap_or(now)
}

pub fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Ends the process after a minute: for a loop that would go on for ever. The last line of the
/// output then is the last test that did end.
fn end_tests_that_hang() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        thread::spawn(|| {
            thread::sleep(Duration::from_secs(60));
            let _ = writeln!(io::stderr(), "a test hangs: it has run for a minute");
            process::abort();
        });
    });
}

/// Two connected sockets: the one that connected, the one that was accepted.
pub fn pair() -> (UniqueFd, UniqueFd) {
    end_tests_that_hang();
    let listener = listen_on(Some("127.0.0.1"), 0, 1).unwrap();
    let port = sys::getsockname(&listener).unwrap().port();
    let client = connect_to("127.0.0.1", port).unwrap();
    (client, accept(&listener).unwrap().0)
}

/// The receiving end of a stream that holds these bytes and then ends.
pub fn stream_of(bytes: &[u8]) -> UniqueFd {
    let (sender, receiver) = pair();
    send_all(&sender, bytes).unwrap();
    receiver
}

thread_local! {
    static RECEIVES: Cell<u32> = const { Cell::new(0) };
}

/// How often this thread has called `recv`.
pub fn receives() -> u32 {
    RECEIVES.get()
}

/// Takes the place of the C library's `recv` in this program: counts, and asks the kernel.
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> isize {
    RECEIVES.set(RECEIVES.get() + 1);
    let no_address = ptr::null_mut::<c_void>();
    let [fd, flags] = [fd, flags].map(c_long::from);
    // SAFETY: the caller's promise: `buf` is writable for `len` bytes. The kernel writes no address.
    unsafe {
        libc::syscall(libc::SYS_recvfrom, fd, buf, len, flags, no_address, no_address) as isize
    }
}

/// The thread that made it, as others see it.
#[derive(Clone, Copy)]
pub struct Receiver(c_int);

impl Receiver {
    pub fn this_thread() -> Receiver {
        signals::handle(Signal::SIGUSR1, SaFlags::empty()).unwrap();
        // SAFETY: gettid takes nothing, and returns a number.
        Receiver(unsafe { libc::gettid() })
    }

    /// Until it is blocked in `recv`.
    pub fn wait_until_blocked(self) {
        let call = format!("{} ", libc::SYS_recvfrom);
        let file = format!("/proc/self/task/{}/syscall", self.0);
        let is_blocked = || fs::read_to_string(&file).is_ok_and(|line| line.starts_with(&call));
        kernel::wait_for("the thread to block in recv", || Ok(is_blocked())).unwrap();
    }

    /// Makes the `recv` that it is blocked in return EINTR: no SA_RESTART.
    pub fn interrupt(self) {
        self.wait_until_blocked();
        let before = signals::counted();
        // SAFETY: the call takes three numbers. The thread is alive: it is blocked, and ours.
        let rc = unsafe { libc::syscall(libc::SYS_tgkill, process::id(), self.0, libc::SIGUSR1) };
        assert_eq!(rc, 0);
        kernel::wait_for("the handler to run", || Ok(signals::counted() > before)).unwrap();
    }
}
