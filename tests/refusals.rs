//! Every wrapper of `src`, times every error that the man page of its call has: `docs/faults.md`.
//!
//! One test, in a process of its own, so that nobody else opens a descriptor meanwhile. It compares
//! the page with what a run sees, and writes it where `TABLE=write`: that is `make faults`.

mod programs;
mod refusal;
mod support;

use std::collections::BTreeSet;
use std::env;
use std::ffi::{c_int, c_long};
use std::fmt::{Debug, Write};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use libc::*;
use nix::errno::Errno;
use refusal::filter::{Answer, refused};
use refusal::kernel::{Provoked, extremes, provoked};
use stage::kernel;
use support::*;
use tcp_stream_io::framing::length::*;
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::net::*;
use tcp_stream_io::stream::*;
use tcp_stream_io::{UniqueFd, accept, resolve, sys};

// ---- what comes back, in words that are the same on every run ----

/// The error's name, also where only its text has the number; else its kind.
fn said(e: &io::Error) -> String {
    let text = e.to_string();
    let number =
        text.rsplit_once("(os error ").and_then(|(_, n)| n.split(')').next()?.parse().ok());
    match (e.raw_os_error(), number) {
        (Some(errno), _) => name(errno),
        (None, Some(errno)) => format!("{}, in its text", name(errno)),
        _ => format!("{:?}", e.kind()),
    }
}

/// ENOTSOCK of 88.
fn name(errno: c_int) -> String {
    format!("{:?}", Errno::from_raw(errno))
}

fn names(errnos: &[c_int]) -> String {
    errnos.iter().map(|errno| name(*errno)).collect::<Vec<_>>().join(", ")
}

