//! What every rung must do, and what its own lesson promises.

#[path = "../../tests/programs/mod.rs"]
mod programs;

use std::ffi::c_short;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use libc::{POLLIN, POLLOUT};
use nix::sys::signal::Signal;
use rustls::ClientConfig;
use servers::HANG;
use servers::conformance::idle::Watched;
use servers::load::{self, Wire};
use servers::rungs::{RUNGS, Rung};
use servers::server::Server;
use tcp_stream_io::stream::wait_ready;

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
        socket.set_read_timeout(Some(HANG)).unwrap();
        socket
    }

    /// Whether the socket becomes ready before the server has slept for so many looks.
    fn is_ready(&self, socket: &TcpStream, event: c_short, looks: u32) -> bool {
        let ready = |time| wait_ready(socket, event, Some(Instant::now() + time)).ok();
        Watched::new(self.server.pid()).until_asleep(looks, ready).is_some()
    }
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_servers")).with_file_name(name)
}

fn start(rung: &Rung) -> Run {
    let mut server = Server::start(&program(rung.name)).unwrap();
    let pem = rung.tls.then(|| server.read_until("-----END CERTIFICATE-----\n").unwrap());
    Run { server, tls: pem.map(|pem| load::trust(&pem).unwrap()) }
}

fn rung(begin: &str) -> &'static Rung {
    RUNGS.iter().find(|rung| rung.name.starts_with(begin)).unwrap()
}

/// Every rung on a thread of its own.
fn each(test: fn(&Rung)) {
    thread::scope(|scope| {
        for rung in RUNGS {
            thread::Builder::new()
                .name(rung.name.into())
                .spawn_scoped(scope, || test(rung))
                .unwrap();
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
            // Not after a sleep: the idle time of r07 on would hide what was missed.
            assert!(run.is_ready(&conn, POLLIN, 50), "{} does not end it", rung.name);
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
        let mut good = run.connect();
        good.write_all(&frame(5)).unwrap();
        expect(&mut *good, &frame(5));
    });
}

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
fn a_silent_client_holds_up_the_first_two_rungs_and_no_other() {
    each(|rung| {
        let run = start(rung);
        let _silent = run.plain();
        let mut wire = run.connect();
        wire.write_all(&frame(5)).unwrap();
        if rung.at_once > 1 {
            expect(&mut *wire, &frame(5));
        } else {
            assert!(!run.is_ready(wire.socket(), POLLIN, 50), "{} answers", rung.name);
        }
    });
}

/// Sends frames and reads nothing, until there is no more room.
fn stuff(run: &Run, most: usize) -> (TcpStream, usize) {
    let mut conn = run.plain();
    conn.set_nonblocking(true).unwrap();
    let (bytes, mut sent) = (frame(60_000), 0);
    while sent < most && run.is_ready(&conn, POLLOUT, 50) {
        match conn.write(&bytes[sent % bytes.len()..]) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("{e}"),
        }
    }
    (conn, sent)
}

#[test]
fn who_does_not_read_fills_the_memory_of_poll_but_not_of_epoll() {
    const MOST: usize = 64 << 20;
    let grown = |begin| {
        let run = start(rung(begin));
        let before = run.server.memory().unwrap();
        let (_conn, sent) = stuff(&run, MOST);
        (sent, run.server.memory().unwrap() - before)
    };
    let (sent, memory) = grown("r05");
    assert!(sent >= MOST && memory > 16 << 20, "r05 took {sent} bytes, grew by {memory}");
    let (sent, memory) = grown("r06");
    assert!(sent < MOST && memory < 1 << 20, "r06 took {sent} bytes, grew by {memory}");
}

#[test]
fn who_reads_late_gets_every_answer_from_epoll() {
    for begin in ["r06", "r07", "r08", "r09"] {
        let run = start(rung(begin));
        let (mut conn, sent) = stuff(&run, 64 << 20);
        conn.set_nonblocking(false).unwrap();
        let whole = frame(60_000);
        for _ in 0..sent / whole.len() {
            expect(&mut conn, &whole);
        }
        conn.write_all(&whole[sent % whole.len()..]).unwrap(); // the rest of the last one
        expect(&mut conn, &whole);
    }
}

