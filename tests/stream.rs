//! The loops of `stream`, against a real kernel and peers that behave badly.

mod support;

use std::cell::Cell;
use std::ffi::c_long;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use libc::{POLLIN, SHUT_WR, SYS_recvfrom, SYS_sendmsg, SYS_sendto};
use nix::sys::signal::{SigHandler, Signal, signal};
use stage::kernel;
use support::*;
use tcp_stream_io::stream::*;
use tcp_stream_io::{UniqueFd, sys};

/// The functions that receive, and the system call in which each of them waits.
type Receive = fn(&UniqueFd, &mut [u8]) -> io::Result<()>;
const RECEIVERS: [(&str, Receive, c_long); 2] = [
    ("recv_exact", |fd, buf| recv_exact(fd, buf), SYS_recvfrom),
    ("recv_exact_with_deadline", |fd, buf| recv_exact_with_deadline(fd, buf, soon()), SYS_POLL),
];

/// The same for those that send. The vectored ones get their bytes in slices of seven.
type Send = fn(&UniqueFd, &[u8]) -> io::Result<()>;
const SENDERS: [(&str, Send, c_long); 4] = [
    ("send_all", |fd, buf| send_all(fd, buf), SYS_sendto),
    ("send_all_with_deadline", |fd, buf| send_all_with_deadline(fd, buf, soon()), SYS_POLL),
    ("send_all_vectored", |fd, buf| send_all_vectored(fd, &mut sevens(buf)), SYS_sendmsg),
    (
        "send_all_vectored_with_deadline",
        |fd, buf| send_all_vectored_with_deadline(fd, &mut sevens(buf), soon()),
        SYS_POLL,
    ),
];

fn sevens(buf: &[u8]) -> Vec<IoSlice<'_>> {
    buf.chunks(7).map(IoSlice::new).collect()
}

// ---- short transfers and signals ----

#[test]
fn a_call_that_blocks_says_eintr_when_a_signal_comes() {
    let me = Interrupter::of_this_thread();
    let (ours, _peer) = narrow_pair();
    let mut poll = [libc::pollfd { fd: -1, events: 0, revents: 0 }];
    let bufs = [IoSlice::new(b"x")];
    let (recv, _) = me.storm(|| sys::recv(&ours, &mut [0], 0));
    let (poll, _) = me.storm(|| sys::poll(&mut poll, HANG.as_millis() as i32));
    fill_the_buffers(&ours); // what is under way to the peer makes a little room again, so:
    let (send, _) = me.storm(|| until_it_fails(|| sys::send(&ours, b"x", sys::NO_SIGPIPE)));
    let (sendmsg, _) = me.storm(|| until_it_fails(|| sys::sendmsg(&ours, &bufs, sys::NO_SIGPIPE)));
    for (call, result) in [("recv", recv), ("poll", poll), ("send", send), ("sendmsg", sendmsg)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Interrupted, "{call}");
    }
}

fn until_it_fails(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        call()?;
    }
}

#[test]
fn every_byte_of_a_drip_arrives_with_a_signal_before_each() {
    let drip = pattern(100);
    for (name, receive, blocks_in) in RECEIVERS {
        let me = Interrupter::of_this_thread();
        let before = stage::signals::counted();
        let (ours, peer) = pair();
        let mut got = vec![0; drip.len()];
        thread::scope(|s| {
            s.spawn(|| {
                for byte in drip.chunks(1) {
                    me.interrupt_in(blocks_in); // with nothing there to return: EINTR
                    me.wait_until_blocked_in(blocks_in); // and called again
                    send_all(&peer, byte).unwrap();
                }
            });
            receive(&ours, &mut got).expect(name);
        });
        assert_eq!(got, drip, "{name}");
        assert_eq!(stage::signals::counted() - before, drip.len(), "{name}");
    }
}

#[test]
fn every_byte_reaches_a_peer_that_sips_with_signals_in_between() {
    let data = pattern(100_000);
    for (name, send, blocks_in) in SENDERS {
        let me = Interrupter::of_this_thread();
        let (ours, peer) = narrow_pair();
        let mut got = vec![0; data.len()];
        thread::scope(|s| {
            s.spawn(|| {
                let mut sips = got.chunks_mut(1);
                for _ in 0..50 {
                    // The first one ends a send that has copied something: a short count. In the
                    // second one nothing has been copied since: EINTR.
                    me.interrupt_in(blocks_in);
                    me.interrupt_in(blocks_in);
                    sips.by_ref().take(20).for_each(|sip| recv_exact(&peer, sip).unwrap());
                }
                sips.for_each(|sip| recv_exact(&peer, sip).unwrap());
            });
            send(&ours, &data).expect(name);
        });
        assert!(got == data, "{name}: what arrived is not what was sent");
    }
}

