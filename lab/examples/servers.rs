//! `servers KIND ADDR [FIFO]`: servers for `half_close client` that do what is hard to trace.
//!
//! - `threaded`: a thread for each connection
//! - `forking`: a program of its own for each connection, which is its standard input
//! - `eintr`, `restart`: a signal comes while it waits for the client; its handler is without
//!   SA_RESTART, or with it. Then it writes a line to FIFO, for the client to begin.
//! - `killed`: it is, with the connection open

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
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
        ["killed", addr] => {
            let (_conn, _) = TcpListener::bind(addr)?.accept()?;
            Ok(raise(Signal::SIGKILL)?)
        }
        _ => Err(io::Error::other("usage: servers threaded|forking|eintr|restart|killed ADDR")),
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
    use std::os::fd::{AsRawFd, FromRawFd};
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { TcpStream::from_raw_fd(fd) })
}
