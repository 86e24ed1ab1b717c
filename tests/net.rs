//! Listening, connecting, accepting: which address, how often, and what the error tells.

mod support;

use std::io::{self, ErrorKind};
use std::thread;
use std::time::Instant;

use libc::{AF_INET, SOCK_STREAM, SYS_accept4, SYS_connect};
use stage::kernel;
use support::*;
use tcp_stream_io::addr::Hints;
use tcp_stream_io::net::*;
use tcp_stream_io::{UniqueFd, recv_exact, resolve, send_all, sys};

/// That the two are connected with each other.
fn assert_connected(client: &UniqueFd, server: &UniqueFd) {
    let mut got = [0; 5];
    send_all(client, b"hello").unwrap();
    recv_exact(server, &mut got).unwrap();
    assert_eq!(&got, b"hello");
}

fn port_of(fd: &UniqueFd) -> u16 {
    sys::getsockname(fd).unwrap().port()
}

// ---- listen_on ----

#[test]
fn a_listener_without_a_host_serves_ipv4_and_ipv6() {
    if !has_ipv6("a_listener_without_a_host_serves_ipv4_and_ipv6") {
        return;
    }
    let listener = patient(listen_on(None, 0, 4).unwrap());
    let port = port_of(&listener);
    assert_eq!(sys::getsockname(&listener).unwrap().to_string(), format!("[::]:{port}"));
    for (host, seen_as) in [("127.0.0.1", "[::ffff:127.0.0.1]"), ("::1", "[::1]")] {
        let client = connect_to(host, port).unwrap();
        let (server, peer) = accept(&listener).unwrap();
        assert_eq!(peer.to_string(), format!("{seen_as}:{}", port_of(&client)));
        assert_connected(&client, &patient(server));
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let first = listen_on(None, 0, 1).unwrap();
    let port = port_of(&first);
    for host in [None, Some("127.0.0.1")] {
        let mut reported = Vec::new();
        let e = listen_on_reporting(host, port, 1, |attempt| reported.push(attempt.to_string()))
            .unwrap_err();
        assert_eq!(e.kind(), ErrorKind::AddrInUse);
        let attempts = &Attempts::of(&e).expect("Attempts inside").failed;
        assert_eq!(attempts.len(), 1); // without a host `0.0.0.0` is not tried after a taken `::`
        for Attempt { call, addr, error } in attempts {
            assert!(["bind", "listen"].contains(call), "{call}");
            assert!(addr.ends_with(&format!(":{port}")), "{addr}");
            assert_eq!(error.raw_os_error(), Some(libc::EADDRINUSE));
        }
        assert_eq!(e.to_string(), reported.join("; "));
    }
}

#[test]
fn a_restarted_server_has_its_port_back() {
    let (listener, port) = listener(1);
    let client = connect_to("127.0.0.1", port).unwrap();
    let (server, _) = accept(&listener).unwrap();
    drop((server, listener)); // who closes first is left in TIME_WAIT, with the port
    drop(client);
    listen_on(Some("127.0.0.1"), port, 1).unwrap();
}

// ---- connect_to ----

#[test]
fn a_refused_connection_names_the_call_and_the_address() {
    let (_holder, port) = refusing_port();
    for deadline in [None, Some(soon())] {
        let mut reported = Vec::new();
        let report = |attempt: &Attempt| reported.push(attempt.to_string());
        let e = connect_to_reporting("127.0.0.1", port, deadline, report).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ConnectionRefused);
        let text = format!("connect 127.0.0.1:{port}: Connection refused (os error 111)");
        assert_eq!(e.to_string(), text);
        assert_eq!(reported, [text]);
    }
}

