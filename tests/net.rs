//! Listening, connecting, accepting: which address, how often, and what the error tells.

mod support;

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;
use std::time::Instant;

use libc::{AF_INET, AF_UNSPEC, SOCK_STREAM, SYS_accept4, SYS_connect};
use stage::kernel;
use support::*;
use tcp_stream_io::addr::AddrList;
use tcp_stream_io::net::*;
use tcp_stream_io::{UniqueFd, recv_exact, resolve, send_all, sys};

const LOCAL: &str = "127.0.0.1";

/// The one address of a host that is written in numbers.
fn address(host: &str, port: u16) -> AddrList {
    resolve(Some(host), port, AF_UNSPEC, 0).unwrap()
}

fn socket() -> UniqueFd {
    patient(sys::socket(AF_INET, SOCK_STREAM, 0).unwrap())
}

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
    for (host, seen_as) in [(LOCAL, "[::ffff:127.0.0.1]"), ("::1", "[::1]")] {
        let client = connect_to(host, port).unwrap();
        let (server, peer) = accept(&listener).unwrap();
        assert_eq!(peer.to_string(), format!("{seen_as}:{}", port_of(&client)));
        assert_connected(&client, &patient(server));
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_call_and_the_address() {
    let first = listen_on(None, 0, 1).unwrap();
    let port = port_of(&first);
    for host in [None, Some(LOCAL)] {
        let mut expected = Vec::new();
        for addr in resolve_to_listen(host, port).unwrap().iter() {
            let (call, e) = listen_at(addr, 1).unwrap_err();
            assert!(["bind", "listen"].contains(&call), "{call}");
            assert_eq!(e.raw_os_error(), Some(libc::EADDRINUSE));
            expected.push(format!("{call} {addr}: {e}"));
        }
        assert_eq!(expected.len(), 1); // without a host `0.0.0.0` is not tried after a taken `::`
        let e = listen_on(host, port, 1).unwrap_err();
        assert_eq!((e.to_string(), e.kind()), (expected.remove(0), ErrorKind::AddrInUse));
    }
}

#[test]
fn a_port_that_is_taken_on_ipv6_is_not_served_on_ipv4_alone() {
    if !has_ipv6("a_port_that_is_taken_on_ipv6_is_not_served_on_ipv4_alone") {
        return;
    }
    let other = listen_on(Some("::1"), 0, 1).unwrap();
    let port = port_of(&other);
    let e = listen_on(None, port, 1).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AddrInUse);
    assert!(e.to_string().contains(&format!(" [::]:{port}: ")) && !e.to_string().contains("; "));
}

#[test]
fn a_restarted_server_has_its_port_back() {
    let (listener, port) = listener(1);
    let client = connect_to(LOCAL, port).unwrap();
    let (server, _) = accept(&listener).unwrap();
    drop((server, listener)); // who closes first is left in TIME_WAIT, with the port
    drop(client);
    listen_on(Some(LOCAL), port, 1).unwrap();
}

// ---- connect_to ----

#[test]
fn a_refused_connection_keeps_errno_until_its_address_is_named() {
    let (_holder, port) = refusing_port();
    let list = address(LOCAL, port);
    let addr = list.iter().next().unwrap();
    for until in [None, Some(soon())] {
        let e = connect(&socket(), addr, until).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ECONNREFUSED));
        let (call, e) = connect_at(addr, until).unwrap_err();
        assert_eq!((call, e.raw_os_error()), ("connect", Some(libc::ECONNREFUSED)));
    }
    let e = connect_to(LOCAL, port).unwrap_err();
    assert_eq!((e.kind(), e.raw_os_error()), (ErrorKind::ConnectionRefused, None));
    let text = format!("connect 127.0.0.1:{port}: Connection refused (os error 111)");
    assert_eq!(e.to_string(), text);
}

const TWO_ADDRESSES: &str = "two-addresses.invalid";

