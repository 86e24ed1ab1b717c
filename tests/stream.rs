//! The loops of `stream`, against a real kernel and peers that behave badly.

mod support;

use std::ffi::c_long;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use libc::{MSG_DONTWAIT, POLLIN, SYS_recvfrom, SYS_sendto};
use nix::sys::signal::{SigHandler, Signal, signal};
use stage::{kernel, retry_eintr, set_timeout};
use support::*;
use tcp_stream_io::stream::*;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, sys};

/// The functions that receive, and the system call in which each of them waits.
type Receive = fn(&UniqueFd, &mut [u8]) -> io::Result<()>;
const RECEIVERS: [(&str, Receive, c_long); 2] = [
    ("recv_exact", |fd, buf| recv_exact(fd, buf), SYS_recvfrom),
    ("recv_exact_with_deadline", |fd, buf| recv_exact_with_deadline(fd, buf, soon()), SYS_POLL),
];

/// The same for those that send.
type Send = fn(&UniqueFd, &[u8]) -> io::Result<()>;
const SENDERS: [(&str, Send, c_long); 2] = [
    ("send_all", |fd, buf| send_all(fd, buf), SYS_sendto),
    ("send_all_with_deadline", |fd, buf| send_all_with_deadline(fd, buf, soon()), SYS_POLL),
];

// ---- short transfers and signals ----

#[test]
fn a_call_that_blocks_says_eintr_when_a_signal_comes() {
    let me = Interrupter::of_this_thread();
    let (ours, _peer) = narrow_pair();
    let (recv, _) = me.storm(|| sys::recv(&ours, &mut [0], 0).map(drop));
    let hang = HANG.as_millis() as i32;
    let (poll, _) = me.storm(|| sys::poll(ours.as_fd(), POLLIN, hang).map(drop));
    fill_the_buffers(&ours); // what is under way to the peer makes a little room again, so:
    let (send, _) = me.storm(|| until_it_fails(|| sys::send(&ours, b"x", NO_SIGPIPE)).map(drop));
    for (call, result) in [("recv", recv), ("poll", poll), ("send", send)] {
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

// ---- nothing to transfer ----

/// On a descriptor that is no socket each call fails with ENOTSOCK.
fn no_socket() -> UniqueFd {
    UniqueFd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
}

#[test]
fn for_nothing_no_call_is_made() {
    for (name, receive, _) in RECEIVERS {
        assert!(receive(&no_socket(), &mut []).is_ok(), "{name}");
        let e = receive(&no_socket(), &mut [0]).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENOTSOCK), "{name}");
    }
    for (name, send, _) in SENDERS {
        assert!(send(&no_socket(), b"").is_ok(), "{name}");
        let e = send(&no_socket(), b"x").unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENOTSOCK), "{name}");
    }
}

#[test]
fn recv_some_takes_no_empty_buffer_for_the_end() {
    let (ours, peer) = pair();
    let refuse = |when: &str| {
        for until in [None, Some(soon())] {
            let e = recv_some(&ours, &mut [], until).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::InvalidInput, "{when}");
        }
    };
    refuse("nothing is there"); // and it does not wait
    send_all(&peer, b"x").unwrap();
    kernel::wait_until_unread(&ours, 1).unwrap();
    refuse("a byte is there");
    drop(peer);
    kernel::wait_until_peer_ended(&ours).unwrap();
    refuse("the peer has ended");
    // With room it gets the byte, and then the end.
    assert_eq!(recv_some(&ours, &mut [0; 2], None).unwrap(), 1);
    assert_eq!(recv_some(&ours, &mut [0; 2], None).unwrap(), 0);
}

// ---- one call ----

#[test]
fn a_send_that_would_outlive_its_buffer_is_refused() {
    let (ours, peer) = pair();
    // As a program would that means to use it. Without the option the kernel ignores the flag.
    sys::set_option(&ours, libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1).unwrap();
    let others = [0, NO_SIGPIPE, MSG_DONTWAIT, libc::MSG_MORE, libc::MSG_OOB, libc::MSG_EOR];
    for (one, another) in others.iter().flat_map(|one| others.map(|other| (*one, other))) {
        let e = sys::send(&ours, b"gone", one | another | libc::MSG_ZEROCOPY).unwrap_err();
        assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::InvalidInput, None));
    }
    let e = sys::send(&ours, b"", !0).unwrap_err(); // all flags that there are
    assert_eq!(e.kind(), ErrorKind::InvalidInput);
    // Nothing has left, and the socket is as good as before.
    send_all(&ours, b"here").unwrap();
    drop(ours);
    assert_eq!(read_to_end(&peer).0, b"here");
}

#[test]
fn recv_some_returns_what_has_come() {
    for until in [None, Some(soon())] {
        let (ours, peer) = pair();
        send_all(&peer, b"abc").unwrap();
        kernel::wait_until_unread(&ours, 3).unwrap();
        let mut buf = [0; 2];
        assert_eq!((recv_some(&ours, &mut buf, until).unwrap(), &buf), (2, b"ab"));
        assert_eq!((recv_some(&ours, &mut buf, until).unwrap(), buf[0]), (1, b'c'));
        drop(peer);
        assert_eq!(recv_some(&ours, &mut buf, until).unwrap(), 0);
    }
    // A socket that does not wait says so, unless `poll` waits for it.
    let (ours, _peer) = pair();
    sys::set_nonblocking(&ours, true).unwrap();
    let e = recv_some(&ours, &mut [0], None).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EAGAIN));
    let e = recv_some(&ours, &mut [0], Some(at_once())).unwrap_err();
    assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::TimedOut, None));
}

