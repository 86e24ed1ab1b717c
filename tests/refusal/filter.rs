//! A filter in front of the kernel: one system call of a thread is refused, or cut short.
//!
//! seccomp(2), `SECCOMP_RET_USER_NOTIF`: the calls that are watched wait until a supervisor has
//! said what becomes of them. It holds for the thread alone, and for the programs that this one starts.

#![allow(dead_code)] // the tests of the rungs have it too, and each uses a part of it

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Instant;
use std::{fs, mem, thread};

use tcp_stream_io::{UniqueFd, stream, sys};

use crate::support::HANG;

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is not made.
    Error(c_int),
    /// It is made, and then said to have failed, as a signal can do to `connect` and `close`. Of
    /// another program only a `close` can be: the connection ends, and its number stays.
    ErrorAfter(c_int),
    /// It is made with one byte: for `send` and `recv`, and for `write` and `sendmsg` of a program.
    OneByte,
}

/// Runs `body` on a thread of its own, and gives the call at one place among those watched another
/// answer. Returns which of them were made, too. `Err`: there is no such filter here.
pub fn refused<R: Send>(
    watched: &[c_long],
    what: Option<(usize, Answer)>,
    body: impl FnOnce() -> R + Send,
) -> io::Result<(R, Vec<c_long>)> {
    supervised(watched, at_place(what), |_, active| active, body)
}

fn at_place(what: Option<(usize, Answer)>) -> impl FnMut(&[c_long]) -> Option<Answer> {
    move |calls| what.filter(|(place, _)| *place + 1 == calls.len()).map(|(_, answer)| answer)
}

/// The same for a program that `body` starts: the calls of its threads count, from the first that
/// makes a socket or an epoll set on.
pub fn refused_to_program<R: Send>(
    watched: &[c_long],
    what: Option<(usize, Answer)>,
    body: impl FnOnce() -> R + Send,
) -> io::Result<(R, Vec<c_long>)> {
    supervised(watched, at_place(what), of_a_program(), body)
}

/// A call by its kind, which of them, counted from 0, and what becomes of it.
pub type Nth = (c_long, usize, Answer);

/// The same, where several threads make calls, so that only those of one kind have an order.
pub fn nth_refused_to_program<R: Send>(
    watched: &[c_long],
    what: Option<Nth>,
    body: impl FnOnce() -> R + Send,
) -> io::Result<(R, Vec<c_long>)> {
    let pick = move |calls: &[c_long]| {
        let (call, nth, answer) = what?;
        let is_this = calls.last() == Some(&call)
            && calls.iter().filter(|other| **other == call).count() == nth + 1;
        is_this.then_some(answer)
    };
    supervised(watched, pick, of_a_program(), body)
}

fn of_a_program() -> impl FnMut(&libc::seccomp_notif, bool) -> bool {
    let mut program = None;
    move |call, _| {
        if is_ours(call) {
            return false;
        }
        let begins = [libc::SYS_socket, libc::SYS_epoll_create1].contains(&call.data.nr.into());
        let program = match program {
            None if begins => *program.insert(call.pid), // its first thread has its number
            None => return false,
            Some(program) => program,
        };
        program == call.pid || Path::new(&format!("/proc/{program}/task/{}", call.pid)).exists()
    }
}

fn is_ours(call: &libc::seccomp_notif) -> bool {
    Path::new(&format!("/proc/self/task/{}", call.pid)).exists()
}

