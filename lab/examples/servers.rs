//! `servers KIND ADDR [FIFO]`: servers for `half_close client` that do what is hard to trace.
//!
//! - `threaded`: a thread for each connection
//! - `forking`: a program of its own for each connection, which is its standard input
//! - `eintr`, `restart`: a signal comes while it waits for the client; its handler is without
//!   SA_RESTART, or with it. Then it writes a line to FIFO, for the client to begin.
//! - `killed`: it is, with the connection open
//! - `ticking`: wakes by a timer while its one client waits for the end, and for ever after that

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::libc;
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use nix::unistd::gettid;

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
        ["ticking", addr] => ticking(addr),
        ["killed", addr] => {
            let (_conn, _) = TcpListener::bind(addr)?.accept()?;
            Ok(raise(Signal::SIGKILL)?)
        }
        _ => Err(io::Error::other("usage: servers KIND ADDR [FIFO]")),
    }
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