/// The error of a call that names it: `connect_at`, `listen_at`.
fn plain<T>(result: Result<T, (&'static str, io::Error)>) -> io::Result<T> {
    result.map_err(|(_, e)| e)
}

// ---- what is called ----

/// What a call needs before, and what is kept until it has been looked at.
struct Set {
    fds: Vec<UniqueFd>,
    port: u16,
}

impl Set {
    fn of(fds: impl Into<Vec<UniqueFd>>) -> Set {
        Set { fds: fds.into(), port: 0 }
    }

    /// The one that the call is about.
    fn fd(&self) -> &UniqueFd {
        &self.fds[0]
    }

    fn keep(&mut self, fd: UniqueFd) -> String {
        self.fds.push(fd);
        "a descriptor".into()
    }
}

fn nothing() -> Set {
    Set::of([])
}

fn socket() -> UniqueFd {
    sys::socket(AF_INET, SOCK_STREAM, 0).unwrap()
}

fn a_socket() -> Set {
    Set::of([socket()])
}

/// A listener with one connection in its queue.
fn a_queue() -> Set {
    let (listener, queued, port) = full_listener();
    Set { fds: vec![listener, queued], port }
}

/// A listener, and a socket that may connect to it.
fn a_port() -> Set {
    let (listener, port) = listener(1);
    Set { fds: vec![socket(), listener], port }
}

fn a_pair() -> Set {
    let (ours, peers) = pair();
    Set::of([ours, peers])
}

/// The peer has sent these bytes, and has ended its stream.
fn with_bytes(bytes: &[u8]) -> Set {
    let (ours, peers) = pair();
    tcp_stream_io::send_all(&peers, bytes).unwrap();
    drop(peers);
    kernel::wait_until_peer_ended(&ours).unwrap();
    Set::of([ours])
}

fn hello() -> Set {
    with_bytes(b"hello")
}

fn at(port: u16) -> tcp_stream_io::addr::AddrList {
    resolve(Some("127.0.0.1"), port, AF_UNSPEC, 0).unwrap()
}

/// What the call is named, what it needs, and the call: in words what it gave.
struct Wrapper {
    name: &'static str,
    before: fn() -> Set,
    call: fn(&mut Set) -> io::Result<String>,
}

macro_rules! wrappers {
    ($($name:literal, $before:expr, |$set:ident| $call:expr;)*) => {
        [$(Wrapper { name: $name, before: $before, call: |$set| $call }),*]
    };
}

/// Two bytes of what a call gave, or all of it: whatever it is, it is compared.
fn shown(value: impl Debug) -> io::Result<String> {
    Ok(format!("{value:?}"))
}

fn into_five(
    set: &Set,
    fill: impl FnOnce(&UniqueFd, &mut [u8]) -> io::Result<usize>,
) -> io::Result<String> {
    let mut buf = [0; 5];
    let n = fill(set.fd(), &mut buf)?;
    shown((n, buf))
}

/// What the peer has got, for a call that sends.
fn arrived(set: &Set) -> io::Result<String> {
    kernel::wait_for("the peer", || Ok(kernel::unacked(set.fd())? == 0))?; // no watched call
    let unread = kernel::unread(&set.fds[1])?;
    shown(unread)
}

fn wrappers() -> Vec<Wrapper> {
    wrappers! {
        "sys::socket", nothing, |set| Ok(set.keep(sys::socket(AF_INET, SOCK_STREAM, 0)?));
        "sys::bind", a_socket, |set| shown(sys::bind(set.fd(), at(0).iter().next().unwrap())?);
        "sys::listen", a_socket, |set| shown(sys::listen(set.fd(), 1)?);
        "sys::accept", a_queue, |set| {
            let (conn, _) = sys::accept(set.fd())?;
            Ok(set.keep(conn))
        };
        "sys::connect", a_port, |set| {
            shown(sys::connect(set.fd(), at(set.port).iter().next().unwrap())?)
        };
        "sys::send", a_pair, |set| shown(sys::send(set.fd(), b"hello", sys::NO_SIGPIPE)?);
        "sys::recv", hello, |set| into_five(set, |fd, buf| sys::recv(fd, buf, 0));
        "sys::poll", hello, |set| shown(sys::poll(set.fd().as_fd(), POLLIN, -1)? & POLLIN);
        "sys::shutdown", a_pair, |set| shown(sys::shutdown(set.fd(), SHUT_WR)?);
        "sys::getsockname", a_socket, |set| Ok(sys::getsockname(set.fd())?.to_string());
        "sys::getpeername", a_pair, |set| shown(sys::getpeername(set.fd())?.port() != 0);
        "sys::set_option", a_socket, |set| {
            shown(sys::set_option(set.fd(), SOL_SOCKET, SO_KEEPALIVE, 1)?)
        };
        "sys::get_option", a_socket, |set| shown(sys::get_option(set.fd(), SOL_SOCKET, SO_ERROR)?);
        "sys::set_nonblocking", a_socket, |set| shown(sys::set_nonblocking(set.fd(), true)?);
        "UniqueFd::close", a_socket, |set| shown(set.fds.remove(0).close()?);
        "drop(UniqueFd)", a_socket, |set| { drop(set.fds.remove(0)); shown(()) };
        "stream::wait_ready", hello, |set| shown(wait_ready(set.fd(), POLLIN, Some(soon()))?);
        "send_all", a_pair, |set| { send_all(set.fd(), b"hello")?; arrived(set) };
        "send_all_with_deadline", a_pair, |set| {
            send_all_with_deadline(set.fd(), b"hello", soon())?;
            arrived(set)
        };
        "recv_some", hello, |set| into_five(set, |fd, buf| recv_some(fd, buf, None));
        "recv_some, a deadline", hello, |set| {
            into_five(set, |fd, buf| recv_some(fd, buf, Some(soon())))
        };
        "recv_exact", hello, |set| into_five(set, |fd, buf| recv_exact(fd, buf).map(|()| 5));
        "recv_exact_with_deadline", hello, |set| into_five(set, |fd, buf| {
            recv_exact_with_deadline(fd, buf, soon()).map(|()| 5)
        });
        "lingering_close", hello, |set| shown(lingering_close(set.fds.remove(0), soon())?);
        "net::listen_at", nothing, |set| {
            let listener = plain(listen_at(at(0).iter().next().unwrap(), 1))?;
            Ok(set.keep(listener))
        };
        "listen_on", nothing, |set| Ok(set.keep(listen_on(Some("127.0.0.1"), 0, 1)?));
        "net::connect_at", a_port, |set| {
            let conn = plain(connect_at(at(set.port).iter().next().unwrap(), None))?;
            Ok(set.keep(conn))
        };
        "net::connect_at, a deadline", a_port, |set| {
            let conn = plain(connect_at(at(set.port).iter().next().unwrap(), Some(soon())))?;
            Ok(set.keep(conn))
        };
        "connect_to", a_port, |set| {
            let conn = connect_to("127.0.0.1", set.port)?;
            Ok(set.keep(conn))
        };
        "accept", a_queue, |set| { let (conn, _) = accept(set.fd())?; Ok(set.keep(conn)) };
        "send_frame", a_pair, |set| { send_frame(set.fd(), b"hello", 5)?; arrived(set) };
        "send_frame_with_deadline", a_pair, |set| {
            send_frame_with_deadline(set.fd(), b"hello", 5, soon())?;
            arrived(set)
        };
        "recv_frame", || with_bytes(b"\0\0\0\x05hello"), |set| shown(recv_frame(set.fd(), 5)?);
        "recv_frame_with_deadline", || with_bytes(b"\0\0\0\x05hello"), |set| {
            shown(recv_frame_with_deadline(set.fd(), 5, soon())?)
        };
        "recv_record", hello, |set| shown(recv_record::<5>(set.fd())?);
        "LineReader::recv_line", || with_bytes(b"hello\n"), |set| {
            shown(LineReader::new(set.fd(), 5).recv_line()?)
        };
    }
    .into()
}

// ---- refused by a filter ----

/// A system call: its number, its name, and the errors of its man page. Those that only sockets of
/// another kind have (files, Unix sockets, datagrams) are among them: no harm in asking.
type Call = (c_long, &'static str, &'static [c_int]);

const CALLS: [Call; 14] = [
    (
        SYS_socket,
        "socket",
        &[EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT],
    ),
    (
        SYS_bind,
        "bind",
        &[EACCES, EADDRINUSE, EBADF, EINVAL, ENOTSOCK, EADDRNOTAVAIL, EFAULT, ENOMEM],
    ),
    (SYS_listen, "listen", &[EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP]),
    (
        SYS_accept4,
        "accept",
        &[
            EINTR,
            EAGAIN,
            EBADF,
            ECONNABORTED,
            EFAULT,
            EINVAL,
            EMFILE,
            ENFILE,
            ENOBUFS,
            ENOMEM,
            ENOTSOCK,
            EOPNOTSUPP,
            EPERM,
            EPROTO,
            ENETDOWN,
            ENOPROTOOPT,
            EHOSTDOWN,
            ENONET,
            EHOSTUNREACH,
            ENETUNREACH,
            ENOSR,
            ESOCKTNOSUPPORT,
            EPROTONOSUPPORT,
            ETIMEDOUT,
        ],
    ),
    (
        SYS_connect,
        "connect",
        &[
            EACCES,
            EPERM,
            EADDRINUSE,
            EADDRNOTAVAIL,
            EAFNOSUPPORT,
            EAGAIN,
            EALREADY,
            EBADF,
            ECONNREFUSED,
            EFAULT,
            EISCONN,
            ENETUNREACH,
            ENOTSOCK,
            EPROTOTYPE,
            ETIMEDOUT,
        ],
    ),
    (
        SYS_sendto,
        "send",
        &[
            EINTR,
            EAGAIN,
            EACCES,
            EALREADY,
            EBADF,
            ECONNRESET,
            EDESTADDRREQ,
            EFAULT,
            EINVAL,
            EISCONN,
            EMSGSIZE,
            ENOBUFS,
            ENOMEM,
            ENOTCONN,
            ENOTSOCK,
            EOPNOTSUPP,
            EPIPE,
        ],
    ),
    (
        SYS_recvfrom,
        "recv",
        &[
            EINTR,
            EAGAIN,
            EBADF,
            ECONNREFUSED,
            ECONNRESET,
            EFAULT,
            EINVAL,
            ENOMEM,
            ENOTCONN,
            ENOTSOCK,
            ETIMEDOUT,
        ],
    ),
    (SYS_POLL, "poll", &[EINTR, EFAULT, EINVAL, ENOMEM]),
    (SYS_shutdown, "shutdown", &[EBADF, EINVAL, ENOTCONN, ENOTSOCK]),
    (SYS_getsockname, "getsockname", &[EBADF, EFAULT, EINVAL, ENOBUFS, ENOTSOCK]),
    (SYS_getpeername, "getpeername", &[EBADF, EFAULT, EINVAL, ENOBUFS, ENOTCONN, ENOTSOCK]),
    (SYS_setsockopt, "setsockopt", &[EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK, ENOMEM]),
    (SYS_getsockopt, "getsockopt", &[EBADF, EFAULT, EINVAL, ENOPROTOOPT, ENOTSOCK]),
    (SYS_fcntl, "fcntl", &[EACCES, EAGAIN, EBADF, EINVAL, EPERM]),
];

/// Errors that come when the work is done: of a handshake that goes on, of a descriptor that is
/// gone.
const AFTERWARDS: [Call; 2] = [
    (SYS_connect, "connect", &[EINTR, EINPROGRESS]),
    (SYS_close, "close", &[EINTR, EIO, ENOSPC, EDQUOT, EBADF]),
];

fn watched() -> Vec<c_long> {
    CALLS.iter().map(|call| call.0).chain([SYS_close]).collect()
}

fn call_name(number: c_long) -> &'static str {
    let call = CALLS.iter().chain(&AFTERWARDS).find(|call| call.0 == number);
    call.map_or("?", |call| call.1)
}

