//! The article's program, section 7: one frame in, the same frame out, half-close.
//!
//! ```text
//! echo server 0.0.0.0 9000
//! echo client 127.0.0.1 9000 "hello world"
//! ```
//!
//! It prints the article's lines and ends with its exit codes: 1 for the command line, listening
//! and connecting, 2 for sending, 3 for receiving.

use std::ffi::{OsString, c_int};
use std::io::{self, PipeReader, Write, pipe};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};
use std::{env, mem, ptr};

use libc::{POLLIN, pollfd};
use tcp_stream_io::addr::SockAddr;
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::net::{self, AcceptAdvice, Attempt};
use tcp_stream_io::{UniqueFd, stream, sys};

const USAGE: &str = "\
usage:
  echo [--deadline SECONDS] server <bind_addr> <port>
  echo [--deadline SECONDS] client <host> <port> <msg>

  <bind_addr>  \"\" serves every address, IPv4 and IPv6
  <port>       0 to 65535; for the server 0 takes a free one and prints it
  --deadline   what one exchange may take as a whole, 1 to 86400 seconds [10]";

const BACKLOG: c_int = 128;

/// Like `println!` and `eprintln!`, but a reader who has gone (`echo server … | head -1`) is no
/// reason to panic. Rust flushes its stdout at every newline.
macro_rules! say {
    ($($arg:tt)*) => {{ let _ = writeln!(io::stdout(), $($arg)*); }};
}
macro_rules! complain {
    ($($arg:tt)*) => {{ let _ = writeln!(io::stderr(), $($arg)*); }};
}

fn main() -> ExitCode {
    // The message may be any bytes; all other words are text.
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let text: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let words: Vec<&str> = text.iter().map(String::as_str).collect();
    match run(&words, args.last().map_or(b"", |msg| msg.as_bytes())) {
        Ok(exit_code) => ExitCode::from(exit_code),
        Err(problem) => {
            complain!("{problem}");
            ExitCode::from(1)
        }
    }
}

fn run(words: &[&str], msg: &[u8]) -> Result<u8, String> {
    let (limit, words) = match words {
        ["--deadline", seconds, rest @ ..] => (parse_seconds(seconds)?, rest),
        rest => (Duration::from_secs(10), rest),
    };
    match words {
        ["-h" | "--help", ..] => {
            say!("{USAGE}");
            Ok(0)
        }
        ["server", addr, port] => {
            let addr = Some(*addr).filter(|a| !a.is_empty());
            Ok(run_server(addr, parse_port(port)?, limit))
        }
        ["client", host, port, _] => Ok(run_client(host, parse_port(port)?, msg, limit)),
        [] => Err(USAGE.into()),
        ["server", ..] => {
            Err("server takes <bind_addr> <port>, options come first; see --help".into())
        }
        ["client", ..] => {
            Err("client takes <host> <port> <msg>, options come first; see --help".into())
        }
        [mode, ..] => Err(format!("unknown mode {mode:?}: server or client? see --help")),
    }
}

fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("{text:?} is not a port: it takes 0 to 65535"))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (1..=86400).contains(s));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is not a number of seconds: it takes 1 to 86400"))
}

// ---- server ----

fn run_server(addr: Option<&str>, port: u16, limit: Duration) -> u8 {
    match listen_and_serve(addr, port, limit) {
        Ok(()) => 0,
        Err(e) => {
            complain!("listen failed: {e}");
            1
        }
    }
}

/// One client after the other, until SIGINT or SIGTERM. Each has `limit` for its one exchange.
fn listen_and_serve(addr: Option<&str>, port: u16, limit: Duration) -> io::Result<()> {
    let stop = stop_on_signals()?;
    let listener =
        net::listen_on_reporting(addr, port, BACKLOG, |Attempt { call, addr, error }| {
            complain!("[{call}-fail] {error} -> {addr}");
        })?;
    sys::set_nonblocking(&listener, true)?; // poll does the waiting
    say!("[listen-ok] {}", sys::getsockname(&listener)?);

    let mut waiting = false;
    loop {
        let mut ready = [readable(&listener), readable(&stop)];
        stream::retry_eintr(|| sys::poll(&mut ready, -1))?;
        if ready[1].revents != 0 {
            return Ok(()); // a signal: what was open is finished, the listener closes itself
        }
        match net::accept(&listener) {
            Ok((conn, peer)) => {
                waiting = false;
                serve(conn, peer, Instant::now() + limit);
            }
            Err(e) => match net::accept_advice(&e) {
                AcceptAdvice::TryAgain => {}
                AcceptAdvice::Wait => {
                    if !mem::replace(&mut waiting, true) {
                        complain!("accept: {e}; trying again every 100 ms");
                    }
                    // Not at once: the connection stays queued, and the loop would spin.
                    stream::retry_eintr(|| sys::poll(&mut ready[1..], 100))?;
                }
                AcceptAdvice::GiveUp => return Err(e),
            },
        }
    }
}

