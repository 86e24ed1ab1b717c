//! The article's program, section 7: one frame in, the same frame out, half-close.
//!
//! It prints the article's lines and ends with its exit codes: 1 for the command line, listening
//! and connecting, 2 for sending, 3 for receiving. 4 is new: what had to be printed could not be.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, mem, process, thread};

use tcp_stream_io::addr::{SockAddr, resolve};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::net::{self, AcceptAdvice};
use tcp_stream_io::{UniqueFd, stream, sys};

const USAGE: &str = "usage:
  echo server <bind_addr> <port>      \"\": any address, IPv4 and IPv6; 0: a free port
  echo client <host> <port> <msg>";

/// For one exchange. In the article one silent client stops the server for everyone, for ever.
const LIMIT: Duration = Duration::from_secs(10);

/// As [`net::listen_on`], and prints each address that fails as it happens.
fn listen_on(bind_host: &str, port: u16) -> io::Result<UniqueFd> {
    let host = Some(bind_host).filter(|host| !host.is_empty());
    for addr in net::resolve_to_listen(host, port)?.iter() {
        match net::listen_at(addr, 128) {
            Ok(listener) => return Ok(listener),
            Err((call, e)) => complain(&format!("[{call}-fail] {e} -> {addr}")),
        }
    }
    Err(ErrorKind::AddrNotAvailable.into())
}

fn run_server(bind_host: &str, port: u16) -> u8 {
    let listener = listen_on(bind_host, port);
    let (addr, listener) = match listener.and_then(|fd| Ok((sys::getsockname(&fd)?, fd))) {
        Ok(bound) => bound,
        Err(e) => return fail(1, &format!("listen failed: {e}")),
    };
    if let Err(e) = line(io::stdout(), &format!("[listen-ok] {addr}")) {
        return fail(4, &format!("stdout: {e}"));
    }
    let mut told = false;
    loop {
        match net::accept(&listener) {
            Ok((conn, peer)) => {
                told = false;
                serve(conn, peer, Instant::now() + LIMIT);
            }
            Err(e) => match net::accept_advice(&e) {
                AcceptAdvice::TryAgain => complain(&format!("accept: {e}")),
                AcceptAdvice::GiveUp => return fail(1, &format!("accept: {e}")),
                // Out of descriptors the connection stays queued. The article's loop spins.
                AcceptAdvice::Wait => {
                    if !mem::replace(&mut told, true) {
                        complain(&format!("accept: {e}"));
                    }
                    thread::sleep(Duration::from_millis(100));
                }
            },
        }
    }
}

/// One frame in, the same frame out, all of it before `deadline`.
fn serve(conn: UniqueFd, peer: SockAddr, deadline: Instant) {
    say(&format!("[accept] peer={peer}"));
    let frame = match length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline) {
        Ok(Some(frame)) => frame,
        Ok(None) => return complain("recv_frame: the peer ended its stream without a frame"),
        Err(e) => return complain(&format!("recv_frame: {e}")),
    };
    if let Err(e) = length::send_frame_with_deadline(&conn, &frame, DEFAULT_CAP, deadline) {
        return complain(&format!("send_frame: {e}"));
    }
    say(&format!("[done] echoed {} bytes", frame.len()));
    // The half-close: nothing more will come from here. Then the peer's end, then ours. A `close`
    // at once, as in the article, would be a reset if bytes were left that nobody had read.
    if let Err(e) = stream::lingering_close(conn, deadline) {
        complain(&format!("close {peer}: {e}"));
    }
}

/// As [`net::connect_to`] with a deadline, and prints each address that fails as it happens.
fn connect_to(host: &str, port: u16, deadline: Instant) -> io::Result<UniqueFd> {
    for addr in resolve(Some(host), port, libc::AF_UNSPEC, 0)?.iter() {
        match net::connect_at(addr, Some(deadline)) {
            Ok(conn) => return Ok(conn),
            Err((call, e)) => complain(&format!("[{call}-fail] {e} to {addr}")),
        }
    }
    Err(ErrorKind::HostUnreachable.into())
}

fn run_client(host: &str, port: u16, msg: &[u8]) -> u8 {
    let deadline = Instant::now() + LIMIT;
    let conn = match connect_to(host, port, deadline) {
        Ok(conn) => conn,
        Err(e) => return fail(1, &format!("connect failed: {e}")),
    };
    // The peer may have reset the connection already. Then it has no name, and `send` will say so.
    let peer = sys::getpeername(&conn);
    if let Ok(Err(e)) = peer.map(|peer| line(io::stdout(), &format!("[connected] {peer}"))) {
        return fail(4, &format!("stdout: {e}"));
    }
    if let Err(e) = length::send_frame_with_deadline(&conn, msg, DEFAULT_CAP, deadline) {
        return fail(2, &format!("send_frame: {e}"));
    }
    let echoed = match length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline) {
        Ok(Some(echoed)) => echoed,
        Ok(None) => return fail(3, "recv_frame: the peer ended its stream without a frame"),
        Err(e) => return fail(3, &format!("recv_frame: {e}")),
    };
    printed(&[b"[echoed] ", &echoed[..]].concat())
}

fn printed(bytes: &[u8]) -> u8 {
    let written = io::stdout().write_all(&[bytes, b"\n"].concat());
    written.map_or_else(|e| fail(4, &format!("stdout: {e}")), |()| 0)
}

/// Writes a line, unless that would wait: a full pipe must not stop the server. man: pipe(7).
fn line(mut out: impl Write + AsFd, text: &str) -> io::Result<()> {
    match sys::poll(out.as_fd(), libc::POLLOUT, 0) {
        Ok(0) => Ok(()),
        _ => out.write_all(format!("{text}\n").as_bytes()),
    }
}

fn say(text: &str) {
    line(io::stdout(), text).unwrap_or_else(|e| complain(&format!("stdout: {e}")));
}

fn complain(text: &str) {
    let _ = line(io::stderr(), text);
}

fn fail(exit_code: u8, text: &str) -> u8 {
    complain(text);
    exit_code
}

/// Where descriptor 1 is closed, Rust opens `/dev/null` before `main`, and what is printed is lost
/// without a word. What is in `.init_array` runs still earlier.
#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
static BEFORE_MAIN: extern "C" fn() = refuse_closed_stdout;
extern "C" fn refuse_closed_stdout() {
    // SAFETY: F_GETFD takes no memory.
    if unsafe { libc::fcntl(1, libc::F_GETFD) } == -1 {
        process::exit(fail(4, "stdout: it is closed").into());
    }
}

fn main() -> ExitCode {
    let args: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = args.iter().map(|arg| arg.to_str().unwrap_or("?")).collect();
    let port = words.get(2).and_then(|word| word.parse().ok());
    ExitCode::from(match (&words[..], port) {
        (["-h" | "--help", ..], _) => printed(USAGE.as_bytes()),
        (["server", addr, _], Some(port)) => run_server(addr, port),
        (["client", host, _, _], Some(port)) => run_client(host, port, args[3].as_bytes()),
        (["server", _, port] | ["client", _, port, _], None) => {
            fail(1, &format!("{port:?} is not a port: it takes 0 to 65535"))
        }
        (["server", ..], _) => fail(1, "server args: <bind_addr> <port>; see --help"),
        (["client", ..], _) => fail(1, "client args: <host> <port> <msg>; see --help"),
        ([], _) => fail(1, USAGE),
        ([mode, ..], _) => fail(1, &format!("unknown mode {mode:?}: server or client?")),
    })
}