#[test]
fn every_byte_gets_through_the_smallest_buffers_in_a_storm_of_signals() {
    let data = pattern(200_000);
    for (sender, send, _) in SENDERS {
        for (receiver, receive, blocks_in) in RECEIVERS {
            let me = Interrupter::of_this_thread();
            let (ours, peer) = narrow_pair();
            let mut got = vec![0; data.len()];
            let (result, signals) = me.storm(|| {
                thread::scope(|s| {
                    s.spawn(|| {
                        me.interrupt_in(blocks_in); // not before the storm has begun
                        send(&ours, &data).unwrap();
                    });
                    receive(&peer, &mut got)
                })
            });
            result.expect(receiver);
            assert!(got == data, "{sender} to {receiver}: what arrived is not what was sent");
            assert!(signals > 0, "{sender} to {receiver}: no storm");
        }
    }
}

#[test]
fn retry_eintr_calls_again_after_eintr_and_after_nothing_else() {
    for (error, calls_expected) in [(libc::EINTR, 4), (libc::EAGAIN, 1), (libc::EBADF, 1)] {
        let mut calls = 0;
        let result = retry_eintr(|| {
            calls += 1;
            if calls < 4 { Err(io::Error::from_raw_os_error(error)) } else { Ok("done") }
        });
        assert_eq!(calls, calls_expected, "errno {error}");
        assert_eq!(result.is_ok(), error == libc::EINTR);
    }
}

// ---- nothing to transfer ----

#[test]
fn for_nothing_no_call_is_made() {
    // On a descriptor that is no socket each call would fail with ENOTSOCK.
    let no_socket = UniqueFd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    for (name, receive, _) in RECEIVERS {
        assert!(receive(&no_socket, &mut []).is_ok(), "{name}");
        let errno = Partial::of(&receive(&no_socket, &mut [0]).unwrap_err()).unwrap().errno();
        assert_eq!(errno, Some(libc::ENOTSOCK), "{name}");
    }
    for (name, send, _) in SENDERS {
        assert!(send(&no_socket, b"").is_ok(), "{name}");
        let errno = Partial::of(&send(&no_socket, b"x").unwrap_err()).unwrap().errno();
        assert_eq!(errno, Some(libc::ENOTSOCK), "{name}");
    }
    let mut empty = [IoSlice::new(b""); 3000];
    assert!(send_all_vectored(&no_socket, &mut empty).is_ok());
    assert!(send_all_vectored_with_deadline(&no_socket, &mut empty, soon()).is_ok());
}

// ---- many buffers ----

#[test]
fn any_number_of_buffers_leaves_in_order_with_empty_ones_anywhere() {
    let data = pattern(6000);
    let some = sevens(&data);
    let none = vec![IoSlice::new(b""); 1500];
    let every_other: Vec<_> = some.iter().flat_map(|b| [IoSlice::new(b""), *b]).collect();
    let ones: Vec<_> = data.chunks(1).map(IoSlice::new).collect();
    let cases = [
        ("one buffer", vec![IoSlice::new(&data)]),
        ("6000 of a byte each", ones.clone()),
        ("exactly 1024", ones[..1024].to_vec()),
        ("1025", ones[..1025].to_vec()),
        ("1500 empty ones in front", [&none[..], &some].concat()),
        ("1500 empty ones behind", [&some[..], &none].concat()),
        ("1500 empty ones inside", [&some[..300], &none, &some[300..]].concat()),
        ("every other one empty", every_other),
    ];
    for (name, bufs) in cases {
        let expected: Vec<u8> = bufs.iter().flat_map(|b| b.iter().copied()).collect();
        for deadline in [None, Some(soon())] {
            let (ours, peer) = pair();
            let mut bufs = bufs.clone();
            match deadline {
                None => send_all_vectored(&ours, &mut bufs),
                Some(at) => send_all_vectored_with_deadline(&ours, &mut bufs, at),
            }
            .expect(name);
            drop(ours);
            assert!(read_to_end(&peer).0 == expected, "{name}: not what was sent");
        }
    }
}

// ---- deadlines ----

