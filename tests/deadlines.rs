//! A deadline is one instant for the whole of a call, whatever the peer does meanwhile.
//!
//! Nothing here depends on how late this machine lets a thread run. That a deadline holds is told
//! by the call's own answer: it is `TimedOut`, and not what the peer did after the deadline.

mod support;

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::io::{self, ErrorKind};
use std::ptr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use libc::{MSG_DONTWAIT, POLLIN, POLLOUT, SHUT_WR};
use stage::kernel;
use support::*;
use tcp_stream_io::framing::length::*;
use tcp_stream_io::stream::*;
use tcp_stream_io::{UniqueFd, recv_exact, send_all, sys};

/// Each call that receives, with a buffer of two bytes or for a frame of at most two.
type Receive = fn(&UniqueFd, Instant) -> io::Result<()>;
const RECEIVERS: [(&str, Receive); 3] = [
    ("recv_some", |fd, until| recv_some(fd, &mut [0; 2], Some(until)).map(drop)),
    ("recv_exact", |fd, until| recv_exact_with_deadline(fd, &mut [0; 2], until)),
    ("recv_frame", |fd, until| recv_frame_with_deadline(fd, 2, until).map(drop)),
];

/// Each that sends.
type Send = fn(&UniqueFd, &[u8], Instant) -> io::Result<()>;
const SENDERS: [(&str, Send); 2] = [
    ("send_all", |fd, buf, until| send_all_with_deadline(fd, buf, until)),
    ("send_frame", |fd, buf, until| send_frame_with_deadline(fd, buf, usize::MAX, until)),
];

/// That the deadline ended it, and not something that the kernel said.
#[track_caller]
fn assert_timed_out(result: io::Result<()>, deadline: Instant, what: &str) {
    let e = result.expect_err(what);
    assert!(Instant::now() >= deadline, "{what}: before its time");
    assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::TimedOut, None), "{what}");
    assert_eq!(e.to_string(), "the deadline has passed", "{what}");
}

// ---- a deadline in the past ----

#[test]
fn a_deadline_that_has_passed_moves_no_byte() {
    let (ours, peer) = pair();
    send_all(&peer, b"\0\0\0\x02hi").unwrap();
    kernel::wait_until_unread(&ours, 6).unwrap();
    for past in [Instant::now(), Instant::now() - Duration::from_secs(5)] {
        for (name, receive) in RECEIVERS {
            assert_timed_out(receive(&ours, past), past, name);
        }
        for (name, send) in SENDERS {
            assert_timed_out(send(&ours, b"gone", past), past, name);
        }
        for events in [POLLIN, POLLOUT] {
            assert_timed_out(wait_ready(&ours, events, Some(past)), past, "wait_ready");
        }
        assert_timed_out(time_left(Some(past)).map(drop), past, "time_left");
    }
    assert_eq!(kernel::unread(&ours).unwrap(), 6);
    drop(ours);
    assert!(read_to_end(&peer).0.is_empty());
}

#[test]
fn for_nothing_no_time_is_needed() {
    let (ours, peer) = pair();
    let past = Instant::now();
    send_all_with_deadline(&ours, b"", past).unwrap();
    recv_exact_with_deadline(&ours, &mut [], past).unwrap();
    // An empty frame is not nothing: it has a header.
    assert_timed_out(send_frame_with_deadline(&ours, b"", 0, past), past, "send_frame");
    let e = recv_some(&ours, &mut [], Some(past)).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    drop(ours);
    assert!(read_to_end(&peer).0.is_empty());
}

#[test]
fn a_lingering_close_that_is_late_ends_its_stream_and_reads_no_byte() {
    let (client, server) = pair();
    send_all(&client, b"unread").unwrap();
    kernel::wait_until_unread(&server, 6).unwrap();
    let past = Instant::now();
    assert_timed_out(lingering_close(server, past), past, "lingering_close");
    // Closed all the same: our end first, and then, for the bytes were not read, a reset.
    kernel::wait_until_peer_ended(&client).unwrap();
    kernel::wait_for("the reset", || Ok(kernel::tcp_state(&client)? == "CLOSE")).unwrap();
}

// ---- a deadline that passes ----

#[test]
fn a_peer_that_says_nothing_does_not_move_the_deadline() {
    for (name, receive) in RECEIVERS {
        let (ours, peer) = pair();
        let deadline = at_once();
        let result = before_it_is_over(
            || receive(&ours, deadline),
            || {},
            || sys::shutdown(&peer, SHUT_WR).unwrap(), // the end, for a call that still waits
        );
        assert_timed_out(result, deadline, name);
    }
}

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
        || sys::shutdown(&peer, SHUT_WR).unwrap(),
    );
    assert_timed_out(result, deadline, "recv_exact");
    // What it has not got is still to be had, and no more.
    sys::shutdown(&peer, SHUT_WR).unwrap();
    let rest = read_to_end(&ours).0;
    let got = sent - rest.len();
    assert_eq!((&buf[..got], &rest[..]), (&pattern(got)[..], &pattern(sent)[got..]));
}