/// What a wrapper gave, and the calls that it made. No descriptor may be left, nor may a call that
/// is not refused fail afterwards.
fn run(wrapper: &Wrapper, what: Option<(usize, Answer)>) -> (io::Result<String>, Vec<c_long>) {
    let before = kernel::open_fds();
    let mut set = (wrapper.before)();
    let ran = refused(&watched(), what, || (wrapper.call)(&mut set));
    let (result, calls) = ran.unwrap_or_else(|e| panic!("{}: {e}", wrapper.name));
    drop(set);
    assert_eq!(kernel::open_fds(), before, "{}, {what:?}: descriptors", wrapper.name);
    (result, calls)
}

/// What comes of one refusal, beside a run that nothing refuses.
fn outcome(
    wrapper: &Wrapper,
    place: usize,
    answer: Answer,
    clean: &[c_long],
    gave: &str,
) -> String {
    let (result, calls) = run(wrapper, Some((place, answer)));
    let errno = match answer {
        Answer::Error(errno) | Answer::ErrorAfter(errno) => errno,
        Answer::OneByte => 0,
    };
    match result {
        Ok(given) if given == gave && calls == clean => "done all the same".into(),
        Ok(given) if given == gave => {
            let (now, then) = (&calls[place + 1..], &clean[place + 1..]);
            match now.strip_suffix(then) {
                Some([again]) if *again == calls[place] => "the call is made again".into(),
                Some(more) => {
                    let more: Vec<_> = more.iter().map(|call| call_name(*call)).collect();
                    format!("done, after {}", more.join(" and "))
                }
                None => {
                    let left_out = then.strip_suffix(now).expect("it goes on as it would");
                    let left_out: BTreeSet<_> =
                        left_out.iter().map(|call| call_name(*call)).collect();
                    format!("done, without {}", Vec::from_iter(left_out).join(" and "))
                }
            }
        }
        Ok(given) if answer == Answer::OneByte && given.contains('1') => "the count says so".into(),
        Ok(given) => panic!("{}, {answer:?}: it gave {given}, not {gave}", wrapper.name),
        Err(e) if e.raw_os_error() == Some(errno) => "that error".into(),
        Err(e) if e.to_string().contains(&io::Error::from_raw_os_error(errno).to_string()) => {
            "that error, in its text".into()
        }
        Err(e) => said(&e),
    }
}