fn supervised<R: Send>(
    watched: &[c_long],
    mut pick: impl FnMut(&[c_long]) -> Option<Answer>,
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
        let filter = Arc::new(told.recv().expect("it is told in any case")?);
        let mut calls = Vec::new();
        while let Some(call) = next(&filter)? {
            let mut answer = None;
            if counts(&call, active.load(Ordering::SeqCst)) {
                calls.push(c_long::from(call.data.nr));
                answer = pick(&calls);
            }
            if answer == Some(Answer::OneByte) {
                let filter = Arc::clone(&filter);
                s.spawn(move || reply(&filter, &call, answer)); // it may wait for others
            } else {
                reply(&filter, &call, answer)?;
            }
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
            if is_ours(call) {
                let _ = make(call.data.nr, args); // EINPROGRESS, perhaps: it goes on, as it should
            } else {
                end_for(call.pid, args[0]);
            }
            reply.error = -errno;
        }
        Some(Answer::OneByte) => {
            let made = if is_ours(call) {
                args[2] = 1;
                make(call.data.nr, args)
            } else {
                one_byte_for(call.pid, call.data.nr, args)
            };
            match made {
                Ok(n) => reply.val = n as i64,
                Err(e) => reply.error = -e.raw_os_error().unwrap_or(libc::EIO),
            }
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

/// A process by one of its threads, and a copy of its descriptor.
fn descriptor_of(thread: u32, fd: u64) -> io::Result<(libc::pid_t, UniqueFd)> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let pid = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let pid = pid.and_then(|pid| pid.trim().parse().ok()).ok_or(io::ErrorKind::NotFound)?;
    // SAFETY: neither of the two calls below takes memory, and what they return was not open before.
    let copy = |call: c_long, of: c_int, what: u64| unsafe {
        match libc::syscall(call, of, what as c_int, 0) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(UniqueFd::from_raw_fd(fd as c_int)),
        }
    };
    let process = copy(libc::SYS_pidfd_open, pid, 0)?;
    Ok((pid, copy(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd)?))
}

/// What a `close` of another process does to a connection. The number stays open.
fn end_for(thread: u32, fd: u64) {
    if let Ok((_, fd)) = descriptor_of(thread, fd) {
        let _ = sys::shutdown(&fd, libc::SHUT_RDWR); // unless it is no connection
    }
}

/// Makes the call in the place of another process, with a copy of its descriptor and of the byte.
fn one_byte_for(thread: u32, call: c_int, args: [u64; 6]) -> io::Result<usize> {
    let (pid, fd) = descriptor_of(thread, args[0])?;
    match c_long::from(call) {
        libc::SYS_recvfrom => {
            let mut byte = [0];
            let n = sys::recv(&fd, &mut byte, args[3] as c_int)?;
            let [local, remote] = pieces(byte.as_mut_ptr(), args[1], n);
            // SAFETY: `local` is readable for `n` bytes.
            count(unsafe { libc::process_vm_writev(pid, &local, 1, &remote, 1, 0) })
        }
        libc::SYS_sendto => sys::send(&fd, &read_from(pid, args[1], [0])?, args[3] as c_int),
        libc::SYS_sendmsg => {
            // SAFETY: both are plain data.
            let empty = unsafe { mem::zeroed::<(libc::msghdr, libc::iovec)>() };
            let header = read_from(pid, args[1], empty.0)?;
            let first = read_from(pid, header.msg_iov as u64, empty.1)?;
            sys::send(&fd, &read_from(pid, first.iov_base as u64, [0])?, args[2] as c_int)
        }
        libc::SYS_write => {
            let byte = read_from(pid, args[1], [0_u8])?;
            // SAFETY: `byte` is readable.
            count(unsafe { libc::write(fd.as_raw_fd(), byte.as_ptr().cast(), 1) })
        }
        call => panic!("system call {call} with one byte"),
    }
}

/// The plain data at an address of another process, in the place of `value`.
fn read_from<T>(pid: libc::pid_t, at: u64, mut value: T) -> io::Result<T> {
    let [local, remote] = pieces((&raw mut value).cast(), at, mem::size_of::<T>());
    // SAFETY: `local` is writable for as many bytes as a `T` has.
    count(unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) })?;
    Ok(value)
}

fn pieces(ours: *mut u8, theirs: u64, len: usize) -> [libc::iovec; 2] {
    [ours.cast(), theirs as *mut c_void].map(|at| libc::iovec { iov_base: at, iov_len: len })
}

fn count(n: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(n).map_err(|_| io::Error::last_os_error())
}

fn ioctl(filter: &UniqueFd, request: libc::Ioctl, about: *mut c_void) -> io::Result<()> {
    // SAFETY: both requests take a struct of their own, which is writable.
    match unsafe { libc::ioctl(filter.as_raw_fd(), request, about) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
