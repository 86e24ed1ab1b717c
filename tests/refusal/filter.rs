//! A filter in front of the kernel: one system call of a thread is refused, or cut short.
//!
//! seccomp(2), `SECCOMP_RET_USER_NOTIF`: the calls that are watched wait until a supervisor has
//! said what becomes of them. It holds for the thread alone, and for the programs that this one starts.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;
use std::{mem, thread};

use tcp_stream_io::{UniqueFd, stream, sys};

use crate::support::HANG;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not made.
    Error(c_int),
    /// It is made, and then said to have failed, as a signal can do to `connect` and `close`.
    ErrorAfter(c_int),
    /// It is made with one byte: for `send` and `recv`.
    OneByte,
}

/// Runs `body` on a thread of its own, and gives the call at one place among those watched another
/// answer. Returns which of them were made, too. `Err`: there is no such filter here.
pub fn refused<R: Send>(
    watched: &[c_long],
    what: Option<(usize, Answer)>,
    body: impl FnOnce() -> R + Send,
) -> io::Result<(R, Vec<c_long>)> {
    supervised(watched, what, |_, active| active, body)
}

/// The same for a program that `body` starts: its calls count, from the first `socket` on.
pub fn refused_to_program<R: Send>(
    watched: &[c_long],
    what: Option<(usize, Answer)>,
    body: impl FnOnce() -> R + Send,
) -> io::Result<(R, Vec<c_long>)> {
    let mut program = None;
    let counts = move |call: &libc::seccomp_notif, _| {
        let is_ours = Path::new(&format!("/proc/self/task/{}", call.pid)).exists();
        if !is_ours && c_long::from(call.data.nr) == libc::SYS_socket {
            program = Some(call.pid);
        }
        program == Some(call.pid)
    };
    supervised(watched, what, counts, body)
}

fn supervised<R: Send>(
    watched: &[c_long],
    what: Option<(usize, Answer)>,
    mut counts: impl FnMut(&libc::seccomp_notif, bool) -> bool,
    body: impl FnOnce() -> R + Send,
) -> io::Result<(R, Vec<c_long>)> {
    let (tell, told) = mpsc::channel();
    let active = AtomicBool::new(false);
    thread::scope(|s| {
        let subject = s.spawn(|| {
            let filter = install(watched);
            let is_there = filter.is_ok();
            tell.send(filter).expect("the supervisor waits for it");
            active.store(is_there, Ordering::SeqCst);
            let result = is_there.then(body);
            active.store(false, Ordering::SeqCst);
            result
        });
        let filter = told.recv().expect("it is told in any case")?;
        let mut calls = Vec::new();
        while let Some(call) = next(&filter)? {
            let at = calls.len();
            let counts = counts(&call, active.load(Ordering::SeqCst));
            if counts {
                calls.push(c_long::from(call.data.nr));
            }
            let answer = what.filter(|(place, _)| counts && *place == at).map(|(_, answer)| answer);
            reply(&filter, &call, answer)?;
        }
        let result = subject.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((result.expect("the filter is there"), calls))
    })
}

/// From now on the calls of this thread that are watched wait for who holds the descriptor.
fn install(watched: &[c_long]) -> io::Result<UniqueFd> {
    let step = |code: u32, k: u32, jt: usize| libc::sock_filter {
        code: code as u16,
        jt: jt as u8,
        jf: 0,
        k,
    };
    // The number is the first word of `seccomp_data`. The last two steps: let pass, hand over.
    let mut program = vec![step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (i, call) in watched.iter().enumerate() {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(step(equal, *call as u32, watched.len() - i));
    }
    for answer in [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_USER_NOTIF] {
        program.push(step(libc::BPF_RET | libc::BPF_K, answer, 0));
    }
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    let (mode, flags) = (libc::SECCOMP_SET_MODE_FILTER, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    // SAFETY: `program` points at `len` steps; what the second call returns was not open before.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        match libc::syscall(libc::SYS_seccomp, mode, flags, &program) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(UniqueFd::from_raw_fd(fd as c_int)),
        }
    }
}

/// The next call that waits for an answer. `None`: nobody is left under the filter.
fn next(filter: &UniqueFd) -> io::Result<Option<libc::seccomp_notif>> {
    loop {
        stream::wait_ready(filter, libc::POLLIN, Some(Instant::now() + HANG))?;
        if sys::poll(filter.as_fd(), libc::POLLIN, 0)? & libc::POLLIN == 0 {
            return Ok(None);
        }
        // SAFETY: it is plain data, and the kernel asks for zeroes.
        let mut call: libc::seccomp_notif = unsafe { mem::zeroed() };
        match ioctl(filter, libc::SECCOMP_IOCTL_NOTIF_RECV, (&raw mut call).cast()) {
            // Whoever made it is gone: perhaps a signal has ended it.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) => {}
            result => return result.map(|()| Some(call)),
        }
    }
}

fn reply(filter: &UniqueFd, call: &libc::seccomp_notif, answer: Option<Answer>) -> io::Result<()> {
    let mut args = call.data.args;
    // SAFETY: it is plain data.
    let mut reply: libc::seccomp_notif_resp = unsafe { mem::zeroed() };
    reply.id = call.id;
    match answer {
        None => reply.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        Some(Answer::Error(errno)) => reply.error = -errno,
        Some(Answer::ErrorAfter(errno)) => {
            let _ = make(call.data.nr, args); // EINPROGRESS, perhaps: it goes on, as it should
            reply.error = -errno;
        }
        Some(Answer::OneByte) => {
            args[2] = 1;
            reply.val = make(call.data.nr, args)? as i64;
        }
    }
    match ioctl(filter, libc::SECCOMP_IOCTL_NOTIF_SEND, (&raw mut reply).cast()) {
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()), // it is gone
        result => result,
    }
}

/// Makes the call in the place of a thread of this process, which shares memory and descriptors.
fn make(call: c_int, args: [u64; 6]) -> io::Result<usize> {
    let [a, b, c, d, e, f] = args.map(|arg| arg as c_long);
    // SAFETY: these are the arguments of a call that another thread makes, and waits in.
    match unsafe { libc::syscall(c_long::from(call), a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        n => Ok(n as usize),
    }
}

fn ioctl(filter: &UniqueFd, request: libc::Ioctl, about: *mut c_void) -> io::Result<()> {
    // SAFETY: both requests take a struct of their own, which is writable.
    match unsafe { libc::ioctl(filter.as_raw_fd(), request, about) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