/// The rows of one wrapper: each of its calls, with each error.
fn refusals_of(wrapper: &Wrapper) -> Vec<String> {
    let (gave, clean) = run(wrapper, None);
    let gave = gave.unwrap_or_else(|e| panic!("{} fails by itself: {e}", wrapper.name));
    let mut rows = Vec::new();
    for (place, number) in clean.iter().enumerate() {
        let mut outcomes: Vec<(String, Vec<String>)> = Vec::new();
        let mut add = |what: String, answer| {
            let outcome = outcome(wrapper, place, answer, &clean, &gave);
            // And the program goes on: the next call finds nothing changed.
            assert_eq!(run(wrapper, None).0.ok().as_ref(), Some(&gave), "{}", wrapper.name);
            match outcomes.iter_mut().find(|(known, _)| *known == outcome) {
                Some((_, whats)) => whats.push(what),
                None => outcomes.push((outcome, vec![what])),
            }
        };
        for errno in CALLS.iter().filter(|call| call.0 == *number).flat_map(|call| call.2) {
            add(name(*errno), Answer::Error(*errno));
        }
        for errno in AFTERWARDS.iter().filter(|call| call.0 == *number).flat_map(|call| call.2) {
            add(name(*errno), Answer::ErrorAfter(*errno));
        }
        if [SYS_sendto, SYS_recvfrom].contains(number) {
            add("one byte of them".into(), Answer::OneByte);
        }
        let nth = clean[..=place].iter().filter(|call| *call == number).count();
        let nth = ["", "", ", the second", ", the third", ", the fourth"][nth];
        let most = outcomes.iter().map(|(_, whats)| whats.len()).max();
        let only_one = outcomes.len() == 1;
        // What comes of most errors stands last, and does not name them again.
        outcomes.sort_by_key(|(_, whats)| Some(whats.len()) == most);
        let last = outcomes.len() - 1;
        for (i, (outcome, whats)) in outcomes.iter().enumerate() {
            let whats = match whats.join(", ") {
                _ if only_one => "all".into(),
                _ if i == last => "all others".into(),
                whats => whats,
            };
            let (wrapper, call) = (wrapper.name, call_name(*number));
            rows.push(format!("| `{wrapper}` | {call}{nth} | {whats} | {outcome} |"));
        }
    }
    rows
}

