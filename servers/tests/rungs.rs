//! What every rung must do, and what its own lesson promises.
//!
//! Nothing bounds from above how long something took: what does not happen within a minute hangs.

use std::ffi::c_int;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig, ClientConnection, StreamOwned};
use servers::conformance::server::Recipe;
use servers::conformance::suite::{Outcome, Plan, run};
use servers::load::{self, Wire};
use servers::log::ROOM;
use servers::outside::{
    descriptors, established, leaves_unread, limit_descriptors, listens_at, under_way, unread,
    within,
};
use servers::process::Server;
use servers::rungs::{RUNGS, Rung, not_here};
use servers::start::ACCEPT_AGAIN;
use servers::wait::HANG_LIMIT;
use socket2::{Domain, SockRef, Socket, Type};

struct Run {
    server: Server,
    tls: Option<Arc<ClientConfig>>,
}

impl Run {
    fn connect(&self) -> Box<dyn Wire> {
        load::connect(self.server.addr, self.tls.as_ref()).unwrap()
    }

    fn plain(&self) -> TcpStream {
        let socket = TcpStream::connect(self.server.addr).unwrap();
        socket.set_read_timeout(Some(HANG_LIMIT)).unwrap();
        socket.set_write_timeout(Some(HANG_LIMIT)).unwrap();
        socket
    }

    /// One for which the kernels keep few bytes: a small receive buffer, small segments.
    fn narrow(&self) -> TcpStream {
        let socket =
            Socket::new(Domain::for_address(self.server.addr), Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.set_tcp_mss(4096).unwrap();
        socket.connect(&self.server.addr.into()).unwrap();
        let socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(HANG_LIMIT)).unwrap();
        socket
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_servers")).with_file_name(name)
}

fn start(rung: &Rung) -> Run {
    start_with(rung, Stdio::null())
}

fn start_with(rung: &Rung, stderr: impl Into<Stdio>) -> Run {
    let mut server = Server::start_with(&program(rung.name), stderr.into()).unwrap();
    let pem = rung.tls.then(|| server.read_until("-----END CERTIFICATE-----\n").unwrap());
    Run { server, tls: pem.map(|pem| load::trust(&pem).unwrap()) }
}

fn rung(begin: &str) -> &'static Rung {
    RUNGS.iter().find(|rung| rung.name.starts_with(begin)).unwrap()
}

/// Every rung on a thread of its own.
fn each(test: impl Fn(&Rung) + Sync) {
    these(&runnable().map(|rung| rung.name).collect::<Vec<_>>(), test);
}

/// The rungs that this machine can run.
fn runnable() -> impl Iterator<Item = &'static Rung> {
    RUNGS.iter().filter(|rung| {
        let why = not_here(rung.name);
        if let Some(why) = &why {
            println!("skipped: {why}");
        }
        why.is_none()
    })
}

fn these(names: &[&str], test: impl Fn(&Rung) + Sync) {
    let test = &test;
    thread::scope(|scope| {
        for name in names {
            let client = thread::Builder::new().name((*name).into());
            client.spawn_scoped(scope, move || test(rung(name))).unwrap();
        }
    });
}

fn frame(len: usize) -> Vec<u8> {
    let mut frame = (len as u32).to_be_bytes().to_vec();
    frame.extend((0..len).map(|i| i as u8));
    frame
}

#[track_caller]
fn expect(wire: &mut dyn Read, bytes: &[u8]) {
    let mut answer = vec![0; bytes.len()];
    wire.read_exact(&mut answer).unwrap();
    assert!(answer == bytes, "the answer is not the request");
}

#[track_caller]
fn expect_end(wire: &mut dyn Read) {
    let mut byte = [0];
    assert_eq!(wire.read(&mut byte).unwrap(), 0, "more than the answers came");
}

/// Whether the connection is over: its end, or a reset.
#[track_caller]
fn is_over(wire: &mut (impl Read + ?Sized)) {
    match wire.read(&mut [0]) {
        Ok(0) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => {} // TLS: an end that was not announced
        other => panic!("it goes on: {other:?}"),
    }
}

