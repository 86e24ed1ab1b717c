//! The echo program from outside: what it prints, how it ends, and what a bad peer does to it.

mod programs;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, ptr, thread};

use libc::{AF_INET, AF_UNSPEC, POLLIN, SHUT_WR, SOCK_STREAM};
use nix::sys::signal::Signal::{SIGINT, SIGTERM};
use nix::unistd::Pid;
use programs::{Ended, HANG, Program, Server, deadline, run, skipped};
use stage::kernel;
use tcp_stream_io::addr::AddrList;
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::net::{self, connect_at};
use tcp_stream_io::{UniqueFd, accept, listen_on, resolve, send_all, stream, sys};

const LOCAL: &str = "127.0.0.1";

/// What the program gives one exchange.
const LIMIT: Duration = Duration::from_secs(10);

fn echo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(args);
    command
}

fn serve(args: &[&str]) -> Server {
    Server::start(&mut echo(args))
}

fn start_client(port: u16, msg: &str) -> Program {
    Program::start(&mut echo(&["client", LOCAL, &port.to_string(), msg]))
}

fn client(port: u16, msg: &str) -> Ended {
    start_client(port, msg).end()
}

fn local(port: u16) -> AddrList {
    resolve(Some(LOCAL), port, AF_UNSPEC, 0).unwrap()
}

/// A connection of our own, to misbehave on.
fn connect(server: &Server) -> UniqueFd {
    connect_at(local(server.port).iter().next().unwrap(), Some(deadline())).unwrap()
}

fn read_frame(conn: &UniqueFd) -> Vec<u8> {
    length::recv_frame_with_deadline(conn, DEFAULT_CAP, deadline()).unwrap().unwrap()
}

fn exchange(conn: &UniqueFd, msg: &[u8]) -> Vec<u8> {
    length::send_frame_with_deadline(conn, msg, DEFAULT_CAP, deadline()).unwrap();
    read_frame(conn)
}

/// Reads to the end of the stream and returns how much there was.
fn drain(conn: &UniqueFd) -> io::Result<usize> {
    let mut total = 0;
    loop {
        match stream::recv_some(conn, &mut [0; 4096], Some(deadline()))? {
            0 => return Ok(total),
            n => total += n,
        }
    }
}

#[track_caller]
fn assert_echo_works(server: &Server) {
    let ended = client(server.port, "still there?");
    assert_eq!((ended.code, ended.err), (Some(0), vec![]));
    assert_eq!(ended.out[1], "[echoed] still there?");
}