/// Each row twice: the same comes back each time, and nothing is left open.
fn rows_of(table: Vec<Provoked>) -> Vec<String> {
    let row = |(call, how, body): Provoked| {
        let before = kernel::open_fds();
        let again = || match body() {
            Ok(gave) => format!("Ok: {gave}"),
            Err(e) => said(&e),
        };
        let outcomes: BTreeSet<String> = (0..2).map(|_| again()).collect();
        assert_eq!(outcomes.len(), 1, "{call}, {how}: {outcomes:?}");
        assert_eq!(kernel::open_fds(), before, "{call}, {how}: descriptors");
        let outcome = outcomes.first().unwrap().replace("Ok: ()", "Ok");
        format!("| `{call}` | {how} | {outcome} |")
    };
    table.into_iter().map(row).collect()
}

// ---- the page ----

/// What only the filter can say: of which calls (none: of all), which errors, and why.
type Unprovoked = (&'static [&'static str], &'static [c_int], &'static str);

const NOT_BY_THE_KERNEL: [Unprovoked; 15] = [
    (&[], &[EBADF], "a `UniqueFd` is open for as long as it lives"),
    (&[], &[EFAULT], "the memory is a slice's, or the wrapper's own"),
    (&[], &[ENOMEM, ENOBUFS], "the kernel's memory would have to be used up"),
    (&[], &[ENFILE], "the whole machine's table of descriptors would have to be full"),
    (&[], &[EACCES, EPERM], "root is refused nothing, and a firewall's rules are the machine's"),
    (&[], &[ETIMEDOUT], "the kernel gives up after seconds at the earliest"),
    (
        &["accept"],
        &[
            EHOSTDOWN,
            EHOSTUNREACH,
            ENETDOWN,
            ENETUNREACH,
            EPROTO,
            ENOPROTOOPT,
            ECONNABORTED,
            ENONET,
            ENOSR,
            ESOCKTNOSUPPORT,
            EPROTONOSUPPORT,
        ],
        "what waits in the queue of a loopback meets none of them",
    ),
    (&["connect"], &[EADDRINUSE, EAGAIN], "all local ports would have to be in use"),
    (&["connect"], &[EPROTOTYPE], "sockets of the Unix family have it"),
    (&["send"], &[EALREADY], "TCP Fast Open has it"),
    (&["send"], &[EDESTADDRREQ, EISCONN, EMSGSIZE, ENOTCONN], "datagrams have it; TCP says EPIPE"),
    (&["send"], &[EINVAL, EOPNOTSUPP], "TCP has a use for every flag, or ignores it"),
    (&["getsockname", "getpeername", "getsockopt"], &[EINVAL], "the length is the wrapper's own"),
    (&["fcntl"], &[EAGAIN, EINVAL], "F_GETFL and F_SETFL of a socket have no such error"),
    (&["close"], &[EINTR, EIO, ENOSPC, EDQUOT], "a file on a network has it, a socket has not"),
];

/// The system call of a wrapper that makes one.
fn call_of(wrapper: &str) -> &str {
    match wrapper.trim_start_matches("sys::") {
        "set_option" => "setsockopt",
        "get_option" => "getsockopt",
        call => call,
    }
}