#[track_caller]
fn exchange(wire: &mut (impl Read + Write + ?Sized), len: usize) {
    wire.write_all(&frame(len)).unwrap();
    let mut answer = vec![0; 4 + len];
    wire.read_exact(&mut answer).unwrap();
    assert!(answer == frame(len), "the answer is not the request");
}

/// Until all that was sent here, the end of a stream too, is in the server's buffer.
fn wait_until_acked(run: &Run, conn: &TcpStream) {
    let (us, server) = (conn.local_addr().unwrap(), run.server.addr);
    // A socket that both ends have closed is gone.
    let acked = || if under_way(us, server).unwrap_or(0) == 0 { Ok(()) } else { Err("no ack") };
    within(HANG_LIMIT, acked).unwrap();
}

/// An answer to a client that came later: what this one has sent, a loop of the server has seen.
fn wait_until_seen(run: &Run, conn: &TcpStream) {
    wait_until_acked(run, conn);
    exchange(&mut run.plain(), 1);
}

// ---- the conversation ----

#[test]
fn every_rung_echoes_a_frame_that_comes_a_byte_at_a_time() {
    each(|rung| {
        let run = start(rung);
        let mut wire = run.connect();
        let whole = frame(20);
        for byte in &whole {
            wire.write_all(&[*byte]).unwrap(); // NODELAY is set: each is a segment of its own
        }
        expect(&mut *wire, &whole);
    });
}

#[test]
fn every_rung_but_the_first_echoes_frames_that_come_joined_and_cut_anywhere() {
    each(|rung| {
        if rung.single_shot {
            return;
        }
        let run = start(rung);
        let mut wire = run.connect();
        let all = [frame(0), frame(1), frame(64), frame(70_000), frame(3), frame(0)].concat();
        wire.write_all(&all).unwrap();
        expect(&mut *wire, &all);
        let small = [frame(0), frame(5), frame(1)].concat();
        for cut in 1..small.len() {
            wire.write_all(&small[..cut]).unwrap();
            wire.write_all(&small[cut..]).unwrap();
            expect(&mut *wire, &small);
        }
        let largest = frame(1 << 20);
        thread::scope(|scope| {
            let mut other = wire.socket().try_clone().unwrap();
            if rung.tls {
                wire.write_all(&largest).unwrap(); // this side cannot be split in two
            } else {
                scope.spawn(move || other.write_all(&frame(1 << 20)).unwrap());
            }
            expect(&mut *wire, &largest);
        });
    });
}

#[test]
fn every_rung_answers_what_came_before_a_half_close_and_then_ends_too() {
    each(|rung| {
        if rung.tls {
            return; // its half-close is close_notify, and rustls's client sends it with its end
        }
        let run = start(rung);
        for _ in 0..100 {
            let mut conn = run.plain();
            let request = if rung.single_shot { frame(9) } else { [frame(9), frame(0)].concat() };
            conn.write_all(&request).unwrap();
            conn.shutdown(Shutdown::Write).unwrap(); // request and FIN arrive together, or nearly
            expect(&mut conn, &request);
            expect_end(&mut conn);
        }
    });
}

#[test]
fn every_rung_drops_who_claims_too_much_and_serves_the_next() {
    each(|rung| {
        let run = start(rung);
        let mut bad = run.connect();
        bad.write_all(&[0xff; 4]).unwrap();
        is_over(&mut *bad);
        drop(bad);
        exchange(&mut *run.connect(), 5);
    });
}

#[test]
fn a_silent_client_holds_up_the_first_two_rungs_and_no_other() {
    each(|rung| {
        let run = start(rung);
        if rung.at_once > 1 {
            let _silent = run.plain();
            exchange(&mut *run.connect(), 5);
            return;
        }
        let (mut first, mut second) = (run.plain(), run.plain());
        second.write_all(&frame(5)).unwrap();
        for _ in 0..if rung.single_shot { 1 } else { 100 } {
            exchange(&mut first, 5); // it comes and goes a hundred times, and the other waits
        }
        second.set_nonblocking(true).unwrap();
        let nothing = second.read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock, "{}", rung.name);
        second.set_nonblocking(false).unwrap();
        drop(first);
        expect(&mut second, &frame(5));
    });
}