#[test]
fn a_drip_does_not_move_the_deadline() {
    let (ours, peer) = pair();
    let (mut buf, mut sent) = (vec![0; 1 << 20], 0);
    let deadline = Instant::now() + millis(200);
    let result = before_it_is_over(
        || recv_exact_with_deadline(&ours, &mut buf, deadline),
        || {
            send_all(&peer, &[(sent % 251) as u8]).unwrap();
            sent += 1;
        },
        || sys::shutdown(&peer, SHUT_WR).unwrap(), // the end, for a call that still waits
    );
    let e = result.unwrap_err();
    assert!(Instant::now() >= deadline, "before its time");
    assert_eq!(e.kind(), ErrorKind::TimedOut);
    let got = Partial::of(&e).unwrap().done();
    assert_eq!(e.to_string(), format!("got {got} of 1048576 bytes, then the deadline passed"));
    assert_eq!(buf[..got], pattern(got));
    // The count is true: what it has not got is still to be had, and no more.
    sys::shutdown(&peer, SHUT_WR).unwrap();
    assert_eq!(read_to_end(&ours).0, pattern(sent)[got..]);
}

#[test]
fn a_peer_that_sips_or_never_reads_does_not_move_the_deadline() {
    type Send = fn(&UniqueFd, &[u8], Instant) -> io::Result<()>;
    let sends: [(&str, Send); 2] = [
        ("send_all", |fd, buf, at| send_all_with_deadline(fd, buf, at)),
        ("vectored", |fd, buf, at| send_all_vectored_with_deadline(fd, &mut sevens(buf), at)),
    ];
    let data = pattern(1 << 20);
    for ((name, send), sip) in sends.into_iter().flat_map(|send| [(send, 0), (send, 500)]) {
        let (ours, peer) = narrow_pair();
        let taken = Mutex::new(Vec::new());
        let take = |most: usize, flags| {
            let mut buf = vec![0; most];
            let n = sys::recv(&peer, &mut buf, flags).unwrap_or(0);
            taken.lock().unwrap().extend(&buf[..n]);
        };
        let deadline = Instant::now() + millis(200);
        let result = before_it_is_over(
            || send(&ours, &data, deadline),
            || {
                if sip > 0 {
                    take(sip, libc::MSG_DONTWAIT);
                }
            },
            || {
                while taken.lock().unwrap().len() < data.len() {
                    take(1 << 16, 0); // room, for a call that still waits
                }
            },
        );
        let e = result.unwrap_err();
        assert!(Instant::now() >= deadline, "before its time");
        let partial = Partial::of(&e).unwrap();
        let (sent, total) = (partial.done(), data.len());
        assert_eq!(e.kind(), ErrorKind::TimedOut, "{name}, {sip}"); // never WouldBlock
        let text = format!("sent {sent} of {total} bytes, then the deadline passed");
        assert_eq!((e.to_string(), partial.wanted(), partial.errno()), (text, total, None));
        // The count is true: so many bytes are on their way, and no more.
        drop(ours);
        let arrived = [taken.into_inner().unwrap(), read_to_end(&peer).0].concat();
        assert!(arrived == data[..sent], "{name}, {sip}: not what was counted");
    }
}

#[test]
fn a_deadline_that_has_passed_moves_no_byte() {
    let (ours, peer) = pair();
    send_all(&peer, b"here").unwrap();
    kernel::wait_until_unread(&ours, 4).unwrap();
    let past = Instant::now();
    let results = [
        recv_exact_with_deadline(&ours, &mut [0; 4], past),
        send_all_with_deadline(&ours, b"gone", past),
        send_all_vectored_with_deadline(&ours, &mut [IoSlice::new(b"gone")], past),
    ];
    for result in results {
        let e = result.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert_eq!(Partial::of(&e).unwrap().done(), 0);
    }
    assert_eq!(kernel::unread(&ours).unwrap(), 4);
    sys::shutdown(&ours, SHUT_WR).unwrap();
    assert!(read_to_end(&peer).0.is_empty());
}

#[test]
fn signals_do_not_move_the_deadline() {
    let me = Interrupter::of_this_thread();
    let data = pattern(1 << 20);
    for name in ["recv", "send"] {
        let (ours, peer) = narrow_pair();
        let before = stage::signals::counted();
        let deadline = Instant::now() + millis(200);
        let result = before_it_is_over(
            || match name {
                "recv" => recv_exact_with_deadline(&ours, &mut [0], deadline),
                _ => send_all_with_deadline(&ours, &data, deadline),
            },
            || me.interrupt(),
            // What a call that still waits is waiting for.
            || match name {
                "recv" => send_all(&peer, b"x").unwrap(),
                _ => recv_exact(&peer, &mut vec![0; data.len()]).unwrap(),
            },
        );
        assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut, "{name}");
        assert!(Instant::now() >= deadline, "{name}: before its time");
        assert!(stage::signals::counted() > before, "{name}: no signal came");
    }
}

