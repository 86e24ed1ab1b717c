//! What every rung begins with, so that a rung is its server and nothing else.

use std::env;
use std::ffi::c_int;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tcp_stream_io::net::{self, AcceptAdvice};
use tcp_stream_io::{UniqueFd, stream, sys};

/// How many connections may wait to be accepted. The kernel takes at most `somaxconn`, 4096.
pub const BACKLOG: c_int = 4096;

/// Opens the listening socket that the command line asks for, tells where it listens, and serves
/// until `serve` fails or a signal ends the program.
pub fn run(source: &str, serve: impl FnOnce(UniqueFd) -> io::Result<()>) -> ExitCode {
    run_at(source, |addr, port| {
        let listener = net::listen_on(Some(addr), port, BACKLOG)?;
        announce(sys::getsockname(&listener)?)?;
        serve(listener)
    })
}

/// As [`run`], for rungs that open their socket in another way: they get address and port.
pub fn run_at(source: &str, serve: impl FnOnce(&str, u16) -> io::Result<()>) -> ExitCode {
    let args: Vec<String> =
        env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let (addr, port) = match words[..] {
        ["-h" | "--help", ..] => {
            let header = source.lines().map_while(|line| line.strip_prefix("//!"));
            header.for_each(|line| say(line.strip_prefix(' ').unwrap_or(line)));
            say("\nusage: ADDR PORT   (port 0: a free one, which it prints). SIGTERM ends it.");
            return ExitCode::SUCCESS;
        }
        [addr, port] => match port.parse() {
            Ok(port) => (addr, port),
            Err(_) => return misused(format!("{port:?} is not a port: it takes 0 to 65535")),
        },
        _ => return misused("it takes ADDR PORT; see --help"),
    };
    let result = prepare().and_then(|()| serve(addr, port));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            complain(e);
            ExitCode::FAILURE
        }
    }
}

fn misused(problem: impl Display) -> ExitCode {
    complain(problem);
    ExitCode::from(2)
}

/// SIGTERM and SIGINT end the program, whatever it waits for.
fn prepare() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(end), SaFlags::empty(), SigSet::empty());
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // SAFETY:
        // - the handler makes one call, _exit, which a handler may make.
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
    // SAFETY:
    // - _exit is one of the calls that signal-safety(7) allows. `exit` is not.
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
    let mut out = io::stdout();
    writeln!(out, "[listen-ok] {addr}")?;
    out.flush()
}

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
        AcceptAdvice::TryAgain => Ok(()),
        AcceptAdvice::Wait => stream::retry_eintr(|| sys::poll(&mut [], 100)).map(|_| ()),
        AcceptAdvice::GiveUp => Err(e),
    }
}

/// What [`accept_now`] found.
#[derive(Debug)]
pub enum Accepted {
    /// A connection.
    Conn(UniqueFd),
    /// None is waiting.
    Nobody,
    /// One is waiting, but the table of descriptors is full: stop asking for a moment.
    Full,
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
                AcceptAdvice::Wait => return Ok(Accepted::Full),
                AcceptAdvice::GiveUp => return Err(e),
            },
        }
    }
}

/// Tells what went wrong with one client, if it did.
pub fn report(result: io::Result<()>) {
    if let Err(e) = result {
        complain(e);
    }
}

/// As `println!`, but a reader who has gone is no reason to panic.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// As `eprintln!`, but a reader who has gone is no reason to panic.
pub fn complain(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