/// Sends frames and reads nothing, until the server leaves bytes unread.
fn stuff(run: &Run) -> (TcpStream, usize) {
    stuff_with(run, &frame(60_000))
}

fn stuff_with(run: &Run, bytes: &[u8]) -> (TcpStream, usize) {
    let mut conn = run.plain();
    let (server, us) = (conn.peer_addr().unwrap(), conn.local_addr().unwrap());
    conn.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < HANG_LIMIT, "it reads on and on: {sent} bytes");
        match conn.write(&bytes[sent % bytes.len()..]) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                if leaves_unread(run.server.pid(), server, us) {
                    return (conn, sent);
                }
            }
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn who_does_not_read_fills_the_memory_of_poll_but_not_of_epoll() {
    let run = start(rung("r05"));
    let before = run.server.memory().unwrap();
    let mut conn = run.plain();
    for _ in 0..64 {
        conn.write_all(&frame(1 << 20)).unwrap(); // none of them waits for ever
    }
    let grown = run.server.memory().unwrap() - before;
    assert!(grown > 16 << 20, "r05 grew by {grown}");

    let run = start(rung("r06"));
    let before = run.server.memory().unwrap();
    let (_conn, sent) = stuff(&run);
    let grown = run.server.memory().unwrap() - before;
    assert!(grown < 1 << 20, "r06 took {sent} bytes, grew by {grown}");
}

#[test]
fn who_reads_late_gets_every_answer_from_epoll() {
    these(&["r06", "r07", "r08", "r09"], |rung| {
        let run = start(rung);
        let (mut conn, sent) = stuff(&run);
        conn.set_nonblocking(false).unwrap();
        let whole = frame(60_000);
        for _ in 0..sent / whole.len() {
            expect(&mut conn, &whole);
        }
        conn.write_all(&whole[sent % whole.len()..]).unwrap(); // the rest of the last one
        expect(&mut conn, &whole);
    });
}

#[test]
fn a_reset_while_an_answer_waits_for_room_leaves_no_descriptor() {
    these(&["r03", "r04", "r06", "r07", "r08", "r09", "r13", "r14", "r15", "r16"], |rung| {
        let run = start(rung);
        let mut stays = run.connect();
        exchange(&mut *stays, 5); // whatever it opens once is open now
        let count = || descriptors(run.server.pid()).len();
        let before = count();
        for size in [100, 60_000] {
            let (conn, _) = stuff_with(&run, &frame(size));
            SockRef::from(&conn).set_linger(Some(Duration::ZERO)).unwrap();
            drop(conn);
            let gone = within(HANG_LIMIT, || if count() <= before { Ok(()) } else { Err(count()) });
            assert_eq!(gone, Ok(()), "{}: descriptors, {before} before", rung.name);
        }
    });
}

// ---- answers that wait while something goes wrong ----

/// Gives the server's connections a send buffer of the smallest size: they inherit it from the socket
/// that listens, of which pidfd_getfd(2) makes a duplicate for us. `false`: it may not.
fn small_send_buffers(server: &Server) -> bool {
    let listener = descriptors(server.pid()).into_iter().find_map(|number| {
        // SAFETY: the calls take no memory, and what they return was not open before.
        let fd = unsafe {
            let pidfd = libc::syscall(libc::SYS_pidfd_open, server.pid(), 0) as c_int;
            let pidfd = (pidfd >= 0).then(|| OwnedFd::from_raw_fd(pidfd))?;
            let fd = libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) as c_int;
            (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?
        };
        Some(Socket::from(fd)).filter(|socket| socket.is_listener().is_ok_and(|yes| yes))
    });
    let Some(listener) = listener else {
        println!("skipped: SO_SNDBUF 4096 in the server: pidfd_getfd(2) is not allowed");
        return false;
    };
    listener.set_send_buffer_size(4096).unwrap();
    true
}

