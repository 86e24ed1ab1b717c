//! What every rung begins and ends with, so that a rung is its server and nothing else.

use std::env;
use std::ffi::c_int;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tcp_stream_io::net::{self, AcceptAdvice};
use tcp_stream_io::{UniqueFd, stream, sys};

use crate::log;
use crate::usage::failed;

/// How many connections may wait to be accepted. The kernel takes at most `somaxconn`, 4096.
pub const BACKLOG: c_int = 4096;

/// After how long to accept again when no descriptor was left.
pub const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// How long a client may take to end its stream, once ours has ended.
pub const LINGER: Duration = Duration::from_secs(2);

/// How long the last lines of the log may take. Perhaps nobody reads them.
const LAST_WORDS: Duration = Duration::from_secs(1);

// ---- the beginning ----

/// Opens the listening socket that the command line asks for, tells where it listens, and serves
/// until `serve` returns or a signal ends the program.
pub fn run(source: &str, serve: impl FnOnce(UniqueFd) -> io::Result<()>) -> ExitCode {
    run_at(source, |addr, port| {
        let listener = net::listen_on(Some(addr), port, BACKLOG)?;
        announce(sys::getsockname(&listener).map_err(|e| named("getsockname", e))?)?;
        serve(listener)
    })
}

/// As [`run`], for rungs that open their socket in another way: they get address and port.
pub fn run_at(source: &str, serve: impl FnOnce(&str, u16) -> io::Result<()>) -> ExitCode {
    let args: Vec<String> =
        env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (addr, port) = match words[..] {
        ["-h" | "--help", ..] => return help(source),
        [addr, port] => match port.parse() {
            Ok(port) => (addr, port),
            Err(_) => return failed(2, format!("{port:?} is not a port: it takes 0 to 65535")),
        },
        _ => return failed(2, "it takes ADDR PORT; see --help"),
    };
    let result = prepare().and_then(|()| serve(addr, port));
    match &result {
        // An errno alone does not say what failed.
        Err(e) if e.raw_os_error().is_some() => log::line(format_args!("{addr} {port}: {e}")),
        Err(e) => log::line(e),
        Ok(()) => {}
    }
    log::flush(LAST_WORDS);
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same error, with the name of the call that has failed.
pub fn named(call: &str, e: io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{call}: {e}"))
}

/// The rung's header, and how to start it.
fn help(source: &str) -> ExitCode {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let mut text: String =
        header.flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"]).collect();
    text += "\nusage: ADDR PORT   (port 0: a free one, which it prints). SIGTERM ends it.\n";
    match write_out(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => failed(1, e),
    }
}

/// SIGTERM and SIGINT end the program, whatever it waits for.
fn prepare() -> io::Result<()> {
    log::start()?;
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY: the handler makes one call, _exit, which a handler may make.
        unsafe { sigaction(signal, &action) }?;
    }
    all_descriptors()
}

/// Lets this process open as many descriptors as it is allowed to. The usual 1024 is there for the
/// sake of programs that call `select`.
pub fn all_descriptors() -> io::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

extern "C" fn end(_: c_int) {
    // SAFETY: _exit is one of the calls that signal-safety(7) allows. `exit` is not.
    unsafe { libc::_exit(0) }
}

/// A descriptor that becomes readable at the first SIGTERM or SIGINT. man: signalfd(2). Both are
/// blocked from here on, or they would end the program all the same.
pub fn signals_as_descriptor() -> io::Result<SignalFd> {
    let signals = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]);
    signals.thread_block()?;
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Takes the signals that have come, and lets the next one end the program at once.
pub fn next_signal_ends(signals: &SignalFd) -> io::Result<()> {
    while signals.read_signal()?.is_some() {}
    Ok(SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT]).thread_unblock()?)
}

/// Tells where the server listens: a line that a program can wait for.
pub fn announce(addr: impl Display) -> io::Result<()> {
    print(&format!("[listen-ok] {addr}\n"))
}

/// Prints a few lines, unless standard output is full and nobody reads: then they are lost, and the
/// log says so. A pipe that polls as writable has room for 4096 bytes, pipe(7).
pub fn print(text: &str) -> io::Result<()> {
    match sys::poll(io::stdout().as_fd(), libc::POLLOUT, 0) {
        Ok(0) => log::line("stdout: nobody reads it"),
        _ => write_out(text)?,
    }
    Ok(())
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|e| io::Error::new(e.kind(), format!("stdout: {e}")))
}

// ---- accept ----

/// The next connection.
pub fn accept(listener: &UniqueFd) -> io::Result<UniqueFd> {
    loop {
        match net::accept(listener) {
            Ok((conn, _)) => return Ok(conn),
            Err(e) => pass_over(e)?,
        }
    }
}

/// Goes on after an error of `accept` that concerns one connection. A full table of descriptors
/// is waited out, since to call again at once would spin. The rest is returned.
pub fn pass_over(e: io::Error) -> io::Result<()> {
    match net::accept_advice(&e) {
        AcceptAdvice::TryAgain => {}
        AcceptAdvice::Wait => {
            say_seldom(&e);
            thread::sleep(ACCEPT_AGAIN);
        }
        AcceptAdvice::GiveUp => return Err(named("accept", e)),
    }
    Ok(())
}

/// Tells the log what `accept` lacks: once a minute, not at every try.
pub fn say_seldom(e: &io::Error) {
    static SAID: Mutex<Option<Instant>> = Mutex::new(None);
    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
        *said = Some(Instant::now());
        log::line(format_args!("accept: {e}"));
    }
}

/// What [`accept_now`] found.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Conn(UniqueFd),
    /// None is waiting.
    Nobody,
    /// One is waiting, but there is no descriptor for it, or no memory: ask again at that time.
    Full(Instant),
}

/// The next connection if there is one: for a listener that is non-blocking.
pub fn accept_now(listener: &UniqueFd) -> io::Result<Accepted> {
    loop {
        match net::accept(listener) {
            Ok((conn, _)) => {
                // Each answer leaves at once, also while an earlier one is not acknowledged.
                let _ = sys::set_option(&conn, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
                return Ok(Accepted::Conn(conn));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(Accepted::Nobody),
            Err(e) => match net::accept_advice(&e) {
                AcceptAdvice::TryAgain => {}
                AcceptAdvice::Wait => {
                    say_seldom(&e);
                    return Ok(Accepted::Full(Instant::now() + ACCEPT_AGAIN));
                }
                AcceptAdvice::GiveUp => {
                    return Err(named("accept", e));
                }
            },
        }
    }
}

// ---- the end of a conversation ----

/// Ends a conversation, however it went. Our end follows the last answer, and the client's is waited
/// for. Closed at once over bytes that nobody has read, the kernel would send a reset, which destroys
/// the answers that have not arrived.
pub fn finish(conn: impl Into<OwnedFd>, result: io::Result<()>) -> io::Result<()> {
    let ended = stream::lingering_close(UniqueFd::from(conn.into()), Instant::now() + LINGER);
    result.and(ended) // what went wrong first is what is told
}

/// Tells the log what went wrong with one client, if it did.
pub fn report(result: io::Result<()>) {
    if let Err(e) = result {
        log::line(e);
    }
}