#[test]
fn wait_ready_sleeps_through_the_last_millisecond() {
    let (ours, _peer) = pair();
    let ours = kernel::Counted::new(ours);
    for _ in 0..100 {
        // In whole milliseconds, rounded down, that is 0: poll would return at once, over and over.
        let deadline = Instant::now() + Duration::from_micros(900);
        let e = wait_ready(&ours, POLLIN, Some(deadline)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline, "before its time");
    }
    assert!(ours.calls() <= 100, "{} polls, where one is enough", ours.calls());
}

/// A socket that another thread uses, too: between our `poll` and our call that thread comes first.
struct Shared<'a> {
    fd: &'a UniqueFd,
    lent: Cell<usize>,
    comes_first: fn(&UniqueFd),
}

impl AsFd for Shared<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.lent.replace(self.lent.get() + 1) == 1 {
            (self.comes_first)(self.fd); // the first time was for poll, this one is for the call
        }
        self.fd.as_fd()
    }
}

#[test]
fn ready_is_no_promise_and_the_call_waits_no_longer_for_it() {
    let (ours, peer) = narrow_pair();
    send_all(&peer, b"x").unwrap();
    kernel::wait_until_unread(&ours, 1).unwrap();
    let takes_it = |fd: &UniqueFd| recv_exact(fd, &mut [0]).unwrap();
    let shared = Shared { fd: &ours, lent: Cell::new(0), comes_first: takes_it };
    let deadline = Instant::now() + millis(100);
    let result = before_it_is_over(
        || recv_exact_with_deadline(&shared, &mut [0], deadline),
        || {},
        || send_all(&peer, b"y").unwrap(), // a byte, for a recv that waits after poll has
    );
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(Instant::now() >= deadline, "before its time");

    let data = pattern(100_000);
    let takes_all_room = |fd: &UniqueFd| assert!(fill_the_buffers(fd) > 0);
    let shared = Shared { fd: &ours, lent: Cell::new(0), comes_first: takes_all_room };
    let deadline = Instant::now() + millis(100);
    let result = before_it_is_over(
        || send_all_with_deadline(&shared, &data, deadline),
        || {},
        || drop(read_to_end(&peer)), // room, for a send that does
    );
    assert_eq!(result.unwrap_err().kind(), ErrorKind::TimedOut);
    assert!(Instant::now() >= deadline, "before its time");
}

// ---- the end, and worse ----

#[test]
fn the_end_of_the_stream_in_the_middle_is_unexpected() {
    for (name, receive, _) in RECEIVERS {
        for (sent, clean) in [(&b""[..], true), (b"a", false), (b"ab", false), (b"abc", false)] {
            let (ours, mut buf) = (stream_of(sent), [0; 4]);
            let result = receive(&ours, &mut buf);
            let e = result.as_ref().unwrap_err();
            let partial = Partial::of(e).unwrap();
            let n = sent.len();
            assert_eq!(e.kind(), ErrorKind::UnexpectedEof, "{name}");
            assert_eq!(
                e.to_string(),
                format!("got {n} of 4 bytes, then the peer ended its stream")
            );
            assert_eq!((partial.done(), partial.wanted(), partial.errno()), (n, 4, None));
            assert_eq!(buf[..n], *sent);
            // Between messages it is the end that everyone waits for.
            assert_eq!(or_clean_end(result).is_ok_and(|whole| !whole), clean);
        }
    }
}

/// Two ways to reset a connection.
type Reset = fn(UniqueFd);
const RESETS: [(&str, Reset); 2] = [
    ("close with SO_LINGER 0", |fd| kernel::reset_on_close(fd).unwrap()),
    ("close with unread data", |fd| assert!(kernel::unread(&fd).unwrap() > 0)),
];