#[test]
fn answers_to_whole_frames_arrive_however_the_stream_goes_wrong_after_them() {
    each(|rung| {
        let run = start(rung);
        small_send_buffers(&run.server);
        let frames = frame(1000).repeat(if rung.single_shot { 1 } else { 40 });
        let late = [vec![0, 0x10, 0, 1], frame(9)].concat();
        for (tail, ends) in [
            (vec![0xff; 4], false),
            (vec![0xff; 100_000], false), // more than is read with the header
            (late, false),                // a frame that comes after
            (vec![], true),
            (vec![0, 0], true),
            (frame(9)[..9].to_vec(), true),
        ] {
            let mut wire = run.connect();
            wire.write_all(&[&frames[..], &tail].concat()).unwrap(); // in one piece
            if ends {
                wire.socket().shutdown(Shutdown::Write).unwrap();
            }
            let mut came = Vec::new();
            let how = wire.read_to_end(&mut came);
            let all = how.is_ok() && came == frames;
            assert!(all, "{}: {} bytes, then {how:?}; {tail:.5?}", rung.name, came.len());
        }
        // A client that resets its connection takes its answers with it, and nobody else's.
        let reset = run.plain();
        (&reset).write_all(&frames).unwrap();
        SockRef::from(&reset).set_linger(Some(Duration::ZERO)).unwrap();
        drop(reset);
        exchange(&mut *run.connect(), 5);
    });
}

#[test]
fn answers_to_whole_frames_arrive_before_a_record_that_was_tampered_with() {
    let run = start(rung("r10"));
    let name = ServerName::from(run.server.addr.ip());
    let tls = ClientConnection::new(run.tls.clone().unwrap(), name).unwrap();
    let mut wire = StreamOwned::new(tls, run.plain());
    exchange(&mut wire, 5);
    // Three frames, each in a record of its own, and then one of which the last bit is another.
    let mut records = Vec::new();
    for len in [9, 10, 11, 12] {
        wire.conn.writer().write_all(&frame(len)).unwrap();
        while wire.conn.wants_write() {
            wire.conn.write_tls(&mut records).unwrap();
        }
    }
    *records.last_mut().unwrap() ^= 1;
    wire.sock.write_all(&records).unwrap();
    // Our side reads a record at a time, too: it has the same rule.
    let mut came = Vec::new();
    wire.sock.read_to_end(&mut came).unwrap();
    let (mut rest, mut answers) = (&came[..], Vec::new());
    let how = loop {
        let len = 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        let (mut record, after) = rest.split_at(len);
        rest = after;
        wire.conn.read_tls(&mut record).unwrap();
        match wire.conn.process_new_packets() {
            Ok(_) => drop(wire.conn.reader().read_to_end(&mut answers)), // or: no more for now
            Err(e) => break e,
        }
    };
    assert_eq!(how, rustls::Error::AlertReceived(AlertDescription::BadRecordMac));
    assert!(answers == [frame(9), frame(10), frame(11)].concat(), "{} bytes", answers.len());
}

/// The checks of the suite about what goes wrong, for every rung. `make conformance` asks the rest.
#[test]
fn every_rung_passes_the_checks_about_what_goes_wrong() {
    each(|rung| {
        let words = [program(rung.name).into_os_string(), "127.0.0.1".into(), "0".into()];
        let recipe = Recipe { words: words.into() };
        let (name, one_frame) = (rung.name.into(), rung.single_shot);
        let plan = Plan { name, recipe, tls: rung.tls, one_frame, deadline: None };
        let graceful = ["r08_graceful", "r09_tracing"].contains(&rung.name);
        let mut only = vec!["before-bad", "before-cut", "full", "unread-log"];
        only.extend(if graceful { &["finishes"][..] } else { &[] });
        let only: Vec<String> = only.into_iter().map(str::to_owned).collect();
        for row in run(&plan, &only, |_| HANG_LIMIT).unwrap().rows {
            let asked = only.iter().any(|id| id == row.check.id);
            let passed = matches!(row.outcome, Outcome::Passed(_));
            assert!(passed || !asked, "{}, {}: {:?}", rung.name, row.check.id, row.outcome);
        }
    });
}

// ---- deadlines ----

/// Whether the server has ended its side of a conversation.
fn has_ended(conn: &TcpStream) -> bool {
    !established(conn.peer_addr().unwrap(), conn.local_addr().unwrap())
}