#[test]
fn a_frame_that_drips_does_not_move_the_deadline() {
    let (ours, peer) = pair();
    let mut frame =
        encode_header(1 << 20, DEFAULT_CAP).unwrap().into_iter().chain([0].repeat(1 << 20));
    let deadline = Instant::now() + millis(200);
    let result = before_it_is_over(
        || recv_frame_with_deadline(&ours, DEFAULT_CAP, deadline).map(drop),
        || send_all(&peer, &[frame.next().unwrap()]).unwrap(),
        || sys::shutdown(&peer, SHUT_WR).unwrap(),
    );
    assert_timed_out(result, deadline, "recv_frame");
}

#[test]
fn a_peer_that_sips_or_never_reads_does_not_move_the_deadline() {
    let data = pattern(1 << 20);
    for ((name, send), sip) in SENDERS.into_iter().flat_map(|send| [(send, 0), (send, 500)]) {
        let (ours, peer) = narrow_pair();
        let taken = Mutex::new(0);
        let take = |most: usize, flags| {
            let n = sys::recv(&peer, &mut vec![0; most], flags).unwrap_or(0);
            *taken.lock().unwrap() += n;
            n
        };
        let deadline = Instant::now() + millis(200);
        let result = before_it_is_over(
            || send(&ours, &data, deadline),
            || {
                if sip > 0 {
                    take(sip, MSG_DONTWAIT);
                }
            },
            // Room, for a call that still waits.
            || while *taken.lock().unwrap() < data.len() && take(1 << 16, 0) > 0 {},
        );
        assert_timed_out(result, deadline, &format!("{name}, {sip}"));
        drop(ours);
        let arrived = taken.into_inner().unwrap() + read_to_end(&peer).0.len();
        assert!(arrived < data.len(), "{name}, {sip}: all of it has arrived");
    }
}

/// Sends for as long as there is room, so that the peer always has more to take.
fn flood(fd: &UniqueFd) {
    while sys::send(fd, &[0; 1 << 16], sys::NO_SIGPIPE | MSG_DONTWAIT).is_ok() {}
}

#[test]
fn a_flood_does_not_move_the_deadline() {
    // Small calls, one after the other. A clock that is looked at only where a call would wait is
    // never looked at, for there is always more than they take.
    for (name, receive) in RECEIVERS {
        let (ours, peer) = pair();
        flood(&peer);
        let deadline = Instant::now() + millis(100);
        let result = before_it_is_over(
            || loop {
                let late = Instant::now() >= deadline;
                let result = receive(&ours, deadline);
                if late || result.is_err() {
                    break result;
                }
            },
            || flood(&peer),
            || {},
        );
        assert_timed_out(result, deadline, name);
        let more = kernel::unread(&ours).unwrap() + kernel::unacked(&peer).unwrap();
        assert!(more > 0, "{name}: there was nothing more to take");
    }
}

#[test]
fn a_flood_does_not_keep_a_lingering_close() {
    let (client, server) = pair();
    flood(&client);
    let deadline = Instant::now() + millis(100);
    let result = before_it_is_over(
        || lingering_close(server, deadline),
        || flood(&client),
        || sys::shutdown(&client, SHUT_WR).unwrap(),
    );
    assert_timed_out(result, deadline, "lingering_close");
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
                _ => drop(recv_exact(&peer, &mut vec![0; data.len()])),
            },
        );
        assert_timed_out(result, deadline, name);
        assert!(stage::signals::counted() > before, "{name}: no signal came");
    }
}

#[test]
fn a_lingering_close_gives_up_at_the_deadline() {
    let (client, server) = pair();
    let deadline = Instant::now() + millis(100);
    let result = before_it_is_over(
        || lingering_close(server, deadline),
        || {},
        || sys::shutdown(&client, SHUT_WR).unwrap(),
    );
    assert_timed_out(result, deadline, "lingering_close");
    assert_eq!(read_to_end(&client).0, b""); // closed all the same
}

// ---- what is asked of poll ----

thread_local! {
    /// The timeouts that this thread's `poll`s had.
    static TIMEOUTS: RefCell<Vec<c_int>> = const { RefCell::new(Vec::new()) };
    /// What happens between the next `poll` of this thread and what its caller does then.
    static AFTER_POLL: Cell<Option<Box<dyn FnOnce()>>> = const { Cell::new(None) };
    /// A `poll` of this thread waits no longer than this.
    static AT_MOST: Cell<c_int> = const { Cell::new(c_int::MAX) };
}