// ---- the end, and worse ----

#[test]
fn the_end_of_the_stream_in_the_middle_is_unexpected() {
    for (name, receive, _) in RECEIVERS {
        for sent in [&b""[..], b"a", b"ab", b"abc"] {
            let (ours, mut buf) = (stream_of(sent), [0; 4]);
            let e = receive(&ours, &mut buf).unwrap_err();
            let n = sent.len();
            assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::UnexpectedEof, None), "{name}");
            let text = format!("the peer ended its stream after {n} of 4 bytes");
            assert_eq!(e.to_string(), text, "{name}");
            assert_eq!(buf[..n], *sent);
        }
    }
}

/// Two ways to reset a connection.
type Reset = fn(UniqueFd);
const RESETS: [(&str, Reset); 2] = [
    ("close with SO_LINGER 0", |fd| kernel::reset_on_close(&fd).unwrap()),
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
            assert_eq!(e.raw_os_error(), Some(libc::ECONNRESET), "{name}: {how}");
            assert_eq!(e.kind(), ErrorKind::ConnectionReset, "{name}: {how}");
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
    let _ = sys::send(&broken(), b"x", 0); // if this returns, the process ends with status 0
}

#[test]
fn the_loops_say_epipe_and_live() {
    if let Some(output) = own_process("the_loops_say_epipe_and_live") {
        return assert_passed(&output);
    }
    as_in_c();
    for (name, send, _) in SENDERS {
        let e = send(&broken(), b"x").unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EPIPE), "{name}");
        assert_eq!(e.kind(), ErrorKind::BrokenPipe, "{name}");
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
fn a_lingering_close_after_the_peers_reset_is_no_error() {
    let (client, server) = pair();
    kernel::reset_on_close(&client).unwrap();
    drop(client);
    kernel::wait_until_peer_ended(&server).unwrap();
    lingering_close(server, soon()).unwrap();
}

#[test]
fn a_lingering_close_of_what_was_never_connected_is_no_error() {
    lingering_close(refusing_port().0, soon()).unwrap();
}

#[test]
fn a_lingering_close_says_what_the_kernel_said() {
    let e = lingering_close(no_socket(), soon()).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::ENOTSOCK));
}

// ---- what the stage adds ----

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

/// The timeout that the kernel has for it; zero: none.
fn timeout(fd: &UniqueFd, name: i32) -> Duration {
    // SAFETY:
    // - a timeval is integers: zero is a valid value, and so is whatever the kernel writes.
    let (mut tv, mut len): (libc::timeval, _) =
        unsafe { (mem::zeroed(), size_of::<libc::timeval>()) };
    // SAFETY:
    // - `tv` is writable for as many bytes as `len` says.
    let rc = unsafe {
        let (tv, len) = ((&raw mut tv).cast(), (&raw mut len).cast());
        libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, name, tv, len)
    };
    assert_eq!(rc, 0, "{}", sys::last_errno());
    Duration::new(tv.tv_sec as u64, tv.tv_usec as u32 * 1000)
}

#[test]
fn a_timeout_is_never_shorter_than_was_asked_and_zero_only_for_zero() {
    let fd = sys::socket(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
    let nanos = [0, 1, 999, 1000, 1001, 1500, 999_999, 1_000_000, 999_999_999, 1_000_000_000];
    let seconds = [1, 59, 3600, 1 << 20].map(|s| Duration::new(s, 999_999_999));
    for name in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        for asked in nanos.map(Duration::from_nanos).into_iter().chain(seconds) {
            set_timeout(&fd, name, asked).unwrap();
            let set = timeout(&fd, name);
            assert_eq!(set.is_zero(), asked.is_zero(), "{asked:?} became {set:?}");
            // The kernel rounds up to its clock's ticks, of which there are 100 a second at least.
            assert!(asked <= set && set <= asked + millis(11), "{asked:?} became {set:?}");
        }
    }
}

#[test]
fn the_longest_timeout_waits_for_ever() {
    let me = Interrupter::of_this_thread();
    for asked in [Duration::MAX, Duration::from_secs(u64::MAX), Duration::from_secs(1 << 62)] {
        let (ours, peer) = pair();
        set_timeout(&ours, libc::SO_RCVTIMEO, asked).unwrap();
        // More than the kernel can count. It calls that zero, as it calls none: what it does tells.
        assert_eq!(timeout(&ours, libc::SO_RCVTIMEO), Duration::ZERO, "{asked:?}");
        thread::scope(|s| {
            s.spawn(|| {
                me.wait_until_blocked_in(SYS_recvfrom);
                send_all(&peer, b"x").unwrap();
            });
            assert_eq!(sys::recv(&ours, &mut [0], 0).unwrap(), 1, "{asked:?}"); // not EAGAIN
        });
    }
}
