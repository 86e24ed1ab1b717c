//! The echo program, with one call after the other refused.

use std::ffi::{c_int, c_long};
use std::io;
use std::os::fd::AsRawFd;
use std::process::Command;

use libc::*;
use tcp_stream_io::framing::length::{recv_frame, send_frame};
use tcp_stream_io::{accept, connect_to, sys};

use super::filter::{Answer, refused_to_program};
use crate::programs::{Program, Server};
use crate::support::{SYS_POLL, listener, patient};
use crate::{call_name, name};

/// What each of its calls is refused with: one error that it may well meet.
const REFUSALS: [(c_long, c_int); 15] = [
    (SYS_socket, EMFILE),
    (SYS_setsockopt, ENOMEM),
    (SYS_bind, EADDRINUSE),
    (SYS_listen, EADDRINUSE),
    (SYS_getsockname, ENOBUFS),
    (SYS_accept4, ENFILE),
    (SYS_connect, ECONNREFUSED),
    (SYS_sendto, ECONNRESET),
    (SYS_recvfrom, ECONNRESET),
    (SYS_POLL, ENOMEM),
    (SYS_shutdown, ENOTCONN),
    (SYS_getpeername, ENOTCONN),
    (SYS_fcntl, EINVAL),
    (SYS_close, EIO),
    (SYS_write, ENOSPC),
];

/// One role with one refusal, and what came of it in words; with the calls that it made.
type Run = fn(Option<(usize, Answer)>) -> io::Result<(String, Vec<c_long>)>;

/// Each call of each role, refused.
pub fn rows() -> Vec<String> {
    let mut rows = Vec::new();
    for (role, run) in [("server", server as Run), ("client", client as Run)] {
        let (clean, calls) = run(None).unwrap();
        rows.push(format!("| {role} | none | nothing | {clean} |"));
        // Up to the last `close`. What a server that waits is doing is chance.
        let end = calls.iter().rposition(|call| *call == SYS_close).unwrap() + 1;
        for (place, call) in calls[..end].iter().enumerate() {
            let errno = REFUSALS.iter().find(|(known, _)| known == call).unwrap().1;
            let (outcome, _) = run(Some((place, Answer::Error(errno)))).unwrap();
            let nth = calls[..=place].iter().filter(|other| *other == call).count();
            let call = if *call == SYS_write { "write" } else { call_name(*call) };
            rows.push(format!("| {role} | {call} {nth} | {} | {outcome} |", name(errno)));
        }
    }
    rows
}

fn watched() -> Vec<c_long> {
    REFUSALS.iter().map(|(call, _)| *call).collect()
}

fn echo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(args);
    command
}

/// What it complained of, without ports, which differ from run to run.
fn complaints(lines: &[String]) -> String {
    let masked = lines.iter().map(|line| {
        let words = line.split(' ').map(|word| match word.trim_end_matches(':').rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => format!("{host}:PORT"),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    });
    masked.map(|line| format!("; `{line}`")).collect()
}

/// Two clients come, one after the other.
fn server(what: Option<(usize, Answer)>) -> io::Result<(String, Vec<c_long>)> {
    refused_to_program(&watched(), what, || {
        let program = Program::start(&mut echo(&["server", "127.0.0.1", "0"]));
        let Some(first_line) = program.out.next_if_any() else {
            let ended = program.end();
            return format!("it ends, {}{}", ended.code.unwrap_or(-1), complaints(&ended.err));
        };
        let port = first_line.rsplit(':').next().unwrap().parse().unwrap();
        let server = Server { program, first_line, port };
        let answers = [exchange(port), exchange(port)].map(|answer| match answer {
            Ok(Some(payload)) if payload == b"hello" => "answered",
            Ok(Some(_)) => "answered wrongly",
            Ok(None) | Err(_) => "not answered",
        });
        server.wait_until_idle();
        let ended = server.stop();
        format!("{}, {}{}", answers[0], answers[1], complaints(&ended.err))
    })
}

/// The one answer, if there is one.
fn exchange(port: u16) -> io::Result<Option<Vec<u8>>> {
    let conn = patient(connect_to("127.0.0.1", port)?);
    send_frame(&conn, b"hello", 5)?;
    sys::shutdown(&conn, SHUT_WR)?;
    let answer = recv_frame(&conn, 5)?;
    Ok(answer.filter(|_| matches!(recv_frame(&conn, 5), Ok(None))))
}

/// A server of ours answers it.
fn client(what: Option<(usize, Answer)>) -> io::Result<(String, Vec<c_long>)> {
    let (listener, port) = listener(1);
    let answer = || {
        let (conn, _) = accept(&listener)?;
        let conn = patient(conn);
        if let Some(payload) = recv_frame(&conn, 5)? {
            send_frame(&conn, &payload, 5)?;
        }
        sys::shutdown(&conn, SHUT_WR)?;
        recv_frame(&conn, 5).map(drop)
    };
    std::thread::scope(|s| {
        s.spawn(answer);
        let ran = refused_to_program(&watched(), what, || {
            let ended =
                Program::start(&mut echo(&["client", "127.0.0.1", &port.to_string(), "hello"]))
                    .end();
            let answer = ended.out.iter().any(|line| line == "[echoed] hello");
            let answer = if answer { "it prints the answer" } else { "no answer" };
            format!("{answer}, {}{}", ended.code.unwrap_or(-1), complaints(&ended.err))
        });
        // SAFETY: it takes no memory. Whoever still waits for a client waits no longer.
        unsafe { shutdown(listener.as_raw_fd(), SHUT_RD) };
        ran
    })
}
