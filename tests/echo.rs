//! The echo program from outside: what it prints, how it ends, and what a bad peer does to it.

mod programs;

use std::ffi::OsStr;
use std::io::{PipeReader, Read, pipe};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, ptr};

use libc::POLLIN;
use nix::sys::signal::Signal::{self, SIGINT, SIGTERM};
use nix::unistd::Pid;
use programs::{Ended, Program, Server, deadline, run, skipped};
use stage::kernel;
use tcp_stream_io::addr::{Hints, resolve};
use tcp_stream_io::framing::length::{self, DEFAULT_CAP};
use tcp_stream_io::net::connect_to_with_deadline;
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, send_all, stream, sys};

const LOCAL: &str = "127.0.0.1";

fn echo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_echo"));
    command.args(args);
    command
}

fn serve(args: &[&str]) -> Server {
    Server::start(&mut echo(args))
}

fn client(port: u16, msg: &str) -> Ended {
    run(&mut echo(&["client", LOCAL, &port.to_string(), msg]))
}

/// A connection of our own, to misbehave on.
fn connect(server: &Server) -> UniqueFd {
    connect_to_with_deadline(LOCAL, server.port, deadline()).unwrap()
}

fn exchange(conn: &UniqueFd, msg: &[u8]) -> Vec<u8> {
    length::send_frame_with_deadline(conn, msg, DEFAULT_CAP, deadline()).unwrap();
    length::recv_frame_with_deadline(conn, DEFAULT_CAP, deadline()).unwrap().unwrap()
}