#[test]
fn where_the_first_address_refuses_the_next_is_tried() {
    let test = "where_the_first_address_refuses_the_next_is_tried";
    let hosts = "127.0.0.1 two-addresses.invalid\n127.0.0.2 two-addresses.invalid\n";
    match own_process_with_hosts(test, hosts) {
        Some(Ok(output)) => return assert_passed(&output),
        Some(Err(why)) => return skipped(test, why),
        None => {}
    }
    let name = "two-addresses.invalid";
    let addrs = resolve(Some(name), 0, &Hints::default()).expect("read from /etc/hosts");
    let hosts: Vec<String> =
        addrs.iter().map(|a| a.to_string().strip_suffix(":0").unwrap().to_owned()).collect();
    let [first, second] = &hosts[..] else { panic!("two addresses, not {hosts:?}") };

    let (_holder, port) = refusing_port(); // where nobody listens, that is
    let listener = patient(listen_on(Some(second), port, 1).unwrap());
    let mut reported = Vec::new();
    let report = |attempt: &Attempt| reported.push(attempt.to_string());
    let client = connect_to_reporting(name, port, None, report).unwrap();
    assert_eq!(reported, [format!("connect {first}:{port}: Connection refused (os error 111)")]);
    let (server, _) = accept(&listener).unwrap();
    assert_connected(&client, &patient(server));

    drop(listener); // now both refuse
    let e = connect_to(name, port).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionRefused);
    let refused = |host| format!("connect {host}:{port}: Connection refused (os error 111)");
    assert_eq!(e.to_string(), format!("{}; {}", refused(first), refused(second)));
}

#[test]
fn a_handshake_without_an_answer_ends_at_the_deadline() {
    let (_listener, _queued, port) = full_listener();
    for limit in [millis(100), millis(0)] {
        let deadline = Instant::now() + limit;
        let e = connect_to_with_deadline("127.0.0.1", port, deadline).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TimedOut);
        assert!(Instant::now() >= deadline, "before its time");
        // No errno: it is the deadline, and not the kernel that gave up.
        assert_eq!(e.to_string(), format!("connect 127.0.0.1:{port}: timed out"));
    }
}

#[test]
fn a_connection_made_by_a_deadline_blocks_like_any_other() {
    let (listener, port) = listener(1);
    let client = patient(connect_to_with_deadline("127.0.0.1", port, soon()).unwrap());
    let (server, _) = accept(&listener).unwrap();
    let me = Interrupter::of_this_thread();
    thread::scope(|s| {
        s.spawn(|| {
            me.wait_until_blocked_in(libc::SYS_recvfrom);
            send_all(&server, b"x").unwrap();
        });
        assert_eq!(sys::recv(&client, &mut [0], 0).unwrap(), 1); // not EAGAIN
    });
}

#[test]
fn an_interrupted_connect_goes_on_and_is_not_called_again() {
    let (listener, queued, port) = full_listener();
    let socket = patient(sys::socket(AF_INET, SOCK_STREAM, 0).unwrap());
    let addrs = resolve(Some("127.0.0.1"), port, &Hints::default()).unwrap();
    let me = Interrupter::of_this_thread();
    thread::scope(|s| {
        s.spawn(|| {
            me.interrupt_in(SYS_connect);
            me.wait_until_blocked_in(SYS_POLL);
            me.interrupt_in(SYS_POLL); // and still it is not over
            me.wait_until_blocked_in(SYS_POLL);
            assert_eq!(kernel::tcp_state(&socket).unwrap(), "SYN_SENT");
            accept(&listener).unwrap(); // makes room for the next SYN, in a second
        });
        connect(&socket, addrs.iter().next().unwrap(), None).unwrap();
    });
    let (server, _) = accept(&listener).unwrap();
    assert_connected(&socket, &patient(server));
    drop(queued);
}

