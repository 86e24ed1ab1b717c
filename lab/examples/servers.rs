//! `servers KIND ADDR [FIFO]`: servers for `half_close client` that do what is hard to trace.
//!
//! - `threaded`: a thread for each connection
//! - `forking`: a program of its own for each connection, which is its standard input
//! - `eintr`, `restart`: a signal comes while it waits for the client; its handler is without
//!   SA_RESTART, or with it. Then it writes a line to FIFO, for the client to begin.
//! - `killed`: it is, with the connection open
//! - `daemon`: forks twice and listens when both its parents have ended
//! - `rare`: sends and receives by the calls that few programs make
//! - `unseen`: sends by io_submit(2)
//! - `ticking`: wakes by a timer while its one client waits for the end, and for ever after that

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, IntoRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::libc;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::{ForkResult, fork, gettid, setsid};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["child"] => serve(TcpStream::from(io::stdin().as_fd().try_clone_to_owned()?)),
        ["threaded", addr] => {
            let (conn, _) = TcpListener::bind(addr)?.accept()?;
            thread::spawn(|| serve(conn)).join().expect("it does not panic")
        }
        ["forking", addr] => {
            let (conn, _) = TcpListener::bind(addr)?.accept()?;
            let mut child = Command::new(std::env::current_exe()?);
            let child = child.arg("child").stdin(Stdio::from(OwnedFd::from(conn))).status()?;
            if child.success() { Ok(()) } else { Err(io::Error::other("the child failed")) }
        }
        [kind @ ("eintr" | "restart"), addr, fifo] => interrupted(kind == "restart", addr, fifo),
        ["daemon", addr] => daemon(addr),
        ["rare", addr] => rare(addr),
        ["unseen", addr] => unseen(addr),
        ["ticking", addr] => ticking(addr),
        ["killed", addr] => {
            let (_conn, _) = TcpListener::bind(addr)?.accept()?;
            Ok(raise(Signal::SIGKILL)?)
        }
        _ => Err(io::Error::other("usage: servers KIND ADDR [FIFO]")),
    }
}

fn daemon(addr: &str) -> io::Result<()> {
    let (mut parents, held) = io::pipe()?;
    for _ in 0..2 {
        // SAFETY: this process has one thread, so its child may do what it could.
        if let ForkResult::Parent { .. } = unsafe { fork() }? {
            return Ok(());
        }
        let _ = setsid(); // the first child's; the second one is no leader, which is the point
    }
    drop(held);
    parents.read_to_end(&mut Vec::new())?;
    serve(TcpListener::bind(addr)?.accept()?.0)
}

/// The length of what came, as `half_close client` expects it: "13 bytes".
fn rare(addr: &str) -> io::Result<()> {
    let (conn, _) = TcpListener::bind(addr)?.accept()?;
    let fd = conn.into_raw_fd();
    let (mut got, mut len) = ([0u8; 64], 0);
    // SAFETY: no memory is passed but what lives here, in the kernel's layout.
    unsafe {
        loop {
            let mut iov = libc::iovec { iov_base: got.as_mut_ptr().cast(), iov_len: 4 };
            let count = libc::preadv2(fd, &iov, 1, -1, 0);
            len += count;
            let mut message: libc::mmsghdr = std::mem::zeroed();
            (message.msg_hdr.msg_iov, message.msg_hdr.msg_iovlen) = (&mut iov, 1);
            if count <= 0 || libc::recvmmsg(fd, &mut message, 1, 0, ptr::null_mut()) != 1 {
                break;
            }
            len += message.msg_len as isize;
            if message.msg_len == 0 {
                break;
            }
        }
        let answer = format!("{len} bytes");
        let mut pieces = answer.as_bytes().chunks(2).map(|piece| libc::iovec {
            iov_base: piece.as_ptr().cast_mut().cast(),
            iov_len: piece.len(),
        });
        let mut piece =
            || pieces.next().unwrap_or(libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });
        libc::pwritev2(fd, &piece(), 1, -1, 0);
        let mut messages: [libc::mmsghdr; 2] = std::mem::zeroed();
        let mut bytes = piece();
        bytes.iov_len = 1;
        let mut other = bytes;
        other.iov_base = bytes.iov_base.byte_add(1);
        (messages[0].msg_hdr.msg_iov, messages[0].msg_hdr.msg_iovlen) = (&mut bytes, 1);
        (messages[1].msg_hdr.msg_iov, messages[1].msg_hdr.msg_iovlen) = (&mut other, 1);
        libc::sendmmsg(fd, messages.as_mut_ptr(), 2, 0);
        let file = libc::memfd_create(c"piece".as_ptr(), 0);
        libc::writev(file, &piece(), 1);
        libc::sendfile(fd, file, &mut 0, 2);
        let mut pipe = [0; 2];
        libc::pipe(pipe.as_mut_ptr());
        libc::writev(pipe[1], &piece(), 1);
        libc::splice(pipe[0], ptr::null_mut(), fd, ptr::null_mut(), 2, 0);
        let high = libc::dup3(fd, 100, libc::O_CLOEXEC);
        libc::close(fd);
        libc::syscall(libc::SYS_close_range, high, 200, 0);
    }
    Ok(())
}

