//! What each crate hides, asked of the kernel: the book's page "Which crate at work" says it. A test
//! that fails here is a sentence there that has become wrong.

mod five_lines;

use std::ffi::c_long;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{SaFlags, SigSet, Signal};
use nix::sys::socket::MsgFlags;
use nix::unistd::{Pid, gettid};
use rustix::net::{RecvFlags, SendFlags};
use socket2::Socket;
use stage::kernel::{is_blocked_in, signal_thread, wait_for};
use stage::signals::{Storm, counted, handle};
use tcp_stream_io::{UniqueFd, net, sys};

/// A limit that only catches what hangs.
const HANG: Duration = Duration::from_secs(60);

/// In which calls `poll` and tokio wait: newer processors have no other.
#[cfg(target_arch = "x86_64")]
const POLL: (c_long, c_long) = (libc::SYS_poll, libc::SYS_epoll_wait);
#[cfg(not(target_arch = "x86_64"))]
const POLL: (c_long, c_long) = (libc::SYS_ppoll, libc::SYS_epoll_pwait);

/// One test at a time: they count the same signals, whose handler has no SA_RESTART.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    handle(Signal::SIGUSR1, SaFlags::empty()).unwrap();
    guard
}

fn listener() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let SocketAddr::V4(addr) = listener.local_addr().unwrap() else { panic!("not IPv4") };
    (listener, addr)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, addr) = listener();
    (TcpStream::connect(addr).unwrap(), listener.accept().unwrap().0)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

type Way = fn(SocketAddrV4, &[u8], &mut [u8]) -> io::Result<()>;

/// The six ways, each with the calls in which it waits for room and for bytes.
const WAYS: [(&str, [c_long; 2], Way); 6] = [
    ("libc", [POLL.0; 2], |addr, request, answer| {
        five_lines::with_libc(addr, request, answer, Instant::now() + HANG)
    }),
    ("nix", [libc::SYS_sendto, libc::SYS_recvfrom], five_lines::with_nix),
    ("rustix", [libc::SYS_sendto, libc::SYS_recvfrom], five_lines::with_rustix),
    ("socket2", [libc::SYS_sendto, libc::SYS_recvfrom], five_lines::with_socket2),
    ("std", [libc::SYS_sendto, libc::SYS_recvfrom], five_lines::with_std),
    ("tokio", [POLL.1; 2], |addr, request, answer| {
        let deadline = tokio::time::Instant::now() + HANG;
        runtime().block_on(five_lines::with_tokio(addr, request, answer, deadline))
    }),
];

/// The request is larger than all buffers, so that each way has to wait, and a signal comes whenever
/// it does: short counts and EINTR both.
#[test]
fn five_lines_bring_every_byte_through_signals_in_all_six_ways() {
    let _alone = alone();
    let request: Vec<u8> = (0..16 << 20).map(|n: u32| (n % 251) as u8).collect();
    for (name, waits, way) in WAYS {
        let (listener, addr) = listener();
        let (tid, before, expected) = (gettid(), counted(), &request);
        thread::scope(|scope| {
            let peer = scope.spawn(move || {
                let (mut conn, _) = listener.accept()?;
                wait_for("signals while it sends", || Ok(counted() > before + 2))?;
                let mut got = vec![0; expected.len()];
                conn.read_exact(&mut got)?;
                conn.write_all(b"half")?;
                // One more of this thread: the storm may have spent its thousand.
                let before = counted();
                wait_for("it to receive", || Ok(is_blocked_in(tid, waits[1])))?;
                signal_thread(tid, Signal::SIGUSR1)?;
                wait_for("a signal while it receives", || Ok(counted() > before))?;
                conn.write_all(b" and half")?;
                Ok::<_, io::Error>((&got == expected, conn.read(&mut [0])?))
            });
            let mut storms = waits.to_vec();
            storms.dedup();
            let storms =
                storms.into_iter().map(|call| Storm::on_this_thread(Signal::SIGUSR1, call));
            let storms: Vec<Storm> = storms.collect::<io::Result<_>>().unwrap();
            let mut answer = [0; 13];
            let done = way(addr, &request, &mut answer);
            for storm in storms {
                storm.stop().unwrap();
            }
            done.unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(&answer, b"half and half", "{name}");
            let (same, after) = peer.join().unwrap().unwrap();
            assert!(same, "{name}: the request came out as another");
            assert_eq!(after, 0, "{name}: no end of the stream");
        });
    }
}

/// `act` on a thread of its own, which is sent a signal once it waits in `call`; what the thread
/// waits in after that, if it does, and its own result.
fn interrupted<T: Send + 'static>(
    call: c_long,
    then: &[c_long],
    act: impl FnOnce() -> T + Send + 'static,
) -> (Option<c_long>, mpsc::Receiver<T>) {
    let (tell, told) = mpsc::channel::<Pid>();
    let (done, result) = mpsc::channel();
    let thread = thread::spawn(move || {
        tell.send(gettid()).unwrap();
        let _ = done.send(act());
    });
    let tid = told.recv().unwrap();
    wait_for("the call to block", || Ok(is_blocked_in(tid, call))).unwrap();
    let before = counted();
    signal_thread(tid, Signal::SIGUSR1).unwrap();
    wait_for("the handler to run", || Ok(counted() > before)).unwrap();
    let mut waits = None;
    wait_for("what it does then", || {
        waits = then.iter().copied().find(|then| is_blocked_in(tid, *then));
        Ok(waits.is_some() || thread.is_finished())
    })
    .unwrap();
    (waits, result)
}