#[test]
fn an_interrupted_connect_that_is_refused_says_so() {
    let (_holder, port) = refusing_port(); // once the listener has gone, that is
    let listener = listen_on(Some("127.0.0.1"), port, 0).unwrap();
    let _queued = fill_the_queue(&listener, port);
    let socket = patient(sys::socket(AF_INET, SOCK_STREAM, 0).unwrap());
    let addrs = resolve(Some("127.0.0.1"), port, &Hints::default()).unwrap();
    let me = Interrupter::of_this_thread();
    let result = thread::scope(|s| {
        s.spawn(|| {
            me.interrupt_in(SYS_connect);
            me.wait_until_blocked_in(SYS_POLL);
            drop(listener); // the next SYN is answered by a reset
        });
        connect(&socket, addrs.iter().next().unwrap(), None)
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

// ---- accept ----

#[test]
fn a_signal_does_not_end_accept() {
    let (listener, port) = listener(1);
    let me = Interrupter::of_this_thread();
    let (raw, _) = me.storm(|| sys::accept(&listener));
    assert_eq!(raw.unwrap_err().kind(), ErrorKind::Interrupted);
    thread::scope(|s| {
        let client = s.spawn(|| {
            me.interrupt_in(SYS_accept4);
            me.wait_until_blocked_in(SYS_accept4);
            connect_to("127.0.0.1", port).unwrap()
        });
        let (server, peer) = accept(&listener).unwrap();
        let client = client.join().unwrap();
        assert_eq!(peer.port(), port_of(&client));
        assert_connected(&client, &patient(server));
    });
}

#[test]
fn the_errors_of_accept_are_told_apart() {
    use AcceptAdvice::*;
    let table = [
        (TryAgain, &[libc::EAGAIN, libc::EINTR, libc::ECONNABORTED, libc::EPERM][..]),
        (TryAgain, &[libc::EPROTO, libc::ENETDOWN, libc::ENETUNREACH, libc::EHOSTUNREACH]),
        (TryAgain, &[libc::EHOSTDOWN, libc::ENOPROTOOPT, libc::ETIMEDOUT]),
        (Wait, &[libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM]),
        (GiveUp, &[libc::EBADF, libc::EINVAL, libc::ENOTSOCK, libc::EOPNOTSUPP, libc::EFAULT]),
    ];
    for (advice, errnos) in table {
        for errno in errnos {
            let error = io::Error::from_raw_os_error(*errno);
            assert_eq!(accept_advice(&error), advice, "{error}");
        }
    }

    // And from the kernel itself: nobody there, and a socket that does not listen.
    let (listener, _) = listener(1);
    sys::set_nonblocking(&listener, true).unwrap();
    assert_eq!(accept_advice(&accept(&listener).unwrap_err()), TryAgain);
    let (no_listener, _) = refusing_port();
    assert_eq!(accept_advice(&accept(&no_listener).unwrap_err()), GiveUp);
}

#[test]
fn out_of_descriptors_accept_waits_and_the_connection_stays_queued() {
    let test = "out_of_descriptors_accept_waits_and_the_connection_stays_queued";
    if let Some(output) = own_process(test) {
        return assert_passed(&output);
    }
    let (listener, port) = listener(1);
    let client = connect_to("127.0.0.1", port).unwrap();
    let e = out_of_descriptors(|| accept(&listener)).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EMFILE));
    assert_eq!(accept_advice(&e), AcceptAdvice::Wait);
    let (server, _) = accept(&listener).unwrap();
    assert_connected(&client, &patient(server));

    let e = out_of_descriptors(|| connect_to("127.0.0.1", port)).unwrap_err();
    let expected = format!("socket 127.0.0.1:{port}: Too many open files (os error 24)");
    assert_eq!(e.to_string(), expected);
}

#[test]
fn a_port_that_is_taken_on_ipv6_is_not_served_on_ipv4_alone() {
    if !support::has_ipv6("a port that is taken on IPv6") {
        return;
    }
    let other = listen_on(Some("::1"), 0, 1).unwrap();
    let port = sys::getsockname(&other).unwrap().port();
    let error = listen_on(None, port, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let attempts = Attempts::of(&error).expect("which addresses failed");
    assert_eq!(attempts.failed.len(), 1, "{error}");
}