/// Waits until the server has read all that was sent.
fn wait_until_taken(conn: &TcpStream) {
    let (server, us) = (conn.peer_addr().unwrap(), conn.local_addr().unwrap());
    let left = || (under_way(us, server), unread(server, us));
    let look = || if left() == (Some(0), Some(0)) { Ok(()) } else { Err(left()) };
    within(HANG_LIMIT, look).unwrap();
}

/// Of each pair of clients, the first goes on a little, again and again; the second comes later, and
/// does nothing more. If what the first does postponed its end, the second's would come sooner.
#[test]
fn a_deadline_holds_whatever_still_comes_or_goes() {
    these(&["r07", "r08", "r09"], |rung| {
        let run = start(rung);
        let small = small_send_buffers(&run.server); // or a kernel takes the whole answer
        let start = Instant::now();
        // Silence, but for urgent bytes, which are no part of the stream.
        let (urgent, silent) = (run.plain(), run.plain());
        // A frame, of which a byte comes now and then.
        let (dripping, mut stuck) = (run.plain(), run.plain());
        // An answer, of which a little is taken now and then.
        let (slow, never) = (run.narrow(), run.narrow());
        let (frames, large) = (frame(1000).repeat(40), frame(1 << 20));
        let cut = [&frames, &large[..9]].concat();
        for (mut conn, bytes) in
            [(&dripping, &cut), (&slow, &large), (&stuck, &cut), (&never, &large)]
        {
            conn.write_all(bytes).unwrap();
            wait_until_taken(conn);
        }
        slow.set_nonblocking(true).unwrap();
        let acts: [&(dyn Fn() + Sync); 4] = [
            &|| drop(SockRef::from(&urgent).send_out_of_band(b"!")),
            &|| drop((&dripping).write(b".")),
            &|| drop((&slow).read(&mut [0; 1000])),
            // Stopped and continued, epoll_wait ends with EINTR: signal(7).
            &|| {
                let _ = run.server.signal(libc::SIGSTOP);
                let _ = run.server.signal(libc::SIGCONT);
            },
        ];
        let stop = AtomicBool::new(false);
        let mut wrong = Vec::new();
        thread::scope(|scope| {
            for act in acts {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        act();
                        thread::sleep(Duration::from_millis(20)); // how often, not how long
                    }
                });
            }
            for (what, first, second, seconds) in [
                ("a frame that drips", &dripping, &stuck, 5),
                ("an answer taken bit by bit", &slow, &never, 5),
                ("urgent bytes", &urgent, &silent, 10),
            ] {
                if what.contains("answer") && !small {
                    continue;
                }
                let ended = within(HANG_LIMIT, || has_ended(second).then_some(()).ok_or(()));
                if ended.is_err() || !has_ended(first) {
                    wrong.push(format!("{}: {what}: no end of it ({ended:?})", rung.name));
                }
                if start.elapsed() < Duration::from_secs(seconds) {
                    wrong.push(format!("{}: {what}: after {:?}", rung.name, start.elapsed()));
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert!(wrong.is_empty(), "{wrong:#?}");
        // Its answers have waited all the while, and come before the end.
        expect(&mut stuck, &frames);
        expect_end(&mut stuck);
    });
}

// ---- SIGTERM ----

#[test]
fn every_rung_ends_on_sigterm_whatever_its_clients_do() {
    each(|rung| {
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let run = start(rung);
            let silent = run.plain();
            run.server.signal(signal).unwrap();
            assert_eq!(run.server.wait().unwrap().code(), Some(0));
            drop(silent);
        }
    });
}

#[test]
fn at_sigterm_what_has_begun_is_finished() {
    these(&["r08", "r09"], |rung| {
        let run = start(rung);
        let (mut idle, mut half) = (run.plain(), run.plain());
        exchange(&mut idle, 5);
        exchange(&mut half, 5);
        let whole = frame(1000);
        half.write_all(&whole[..500]).unwrap();
        wait_until_seen(&run, &half);
        run.server.signal(libc::SIGTERM).unwrap();
        expect_end(&mut idle); // who owed nothing is let go, so the end has begun
        let refused = TcpStream::connect(run.server.addr).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        half.write_all(&whole[500..]).unwrap();
        expect(&mut half, &whole);
        expect_end(&mut half);
        assert_eq!(run.server.wait().unwrap().code(), Some(0));
    });
}