/// Stands before the C library's function of that name in this program: the kernel's answer, with
/// a look at what was asked.
#[unsafe(no_mangle)]
extern "C" fn poll(fds: *mut libc::pollfd, count: libc::nfds_t, timeout: c_int) -> c_int {
    TIMEOUTS.with_borrow_mut(|timeouts| timeouts.push(timeout));
    let timeout = timeout.min(AT_MOST.get());
    let (tv_sec, tv_nsec) = ((timeout / 1000).into(), (timeout % 1000 * 1_000_000).into());
    let limit = libc::timespec { tv_sec, tv_nsec };
    let limit = if timeout < 0 { ptr::null() } else { &raw const limit };
    // SAFETY:
    // - `fds` and `count` are those of poll's caller, and `limit` is null or outlives the call.
    let ready = unsafe { libc::ppoll(fds, count, limit, ptr::null()) };
    if let Some(act) = AFTER_POLL.take() {
        act();
    }
    ready
}

#[test]
fn the_last_millisecond_is_slept_through() {
    let (ours, _peer) = pair();
    for _ in 0..100 {
        // In whole milliseconds, rounded down, that is 0: poll would return at once, over and over.
        let deadline = Instant::now() + Duration::from_micros(900);
        assert_timed_out(wait_ready(&ours, POLLIN, Some(deadline)), deadline, "wait_ready");
    }
    let timeouts = TIMEOUTS.take();
    assert!(timeouts.iter().all(|timeout| *timeout == 1), "{timeouts:?}");
}

#[test]
fn a_deadline_beyond_what_poll_can_count_is_waited_for_in_parts() {
    let (ours, peer) = pair();
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
    let longest = Duration::from_millis(c_int::MAX as u64); // less than 25 days
    for left in [longest + hour, 25 * day, 400 * day, 40_000 * day] {
        send_all(&peer, b"x").unwrap();
        kernel::wait_until_unread(&ours, 1).unwrap();
        TIMEOUTS.take();
        recv_exact_with_deadline(&ours, &mut [0], Instant::now() + left).unwrap();
        assert_eq!(TIMEOUTS.take(), [c_int::MAX], "{left:?}");
    }
    // As if the first part had passed: it is not yet the deadline, and `wait_ready` goes on.
    AT_MOST.set(1);
    AFTER_POLL.set(Some(Box::new(move || send_all(&peer, b"x").unwrap())));
    wait_ready(&ours, POLLIN, Some(Instant::now() + 25 * day)).unwrap();
    assert_eq!(TIMEOUTS.take(), [c_int::MAX; 2]);
}

#[test]
fn without_a_deadline_poll_waits_for_ever() {
    let (ours, peer) = pair();
    send_all(&peer, b"x").unwrap();
    TIMEOUTS.take();
    wait_ready(&ours, POLLIN, None).unwrap();
    assert_eq!(TIMEOUTS.take(), [-1]);
}

#[test]
fn ready_is_no_promise_and_the_call_waits_no_longer_for_it() {
    // Another thread that uses the socket, too, comes between our `poll` and our `recv`.
    for (name, receive) in RECEIVERS {
        let (ours, peer) = pair();
        send_all(&peer, b"x").unwrap();
        kernel::wait_until_unread(&ours, 1).unwrap();
        let deadline = Instant::now() + millis(100);
        let result = before_it_is_over(
            || {
                let shared = clone_of(&ours);
                let take_it = move || recv_exact(&shared, &mut [0]).unwrap();
                AFTER_POLL.set(Some(Box::new(take_it)));
                receive(&ours, deadline)
            },
            || {},
            || send_all(&peer, b"yz").unwrap(), // for a recv that waits after poll has
        );
        assert_timed_out(result, deadline, name);
    }
    // The same between `poll` and `send`.
    let data = pattern(100_000);
    for (name, send) in SENDERS {
        let (ours, peer) = narrow_pair();
        let deadline = Instant::now() + millis(100);
        let result = before_it_is_over(
            || {
                let shared = clone_of(&ours);
                AFTER_POLL.set(Some(Box::new(move || take_all_room(&shared))));
                send(&ours, &data, deadline)
            },
            || {},
            || drop(read_to_end(&peer)), // room, for a send that waits after poll has
        );
        assert_timed_out(result, deadline, name);
    }
}

fn clone_of(fd: &UniqueFd) -> UniqueFd {
    use std::os::fd::AsFd;
    UniqueFd::from(fd.as_fd().try_clone_to_owned().unwrap())
}

fn take_all_room(fd: &UniqueFd) {
    while sys::send(fd, &[0; 4096], MSG_DONTWAIT).is_ok() {}
}
