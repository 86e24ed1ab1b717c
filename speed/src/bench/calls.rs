//! Counts the system calls of one step: `speed-calls SERIES STEP MILLISECONDS`. Its functions stand
//! before the C library's, count, and ask the kernel. So the steps know nothing of it, and `speed`
//! itself, which measures what a call costs, calls the C library's own.

#[allow(dead_code)] // the rest of it is for `speed`
mod steps;
#[allow(dead_code)]
mod threads;

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

static CALLS: AtomicU64 = AtomicU64::new(0);

fn count() {
    CALLS.fetch_add(1, Ordering::Relaxed);
}

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let wrong = || io::Error::other("usage: speed-calls SERIES STEP MILLISECONDS");
    let [series, name, millis] = &args[..] else { return Err(wrong()) };
    let millis = millis.parse().map_err(|_| wrong())?;
    let step = steps::STEPS.iter().find(|step| step.series == series && step.name == name);
    let cores = threads::two_cores()?;
    let ran = step.ok_or_else(wrong)?.run(cores, Duration::from_millis(millis))?;
    println!("{} {}", CALLS.load(Ordering::Relaxed), ran.messages);
    Ok(())
}

/// As send(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn send(fd: c_int, buf: *const c_void, len: usize, flags: c_int) -> isize {
    count();
    let [fd, flags] = [fd, flags].map(c_long::from);
    // SAFETY: the caller's promise: `buf` is readable for `len` bytes. The address is none.
    unsafe { libc::syscall(libc::SYS_sendto, fd, buf, len, flags, 0_usize, 0_usize) as isize }
}

/// As recv(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn recv(fd: c_int, buf: *mut c_void, len: usize, flags: c_int) -> isize {
    count();
    let [fd, flags] = [fd, flags].map(c_long::from);
    // SAFETY: the caller's promise: `buf` is writable for `len` bytes. No address is written.
    unsafe { libc::syscall(libc::SYS_recvfrom, fd, buf, len, flags, 0_usize, 0_usize) as isize }
}

/// As sendmsg(2).
#[unsafe(no_mangle)]
unsafe extern "C" fn sendmsg(fd: c_int, msg: *const libc::msghdr, flags: c_int) -> isize {
    count();
    // SAFETY: the caller's promise: `msg` is valid, and so is what it points at.
    unsafe { libc::syscall(libc::SYS_sendmsg, c_long::from(fd), msg, c_long::from(flags)) as isize }
}

/// As poll(2), for one descriptor: all that the steps ask.
#[unsafe(no_mangle)]
unsafe extern "C" fn poll(fds: *mut libc::pollfd, count_of: libc::nfds_t, millis: c_int) -> c_int {
    count();
    let time = libc::timespec {
        tv_sec: (millis / 1000).into(),
        tv_nsec: (millis % 1000 * 1_000_000).into(),
    };
    let time = if millis < 0 { std::ptr::null() } else { &raw const time };
    // SAFETY: the caller's promise: `fds` is writable for as many. The mask is none.
    unsafe { libc::syscall(libc::SYS_ppoll, fds, count_of, time, 0_usize, 0_usize) as c_int }
}