#[test]
fn a_second_signal_does_not_wait_for_anyone() {
    let (mut log, write_end) = io::pipe().unwrap();
    let run = start_with(rung("r08"), write_end);
    let (mut half, mut idle) = (run.plain(), run.plain());
    half.write_all(&frame(100)[..50]).unwrap();
    wait_until_seen(&run, &half);
    run.server.signal(libc::SIGTERM).unwrap();
    expect_end(&mut idle);
    run.server.signal(libc::SIGTERM).unwrap();
    assert_eq!(run.server.wait().unwrap().code(), Some(0));
    // Else it would have said so: that the half frame's time was over.
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

// ---- what is printed ----

#[test]
fn the_ninth_rung_says_what_happened_to_whom() {
    let (mut log, write_end) = io::pipe().unwrap();
    let run = start_with(rung("r09"), write_end);
    let mut conn = run.plain();
    for _ in 0..3 {
        exchange(&mut conn, 5);
    }
    conn.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut conn);
    let mut bad = run.plain();
    bad.write_all(&[&frame(5)[..], &frame(6), &[0xff; 4]].concat()).unwrap();
    expect(&mut bad, &[frame(5), frame(6)].concat());
    expect_end(&mut bad);
    bad.shutdown(Shutdown::Write).unwrap();
    wait_until_acked(&run, &bad); // else the signal may come first, and the server stops with one open
    run.server.stop().unwrap();
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    for line in [
        "accepted client=1 peer=\"127.0.0.1:",
        "closed client=1 frames=3 ms=",
        "dropped client=2 frames=2 ms=",
        "claims 4294967295 bytes",
        "stopping open=0",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
    assert_eq!(said.lines().filter(|line| line.contains("client=2")).count(), 2, "{said}");
}

#[test]
fn no_descriptor_is_left_for_a_while_and_the_log_says_it_once() {
    each(|rung| {
        let (log, write_end) = io::pipe().unwrap();
        let mut log = BufReader::new(log);
        let run = start_with(rung, write_end);
        let pid = run.server.pid();
        exchange(&mut *run.connect(), 5); // it has all that it needs for itself
        let before = limit_descriptors(pid, 3).unwrap();
        // An `accept` that waits already has its number: it takes the first one.
        drop(run.plain());
        let mut conn = run.plain();
        let mut said = String::new();
        while !said.contains("Too many open files") {
            assert_ne!(log.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        thread::sleep(5 * ACCEPT_AGAIN); // it tries again, and has nothing new to say
        limit_descriptors(pid, before).unwrap();
        if !rung.tls {
            exchange(&mut conn, 5);
        }
        drop(conn);
        run.server.signal(libc::SIGKILL).unwrap();
        log.read_to_string(&mut said).unwrap();
        assert_eq!(said.matches("Too many open files").count(), 1, "{said}");
    });
}

/// Something to log to that takes no more, and what reads it.
fn full(kind: &str) -> (OwnedFd, OwnedFd) {
    let (reads, takes): (OwnedFd, OwnedFd) = match kind {
        "pipe" => io::pipe().map(|(r, w)| (r.into(), w.into())).unwrap(),
        "socket" => UnixStream::pair().map(|(r, w)| (r.into(), w.into())).unwrap(),
        _ => openpty(None, None).map(|pty| (pty.master, pty.slave)).unwrap(),
    };
    let nonblocking = OFlag::O_NONBLOCK;
    let before = OFlag::from_bits_truncate(fcntl(&takes, FcntlArg::F_GETFL).unwrap());
    fcntl(&takes, FcntlArg::F_SETFL(before | nonblocking)).unwrap();
    let mut file = File::from(takes.try_clone().unwrap());
    while file.write(b".").is_ok() {}
    fcntl(&takes, FcntlArg::F_SETFL(before)).unwrap();
    (reads, takes)
}

/// Reads on until as many lines have come, or are said to be lost, as there were.
fn read_log(reads: OwnedFd, lines: usize) -> (usize, usize) {
    let (mut came, mut lost) = (0, 0);
    let mut log = BufReader::new(File::from(reads));
    while came + lost < lines {
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        match line.trim_end().strip_prefix("(lines of the log that were lost: ") {
            Some(count) => lost += count.trim_end_matches(')').parse::<usize>().unwrap(),
            None => came += 1,
        }
    }
    (came, lost)
}

#[test]
fn a_log_that_nobody_reads_stops_no_rung_and_says_later_what_it_lost() {
    let test = |rung: &Rung, kind: &str| {
        let (reads, takes) = full(kind);
        let run = start_with(rung, takes);
        let count = 2 * ROOM;
        for _ in 0..count {
            let mut bad = run.connect();
            bad.write_all(&[0xff; 4]).unwrap();
            is_over(&mut *bad);
        }
        let mut good = run.connect();
        exchange(&mut *good, 5);
        drop(good);
        let lines = match rung.name {
            "r09_tracing" => 1 + 2 * (count + 1), // listening; accepted, dropped or closed
            _ if rung.tls => count + 1,           // the last one leaves without TLS's own end
            _ => count,
        };
        let (came, lost) = read_log(reads, lines);
        assert!(lost > 0 && came + lost == lines, "{}: {came} came, {lost} lost", rung.name);
    };
    for kind in ["pipe", "socket", "terminal"] {
        test(rung("r06"), kind);
    }
    each(|rung| test(rung, "pipe"));
}

#[test]
fn a_full_standard_output_does_not_stop_a_rung_either() {
    each(|rung| {
        let (_reads, takes) = full("pipe");
        let mut command = Command::new(program(rung.name));
        let mut child = command.args(["127.0.0.1", "0"]).stdout(takes).spawn().unwrap();
        let port = within(HANG_LIMIT, || listens_at(child.id()).ok_or("it does not listen"));
        let mut conn = TcpStream::connect(("127.0.0.1", port.unwrap())).unwrap();
        if !rung.tls {
            exchange(&mut conn, 5); // with TLS nobody has the certificate
        }
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

#[test]
fn what_cannot_be_printed_is_an_error_that_says_so() {
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let report = |path: &Path, args: &[&str], stdout: File| {
        let child = Command::new(path).args(args).stdout(stdout).output().unwrap();
        (child.status.code(), String::from_utf8(child.stderr).unwrap())
    };
    let expect = |path: &Path, args: &[&str], says: &str| {
        let (code, error) = report(path, args, full());
        assert_eq!(code, Some(1), "{path:?} {args:?}: {error}");
        let no_space = error.contains(says) && error.contains("No space left on device");
        assert!(no_space && error.lines().count() == 1, "{path:?} {args:?}: {error}");
    };
    for rung in runnable() {
        for args in [&["127.0.0.1", "0"][..], &["--help"]] {
            expect(&program(rung.name), args, "stdout: ");
        }
        // The log is not what a server is for.
        let run = start_with(rung, full());
        for _ in 0..3 {
            let mut bad = run.connect();
            bad.write_all(&[0xff; 4]).unwrap();
            is_over(&mut *bad);
        }
        exchange(&mut *run.connect(), 5);
        assert!(run.server.stop().unwrap().success());
    }
    let echo = program("r03_thread_per_connection");
    let echo = ["--only=empty", echo.to_str().unwrap(), "127.0.0.1", "0"];
    let load = ["r03", "--clients=2", "--requests=10"];
    for (name, args) in [
        ("servers", &load[..]),
        ("servers", &["--help"]),
        ("conformance", &echo),
        ("conformance", &["--help"]),
        ("conformance", &["--list"]),
    ] {
        expect(&program(name), args, "stdout: ");
    }
    let to_file = [&["--report", "/dev/full"][..], &echo].concat();
    let null = || OpenOptions::new().write(true).open("/dev/null").unwrap();
    let (code, error) = report(&program("conformance"), &to_file, null());
    assert_eq!(code, Some(1));
    assert!(error.contains("/dev/full: No space left on device"), "{error}");
}

/// As zeromq/libzmq#956 and qbittorrent/qBittorrent#10312 met it: a program that a server starts
/// keeps the sockets that are not close-on-exec, and with them the port and the clients.
#[test]
fn every_descriptor_of_every_rung_is_closed_on_exec() {
    each(|rung| {
        let run = start(rung);
        let mut conn = run.connect();
        exchange(&mut *conn, 1); // so it has been accepted, and is still there
        let pid = run.server.pid();
        let link = |who: &str, fd: i32| fs::read_link(format!("/proc/{who}/fd/{fd}")).ok();
        let is_its_own = |fd: &i32| *fd > 2 && link(&pid.to_string(), *fd) != link("self", *fd);
        let mut looked_at = 0;
        for fd in descriptors(pid).into_iter().filter(is_its_own) {
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}"));
            let Ok(info) = info else { continue }; // closed since
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            let flags = i32::from_str_radix(flags.trim(), 8).unwrap();
            assert_ne!(flags & libc::O_CLOEXEC, 0, "{}: descriptor {fd}", rung.name);
            looked_at += 1;
        }
        assert!(looked_at >= 2, "{}: neither listener nor connection?", rung.name);
    });
}

/// As netty/netty#4317 met it: the end comes together with the last bytes, and they are not read.
#[test]
fn frames_that_arrive_together_with_the_end_are_answered() {
    each(|rung| {
        if rung.tls {
            return; // who is stopped shakes no hands
        }
        let run = start(rung);
        run.server.signal(libc::SIGSTOP).unwrap();
        let mut conn = run.plain();
        let sent = frame(1000).repeat(if rung.single_shot { 1 } else { 20 });
        conn.write_all(&sent).unwrap();
        conn.shutdown(Shutdown::Write).unwrap();
        wait_until_acked(&run, &conn);
        run.server.signal(libc::SIGCONT).unwrap();
        expect(&mut conn, &sent);
        expect_end(&mut conn);
    });
}

#[test]
fn what_is_lent_to_a_rung_is_left_as_it_was() {
    each(|rung| {
        let (reads, takes) = UnixStream::pair().unwrap();
        reads.set_read_timeout(Some(HANG_LIMIT)).unwrap(); // of the socket, and no flag of the file
        let (reads, takes): (OwnedFd, OwnedFd) = (reads.into(), takes.into());
        let modes = || [&reads, &takes].map(|fd| fcntl(fd, FcntlArg::F_GETFL).unwrap());
        let before = modes();
        let mut command = Command::new(program(rung.name));
        command.args(["127.0.0.1", "0"]).stdin(takes.try_clone().unwrap());
        command.stdout(takes.try_clone().unwrap()).stderr(takes.try_clone().unwrap());
        let mut child = command.spawn().unwrap();
        let mut out = BufReader::new(File::from(reads.try_clone().unwrap()));
        let mut said = String::new();
        while !said.contains("[listen-ok]") {
            let read = out.read_line(&mut said);
            assert!(read.is_ok(), "{}: it does not listen, and said {said:?}", rung.name);
        }
        let addr = said.trim().rsplit(' ').next().unwrap().to_owned();
        let mut bad = TcpStream::connect(addr).unwrap();
        bad.write_all(&[0xff; 20]).unwrap();
        let _ = bad.read_to_end(&mut Vec::new()); // with TLS an alert comes before the end
        assert_eq!(modes(), before, "{}, while it runs", rung.name);
        // SAFETY: the call takes no memory, and the child has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        child.wait().unwrap();
        assert_eq!(modes(), before, "{}", rung.name);
    });
}

#[test]
fn the_command_line_is_checked() {
    each(|rung| {
        let run = |args: &[&str]| Command::new(program(rung.name)).args(args).output().unwrap();
        let help = run(&["--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(String::from_utf8(help.stdout).unwrap().starts_with(rung.name));
        for (args, code) in [
            (&["127.0.0.1"][..], 2),
            (&["127.0.0.1", "65536"], 2),
            (&["127.0.0.1", "0", "x"], 2),
            (&["192.0.2.1", "0"], 1), // nobody's address
            (&["not an address", "0"], 1),
        ] {
            let ended = run(args);
            assert_eq!(ended.status.code(), Some(code), "{args:?}");
            let error = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    });
}