fn serve(conn: UniqueFd, peer: SockAddr, deadline: Instant) {
    say!("[accept] peer={peer}");
    let frame = match length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline) {
        Ok(Some(frame)) => frame,
        Ok(None) => return complain!("recv_frame: the peer ended its stream without a frame"),
        Err(e) => return complain!("recv_frame: {e}"),
    };
    if let Err(e) = length::send_frame_with_deadline(&conn, &frame, DEFAULT_CAP, deadline) {
        return complain!("send_frame: {e}");
    }
    say!("[done] echoed {} bytes", frame.len());
    // The half-close: nothing more will come from here. Then the peer's end, then ours.
    if let Err(e) = stream::lingering_close(conn, deadline) {
        complain!("close {peer}: {e}");
    }
}

// ---- client ----

fn run_client(host: &str, port: u16, msg: &[u8], limit: Duration) -> u8 {
    let deadline = Instant::now() + limit;
    let report = |Attempt { addr, error, .. }: &Attempt| {
        complain!("[connect-fail] {error} to {addr}");
    };
    let conn = match net::connect_to_reporting(host, port, Some(deadline), report) {
        Ok(conn) => conn,
        Err(e) => {
            complain!("connect failed: {e}");
            return 1;
        }
    };
    match sys::getpeername(&conn) {
        Ok(peer) => say!("[connected] {peer}"),
        Err(e) => complain!("getpeername: {e}"),
    }
    if let Err(e) = length::send_frame_with_deadline(&conn, msg, DEFAULT_CAP, deadline) {
        complain!("send_frame: {e}");
        return 2;
    }
    match length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline) {
        Ok(Some(echoed)) => {
            let mut out = io::stdout().lock();
            let _ = [b"[echoed] ", &echoed[..], b"\n"].iter().try_for_each(|b| out.write_all(b));
            0
        }
        Ok(None) => {
            complain!("recv_frame: the peer ended its stream without a frame");
            3
        }
        Err(e) => {
            complain!("recv_frame: {e}");
            3
        }
    }
}

// ---- signals ----

fn readable(fd: &impl AsRawFd) -> pollfd {
    pollfd { fd: fd.as_raw_fd(), events: POLLIN, revents: 0 }
}

/// Where `on_signal` writes.
static STOP: AtomicI32 = AtomicI32::new(-1);

const STOP_SIGNALS: [c_int; 2] = [libc::SIGINT, libc::SIGTERM];

/// A pipe that becomes readable at the first SIGINT or SIGTERM. The handler does only what a
/// handler may do, signal-safety(7), and no signal falls between a check and a wait.
fn stop_on_signals() -> io::Result<PipeReader> {
    let (reader, writer) = pipe()?;
    STOP.store(writer.into_raw_fd(), Ordering::Relaxed); // open for as long as the process lives
    for signal in STOP_SIGNALS {
        // SAFETY:
        // - sigaction is plain data, for which all zeroes is a valid value.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        // SAFETY:
        // - the handler takes an int and calls only what is safe in a handler.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
            return Err(sys::last_errno());
        }
    }
    Ok(reader)
}

extern "C" fn on_signal(_: c_int) {
    let interrupted = errno::errno(); // the code that we interrupt may be about to read it
    for signal in STOP_SIGNALS {
        // SAFETY:
        // - no memory is passed. The second signal, either of them, ends the process at once.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY:
    // - one byte is readable at the pointer, and STOP is set before the handler is.
    unsafe { libc::write(STOP.load(Ordering::Relaxed), b"!".as_ptr().cast(), 1) };
    errno::set_errno(interrupted);
}