/// The `/etc/hosts` that gives them to that name.
fn two_addresses(addrs: [&str; 2]) -> String {
    addrs.map(|addr| format!("{addr} {TWO_ADDRESSES}\n")).concat()
}

#[test]
fn where_the_first_address_refuses_the_next_is_tried() {
    let test = "where_the_first_address_refuses_the_next_is_tried";
    match own_process_with_file(test, "/etc/hosts", &two_addresses([LOCAL, "127.0.0.2"])) {
        Some(Ok(output)) => return assert_passed(&output),
        Some(Err(why)) => return skipped(test, why),
        None => {}
    }
    let addrs = resolve(Some(TWO_ADDRESSES), 0, AF_UNSPEC, 0).expect("read from /etc/hosts");
    let hosts: Vec<String> =
        addrs.iter().map(|a| a.to_string().strip_suffix(":0").unwrap().to_owned()).collect();
    let [first, second] = &hosts[..] else { panic!("two addresses, not {hosts:?}") };

    let (_holder, port) = refusing_port(); // where nobody listens, that is
    let listener = patient(listen_on(Some(second), port, 1).unwrap());
    let client = connect_to(TWO_ADDRESSES, port).unwrap();
    let (server, _) = accept(&listener).unwrap();
    assert_connected(&client, &patient(server));

    drop(listener); // now both refuse
    let e = connect_to(TWO_ADDRESSES, port).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ConnectionRefused);
    let refused = |host| format!("connect {host}:{port}: Connection refused (os error 111)");
    assert_eq!(e.to_string(), format!("{}; {}", refused(first), refused(second)));
}

/// That the error of a call on two addresses names both, and has the last one's kind. Which is the
/// last one, the C library decides.
fn assert_names_both(e: io::Error, port: u16, call: &str, why: [(&str, c_int); 2]) {
    let addrs = resolve(Some(TWO_ADDRESSES), port, AF_UNSPEC, 0).unwrap();
    let errors: Vec<_> = addrs
        .iter()
        .map(|addr| {
            let of = |(host, _): &&(&str, c_int)| addr.to_string() == format!("{host}:{port}");
            (addr, io::Error::from_raw_os_error(why.iter().find(of).expect("one of the two").1))
        })
        .collect();
    let named = errors.iter().map(|(addr, e)| format!("{call} {addr}: {e}"));
    assert_eq!(e.to_string(), named.collect::<Vec<_>>().join("; "));
    assert_eq!((errors.len(), e.kind()), (2, errors[1].1.kind()));
}

/// As ronf/asyncssh#679 and MisterTea/EternalTerminal#733 met it: glibc gives one address twice.
#[test]
fn where_a_name_is_listed_twice_one_socket_listens_and_one_connects() {
    let test = "where_a_name_is_listed_twice_one_socket_listens_and_one_connects";
    match own_process_with_file(test, "/etc/hosts", &two_addresses([LOCAL, LOCAL])) {
        Some(Ok(output)) => return assert_passed(&output),
        Some(Err(why)) => return skipped(test, why),
        None => {}
    }
    let listener = patient(listen_on(Some(TWO_ADDRESSES), 0, 2).unwrap());
    let client = connect_to(TWO_ADDRESSES, port_of(&listener)).unwrap();
    let (server, _) = accept(&listener).unwrap();
    assert_connected(&client, &patient(server));
    assert_eq!(kernel::queued(&listener).unwrap(), 0, "no second connection");
}

#[test]
fn where_no_address_can_be_reached_the_error_names_each() {
    let test = "where_no_address_can_be_reached_the_error_names_each";
    let everyone = "255.255.255.255"; // to whom there are no connections
    match own_process_with_file(test, "/etc/hosts", &two_addresses([LOCAL, everyone])) {
        Some(Ok(output)) => return assert_passed(&output),
        Some(Err(why)) => return skipped(test, why),
        None => {}
    }
    let (_holder, port) = refusing_port();
    let e = connect_to(TWO_ADDRESSES, port).unwrap_err();
    let why = [(LOCAL, libc::ECONNREFUSED), (everyone, libc::ENETUNREACH)];
    assert_names_both(e, port, "connect", why);
}