#[test]
fn who_is_slow_is_dropped_by_deadlines() {
    for_these(&["r07", "r08", "r09"], |run| {
        let (mut silent, mut dripping) = (run.plain(), run.plain());
        let start = Instant::now();
        dripping.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        // It would take a minute, and then be answered.
        let dropped = frame(1200).iter().any(|byte| {
            let sent = dripping.write_all(&[*byte]);
            let came = sent.and_then(|()| dripping.read(&mut [0]));
            match came {
                Err(e) if e.kind() == ErrorKind::WouldBlock => false,
                Ok(1) => panic!("the whole frame had its time"),
                _ => true,
            }
        });
        let took = start.elapsed().as_secs_f64();
        assert!(dropped && took >= 4.9, "the frame had {took} s");
        is_over(&mut silent);
        let took = start.elapsed().as_secs_f64();
        assert!(took >= 9.9, "the silence had {took} s");
    });
}

fn for_these(begins: &[&str], test: fn(Run)) {
    thread::scope(|scope| {
        for begin in begins {
            scope.spawn(|| test(start(rung(begin))));
        }
    });
}

#[test]
fn at_sigterm_what_has_begun_is_finished() {
    for_these(&["r08", "r09"], |run| {
        let (mut idle, mut half) = (run.plain(), run.plain());
        for conn in [&mut idle, &mut half] {
            conn.write_all(&frame(5)).unwrap();
            expect(conn, &frame(5));
        }
        let whole = frame(1000);
        half.write_all(&whole[..500]).unwrap();
        wait_until_seen(&run);
        run.server.signal(libc::SIGTERM).unwrap();
        is_over(&mut idle); // who owed nothing is let go, so the end has begun
        let refused = TcpStream::connect(run.server.addr).map(drop).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        half.write_all(&whole[500..]).unwrap();
        expect(&mut half, &whole);
        expect_end(&mut half);
        assert_eq!(run.server.wait().unwrap().code(), Some(0));
    });
}

/// An answer to a client that came later: what was sent before, one loop of the server has seen.
fn wait_until_seen(run: &Run) {
    let mut conn = run.plain();
    conn.write_all(&frame(1)).unwrap();
    expect(&mut conn, &frame(1));
}

#[test]
fn a_second_signal_does_not_wait_for_anyone() {
    let server = with_its_log("r08_graceful");
    let [mut half, mut idle] = [(); 2].map(|()| connect(&server));
    half.write_all(&frame(100)[..50]).unwrap();
    idle.write_all(&frame(1)).unwrap();
    expect(&mut idle, &frame(1)); // what was sent before, it has seen
    server.program.signal(Signal::SIGTERM);
    is_over(&mut idle);
    let ended = server.stop();
    // It has not waited for its client, which would have been too slow.
    assert_eq!((ended.code, ended.err), (Some(0), vec![]));
}

/// A rung whose standard error can be read.
fn with_its_log(name: &str) -> programs::Server {
    let mut command = Command::new(program(name));
    programs::Server::start(command.args(["127.0.0.1", "0"]).env("NO_COLOR", "1"))
}

fn connect(server: &programs::Server) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.port)).unwrap()
}

#[test]
fn the_ninth_rung_says_what_happened_to_whom() {
    let server = with_its_log("r09_tracing");
    let mut conn = connect(&server);
    for _ in 0..3 {
        conn.write_all(&frame(5)).unwrap();
        expect(&mut conn, &frame(5));
    }
    conn.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut conn);
    let log = server.stop().err.join("\n");
    assert!(log.contains("accepted client=1 peer=\"127.0.0.1:"), "{log}");
    assert!(log.contains("closed client=1 frames=3 ms="), "{log}");
    assert!(log.contains("stopping open=0"), "{log}");
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
