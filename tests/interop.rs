//! The echo program and a peer in another language, `peer.py`, serve each other's clients.
//!
//! Two ends that share a mistake agree with each other. An end that shares no line does not.

mod programs;

use std::process::Command;

use programs::{Server, run, skipped};

const LOCAL: &str = "127.0.0.1";

/// 258 is 0x0102: in the wrong byte order it is another number.
const LEN: usize = 258;
const HEADER: &str = "00000102";

fn echo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(args);
    command
}

fn peer(args: &[&str]) -> Command {
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer.py")).args(args);
    command
}

/// Python 3.10 or later, for `match`. Says so where there is none.
fn has_python() -> bool {
    let probe = ["-c", "import sys; sys.exit(sys.version_info < (3, 10))"];
    let why = match Command::new("python3").args(probe).status() {
        Ok(status) if status.success() => return true,
        Ok(_) => "python3 is older than 3.10".to_owned(),
        Err(e) => format!("python3: {e}"),
    };
    skipped(why);
    false
}

#[test]
fn our_server_with_pythons_client() {
    if !has_python() {
        return;
    }
    let server = Server::start(&mut echo(&["server", LOCAL, "0"]));
    let port = server.port.to_string();
    let msg = "x".repeat(LEN);
    for (msg, header) in [(msg.as_str(), HEADER), ("", "00000000"), ("안녕", "00000006")] {
        let ended = run(&mut peer(&["client", LOCAL, &port, msg]));
        let expected = format!("[echoed] header {header}, {msg}");
        assert_eq!(ended.out, [&expected, "[end] 0 bytes after the frame"], "{:?}", ended.err);
        assert_eq!(ended.code, Some(0));
        server.program.out.next(); // [accept]
        assert_eq!(server.program.out.next(), format!("[done] echoed {} bytes", msg.len()));
    }
}

#[test]
fn our_servers_bytes() {
    if !has_python() {
        return;
    }
    let server = Server::start(&mut echo(&["server", LOCAL, "0"]));
    let frame = format!("{HEADER}{}", "a7".repeat(LEN));
    let ended = run(&mut peer(&["raw", LOCAL, &server.port.to_string(), &frame]));
    assert_eq!(ended.out, [frame], "{:?}", ended.err);
}

#[test]
fn pythons_server_with_our_client() {
    if !has_python() {
        return;
    }
    let server = Server::start(&mut peer(&["server", LOCAL, "0"]));
    let port = server.port;
    let msg = "x".repeat(LEN);
    for (msg, header) in [(msg.as_str(), HEADER), ("", "00000000"), ("안녕", "00000006")] {
        let ended = run(&mut echo(&["client", LOCAL, &port.to_string(), msg]));
        let expected = [format!("[connected] {LOCAL}:{port}"), format!("[echoed] {msg}")];
        assert_eq!((ended.out, ended.err), (expected.into(), vec![]));
        let frame = format!("[frame] header {header}, {} bytes", msg.len());
        assert_eq!(server.program.out.next(), frame);
        assert_eq!(server.program.out.next(), "[done] 0 bytes after the frame");
    }
}