/// Every error that was asked for by the filter comes from the kernel too, or has its reason.
fn assert_complete(by_the_kernel: &[String]) {
    let mut missing = Vec::new();
    for (_, call, errnos) in CALLS.iter().chain(&AFTERWARDS) {
        for errno in *errnos {
            let why = NOT_BY_THE_KERNEL.iter().any(|(calls, errnos, _)| {
                (calls.is_empty() || calls.contains(call)) && errnos.contains(errno)
            });
            let row = by_the_kernel.iter().any(|row| {
                let wrapper = row.split('`').nth(1).unwrap();
                call_of(wrapper) == *call && row.ends_with(&format!("| {} |", name(*errno)))
            });
            if !why && !row {
                missing.push(format!("{call}: {}", name(*errno)));
            }
        }
    }
    assert_eq!(missing, [""; 0], "neither provoked nor explained");
}

fn page(list: impl Fn(&[&str], Vec<String>) -> String) -> String {
    let mut page = String::from(
        "# What comes back when a call is refused\n\n\
         `make faults` runs each row and writes this page. `make test` fails if a run differs from \
         it.\nAfter each row the same descriptors are open as before, and the same call works.\n\n\
         ## Refused by the kernel\n\n\
         Where nothing else is said, the reason is real: a full table, a full queue, a reset, a \
         signal.\n\n",
    );
    let by_the_kernel = rows_of(provoked());
    assert_complete(&by_the_kernel);
    page += &list(&["call", "how", "what comes back"], by_the_kernel);
    page += "\n## The ends of what can be asked for\n\n\
             A deadline is an `Instant`; the last one that there is lies centuries ahead.\n\n";
    page += &list(&["call", "asked for", "what comes back"], rows_of(extremes()));
    page += "\n## Refused by a filter\n\n\
             A filter of seccomp(2) stands before the kernel. It refuses one call of a wrapper \
             with each error\nof its man page, or does one byte of it. `connect` and `close` are also \
             made, and then said to have\nfailed: interrupted, a handshake goes on and a \
             descriptor is gone.\n\n";
    let asked = |call: &Call| {
        let after = AFTERWARDS.iter().filter(|other| other.0 == call.0).flat_map(|call| call.2);
        let errnos: Vec<c_int> = call.2.iter().chain(after).copied().collect();
        format!("| {} | {} |", call.1, names(&errnos))
    };
    let close = (SYS_close, "close", &[][..]);
    page += &list(&["call", "errors"], CALLS.iter().chain([&close]).map(asked).collect());
    page += "\n";
    let refusals = wrappers().iter().flat_map(refusals_of).collect();
    page += &list(&["wrapper", "its call", "refused with", "what comes back"], refusals);
    page += "\n## What only the filter says\n\n";
    let why = |(calls, errnos, why): &Unprovoked| {
        let calls = if calls.is_empty() { "any".into() } else { calls.join(", ") };
        format!("| {calls} | {} | {why} |", names(errnos))
    };
    let rows = NOT_BY_THE_KERNEL.iter().map(why).collect();
    page += &list(&["call", "error", "why the kernel is not brought to it"], rows);
    page += "\nOf the resolver's codes EAI_SERVICE and EAI_SOCKTYPE cannot come: the port is a \
             number, and the type\nis fixed. EAI_FAIL has to be said by a name server, and \
             EAI_MEMORY by a machine without memory.\n\n\
             ## The echo program\n\n\
             One call after the other is refused, once; then two clients come, one after the \
             other. A client\nthat is not answered is the one whose connection was refused. \
             Interrupted and short calls change\nnothing that it prints: `tests/faults.rs`.\n\n";
    page += &list(&["role", "its call", "refused with", "what comes of it"], refusal::echo::rows());
    page
}

#[test]
fn the_page_of_faults_is_that_of_a_run() {
    if let Err(e) = refused(&[SYS_socket], None, || ()) {
        return skipped("the table of faults", format_args!("seccomp: {e}"));
    }
    let page = page(|titles, rows| {
        let mut text = format!("| {} |\n|{}\n", titles.join(" | "), " --- |".repeat(titles.len()));
        for row in rows {
            writeln!(text, "{row}").unwrap();
        }
        text
    });
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/faults.md");
    if env::var("TABLE").is_ok_and(|what| what == "write") {
        return fs::write(&path, page).unwrap();
    }
    if cfg!(not(target_env = "gnu")) {
        return skipped("what the page says", "it is another C library's");
    }
    let written = fs::read_to_string(&path).unwrap();
    for (line, written) in page.lines().zip(written.lines()) {
        assert_eq!(line, written, "docs/faults.md; `make faults` writes it anew");
    }
    assert_eq!(page.lines().count(), written.lines().count(), "docs/faults.md has another length");
}