#[test]
fn where_no_address_can_be_bound_the_error_names_each() {
    let test = "where_no_address_can_be_bound_the_error_names_each";
    let not_ours = "203.0.113.1"; // kept for documentation, RFC 5737
    match own_process_with_file(test, "/etc/hosts", &two_addresses([LOCAL, not_ours])) {
        Some(Ok(output)) => return assert_passed(&output),
        Some(Err(why)) => return skipped(test, why),
        None => {}
    }
    let (_taken, port) = listener(1);
    let e = listen_on(Some(TWO_ADDRESSES), port, 1).unwrap_err();
    let why = [(LOCAL, libc::EADDRINUSE), (not_ours, libc::EADDRNOTAVAIL)];
    assert_names_both(e, port, "bind", why);
}

// ---- connect: the deadline, the signal, the socket's mode ----

#[test]
fn a_handshake_without_an_answer_ends_at_the_deadline() {
    let (_listener, _queued, port) = full_listener();
    let list = address(LOCAL, port);
    for limit in [millis(100), millis(0)] {
        let deadline = Instant::now() + limit;
        let (call, e) = connect_at(list.iter().next().unwrap(), Some(deadline)).unwrap_err();
        assert!(Instant::now() >= deadline, "before its time");
        assert_eq!((call, e.kind()), ("connect", ErrorKind::TimedOut));
        // No errno: it is the deadline, and not the kernel that gave up.
        assert_eq!(e.raw_os_error(), None);
        assert_eq!(e.to_string(), "the deadline has passed");
    }
}

#[test]
fn after_the_deadline_no_handshake_is_begun() {
    let (listener, port) = listener(1);
    let list = address(LOCAL, port);
    let past = Some(Instant::now());
    let (call, e) = connect_at(list.iter().next().unwrap(), past).unwrap_err();
    assert_eq!((call, e.kind()), ("connect", ErrorKind::TimedOut));
    let ours = socket();
    let e = connect(&ours, list.iter().next().unwrap(), past).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::TimedOut);
    assert_eq!(kernel::tcp_state(&ours).unwrap(), "CLOSE");
    assert_eq!(kernel::queued(&listener).unwrap(), 0);
}

#[test]
fn a_connection_made_by_a_deadline_blocks_like_any_other() {
    let (listener, port) = listener(1);
    let list = address(LOCAL, port);
    let client = patient(connect_at(list.iter().next().unwrap(), Some(soon())).unwrap());
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

/// Whether the kernel has O_NONBLOCK for it.
fn is_nonblocking(fd: &UniqueFd) -> bool {
    // SAFETY:
    // - F_GETFL passes no memory.
    let flags = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0, "{}", sys::last_errno());
    flags & libc::O_NONBLOCK != 0
}

/// What `connect` said, of a descriptor whose mode it must leave as it was.
fn connect_keeping_mode(fd: &UniqueFd, port: u16, until: Option<Instant>) -> io::Result<()> {
    let before = is_nonblocking(fd);
    let result = connect(fd, address(LOCAL, port).iter().next().unwrap(), until);
    assert_eq!(is_nonblocking(fd), before, "the mode has changed, with {result:?}");
    result
}

#[test]
fn however_connect_ends_the_mode_is_as_it_was_found() {
    let (_listener, served) = listener(8);
    let (_holder, refusing) = refusing_port();
    let (_full, _queued, silent) = full_listener();
    let no_socket = || UniqueFd::from(OwnedFd::from(File::open("/dev/null").unwrap()));
    for nonblocking in [false, true] {
        let in_mode = |fd: UniqueFd| {
            sys::set_nonblocking(&fd, nonblocking).unwrap();
            fd
        };
        for until in [None, Some(soon())] {
            connect_keeping_mode(&in_mode(socket()), served, until).unwrap();
            let e = connect_keeping_mode(&in_mode(socket()), refusing, until).unwrap_err();
            assert_eq!(e.raw_os_error(), Some(libc::ECONNREFUSED));
            let e = connect_keeping_mode(&in_mode(no_socket()), served, until).unwrap_err();
            assert_eq!(e.raw_os_error(), Some(libc::ENOTSOCK));
        }
        for until in [at_once(), Instant::now()] {
            let e = connect_keeping_mode(&in_mode(socket()), silent, Some(until)).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::TimedOut);
        }
    }
}