#[test]
fn one_call_to_receive_says_eintr_in_each_crate() {
    let _alone = alone();
    type Call = fn(&TcpStream) -> io::Result<usize>;
    let calls: [(&str, Call); 4] = [
        ("nix", |conn| {
            Ok(nix::sys::socket::recv(conn.as_raw_fd(), &mut [0; 8], MsgFlags::empty())?)
        }),
        ("rustix", |conn| Ok(rustix::net::recv(conn, &mut [0; 8], RecvFlags::empty())?.1)),
        ("socket2", |conn| Socket::from(conn.try_clone()?).read(&mut [0; 8])),
        ("std", |mut conn| conn.read(&mut [0; 8])),
    ];
    for (name, call) in calls {
        let (conn, peer) = pair();
        let (waits, result) = interrupted(libc::SYS_recvfrom, &[], move || call(&conn));
        let kind = result.recv().unwrap().map_err(|e| e.kind());
        assert_eq!((waits, kind), (None, Err(ErrorKind::Interrupted)), "{name}");
        drop(peer);
    }
}

/// A listener whose queue is full, so that the next `connect` waits; and who fills it.
fn full() -> (UniqueFd, UniqueFd, SocketAddrV4) {
    let found = tcp_stream_io::resolve(Some("127.0.0.1"), 0, libc::AF_INET, 0).unwrap();
    let listener = net::listen_at(found.iter().next().unwrap(), 0).map_err(|(_, e)| e).unwrap();
    let port = sys::getsockname(&listener).unwrap().port();
    let first = net::connect_to("127.0.0.1", port).unwrap();
    (listener, first, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
}

#[test]
fn a_signal_in_connect_is_std_s_and_our_affair_and_else_the_caller_s() {
    let _alone = alone();
    type Connect = fn(SocketAddrV4) -> io::Result<()>;
    let ways: [(&str, Connect, Option<c_long>); 5] = [
        ("libc", |to| net::connect_to(&to.ip().to_string(), to.port()).map(drop), Some(POLL.0)),
        ("nix", |to| five_lines::with_nix(to, b"", &mut []), None),
        ("rustix", |to| five_lines::with_rustix(to, b"", &mut []), None),
        ("socket2", |to| five_lines::with_socket2(to, b"", &mut []), None),
        ("std", |to| TcpStream::connect(to).map(drop), Some(libc::SYS_connect)),
    ];
    for (name, way, expected) in ways {
        let (listener, first, addr) = full();
        let then = [libc::SYS_connect, POLL.0];
        let (waits, result) = interrupted(libc::SYS_connect, &then, move || way(addr));
        assert_eq!(waits, expected, "{name}");
        if waits.is_none() {
            let kind = result.recv().unwrap().map_err(|e| e.kind());
            assert_eq!(kind, Err(ErrorKind::Interrupted), "{name}");
            continue;
        }
        // Who waits is let in, once the SYN has come again.
        let taken = [(); 2].map(|()| net::accept(&listener).unwrap());
        result.recv_timeout(HANG).unwrap().unwrap_or_else(|e| panic!("{name}: {e}"));
        drop((taken, first));
    }
}

/// Whether `send` on a stream that may not be written to any more raises SIGPIPE. The thread blocks
/// it, so that it stays pending, be it ignored or not.
fn raises(send: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static) -> bool {
    let thread = thread::spawn(|| {
        SigSet::from(Signal::SIGPIPE).thread_block().unwrap();
        let (conn, _peer) = pair();
        conn.shutdown(Shutdown::Write).unwrap();
        let said = send(conn).unwrap_err();
        assert_eq!(said.kind(), ErrorKind::BrokenPipe);
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:")).unwrap();
        let pending = u64::from_str_radix(pending.trim(), 16).unwrap();
        pending & 1 << (Signal::SIGPIPE as u32 - 1) != 0
    });
    thread.join().unwrap()
}

#[test]
fn who_asks_for_no_sigpipe() {
    let nix = |flags| {
        raises(move |conn| {
            nix::sys::socket::send(conn.as_raw_fd(), b"x", flags)?;
            Ok(())
        })
    };
    let rustix = |flags| {
        raises(move |conn| {
            rustix::net::send(&conn, b"x", flags)?;
            Ok(())
        })
    };
    let ours = raises(|conn| {
        let conn = UniqueFd::from(std::os::fd::OwnedFd::from(conn));
        tcp_stream_io::send_all(&conn, b"x")
    });
    let tokio = raises(|conn| {
        conn.set_nonblocking(true)?;
        runtime().block_on(async {
            let mut conn = tokio::net::TcpStream::from_std(conn)?;
            tokio::io::AsyncWriteExt::write_all(&mut conn, b"x").await
        })
    });
    let found = [
        ("libc", ours, false),
        ("nix", nix(MsgFlags::MSG_NOSIGNAL), false),
        ("nix without the flag", nix(MsgFlags::empty()), true),
        ("rustix", rustix(SendFlags::NOSIGNAL), false),
        ("rustix without the flag", rustix(SendFlags::empty()), true),
        ("socket2", raises(|conn| Socket::from(conn).write_all(b"x")), true),
        ("std", raises(|mut conn| conn.write_all(b"x")), false),
        ("tokio", tokio, false),
    ];
    for (name, raised, expected) in found {
        assert_eq!(raised, expected, "{name}");
    }
}

#[test]
fn the_timeout_of_std_is_one_call_s() {
    let (conn, _peer) = pair();
    conn.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let kept = nix::sys::socket::getsockopt(&conn, nix::sys::socket::sockopt::ReceiveTimeout);
    assert_eq!(kept.unwrap(), nix::sys::time::TimeVal::new(2, 0));
}