/// What the C library calls an errno: glibc and musl do not have the same words.
fn words(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

// ---- a good exchange ----

#[test]
fn a_good_exchange_prints_the_articles_lines() {
    let server = serve(&["server", LOCAL, "0"]);
    let port = server.port;
    assert_ne!(port, 0);
    assert_eq!(server.first_line, format!("[listen-ok] 127.0.0.1:{port}"));

    let ended = client(port, "hello world");
    assert_eq!(ended.out, [format!("[connected] 127.0.0.1:{port}"), "[echoed] hello world".into()]);
    assert_eq!((ended.err, ended.code), (vec![], Some(0)));

    // The server still runs: these lines are here only because it flushed them.
    let accepted = server.program.out.next();
    let peer = accepted.strip_prefix("[accept] peer=127.0.0.1:").expect(&accepted);
    assert!(peer.parse::<u16>().is_ok_and(|p| p != 0), "{accepted}");
    assert_eq!(server.program.out.next(), "[done] echoed 11 bytes");

    let ended = server.stop();
    assert_eq!((ended.out, ended.err), (vec![], vec![]));
}

#[test]
fn an_empty_bind_addr_serves_ipv4_and_ipv6() {
    let server = serve(&["server", "", "0"]);
    let port = server.port.to_string();
    // An IPv6 socket also where no interface has an IPv6 address, unless the kernel has no IPv6.
    let ipv6_socket = server.first_line == format!("[listen-ok] [::]:{port}");
    assert!(ipv6_socket || server.first_line == format!("[listen-ok] 0.0.0.0:{port}"));
    let ipv4_peer = if ipv6_socket { "[::ffff:127.0.0.1]" } else { LOCAL };
    let mut peers = vec![(LOCAL, LOCAL, ipv4_peer)];
    match listen_on(Some("::1"), 0, 1) {
        Ok(_) => peers.push(("::1", "[::1]", "[::1]")),
        Err(why) => skipped(format_args!("the IPv6 half, for there is no IPv6 here: {why}")),
    }
    for (host, called, seen_as) in peers {
        let ended = run(&mut echo(&["client", host, &port, "hi"]));
        assert_eq!(ended.out, [&format!("[connected] {called}:{port}"), "[echoed] hi"]);
        let accepted = server.program.out.next();
        assert!(accepted.starts_with(&format!("[accept] peer={seen_as}:")), "{accepted}");
        assert_eq!(server.program.out.next(), "[done] echoed 2 bytes");
    }
}

#[test]
fn an_empty_message_is_a_message() {
    let server = serve(&["server", LOCAL, "0"]);
    let ended = client(server.port, "");
    assert_eq!((ended.out[1].as_str(), ended.code), ("[echoed] ", Some(0)));
    server.program.out.next();
    assert_eq!(server.program.out.next(), "[done] echoed 0 bytes");
}

#[test]
fn a_message_need_not_be_text() {
    let listener = listen_on(Some(LOCAL), 0, 1).unwrap();
    let port = sys::getsockname(&listener).unwrap().port().to_string();
    let msg = OsStr::from_bytes(b"\xff\xfe");
    let program = Program::start(echo(&["client", LOCAL, &port]).arg(msg));
    let conn = accept_one(&listener);
    assert_eq!(read_frame(&conn), msg.as_bytes());
    length::send_frame(&conn, msg.as_bytes(), DEFAULT_CAP).unwrap();
    assert_eq!(program.end().code, Some(0));
}

#[test]
fn a_message_of_1_mib_passes_and_one_byte_more_does_not() {
    let server = serve(&["server", LOCAL, "0"]);
    let msg: Vec<u8> = (0..DEFAULT_CAP).map(|i| (i % 251) as u8).collect();
    let conn = connect(&server);
    assert!(exchange(&conn, &msg) == msg);
    drop(conn);
    server.program.out.next();
    assert_eq!(server.program.out.next(), "[done] echoed 1048576 bytes");

    // The client refuses it before a byte leaves. (The kernel takes no argument of this size, so
    // this is the call that the program makes.)
    let (ours, theirs) = UnixStream::pair().unwrap();
    let [ours, theirs] = [ours, theirs].map(|end| UniqueFd::from(OwnedFd::from(end)));
    let long = [&msg[..], b"!"].concat();
    let sent = length::send_frame_with_deadline(&ours, &long, DEFAULT_CAP, deadline());
    assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    assert_eq!(kernel::unread(&theirs).unwrap(), 0);

    // A client that does not refuse is refused by the server, which reads no more.
    let conn = connect(&server);
    send_all(&conn, &(DEFAULT_CAP as u32 + 1).to_be_bytes()).unwrap();
    assert_eq!(drain(&conn).unwrap(), 0);
    let said = server.program.err.next();
    assert_eq!(said, "recv_frame: a frame claims 1048577 bytes, over the cap of 1048576");
}

#[test]
fn the_longest_argument_makes_the_round_trip() {
    let server = serve(&["server", LOCAL, "0"]);
    let msg = "x".repeat(LONGEST_ARG);
    let ended = client(server.port, &msg);
    assert!(ended.out[1] == format!("[echoed] {msg}"), "{:.100}", ended.out[1]);
}

/// Bytes in one argument of a program, its NUL aside: execve(2), MAX_ARG_STRLEN.
const LONGEST_ARG: usize = 32 * 4096 - 1;

// ---- bad command lines ----

#[test]
fn a_bad_command_line_gets_one_clear_line() {
    let cases: &[(&[&str], &str)] = &[
        (&["sever", LOCAL, "0"], r#"unknown mode "sever": server or client?"#),
        (&["--deadline"], r#"unknown mode "--deadline": server or client?"#),
        (&[""], r#"unknown mode "": server or client?"#),
        (&["server"], "server args: <bind_addr> <port>; see --help"),
        (&["server", LOCAL], "server args: <bind_addr> <port>; see --help"),
        (&["server", LOCAL, "0", "x"], "server args: <bind_addr> <port>; see --help"),
        (&["client"], "client args: <host> <port> <msg>; see --help"),
        (&["client", LOCAL, "9000"], "client args: <host> <port> <msg>; see --help"),
        (&["client", LOCAL, "9000", "a", "b"], "client args: <host> <port> <msg>; see --help"),
        (&["server", LOCAL, "http"], r#""http" is not a port: it takes 0 to 65535"#),
        (&["server", LOCAL, ""], r#""" is not a port"#),
        (&["server", LOCAL, "-1"], r#""-1" is not a port"#),
        (&["server", LOCAL, "65536"], r#""65536" is not a port"#),
        (&["client", LOCAL, "65536", "x"], r#""65536" is not a port"#),
        (&["client", LOCAL, "99999", "x"], r#""99999" is not a port"#),
        // An empty label: no host can have this name, and no name server is asked for it.
        (&["client", "no..host", "9000", "x"], "connect failed: no..host: "),
        (&["client", "", "9000", "x"], "connect failed: "),
        (&["server", "no..host", "9000"], "listen failed: no..host: "),
    ];
    for (args, expected) in cases {
        let Ended { code, signal: _, out, err } = run(&mut echo(args));
        assert_eq!((code, out.len(), err.len()), (Some(1), 0, 1), "{args:?}: {out:?} {err:?}");
        assert!(err[0].contains(expected), "{args:?}: {:?} lacks {expected:?}", err[0]);
        assert!(!err[0].contains("panicked"), "{args:?}: {}", err[0]);
    }
}

#[test]
fn a_word_that_is_no_text_is_refused_like_any_other() {
    let word = OsStr::from_bytes(b"\xff");
    for (before, after) in [(&[][..], &[][..]), (&["server"], &["0"]), (&["client", LOCAL], &["x"])]
    {
        let ended = run(echo(before).arg(word).args(after));
        assert_eq!((ended.code, ended.out.len(), ended.err.len()), (Some(1), 0, 1), "{ended:?}");
        assert!(!ended.err[0].contains("panicked"), "{ended:?}");
    }
}

#[test]
fn no_arguments_get_the_usage() {
    let ended = run(&mut echo(&[]));
    assert_eq!((ended.code, ended.out.len()), (Some(1), 0));
    assert_eq!(ended.err[0], "usage:");
    assert!(ended.err[1].contains("server <bind_addr> <port>"), "{:?}", ended.err);

    for flag in ["--help", "-h"] {
        let asked = run(&mut echo(&[flag]));
        assert_eq!((asked.code, &asked.out, asked.err), (Some(0), &ended.err, vec![]));
    }
}

#[test]
fn an_address_that_cannot_be_had_is_bind_fail() {
    let taken = listen_on(Some(LOCAL), 0, 1).unwrap();
    let port = sys::getsockname(&taken).unwrap().port();
    let ended = run(&mut echo(&["server", LOCAL, &port.to_string()]));
    assert_eq!((ended.code, ended.out), (Some(1), vec![]));
    let expected = [
        format!("[bind-fail] {} -> 127.0.0.1:{port}", words(libc::EADDRINUSE)),
        "listen failed: address not available".to_owned(),
    ];
    assert_eq!(ended.err, expected);
}

// ---- the client against bad servers ----

/// A bound socket. Nobody else gets the port, and until `listen` it refuses.
fn bound() -> (UniqueFd, u16) {
    let fd = sys::socket(AF_INET, SOCK_STREAM, 0).unwrap();
    sys::bind(&fd, local(0).iter().next().unwrap()).unwrap();
    let port = sys::getsockname(&fd).unwrap().port();
    (fd, port)
}

fn accept_one(listener: &UniqueFd) -> UniqueFd {
    stream::wait_ready(listener, POLLIN, Some(deadline())).expect("a connection");
    accept(listener).unwrap().0
}

/// Runs a client with `msg` against a server that does as it likes. Returns its exit code, and the
/// one line in which it said why.
fn client_against(
    (listener, port): (UniqueFd, u16),
    msg: &str,
    behave: impl FnOnce(UniqueFd) -> Option<UniqueFd>,
) -> (Option<i32>, String) {
    sys::listen(&listener, 1).unwrap();
    let program = start_client(port, msg);
    let _open_until_its_end = behave(accept_one(&listener));
    let Ended { code, out, mut err, .. } = program.end();
    assert_eq!(out, [format!("[connected] 127.0.0.1:{port}")]);
    assert_eq!(err.len(), 1, "{err:?}");
    (code, err.remove(0))
}

#[test]
fn a_refused_connection_is_connect_fail_and_exit_1() {
    let (_bound, port) = bound();
    let ended = client(port, "x");
    assert_eq!((ended.code, ended.out), (Some(1), vec![]));
    let expected = [
        format!("[connect-fail] Connection refused (os error 111) to 127.0.0.1:{port}"),
        "connect failed: host unreachable".to_owned(),
    ];
    assert_eq!(ended.err, expected);
}

#[test]
fn a_server_that_does_not_answer_is_exit_3() {
    let exit_3 = |says: &str| (Some(3), format!("recv_frame: {says}"));
    let closes = client_against(bound(), "x", |conn| {
        read_frame(&conn);
        None
    });
    assert_eq!(closes, exit_3("the peer ended its stream without a frame"));

    let closes_inside_a_header = client_against(bound(), "x", |conn| {
        read_frame(&conn);
        send_all(&conn, &[0, 0]).unwrap();
        None
    });
    let says = "the peer ended its stream after 0 of 2 bytes, the last of 4";
    assert_eq!(closes_inside_a_header, exit_3(says));

    let closes_inside_a_payload = client_against(bound(), "x", |conn| {
        read_frame(&conn);
        send_all(&conn, &[0, 0, 0, 2, b'x']).unwrap();
        None
    });
    let says = "the peer ended its stream after 1 of 2 bytes";
    assert_eq!(closes_inside_a_payload, exit_3(says));

    let claims_4_gib = client_against(bound(), "x", |conn| {
        read_frame(&conn);
        send_all(&conn, &[255; 4]).unwrap();
        Some(conn)
    });
    let says = "a frame claims 4294967295 bytes, over the cap of 1048576";
    assert_eq!(claims_4_gib, exit_3(says));

    let resets = client_against(bound(), "x", |conn| {
        stream::wait_ready(&conn, POLLIN, Some(deadline())).unwrap();
        None // a close with unread bytes sends a reset
    });
    assert_eq!(resets, exit_3("Connection reset by peer (os error 104)"));
}

/// With little room on both sides, which takes small segments: the client's send buffer grows
/// with its segments.
fn with_little_room(fd: UniqueFd) -> UniqueFd {
    sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
    sys::set_option(&fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 500).unwrap();
    fd
}

#[test]
fn a_server_that_resets_while_the_client_sends_is_exit_2() {
    let (listener, port) = bound();
    let msg = "x".repeat(LONGEST_ARG);
    let (code, said) = client_against((with_little_room(listener), port), &msg, |conn| {
        stream::wait_ready(&conn, POLLIN, Some(deadline())).unwrap();
        None // a close with unread bytes sends a reset
    });
    assert_eq!(code, Some(2));
    let ends = ["Connection reset by peer (os error 104)", "Broken pipe (os error 32)"];
    assert!(ends.map(|end| format!("send_frame: {end}")).contains(&said), "{said}");
}

// ---- the limit of ten seconds ----

/// What can be waited for in vain, each by a program of its own and all at the same time.
#[test]
fn ten_seconds_are_the_limit_of_an_exchange() {
    let cases: [(&str, fn()); 8] = [
        ("a handshake without an answer", a_handshake_without_an_answer_is_exit_1),
        ("a server that does not read", a_server_that_does_not_read_is_exit_2),
        ("a server that does not answer", a_silent_server_is_exit_3),
        ("a silent client", a_silent_client_is_dropped_and_the_next_one_served),
        ("a client that drips", a_client_that_drips_is_dropped),
        ("a client that does not read", a_client_that_does_not_read_is_dropped),
        ("a client that does not end", a_client_that_does_not_end_is_dropped),
        ("a client that is done", a_client_that_is_done_keeps_nobody),
    ];
    thread::scope(|s| {
        for (name, case) in cases {
            thread::Builder::new().name(name.to_owned()).spawn_scoped(s, case).unwrap();
        }
    });
}

#[track_caller]
fn assert_limit_has_passed_since(begun: Instant) {
    assert!(begun.elapsed() >= LIMIT, "before its time: {:?}", begun.elapsed());
}

fn a_handshake_without_an_answer_is_exit_1() {
    let (listener, port) = bound();
    sys::listen(&listener, 0).unwrap();
    let _fills_the_queue = net::connect_to(LOCAL, port).unwrap();
    let begun = Instant::now();
    let ended = client(port, "x");
    assert_limit_has_passed_since(begun);
    assert_eq!((ended.code, ended.out), (Some(1), vec![]));
    let expected = [
        format!("[connect-fail] the deadline has passed to 127.0.0.1:{port}"),
        "connect failed: host unreachable".to_owned(),
    ];
    assert_eq!(ended.err, expected);
}

fn a_server_that_does_not_read_is_exit_2() {
    let (listener, port) = bound();
    let begun = Instant::now();
    let msg = "x".repeat(LONGEST_ARG);
    let ended = client_against((with_little_room(listener), port), &msg, Some);
    assert_limit_has_passed_since(begun);
    assert_eq!(ended, (Some(2), "send_frame: the deadline has passed".to_owned()));
}

fn a_silent_server_is_exit_3() {
    let begun = Instant::now();
    let ended = client_against(bound(), "x", |conn| {
        read_frame(&conn);
        Some(conn)
    });
    assert_limit_has_passed_since(begun);
    assert_eq!(ended, (Some(3), "recv_frame: the deadline has passed".to_owned()));
}

fn a_silent_client_is_dropped_and_the_next_one_served() {
    let server = serve(&["server", LOCAL, "0"]);
    let begun = Instant::now();
    let silent = connect(&server);
    let next = connect(&server);
    assert_eq!(exchange(&next, b"next"), b"next");
    assert_limit_has_passed_since(begun);
    assert_eq!(drain(&silent).unwrap(), 0);
    assert_eq!(server.program.err.next(), "recv_frame: the deadline has passed");
}

fn a_client_that_drips_is_dropped() {
    let server = serve(&["server", LOCAL, "0"]);
    let begun = Instant::now();
    let conn = connect(&server);
    send_all(&conn, &length::encode_header(DEFAULT_CAP, DEFAULT_CAP).unwrap()).unwrap();
    // At this rate the whole would take more than a day.
    let pause = || Some(Instant::now() + LIMIT / 100);
    while stream::wait_ready(&conn, POLLIN, pause()).is_err() && send_all(&conn, b"x").is_ok() {}
    assert_limit_has_passed_since(begun);
    assert_eq!(server.program.err.next(), "recv_frame: the deadline has passed");
}

fn a_client_that_does_not_read_is_dropped() {
    let server = serve(&["server", LOCAL, "0"]);
    let begun = Instant::now();
    let conn = with_little_room(sys::socket(AF_INET, SOCK_STREAM, 0).unwrap());
    let addr = local(server.port);
    net::connect(&conn, addr.iter().next().unwrap(), Some(deadline())).unwrap();
    let msg = vec![b'x'; DEFAULT_CAP];
    length::send_frame_with_deadline(&conn, &msg, DEFAULT_CAP, deadline()).unwrap();
    assert_eq!(server.program.err.next(), "send_frame: the deadline has passed");
    assert_limit_has_passed_since(begun);
}

fn a_client_that_does_not_end_is_dropped() {
    let server = serve(&["server", LOCAL, "0"]);
    let begun = Instant::now();
    let conn = connect(&server);
    assert_eq!(exchange(&conn, b"hello"), b"hello");
    let peer = sys::getsockname(&conn).unwrap();
    assert_eq!(server.program.err.next(), format!("close {peer}: the deadline has passed"));
    assert_limit_has_passed_since(begun);
}

/// The counterpart: who has had an answer and goes does not keep the server from the next one.
fn a_client_that_is_done_keeps_nobody() {
    let server = serve(&["server", LOCAL, "0"]);
    for _ in 0..100 {
        let conn = connect(&server);
        assert_eq!(exchange(&conn, b"hello"), b"hello");
        assert_eq!(drain(&conn).unwrap(), 0); // the server's half-close, before ours
    }
    server.wait_until_idle();
    assert_eq!(server.stop().err, [""; 0]); // and no deadline has passed
}

// ---- the server against bad clients ----

#[test]
fn a_frame_that_is_cut_off_is_told_and_the_next_client_served() {
    let server = serve(&["server", LOCAL, "0"]);
    let cuts: [(&[u8], &str); 4] = [
        (b"", "without a frame"),
        (b"\0\0", "after 0 of 2 bytes, the last of 4"),
        (b"\0\0\0\x05", "after 0 of 5 bytes"),
        (b"\0\0\0\x05hel", "after 3 of 5 bytes"),
    ];
    for (bytes, expected) in cuts {
        let conn = connect(&server);
        send_all(&conn, bytes).unwrap();
        sys::shutdown(&conn, SHUT_WR).unwrap();
        assert_eq!(drain(&conn).unwrap(), 0, "no answer to {bytes:?}");
        let said = server.program.err.next();
        assert_eq!(said, format!("recv_frame: the peer ended its stream {expected}"));
    }
    assert_echo_works(&server);
}

#[test]
fn a_hostile_length_costs_the_server_no_memory() {
    let server = serve(&["server", LOCAL, "0"]);
    assert_echo_works(&server);
    let before = peak_kib(server.program.pid());
    let grown = || peak_kib(server.program.pid()) - before;
    for claim in [[255; 4], [0x7f, 255, 255, 255], [0, 0x10, 0, 1]] {
        let conn = connect(&server);
        send_all(&conn, &claim).unwrap();
        assert_eq!(drain(&conn).unwrap(), 0);
        let said = server.program.err.next();
        let claim = u32::from_be_bytes(claim);
        let expected = format!("a frame claims {claim} bytes, over the cap of 1048576");
        assert_eq!(said, format!("recv_frame: {expected}"));
    }
    assert!(grown() < 512, "the server has grown by {} KiB", grown());
    // As much as the cap allows is claimed, and nothing comes: the cap is what it costs.
    let conn = connect(&server);
    send_all(&conn, &(DEFAULT_CAP as u32).to_be_bytes()).unwrap();
    sys::shutdown(&conn, SHUT_WR).unwrap();
    assert_eq!(drain(&conn).unwrap(), 0);
    assert!(grown() < 1024 + 512, "the server has grown by {} KiB", grown());
    assert_echo_works(&server);
}

/// The most address space that the process ever had: VmPeak, proc(5). It counts an allocation
/// that was never written to, which resident memory does not.
fn peak_kib(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix("VmPeak:")?.strip_suffix(" kB"));
    value.unwrap().trim().parse().unwrap()
}

#[test]
fn a_client_that_sent_too_much_and_reads_late_gets_its_whole_answer() {
    let server = serve(&["server", LOCAL, "0"]);
    let conn = connect(&server);
    let header = length::encode_header(DEFAULT_CAP, DEFAULT_CAP).unwrap();
    let frame_and_more = [&header[..], &vec![b'x'; DEFAULT_CAP], b"extra"].concat();
    stream::send_all_with_deadline(&conn, &frame_and_more, deadline()).unwrap();
    server.program.out.next(); // [accept]
    assert_eq!(server.program.out.next(), "[done] echoed 1048576 bytes");
    // More than our receive buffer takes: most of it still waits on the server's side, where a
    // plain close would throw it away, for "extra" has not been read.
    assert_eq!(drain(&conn).unwrap(), 1_048_580);
    drop(conn);
    server.wait_until_idle();
    assert_eq!(server.stop().err, [""; 0]);
}

#[test]
fn a_storm_of_failing_clients_leaves_no_descriptor_open() {
    let server = serve(&["server", LOCAL, "0"]);
    let before = server.program.open_fds();
    const STORM: usize = 400;
    for i in 0..STORM {
        let conn = connect(&server);
        let starts: [&[u8]; 4] = [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x05hel"];
        send_all(&conn, starts[i % 4]).unwrap();
        if i % 8 < 4 {
            kernel::reset_on_close(&conn).unwrap();
        }
    }
    for _ in 0..STORM {
        let said = server.program.err.next();
        assert!(said.starts_with("recv_frame: "), "{said}");
    }
    assert_echo_works(&server);
    kernel::wait_for("the last close", || Ok(server.program.open_fds() == before)).unwrap();
}

#[test]
fn out_of_descriptors_the_server_waits_and_does_not_spin() {
    let server = serve(&["server", LOCAL, "0"]);
    let pid = server.program.pid();
    // While it serves a client, for `accept` takes a number before it waits for a connection.
    let last_one = connect(&server);
    server.program.out.next(); // [accept]
    limit_descriptors(pid, 1); // and not to 0, for then `poll` would refuse even one, poll(2)
    let begun = Instant::now();
    assert_eq!(exchange(&last_one, b"the last one"), b"the last one");
    drop(last_one);
    let conn = connect(&server);
    length::send_frame(&conn, b"patience", DEFAULT_CAP).unwrap();
    // It says so once, and tries again every 100 ms.
    let complaint = format!("accept: {}", words(libc::EMFILE));
    assert_eq!(server.program.err.next(), complaint);
    let sleeps = || voluntary_switches(pid);
    let before = sleeps();
    kernel::wait_for("six more tries", || Ok(sleeps() >= before + 6)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(500), "it does not wait long enough");
    let e = sys::recv(&conn, &mut [0; 4], libc::MSG_DONTWAIT).unwrap_err();
    assert_eq!(e.kind(), io::ErrorKind::WouldBlock, "nobody can have answered");

    limit_descriptors(pid, 100);
    assert_eq!(read_frame(&conn), b"patience");
    // It has recovered, so that the next time is news: once more, and not more.
    limit_descriptors(pid, 1);
    drop(conn);
    assert_eq!(server.program.err.next(), complaint);
    limit_descriptors(pid, 100);
    assert_echo_works(&server);
    assert_eq!(server.stop().err, [""; 0]);
}

/// How often a process went to sleep: proc_pid_status(5).
fn voluntary_switches(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

/// Keeps a running process from opening descriptor `end` and above: prlimit(2).
fn limit_descriptors(pid: Pid, end: u32) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY:
    // - each call reads or writes the one rlimit that it gets, and takes null for "not this".
    unsafe {
        let (pid, what) = (pid.as_raw(), libc::RLIMIT_NOFILE);
        assert_eq!(libc::prlimit(pid, what, ptr::null(), &mut limit), 0);
        limit.rlim_cur = end as libc::rlim_t;
        assert_eq!(libc::prlimit(pid, what, &limit, ptr::null_mut()), 0);
    }
}

// ---- signals ----

#[test]
fn ctrl_c_ends_the_server_whatever_it_does_and_a_new_one_has_its_port() {
    let mut port = "0".to_owned();
    for signal in [SIGTERM, SIGINT] {
        let idle = serve(&["server", LOCAL, &port]);
        port = idle.port.to_string();
        idle.program.signal(signal);
        let ended = idle.program.end();
        assert_eq!((ended.code, ended.signal), (None, Some(signal as i32)));

        let busy = serve(&["server", LOCAL, &port]);
        let conn = connect(&busy);
        send_all(&conn, b"\0\0\0\x05he").unwrap();
        busy.program.out.next(); // [accept]
        busy.program.signal(signal);
        let ended = busy.program.end();
        assert_eq!((ended.code, ended.signal), (None, Some(signal as i32)));
        assert_eq!((ended.out, ended.err), (vec![], vec![]));
    }
}

// ---- what it prints cannot be written, or nobody reads it ----

/// Where there is no room, whatever is written: full(4).
fn full() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").unwrap())
}

const NO_ROOM: &str = "stdout: No space left on device (os error 28)";

#[test]
fn output_that_cannot_be_written_is_exit_4_and_one_line() {
    let server = serve(&["server", LOCAL, "0"]);
    let port = server.port.to_string();
    let commands: [&[&str]; 3] =
        [&["--help"], &["client", LOCAL, &port, "hello"], &["server", LOCAL, "0"]];
    for args in commands {
        let mut command = echo(args);
        command.stdin(Stdio::null()).stdout(full()).stderr(Stdio::piped());
        let ended = Program::of(command.spawn().unwrap()).end();
        assert_eq!((ended.code, ended.err), (Some(4), vec![NO_ROOM.to_owned()]), "{args:?}");
    }
    // At the first line that it cannot print, not only at the last one.
    let listener = listen_on(Some(LOCAL), 0, 1).unwrap();
    let port = sys::getsockname(&listener).unwrap().port().to_string();
    let mut command = echo(&["client", LOCAL, &port, "hello"]);
    command.stdin(Stdio::null()).stdout(full()).stderr(Stdio::piped());
    let program = Program::of(command.spawn().unwrap());
    drop(accept(&listener).unwrap()); // no answer will come
    let ended = program.end();
    assert_eq!((ended.code, ended.err), (Some(4), vec![NO_ROOM.to_owned()]));
    // An answer that nobody takes is the same, with the pipe's word for it.
    let (out, its_out) = pipe().unwrap();
    drop(out);
    let mut command = echo(commands[1]);
    command.stdin(Stdio::null()).stdout(its_out).stderr(Stdio::piped());
    let ended = Program::of(command.spawn().unwrap()).end();
    assert_eq!(ended.code, Some(4));
    assert_eq!(ended.err, ["stdout: Broken pipe (os error 32)"]);
}

#[test]
fn with_its_output_closed_it_is_exit_4_and_not_0() {
    let server = serve(&["server", LOCAL, "0"]);
    let port = server.port.to_string();
    let commands: [&[&str]; 3] =
        [&["--help"], &["client", LOCAL, &port, "hello"], &["server", LOCAL, "0"]];
    for args in commands {
        // What closes it is the shell, as a user's would.
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$0\" \"$@\" >&-", env!("CARGO_BIN_EXE_echo")]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let ended = Program::of(command.spawn().unwrap()).end();
        assert_eq!((ended.code, ended.err), (Some(4), vec!["stdout: it is closed".to_owned()]));
    }
    // It is not taken for a `/dev/null` that somebody wants.
    let mut command = echo(commands[1]);
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    command.stdin(Stdio::null()).stdout(null).stderr(Stdio::piped());
    let ended = Program::of(command.spawn().unwrap()).end();
    assert_eq!((ended.code, ended.err), (Some(0), vec![]));
}

#[test]
fn an_error_that_cannot_be_written_is_told_by_the_exit_code() {
    let (_bound, refusing) = bound();
    let mut command = echo(&["client", LOCAL, &refusing.to_string(), "x"]);
    command.stdin(Stdio::null()).stdout(full()).stderr(full());
    assert_eq!(Program::of(command.spawn().unwrap()).end().code, Some(1));
}

/// A server whose two outputs are ours to read, or not.
fn serve_into(out: &PipeWriter, err: &PipeWriter) -> Program {
    let mut command = echo(&["server", LOCAL, "0"]);
    command.stdin(Stdio::null());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    Program::of(command.spawn().unwrap())
}

/// Reads one line that ends in a port.
fn read_port(pipe: &mut PipeReader) -> u16 {
    assert_eq!(sys::poll(pipe.as_fd(), POLLIN, HANG.as_millis() as i32).unwrap(), POLLIN);
    let mut line = [0; 100]; // a line is written by one call, and so comes by one
    let n = pipe.read(&mut line).unwrap();
    let line = str::from_utf8(&line[..n]).unwrap();
    line.trim_end().rsplit(':').next().unwrap().parse().unwrap()
}

/// Good clients and bad ones: the server has something to say on both of its outputs.
fn assert_serves(port: u16) {
    for msg in ["one", "two", "three"] {
        let bad = connect_at(local(port).iter().next().unwrap(), Some(deadline())).unwrap();
        send_all(&bad, &[255; 4]).unwrap();
        assert_eq!(drain(&bad).unwrap(), 0);
        assert_eq!(client(port, msg).out[1], format!("[echoed] {msg}"));
    }
}

#[test]
fn a_reader_who_has_gone_does_not_end_the_server() {
    let ((mut out, its_out), (err, its_err)) = (pipe().unwrap(), pipe().unwrap());
    let program = serve_into(&its_out, &its_err);
    let port = read_port(&mut out);
    drop((out, err));
    assert_serves(port);
    program.signal(SIGTERM);
    assert_eq!(program.end().signal, Some(SIGTERM as i32)); // until now it has lived
}

#[test]
fn a_reader_who_never_reads_does_not_stop_the_server() {
    let ((mut out, mut its_out), (_err, mut its_err)) = (pipe().unwrap(), pipe().unwrap());
    let program = serve_into(&its_out, &its_err);
    let port = read_port(&mut out);
    // Not one byte more goes in. (Nothing is in there, so this does not block.)
    for pipe in [&mut its_out, &mut its_err] {
        pipe.write_all(&vec![b'x'; capacity(pipe)]).unwrap();
    }
    assert_serves(port);
    program.signal(SIGTERM);
    assert_eq!(program.end().signal, Some(SIGTERM as i32));
}

#[test]
fn a_log_that_is_full_from_the_start_does_not_stop_the_server() {
    // Bound by us as well, so that no other test is given the port. Only one of the two listens.
    let (held, port) = bound();
    sys::set_option(&held, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1).unwrap();
    let (_out, mut its_out) = pipe().unwrap();
    its_out.write_all(&vec![b'x'; capacity(&its_out)]).unwrap();
    let mut command = echo(&["server", LOCAL, &port.to_string()]);
    command.stdin(Stdio::null()).stdout(its_out.try_clone().unwrap()).stderr(its_out);
    let program = Program::of(command.spawn().unwrap());
    let addrs = local(port);
    let listens = || Ok(connect_at(addrs.iter().next().unwrap(), Some(deadline())).is_ok());
    kernel::wait_for("the server to listen", listens).unwrap();
    assert_serves(port);
    program.signal(SIGTERM);
    assert_eq!(program.end().signal, Some(SIGTERM as i32));
}

/// How many bytes a pipe holds: fcntl(2).
fn capacity(pipe: &PipeWriter) -> usize {
    // SAFETY:
    // - F_GETPIPE_SZ passes no memory.
    let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_GETPIPE_SZ) };
    usize::try_from(size).unwrap()
}

#[test]
fn a_server_whose_complaints_cannot_be_written_goes_on() {
    let (mut out, its_out) = pipe().unwrap();
    let mut command = echo(&["server", LOCAL, "0"]);
    command.stdin(Stdio::null()).stdout(its_out).stderr(full());
    let program = Program::of(command.spawn().unwrap());
    assert_serves(read_port(&mut out));
    program.signal(SIGTERM);
    assert_eq!(program.end().signal, Some(SIGTERM as i32));
}