#[test]
fn a_number_that_is_no_descriptor_is_ebadf() {
    // SAFETY:
    // - wrong on purpose: no descriptor has this number, and so nothing can be hit by it.
    let closed = unsafe { UniqueFd::from_raw_fd(c_int::MAX) };
    for until in [None, Some(soon())] {
        let e = connect(&closed, address(LOCAL, 9).iter().next().unwrap(), until).unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::EBADF));
    }
    assert_eq!(closed.close().unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn set_nonblocking_says_what_was_before() {
    let fd = socket();
    for (on, was) in [(false, false), (true, false), (true, true), (false, true), (false, false)] {
        assert_eq!(sys::set_nonblocking(&fd, on).unwrap(), was);
        assert_eq!(is_nonblocking(&fd), on);
    }
}

/// The system calls that `connect` waits in, first and then.
fn waits_in(until: Option<Instant>) -> [libc::c_long; 2] {
    match until {
        None => [SYS_connect, SYS_POLL], // the first only for as long as no signal comes
        Some(_) => [SYS_POLL, SYS_POLL],
    }
}

#[test]
fn an_interrupted_connect_goes_on_and_is_not_called_again() {
    for until in [None, Some(soon())] {
        let (listener, queued, port) = full_listener();
        let socket = socket();
        let [first, then] = waits_in(until);
        let me = Interrupter::of_this_thread();
        thread::scope(|s| {
            s.spawn(|| {
                me.interrupt_in(first);
                me.wait_until_blocked_in(then);
                me.interrupt_in(then); // and still it is not over
                me.wait_until_blocked_in(then);
                assert_eq!(kernel::tcp_state(&socket).unwrap(), "SYN_SENT");
                accept(&listener).unwrap(); // makes room for the next SYN, in a second
            });
            connect_keeping_mode(&socket, port, until).unwrap();
        });
        let (server, _) = accept(&listener).unwrap();
        assert_connected(&socket, &patient(server));
        drop(queued);
    }
}

#[test]
fn an_interrupted_connect_that_is_refused_says_so() {
    for until in [None, Some(soon())] {
        let (_holder, port) = refusing_port(); // once the listener has gone, that is
        let listener = listen_on(Some(LOCAL), port, 0).unwrap();
        let _queued = fill_the_queue(&listener, port);
        let socket = socket();
        let [first, then] = waits_in(until);
        let me = Interrupter::of_this_thread();
        let result = thread::scope(|s| {
            s.spawn(|| {
                me.interrupt_in(first);
                me.wait_until_blocked_in(then);
                drop(listener); // the next SYN is answered by a reset
            });
            connect_keeping_mode(&socket, port, until)
        });
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
    }
}

// ---- accept ----

#[test]
fn a_signal_does_not_end_accept() {
    let (listener, port) = listener(1);
    let me = Interrupter::of_this_thread();
    let (raw, _) = me.storm(|| sys::accept(&listener).map(drop));
    assert_eq!(raw.unwrap_err().kind(), ErrorKind::Interrupted);
    thread::scope(|s| {
        let client = s.spawn(|| {
            me.interrupt_in(SYS_accept4);
            me.wait_until_blocked_in(SYS_accept4);
            connect_to(LOCAL, port).unwrap()
        });
        let (server, peer) = accept(&listener).unwrap();
        let client = client.join().unwrap();
        assert_eq!(peer.port(), port_of(&client));
        assert_connected(&client, &patient(server));
    });
}

/// What the page says of TCP, and what Linux may say on top of that: accept(2), "Error handling"
/// and the end of "Errors".
const TO_BE_TRIED_AGAIN: [c_int; 12] = [
    libc::ENETDOWN,
    libc::EPROTO,
    libc::ENOPROTOOPT,
    libc::EHOSTDOWN,
    libc::ENONET,
    libc::EHOSTUNREACH,
    libc::ENETUNREACH,
    libc::ENOSR,
    libc::ESOCKTNOSUPPORT,
    libc::EPROTONOSUPPORT,
    libc::ETIMEDOUT,
    libc::ECONNABORTED,
];

#[test]
fn the_errors_of_accept_are_told_apart() {
    use AcceptAdvice::*;
    let advice = |errno| accept_advice(&io::Error::from_raw_os_error(errno));
    // Whatever it is, a server that goes on has lost nothing, unless the listener itself is wrong.
    let wrong = [libc::EBADF, libc::EFAULT, libc::EINVAL, libc::ENOTSOCK, libc::EOPNOTSUPP];
    for errno in 1..4096 {
        assert_eq!(advice(errno) == GiveUp, wrong.contains(&errno), "errno {errno}");
    }
    for errno in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM] {
        assert_eq!(advice(errno), Wait, "errno {errno}: at once, it spins");
    }
    for errno in [libc::EAGAIN, libc::EINTR, libc::ECONNABORTED, libc::EPERM] {
        assert_eq!(
            advice(errno),
            TryAgain,
            "errno {errno}: a pause would keep the next one waiting"
        );
    }
    // The manual's that are not a listener's, and one that no kernel has.
    for errno in [libc::ENONET, libc::ENOSR, 4000] {
        assert_eq!(advice(errno), Wait, "errno {errno}");
    }
    for errno in TO_BE_TRIED_AGAIN {
        assert_ne!(
            advice(errno),
            GiveUp,
            "errno {errno}: it is the connection's, not the server's"
        );
    }

    // And from the kernel itself: nobody there, and a socket that does not listen.
    let (listener, _) = listener(1);
    sys::set_nonblocking(&listener, true).unwrap();
    assert_eq!(accept_advice(&accept(&listener).map(drop).unwrap_err()), TryAgain);
    let (no_listener, _) = refusing_port();
    assert_eq!(accept_advice(&accept(&no_listener).unwrap_err()), GiveUp);
    let no_stream = sys::socket(AF_INET, libc::SOCK_DGRAM, 0).unwrap();
    assert_eq!(accept_advice(&accept(&no_stream).map(drop).unwrap_err()), GiveUp);
}

#[test]
fn out_of_descriptors_accept_waits_and_the_connection_stays_queued() {
    let test = "out_of_descriptors_accept_waits_and_the_connection_stays_queued";
    if let Some(output) = own_process(test) {
        return assert_passed(&output);
    }
    let (listener, port) = listener(1);
    let client = connect_to(LOCAL, port).unwrap();
    let e = out_of_descriptors(|| accept(&listener).map(drop)).unwrap_err();
    assert_eq!(e.raw_os_error(), Some(libc::EMFILE));
    assert_eq!(accept_advice(&e), AcceptAdvice::Wait);
    let (server, _) = accept(&listener).unwrap();
    assert_connected(&client, &patient(server));

    let list = address(LOCAL, port);
    let (call, e) =
        out_of_descriptors(|| connect_at(list.iter().next().unwrap(), None)).unwrap_err();
    assert_eq!((call, e.raw_os_error()), ("socket", Some(libc::EMFILE)));
    let e = out_of_descriptors(|| connect_to(LOCAL, port)).unwrap_err();
    // In the words of the C library, which are not the same in all of them.
    let why = io::Error::from_raw_os_error(libc::EMFILE);
    assert_eq!(e.to_string(), format!("socket 127.0.0.1:{port}: {why}"));
}