/// Reads to the end of the stream and returns how much there was.
fn drain(conn: &UniqueFd) -> std::io::Result<usize> {
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
    assert_eq!(ended, Ended { code: Some(0), signal: None, out: vec![], err: vec![] });
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
    let got = length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline()).unwrap();
    assert_eq!(got.as_deref(), Some(msg.as_bytes()));
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
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let long = [&msg[..], b"!"].concat();
    let sent = length::send_frame_with_deadline(&ours, &long, DEFAULT_CAP, deadline());
    let e = sent.unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::InvalidInput);
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
        (&[""], r#"unknown mode "": server or client?"#),
        (&["server"], "server takes <bind_addr> <port>"),
        (&["server", LOCAL], "server takes <bind_addr> <port>"),
        (&["server", LOCAL, "0", "x"], "server takes <bind_addr> <port>"),
        (&["client"], "client takes <host> <port> <msg>"),
        (&["client", LOCAL, "9000"], "client takes <host> <port> <msg>"),
        (&["client", LOCAL, "9000", "a", "b"], "client takes <host> <port> <msg>"),
        (&["server", LOCAL, "http"], r#""http" is not a port: it takes 0 to 65535"#),
        (&["server", LOCAL, ""], r#""" is not a port"#),
        (&["server", LOCAL, "-1"], r#""-1" is not a port"#),
        (&["server", LOCAL, "65536"], r#""65536" is not a port"#),
        (&["client", LOCAL, "65536", "x"], r#""65536" is not a port"#),
        (&["client", LOCAL, "99999", "x"], r#""99999" is not a port"#),
        (&["--deadline"], "--deadline"),
        (&["--deadline", "soon", "server", LOCAL, "0"], r#""soon" is not a number of seconds"#),
        (&["--deadline", "0", "server", LOCAL, "0"], r#""0" is not a number of seconds"#),
        (&["--deadline", "86401", "server", LOCAL, "0"], r#""86401" is not a number"#),
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
fn no_arguments_get_the_usage() {
    let ended = run(&mut echo(&[]));
    assert_eq!((ended.code, ended.out.len()), (Some(1), 0));
    assert_eq!(ended.err[0], "usage:");
    assert!(ended.err[1].contains("server <bind_addr> <port>"), "{:?}", ended.err);

    let asked = run(&mut echo(&["--help"]));
    assert_eq!((asked.code, asked.out, asked.err), (Some(0), ended.err, vec![]));
}

#[test]
fn an_address_that_cannot_be_had_is_bind_fail() {
    let taken = listen_on(Some(LOCAL), 0, 1).unwrap();
    let port = sys::getsockname(&taken).unwrap().port();
    let ended = run(&mut echo(&["server", LOCAL, &port.to_string()]));
    assert_eq!((ended.code, ended.out), (Some(1), vec![]));
    let why = "Address already in use (os error 98)";
    let expected = [
        format!("[bind-fail] {why} -> 127.0.0.1:{port}"),
        format!("listen failed: bind 127.0.0.1:{port}: {why}"),
    ];
    assert_eq!(ended.err, expected);
}

// ---- the client against bad servers ----

/// A bound socket. Nobody else gets the port, and until `listen` it refuses.
fn bound() -> (UniqueFd, u16) {
    let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let list = resolve(Some(LOCAL), 0, &Hints::default()).unwrap();
    sys::bind(&fd, list.iter().next().unwrap()).unwrap();
    let port = sys::getsockname(&fd).unwrap().port();
    (fd, port)
}

fn accept_one(listener: &UniqueFd) -> UniqueFd {
    stream::wait_ready(listener, POLLIN, Some(deadline())).expect("a connection");
    accept(listener).unwrap().0
}

/// What an exchange may take: less than this is a matter of the machine, and more is not needed
/// where the deadline has to pass.
const SHORT: &str = "2";
/// Where it has not to pass: the longest there is.
const LONG: &str = "86400";

/// Runs a client with `msg` against a server that does as it likes.
fn client_against(
    (listener, port): (UniqueFd, u16),
    deadline: &str,
    msg: &str,
    behave: impl FnOnce(UniqueFd) -> Option<UniqueFd>,
) -> Ended {
    sys::listen(&listener, 1).unwrap();
    let args = ["--deadline", deadline, "client", LOCAL, &port.to_string(), msg];
    let program = Program::start(&mut echo(&args));
    let _open_until_its_end = behave(accept_one(&listener));
    let ended = program.end();
    assert_eq!(ended.out, [format!("[connected] 127.0.0.1:{port}")]);
    ended
}

#[test]
fn a_refused_connection_is_connect_fail_and_exit_1() {
    let (_bound, port) = bound();
    let ended = client(port, "x");
    assert_eq!((ended.code, ended.out), (Some(1), vec![]));
    let why = "Connection refused (os error 111)";
    let expected = [
        format!("[connect-fail] {why} to 127.0.0.1:{port}"),
        format!("connect failed: connect 127.0.0.1:{port}: {why}"),
    ];
    assert_eq!(ended.err, expected);
}

#[test]
fn a_handshake_that_does_not_end_is_exit_1_at_the_deadline() {
    let (listener, port) = bound();
    sys::listen(&listener, 0).unwrap();
    let _fills_the_queue = connect_to(LOCAL, port).unwrap();
    let begun = Instant::now();
    let args = ["--deadline", "1", "client", LOCAL, &port.to_string(), "x"];
    let ended = run(&mut echo(&args));
    assert_eq!((ended.code, ended.out), (Some(1), vec![]));
    assert_eq!(ended.err[0], format!("[connect-fail] timed out to 127.0.0.1:{port}"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_does_not_answer_is_exit_3() {
    let read_frame = |conn: &UniqueFd| {
        length::recv_frame_with_deadline(conn, DEFAULT_CAP, deadline()).unwrap().unwrap();
    };
    let closes = client_against(bound(), LONG, "x", |conn| {
        read_frame(&conn);
        None
    });
    let says = "recv_frame: the peer ended its stream without a frame";
    assert_eq!((closes.code, closes.err), (Some(3), vec![says.to_owned()]));

    let closes_inside = client_against(bound(), LONG, "x", |conn| {
        read_frame(&conn);
        send_all(&conn, &[0, 0]).unwrap();
        None
    });
    let says = "recv_frame: got 2 of 4 bytes, then the peer ended its stream";
    assert_eq!((closes_inside.code, closes_inside.err), (Some(3), vec![says.to_owned()]));

    let claims_4_gib = client_against(bound(), LONG, "x", |conn| {
        read_frame(&conn);
        send_all(&conn, &[255; 4]).unwrap();
        Some(conn)
    });
    let says = "recv_frame: a frame claims 4294967295 bytes, over the cap of 1048576";
    assert_eq!((claims_4_gib.code, claims_4_gib.err), (Some(3), vec![says.to_owned()]));

    let resets = client_against(bound(), LONG, "x", |conn| {
        stream::wait_ready(&conn, POLLIN, Some(deadline())).unwrap();
        None // a close with unread bytes sends a reset
    });
    let says = "recv_frame: got 0 of 4 bytes, then Connection reset by peer (os error 104)";
    assert_eq!((resets.code, resets.err), (Some(3), vec![says.to_owned()]));

    let is_silent = client_against(bound(), SHORT, "x", |conn| {
        read_frame(&conn);
        Some(conn)
    });
    let says = "recv_frame: got 0 of 4 bytes, then the deadline passed";
    assert_eq!((is_silent.code, is_silent.err), (Some(3), vec![says.to_owned()]));
}

/// With little room on both sides, which takes small segments: the client's send buffer grows
/// with its segments.
fn bound_with_little_room() -> (UniqueFd, u16) {
    let (fd, port) = bound();
    sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, 1).unwrap();
    sys::set_option(&fd, libc::IPPROTO_TCP, libc::TCP_MAXSEG, 500).unwrap();
    (fd, port)
}

#[test]
fn a_server_that_does_not_read_is_exit_2() {
    let msg = "x".repeat(LONGEST_ARG);
    let all = LONGEST_ARG + 4;
    let (line, tail);

    let never_reads = client_against(bound_with_little_room(), SHORT, &msg, Some);
    assert_eq!((never_reads.code, never_reads.err.len()), (Some(2), 1));
    (line, tail) = (&never_reads.err[0], format!(" of {all} bytes, then the deadline passed"));
    let sent = line.strip_prefix("send_frame: sent ").and_then(|l| l.strip_suffix(&tail));
    let sent: usize = sent.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    assert!(0 < sent && sent < all, "{line}");

    let resets = client_against(bound_with_little_room(), LONG, &msg, |conn| {
        stream::wait_ready(&conn, POLLIN, Some(deadline())).unwrap();
        None // a close with unread bytes sends a reset
    });
    assert_eq!((resets.code, resets.err.len()), (Some(2), 1));
    let ends = ["Connection reset by peer (os error 104)", "Broken pipe (os error 32)"];
    assert!(ends.iter().any(|end| resets.err[0].ends_with(end)), "{:?}", resets.err);
}

// ---- the server against bad clients ----

#[test]
fn a_silent_client_is_dropped_at_the_deadline_and_the_next_is_served() {
    // One that is told to be patient has another such client, and for longer.
    let patient = serve(&["--deadline", LONG, "server", LOCAL, "0"]);
    let kept = connect(&patient);
    patient.program.out.next(); // [accept]

    let server = serve(&["--deadline", SHORT, "server", LOCAL, "0"]);
    let begun = Instant::now();
    let silent = connect(&server);
    let next = connect(&server);
    assert_eq!(exchange(&next, b"next"), b"next");
    assert!(begun.elapsed() >= Duration::from_secs(SHORT.parse().unwrap()), "before its time");
    assert_eq!(drain(&silent).unwrap(), 0);
    let said = server.program.err.next();
    assert_eq!(said, "recv_frame: got 0 of 4 bytes, then the deadline passed");
    let e = sys::recv(&kept, &mut [0], libc::MSG_DONTWAIT).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock, "the patient one has dropped its client");
}

#[test]
fn a_frame_that_is_cut_off_is_told_and_the_next_client_served() {
    let server = serve(&["server", LOCAL, "0"]);
    let cuts: [(&[u8], &str); 4] = [
        (b"", "the peer ended its stream without a frame"),
        (b"\0\0", "got 2 of 4 bytes, then the peer ended its stream"),
        (b"\0\0\0\x05", "got 0 of 5 bytes, then the peer ended its stream"),
        (b"\0\0\0\x05hel", "got 3 of 5 bytes, then the peer ended its stream"),
    ];
    for (bytes, expected) in cuts {
        let conn = connect(&server);
        send_all(&conn, bytes).unwrap();
        sys::shutdown(&conn, libc::SHUT_WR).unwrap();
        assert_eq!(drain(&conn).unwrap(), 0, "no answer to {bytes:?}");
        assert_eq!(server.program.err.next(), format!("recv_frame: {expected}"));
    }
    assert_echo_works(&server);
}

#[test]
fn a_hostile_length_costs_the_server_no_memory() {
    let server = serve(&["server", LOCAL, "0"]);
    assert_echo_works(&server);
    let before = peak_kib(server.program.pid());
    for claim in [[255; 4], [0x7f, 255, 255, 255], [0, 0x10, 0, 1]] {
        let conn = connect(&server);
        send_all(&conn, &claim).unwrap();
        assert_eq!(drain(&conn).unwrap(), 0);
        let said = server.program.err.next();
        let claim = u32::from_be_bytes(claim);
        let expected = format!("a frame claims {claim} bytes, over the cap of 1048576");
        assert_eq!(said, format!("recv_frame: {expected}"));
    }
    // As much as the cap allows is claimed, and nothing comes.
    let conn = connect(&server);
    send_all(&conn, &(DEFAULT_CAP as u32).to_be_bytes()).unwrap();
    sys::shutdown(&conn, libc::SHUT_WR).unwrap();
    assert_eq!(drain(&conn).unwrap(), 0);
    let grown = peak_kib(server.program.pid()) - before;
    assert!(grown < 512, "the server has grown by {grown} KiB");
    assert_echo_works(&server);
}

/// The most address space that the process ever had: VmPeak, proc(5). It counts an allocation
/// that was never written to, which resident memory does not.
fn peak_kib(pid: Pid) -> u64 {
    status_field(pid, "VmPeak").trim_end_matches(" kB").parse().unwrap()
}

fn status_field(pid: Pid, name: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let value = status.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap().trim().to_owned()
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
    assert_eq!(server.stop().err, [""; 0]);
}

#[test]
fn a_storm_of_failing_clients_leaves_no_descriptor_behind() {
    let server = serve(&["server", LOCAL, "0"]);
    let before = server.program.open_fds();
    const STORM: usize = 400;
    let until = deadline();
    for i in 0..STORM {
        let conn = connect_to_with_deadline(LOCAL, server.port, until);
        let conn = conn.unwrap_or_else(|e| panic!("client {i} of {STORM}: {e}"));
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
    let open = server.program.open_fds();
    let next = (0..).find(|fd| !open.contains(fd)).unwrap();
    limit_descriptors(pid, next);
    let conn = connect(&server);
    length::send_frame(&conn, b"patience", DEFAULT_CAP).unwrap();
    let said = server.program.err.next();
    assert_eq!(said, "accept: Too many open files (os error 24); trying again every 100 ms");

    // It sleeps, again and again, and for 100 ms each time. (One that spins never does.)
    let (begun, before) = (Instant::now(), sleeps(pid));
    kernel::wait_for("six sleeps", || Ok(sleeps(pid) >= before + 6)).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(400), "they were shorter than 100 ms");
    let e = sys::recv(&conn, &mut [0; 4], libc::MSG_DONTWAIT).unwrap_err();
    assert_eq!(e.kind(), std::io::ErrorKind::WouldBlock, "nobody can have answered");

    limit_descriptors(pid, 100);
    let answer = length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline()).unwrap();
    assert_eq!(answer.as_deref(), Some(&b"patience"[..]));
    drop(conn);
    assert_echo_works(&server);
    assert_eq!(server.stop().err, [""; 0], "it complained once");
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

/// How often it went to sleep by itself: proc(5).
fn sleeps(pid: Pid) -> u64 {
    status_field(pid, "voluntary_ctxt_switches").parse().unwrap()
}

// ---- signals ----

/// Whether the process would handle the signal: SigCgt, proc(5).
fn catches(pid: Pid, signal: Signal) -> bool {
    let caught = u64::from_str_radix(&status_field(pid, "SigCgt"), 16).unwrap();
    caught & (1 << (signal as u32 - 1)) != 0
}

/// Sends the first signal, and waits until it has been handled.
fn first_signal(server: &Server, signal: Signal) {
    let pid = server.program.pid();
    assert!(catches(pid, signal));
    server.program.signal(signal);
    kernel::wait_for("the handler to have run", || Ok(!catches(pid, signal))).unwrap();
}

#[test]
fn sigterm_and_sigint_end_an_idle_server_with_exit_0() {
    for signal in [SIGTERM, SIGINT] {
        let server = serve(&["server", LOCAL, "0"]);
        server.program.signal(signal);
        let ended = server.program.end();
        assert_eq!(ended, Ended { code: Some(0), signal: None, out: vec![], err: vec![] });
    }
}

#[test]
fn a_signal_lets_a_silent_client_keep_the_server_no_longer_than_the_deadline() {
    for signal in [SIGTERM, SIGINT] {
        let begun = Instant::now();
        let server = serve(&["--deadline", SHORT, "server", LOCAL, "0"]);
        let _silent = connect(&server);
        server.program.out.next(); // [accept]
        server.program.signal(signal);
        let ended = server.program.end();
        assert_eq!(ended.code, Some(0));
        assert_eq!(ended.err, ["recv_frame: got 0 of 4 bytes, then the deadline passed"]);
        assert!(begun.elapsed() >= Duration::from_secs(SHORT.parse().unwrap()), "before its time");
    }
}

#[test]
fn a_signal_lets_an_exchange_that_has_begun_finish() {
    let server = serve(&["--deadline", LONG, "server", LOCAL, "0"]);
    let conn = connect(&server);
    send_all(&conn, b"\0\0\0\x05he").unwrap();
    server.program.out.next(); // [accept]
    first_signal(&server, SIGTERM);
    send_all(&conn, b"llo").unwrap();
    let answer = length::recv_frame_with_deadline(&conn, DEFAULT_CAP, deadline()).unwrap();
    assert_eq!(answer.as_deref(), Some(&b"hello"[..]));
    drop(conn);
    let ended = server.program.end();
    assert_eq!((ended.code, ended.out), (Some(0), vec!["[done] echoed 5 bytes".to_owned()]));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    for (first, second) in [(SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGINT, SIGTERM)] {
        let server = serve(&["--deadline", LONG, "server", LOCAL, "0"]);
        let _silent = connect(&server);
        server.program.out.next(); // [accept]
        first_signal(&server, first);
        server.program.signal(second);
        let ended = server.program.end();
        assert_eq!((ended.code, ended.signal), (None, Some(second as i32)), "{first}, {second}");
    }
}

// ---- nobody reads what it prints ----

#[test]
fn a_reader_who_has_gone_does_not_end_the_server() {
    let (out, its_out) = pipe().unwrap();
    let (err, its_err) = pipe().unwrap();
    let mut command = echo(&["server", LOCAL, "0"]);
    command.stdin(Stdio::null()).stdout(its_out).stderr(its_err);
    let program = Program::of(command.spawn().unwrap());
    drop(command); // and with it our copies of the writing ends
    let first_line = read_line(out);
    drop(err);
    let port = first_line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
    for msg in ["one", "two"] {
        let bad = connect_to(LOCAL, port).unwrap();
        send_all(&bad, &[255; 4]).unwrap(); // makes it complain
        assert_eq!(drain(&bad).unwrap(), 0);
        assert_eq!(client(port, msg).out[1], format!("[echoed] {msg}"));
    }
    program.signal(SIGTERM);
    assert_eq!(program.end().code, Some(0));
}

/// Reads one line, and goes away.
fn read_line(mut pipe: PipeReader) -> String {
    stream::wait_ready(&pipe, POLLIN, Some(deadline())).unwrap();
    let mut line = [0; 100]; // a line is written by one call, and so comes by one
    let n = pipe.read(&mut line).unwrap();
    String::from_utf8_lossy(&line[..n]).into_owned()
}