#[test]
fn a_reset_in_the_middle_is_not_the_end_of_the_stream() {
    for (name, receive, _) in RECEIVERS {
        for (how, reset) in RESETS {
            let (ours, peer) = pair();
            send_all(&ours, b"never read").unwrap();
            kernel::wait_until_unread(&peer, 10).unwrap();
            send_all(&peer, b"ab").unwrap();
            kernel::wait_until_unread(&ours, 2).unwrap();
            reset(peer);
            kernel::wait_until_peer_ended(&ours).unwrap();
            let e = receive(&ours, &mut [0; 4]).unwrap_err();
            let partial = Partial::of(&e).unwrap();
            assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{name}: {how}");
            assert_eq!((partial.done(), partial.wanted()), (2, 4), "{name}: {how}");
            assert_eq!(partial.errno(), Some(libc::ECONNRESET), "{name}: {how}");
            assert!(e.to_string().starts_with("got 2 of 4 bytes, then Connection reset"), "{e}");
        }
    }
}

/// A socket whose peer has gone: the first `send` was answered by a reset, the next one is EPIPE.
fn broken() -> UniqueFd {
    let (ours, peer) = pair();
    drop(peer);
    kernel::wait_until_peer_ended(&ours).unwrap();
    send_all(&ours, b"too late").unwrap();
    kernel::wait_for("the reset", || Ok(kernel::tcp_state(&ours)? == "CLOSE")).unwrap();
    ours
}

/// What any program but a Rust one starts with. Rust's runtime ignores SIGPIPE before `main`.
fn as_in_c() {
    // SAFETY:
    // - the default action is no handler that could do something unsafe.
    unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.unwrap();
}

#[test]
fn a_send_without_the_flag_dies_of_sigpipe() {
    if let Some(output) = own_process("a_send_without_the_flag_dies_of_sigpipe") {
        return assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{output:?}");
    }
    as_in_c();
    let _ = sys::send(broken(), b"x", 0); // if this returns, the process ends with status 0
}

#[test]
fn the_loops_say_epipe_and_live() {
    if let Some(output) = own_process("the_loops_say_epipe_and_live") {
        return assert_passed(&output);
    }
    as_in_c();
    for (name, send, _) in SENDERS {
        let e = send(&broken(), b"x").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::BrokenPipe, "{name}");
        assert_eq!(Partial::of(&e).unwrap().errno(), Some(libc::EPIPE), "{name}");
        assert!(e.to_string().starts_with("sent 0 of 1 bytes, then Broken pipe"), "{e}");
    }
}

// ---- close ----

/// Sends until no more fits, and returns how much that was.
fn fill_the_buffers(fd: &UniqueFd) -> usize {
    let (chunk, mut sent) = (pattern(251 * 251), 0);
    loop {
        match sys::send(fd, &chunk[sent % 251..], libc::MSG_DONTWAIT) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return sent,
            Err(e) => panic!("{e}"),
        }
    }
}

/// A server that has answered as much as the buffers take, with a byte that it has not read.
fn answered() -> (UniqueFd, UniqueFd, usize) {
    let (client, server) = pair();
    send_all(&client, b"?").unwrap();
    kernel::wait_until_unread(&server, 1).unwrap();
    let sent = fill_the_buffers(&server);
    (client, server, sent)
}

#[test]
fn a_plain_close_with_unread_data_destroys_the_answer() {
    let (client, server, sent) = answered();
    drop(server);
    let (got, e) = read_to_end(&client);
    assert!(got.len() < sent, "all {sent} bytes arrived");
    assert_eq!(e.expect("a clean end").kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_lingering_close_delivers_it_to_the_last_byte() {
    let (client, server, sent) = answered();
    thread::scope(|s| {
        let closed = s.spawn(|| lingering_close(server, soon()));
        let (got, e) = read_to_end(&client);
        assert!(e.is_none(), "{e:?}");
        assert!(got == pattern(sent), "{} of {sent} bytes arrived", got.len());
        drop(client); // our end, for which the server waits
        closed.join().unwrap().unwrap();
    });
}

#[test]
fn a_lingering_close_gives_up_at_the_deadline() {
    let (client, server) = pair();
    let deadline = Instant::now() + millis(100);
    let e = lingering_close(server, deadline).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TimedOut);
    assert!(Instant::now() >= deadline, "before its time");
    assert!(read_to_end(&client).0.is_empty()); // closed all the same
}

#[test]
fn a_lingering_close_after_the_peers_reset_is_no_error() {
    let (client, server) = pair();
    kernel::reset_on_close(&client).unwrap();
    drop(client);
    kernel::wait_until_peer_ended(&server).unwrap();
    lingering_close(server, soon()).unwrap();
}