/// struct iocb of linux/aio_abi.h, with the fields that are used.
#[repr(C)]
struct Iocb {
    _data: u64,
    _key: [u32; 2],
    opcode: u16,
    _priority: i16,
    fd: u32,
    buffer: u64,
    count: u64,
    _rest: [u64; 3],
}

fn unseen(addr: &str) -> io::Result<()> {
    const IOCB_CMD_PWRITE: u16 = 1;
    let (mut conn, _) = TcpListener::bind(addr)?.accept()?;
    let mut all = Vec::new();
    conn.read_to_end(&mut all)?;
    let answer = format!("{} bytes", all.len());
    let mut write = Iocb {
        _data: 0,
        _key: [0; 2],
        opcode: IOCB_CMD_PWRITE,
        _priority: 0,
        fd: conn.as_raw_fd() as u32,
        buffer: answer.as_ptr() as u64,
        count: answer.len() as u64,
        _rest: [0; 3],
    };
    let (mut context, mut event) = (0u64, [0u64; 4]);
    // SAFETY: all that is passed lives until the event has said that the write is done.
    let done = unsafe {
        libc::syscall(libc::SYS_io_setup, 1, &mut context);
        libc::syscall(libc::SYS_io_submit, context, 1, &mut &mut write);
        libc::syscall(libc::SYS_io_getevents, context, 1, 1, &mut event, 0)
    };
    if done == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Each way to wait, nine times; the last one until it is told to end.
fn ticking(addr: &str) -> io::Result<()> {
    let listener = TcpListener::bind(addr)?;
    let (conn, _) = listener.accept()?;
    serve(conn.try_clone()?)?;
    const MILLIS: libc::c_long = 5;
    let (fd, null) = (listener.as_raw_fd(), ptr::null_mut::<libc::c_void>());
    // SAFETY: no memory is passed but what lives here, in the kernel's layout.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event);
        let mut polled = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let time = || libc::timespec { tv_sec: 0, tv_nsec: MILLIS * 1_000_000 };
        for _ in 0..9 {
            libc::syscall(libc::SYS_ppoll, &mut polled, 1, &mut time(), null, 8);
        }
        for _ in 0..9 {
            let mut set = 1u64 << fd;
            libc::syscall(libc::SYS_pselect6, fd + 1, &mut set, null, null, &mut time(), null);
        }
        for _ in 0..9 {
            libc::syscall(libc::SYS_epoll_pwait2, epoll, &mut event, 1, &mut time(), null, 8);
        }
        #[cfg(target_arch = "x86_64")]
        for _ in 0..9 {
            libc::syscall(libc::SYS_poll, &mut polled, 1, MILLIS);
        }
        #[cfg(target_arch = "x86_64")]
        for _ in 0..9 {
            let (mut set, mut time) = (1u64 << fd, [0, MILLIS * 1000]);
            libc::syscall(libc::SYS_select, fd + 1, &mut set, null, null, &mut time);
        }
        #[cfg(target_arch = "x86_64")]
        for _ in 0..9 {
            libc::syscall(libc::SYS_epoll_wait, epoll, &mut event, 1, MILLIS);
        }
        drop(conn);
        loop {
            libc::syscall(libc::SYS_epoll_pwait, epoll, &mut event, 1, MILLIS, null, 8);
        }
    }
}

fn serve(mut conn: TcpStream) -> io::Result<()> {
    let mut all = Vec::new();
    conn.read_to_end(&mut all)?;
    conn.write_all(format!("{} bytes", all.len()).as_bytes())
}

static HANDLED: AtomicBool = AtomicBool::new(false);

extern "C" fn on_signal(_: libc::c_int) {
    HANDLED.store(true, Ordering::Relaxed);
}

fn interrupted(restart: bool, addr: &str, fifo: &str) -> io::Result<()> {
    let flags = if restart { SaFlags::SA_RESTART } else { SaFlags::empty() };
    let action = SigAction::new(SigHandler::Handler(on_signal), flags, SigSet::empty());
    // SAFETY:
    // - the handler does nothing but an atomic store, which is safe in a handler
    unsafe { sigaction(Signal::SIGUSR1, &action) }?;

    let listener = TcpListener::bind(addr)?;
    let (main, fifo) = (pthread_self(), fifo.to_owned());
    let file = format!("/proc/self/task/{}/syscall", gettid());
    let accept = format!("{} ", libc::SYS_accept4);
    thread::spawn(move || -> io::Result<()> {
        while !fs::read_to_string(&file)?.starts_with(&accept) {
            thread::yield_now();
        }
        pthread_kill(main, Signal::SIGUSR1)?;
        while !HANDLED.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        fs::write(fifo, "go\n")
    });
    let conn = loop {
        match accept_once(&listener) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            conn => break conn?,
        }
    };
    serve(conn)
}

/// std's calls again by itself.
fn accept_once(listener: &TcpListener) -> io::Result<TcpStream> {
    use nix::sys::socket::{SockFlag, accept4};
    use std::os::fd::FromRawFd;
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}
