//! What the kernel itself is brought to say, and the ends of what can be asked for.

use std::ffi::{c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use libc::*;
use stage::{kernel, set_timeout};
use tcp_stream_io::framing::length::*;
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::framing::record::recv_record;
use tcp_stream_io::net::*;
use tcp_stream_io::stream::*;
use tcp_stream_io::{UniqueFd, accept, resolve, sys};

use super::filter::{Answer, refused};
use crate::support::*;
use crate::{Set, arrived, at, hello, plain, shown, socket};

/// A call, how it is brought to fail, and what comes back.
pub type Provoked = (&'static str, &'static str, fn() -> io::Result<String>);

fn a_file() -> UniqueFd {
    UniqueFd::from(OwnedFd::from(File::open("/dev/null").unwrap()))
}

fn a_datagram_socket() -> UniqueFd {
    sys::socket(AF_INET, SOCK_DGRAM, 0).unwrap()
}

/// Our end of a connection that the peer has reset.
fn reset() -> UniqueFd {
    let (ours, peer) = pair();
    kernel::reset_on_close(&peer).unwrap();
    drop(peer);
    kernel::wait_until_peer_ended(&ours).unwrap();
    ours
}

/// One signal while `body` is blocked in `call`. Then `at_last` gives it what it waits for.
fn interrupted<R>(call: c_long, body: impl FnOnce() -> R, at_last: impl FnOnce() + Send) -> R {
    let us = Interrupter::of_this_thread();
    thread::scope(|s| {
        s.spawn(|| {
            us.interrupt_in(call);
            at_last();
        });
        body()
    })
}

/// Connects to a port of the loopback.
fn connect_by(port: u16, until: Option<Instant>) -> io::Result<String> {
    plain(connect_at(at(port).iter().next().unwrap(), until)).map(|_| "a connection".into())
}

fn connects(fd: &UniqueFd, port: u16) -> io::Result<String> {
    shown(sys::connect(fd, at(port).iter().next().unwrap())?)
}

pub fn provoked() -> Vec<Provoked> {
    vec![
        ("resolve", "a NUL in the name", || shown(resolve(Some("a\0b"), 0, AF_UNSPEC, 0)?)),
        ("resolve", "a name where only numbers are asked for", || {
            shown(resolve(Some("localhost"), 0, AF_UNSPEC, AI_NUMERICHOST)?)
        }),
        ("resolve", "a family that there is not", || shown(resolve(Some("::1"), 0, 99, 0)?)),
        ("resolve", "a flag that there is not", || {
            shown(resolve(Some("::1"), 0, AF_UNSPEC, 1 << 30)?)
        }),
        ("resolve", "no descriptor is left", || {
            out_of_descriptors(|| shown(resolve(Some("localhost"), 0, AF_UNSPEC, 0)?))
        }),
        ("net::resolve_to_listen", "no IPv6 here (a filter)", || {
            let what = Some((0, Answer::Error(EAFNOSUPPORT)));
            let (list, _) = refused(&[SYS_socket], what, || {
                let list = resolve_to_listen(None, 80)?;
                Ok(list.iter().next().unwrap().to_string())
            })?;
            list
        }),
        ("sys::socket", "a family that there is not", || shown(sys::socket(99, SOCK_STREAM, 0)?)),
        ("sys::socket", "a kind that there is not", || shown(sys::socket(AF_INET, 99, 0)?)),
        ("sys::socket", "a stream of UDP", || {
            shown(sys::socket(AF_INET, SOCK_STREAM, IPPROTO_UDP)?)
        }),
        ("sys::socket", "no descriptor is left", || {
            out_of_descriptors(|| shown(sys::socket(AF_INET, SOCK_STREAM, 0)?))
        }),
        ("sys::bind", "the port is in use", || {
            let (_listener, port) = listener(1);
            shown(sys::bind(&socket(), at(port).iter().next().unwrap())?)
        }),
        ("sys::bind", "it is bound", || {
            let socket = socket();
            sys::bind(&socket, at(0).iter().next().unwrap())?;
            shown(sys::bind(&socket, at(0).iter().next().unwrap())?)
        }),
        ("sys::bind", "not an address of this machine", || {
            let list = resolve(Some("203.0.113.1"), 0, AF_UNSPEC, AI_NUMERICHOST)?; // RFC 5737
            shown(sys::bind(&socket(), list.iter().next().unwrap())?)
        }),
        ("sys::bind", "not a socket", || {
            shown(sys::bind(&a_file(), at(0).iter().next().unwrap())?)
        }),
        ("sys::listen", "two are bound, and the other one listens", || {
            let [first, second] = [socket(), socket()];
            for socket in [&first, &second] {
                sys::set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)?;
            }
            sys::bind(&first, at(0).iter().next().unwrap())?;
            sys::bind(&second, sys::getsockname(&first)?.as_addr())?;
            sys::listen(&first, 1)?;
            shown(sys::listen(&second, 1)?)
        }),
        ("sys::listen", "not a stream", || shown(sys::listen(&a_datagram_socket(), 1)?)),
        ("sys::listen", "not a socket", || shown(sys::listen(&a_file(), 1)?)),
        ("listen_on", "the port is in use", || {
            let (_listener, port) = listener(1);
            shown(listen_on(Some("127.0.0.1"), port, 1)?)
        }),
        ("listen_on", "not an address of this machine", || {
            shown(listen_on(Some("203.0.113.1"), 0, 1)?) // kept for documentation, RFC 5737
        }),
        ("accept", "nobody is there, O_NONBLOCK", || {
            let (listener, _) = listener(1);
            sys::set_nonblocking(&listener, true)?;
            shown(accept(&listener)?)
        }),
        ("accept", "no descriptor is left", || {
            let (listener, _queued, _) = full_listener();
            out_of_descriptors(|| shown(accept(&listener)?))
        }),
        ("accept", "it does not listen", || shown(accept(&socket())?)),
        ("accept", "not a stream", || shown(accept(&a_datagram_socket())?)),
        ("accept", "not a socket", || shown(accept(&a_file())?)),
        ("accept", "a signal, and then a client", || {
            let (listener, port) = listener(1);
            let client = || drop(connect_to("127.0.0.1", port).unwrap());
            interrupted(SYS_accept4, || accept(&listener).map(|_| "a connection".into()), client)
        }),
        ("sys::accept", "a signal", || {
            let (listener, _) = listener(1);
            interrupted(SYS_accept4, || shown(sys::accept(&listener)?), || {})
        }),
        ("accept, then sys::recv", "reset while in the queue", || {
            let (listener, queued, _) = full_listener();
            kernel::reset_on_close(&queued)?;
            drop(queued);
            let (conn, _) = accept(&listener)?; // Linux hands it over all the same
            shown(sys::recv(&conn, &mut [0], 0)?)
        }),
        ("sys::connect", "nobody listens", || connects(&socket(), refusing_port().1)),
        ("sys::connect", "it is connected", || {
            let (ours, _peer) = pair();
            connects(&ours, 1)
        }),
        ("sys::connect", "a handshake without an answer, O_NONBLOCK", || {
            let (_listener, _queued, port) = full_listener();
            let socket = socket();
            sys::set_nonblocking(&socket, true)?;
            connects(&socket, port)
        }),
        ("sys::connect", "the same, once more", || {
            let (_listener, _queued, port) = full_listener();
            let socket = socket();
            sys::set_nonblocking(&socket, true)?;
            let _ = connects(&socket, port);
            connects(&socket, port)
        }),
        ("sys::connect", "a handshake without an answer, a signal", || {
            let (_listener, _queued, port) = full_listener();
            let socket = socket();
            interrupted(SYS_connect, || connects(&socket, port), || {})
        }),
        ("sys::connect", "an address of IPv6 for a socket of IPv4", || {
            let list = resolve(Some("::1"), 1, AF_UNSPEC, AI_NUMERICHOST)?;
            shown(sys::connect(&socket(), list.iter().next().unwrap())?)
        }),
        ("sys::connect", "the broadcast address", || {
            let list = resolve(Some("255.255.255.255"), 1, AF_UNSPEC, AI_NUMERICHOST)?;
            shown(sys::connect(&socket(), list.iter().next().unwrap())?)
        }),
        ("sys::connect", "the same two ends are connected", || {
            let (_listener, port) = listener(2);
            let [first, second] = [socket(), socket()];
            for socket in [&first, &second] {
                sys::set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)?;
            }
            sys::bind(&first, at(0).iter().next().unwrap())?;
            let ours = sys::getsockname(&first)?;
            sys::bind(&second, ours.as_addr())?;
            connects(&first, port)?;
            connects(&second, port)
        }),
        ("sys::connect", "not a socket", || connects(&a_file(), 1)),
        ("connect_to", "nobody listens", || shown(connect_to("127.0.0.1", refusing_port().1)?)),
        ("connect_to", "no descriptor is left", || {
            out_of_descriptors(|| shown(connect_to("127.0.0.1", 1)?))
        }),
        ("net::connect_at, a deadline", "nobody listens", || {
            let (_holder, port) = refusing_port();
            connect_by(port, Some(soon()))
        }),
        ("net::connect_at, a deadline", "a handshake without an answer", || {
            let (_listener, _queued, port) = full_listener();
            connect_by(port, Some(at_once()))
        }),
        ("net::connect_at", "a signal, and then room in the queue", || {
            let (listener, _queued, port) = full_listener();
            let room = || drop(accept(&listener).unwrap());
            interrupted(SYS_connect, || connect_by(port, None), room)
        }),
        ("sys::send", "the buffers are full, O_NONBLOCK", || {
            let (ours, _peer) = narrow_pair();
            kernel::fill(&ours)?;
            sys::set_nonblocking(&ours, true)?;
            shown(sys::send(&ours, b"x", sys::NO_SIGPIPE)?)
        }),
        ("sys::send", "the buffers are full, a signal", || {
            let (ours, _peer) = narrow_pair();
            kernel::fill(&ours)?;
            interrupted(SYS_sendto, || shown(sys::send(&ours, b"x", sys::NO_SIGPIPE)?), || {})
        }),
        ("sys::send", "after SHUT_WR", || {
            let (ours, _peer) = pair();
            sys::shutdown(&ours, SHUT_WR)?;
            shown(sys::send(&ours, b"x", sys::NO_SIGPIPE)?)
        }),
        ("sys::send", "the peer has reset", || shown(sys::send(&reset(), b"x", sys::NO_SIGPIPE)?)),
        ("sys::send", "never connected (the page has ENOTCONN)", || {
            shown(sys::send(&socket(), b"x", sys::NO_SIGPIPE)?)
        }),
        ("sys::send", "not a socket", || shown(sys::send(&a_file(), b"x", sys::NO_SIGPIPE)?)),
        ("sys::send", "a flag that outlives the borrow", || {
            shown(sys::send(&pair().0, b"x", MSG_ZEROCOPY)?)
        }),
        ("send_all", "SO_SNDTIMEO, the buffers are full", || {
            let (ours, _peer) = narrow_pair();
            kernel::fill(&ours)?;
            set_timeout(&ours, SO_SNDTIMEO, Duration::from_nanos(1))?;
            shown(send_all(&ours, b"x")?)
        }),
        ("send_all", "the peer has reset", || shown(send_all(&reset(), b"x")?)),
        ("send_all_with_deadline", "nobody reads", || {
            let (ours, _peer) = narrow_pair();
            shown(send_all_with_deadline(&ours, &pattern(1 << 20), at_once())?)
        }),
        ("sys::recv", "nothing is there, O_NONBLOCK", || {
            let (ours, _peer) = pair();
            sys::set_nonblocking(&ours, true)?;
            shown(sys::recv(&ours, &mut [0], 0)?)
        }),
        ("sys::recv", "nothing is there, a signal", || {
            let (ours, _peer) = pair();
            interrupted(SYS_recvfrom, || shown(sys::recv(&ours, &mut [0], 0)?), || {})
        }),
        ("sys::recv", "the peer has reset", || shown(sys::recv(&reset(), &mut [0], 0)?)),
        ("sys::recv", "never connected", || shown(sys::recv(&socket(), &mut [0], 0)?)),
        ("sys::recv", "a handshake that was refused, O_NONBLOCK", || {
            let (_holder, port) = refusing_port();
            let socket = socket();
            sys::set_nonblocking(&socket, true)?;
            let _ = connects(&socket, port);
            sys::poll(socket.as_fd(), POLLIN, -1)?;
            shown(sys::recv(&socket, &mut [0], 0)?)
        }),
        ("sys::recv", "urgent data that nobody sent", || {
            let (ours, _peer) = pair();
            shown(sys::recv(&ours, &mut [0], MSG_OOB)?)
        }),
        ("sys::recv", "not a socket", || shown(sys::recv(&a_file(), &mut [0], 0)?)),
        ("recv_exact", "SO_RCVTIMEO, nothing is there", || {
            let (ours, _peer) = pair();
            set_timeout(&ours, SO_RCVTIMEO, Duration::from_nanos(1))?;
            shown(recv_exact(&ours, &mut [0])?)
        }),
        ("recv_exact", "a signal, and then the byte", || {
            let (ours, peer) = pair();
            let byte = || send_all(&peer, b"x").unwrap();
            interrupted(SYS_recvfrom, || shown(recv_exact(&ours, &mut [0])?), byte)
        }),
        ("recv_exact", "the end inside", || shown(recv_exact(&stream_of(b"hell"), &mut [0; 5])?)),
        ("sys::poll", "a limit of 0 descriptors", || {
            let (ours, _peer) = pair();
            out_of_descriptors(|| shown(sys::poll(ours.as_fd(), POLLIN, -1)?))
        }),
        ("sys::poll", "a signal", || {
            let (ours, _peer) = pair();
            interrupted(SYS_POLL, || shown(sys::poll(ours.as_fd(), POLLIN, -1)?), || {})
        }),
        ("stream::wait_ready", "a signal, and then a byte", || {
            let (ours, peer) = pair();
            let byte = || send_all(&peer, b"x").unwrap();
            interrupted(SYS_POLL, || shown(wait_ready(&ours, POLLIN, None)?), byte)
        }),
        ("sys::shutdown", "never connected", || shown(sys::shutdown(&socket(), SHUT_WR)?)),
        ("sys::shutdown", "the peer has reset", || shown(sys::shutdown(&reset(), SHUT_WR)?)),
        ("sys::shutdown", "a direction that there is not", || shown(sys::shutdown(&pair().0, 9)?)),
        ("sys::shutdown", "not a socket", || shown(sys::shutdown(&a_file(), SHUT_WR)?)),
        ("sys::getsockname", "not a socket", || shown(sys::getsockname(&a_file())?)),
        ("sys::getpeername", "never connected", || shown(sys::getpeername(&socket())?)),
        ("sys::getpeername", "the peer has reset", || shown(sys::getpeername(&reset())?)),
        ("sys::getpeername", "not a socket", || shown(sys::getpeername(&a_file())?)),
        ("sys::set_option", "an option that there is not", || {
            shown(sys::set_option(&socket(), SOL_SOCKET, 9999, 1)?)
        }),
        ("sys::set_option", "an option that is not an int", || {
            shown(sys::set_option(&socket(), SOL_SOCKET, SO_LINGER, 1)?)
        }),
        ("sys::set_option", "not a socket", || {
            shown(sys::set_option(&a_file(), SOL_SOCKET, SO_KEEPALIVE, 1)?)
        }),
        ("sys::get_option", "an option that there is not", || {
            shown(sys::get_option(&socket(), SOL_SOCKET, 9999)?)
        }),
        ("sys::get_option", "not a socket", || {
            shown(sys::get_option(&a_file(), SOL_SOCKET, SO_ERROR)?)
        }),
        ("lingering_close", "the peer has reset", || shown(lingering_close(reset(), soon())?)),
        ("lingering_close", "never connected", || shown(lingering_close(socket(), soon())?)),
        ("lingering_close", "the peer closes", || {
            let (ours, peer) = pair();
            drop(peer);
            shown(lingering_close(ours, soon())?)
        }),
        ("lingering_close", "the peer resets while it waits", || {
            let (ours, peer) = pair();
            thread::scope(|s| {
                s.spawn(|| {
                    kernel::wait_until_peer_ended(&peer).unwrap();
                    kernel::reset_on_close(&peer).unwrap();
                    drop(peer);
                });
                shown(lingering_close(ours, soon())?)
            })
        }),
        ("lingering_close", "the peer does nothing", || {
            let (ours, _peer) = pair();
            shown(lingering_close(ours, at_once())?)
        }),
        ("lingering_close", "not a socket", || shown(lingering_close(a_file(), soon())?)),
        ("recv_frame", "the end inside", || shown(recv_frame(&stream_of(b"\0\0\0\x05he"), 7)?)),
        ("recv_frame", "the peer has reset", || shown(recv_frame(&reset(), 7)?)),
        ("recv_frame", "not a socket", || shown(recv_frame(&a_file(), 7)?)),
        ("recv_frame_with_deadline", "nothing comes", || {
            let (ours, _peer) = pair();
            shown(recv_frame_with_deadline(&ours, 7, at_once())?)
        }),
        ("recv_record", "the end inside", || shown(recv_record::<3>(&stream_of(b"ab"))?)),
        ("LineReader::recv_line", "the end inside", || {
            shown(LineReader::new(&stream_of(b"1234"), 4).recv_line()?)
        }),
        ("LineReader::recv_line", "the peer has reset", || {
            shown(LineReader::new(&reset(), 4).recv_line()?)
        }),
    ]
}

// ---- the ends of what can be asked for ----

/// The last instant that there is.
fn farthest() -> Instant {
    let (now, mut ahead) = (Instant::now(), Duration::MAX);
    loop {
        match now.checked_add(ahead) {
            Some(instant) => return instant,
            None => ahead /= 2,
        }
    }
}

fn frame_of(len: u32) -> UniqueFd {
    stream_of(&[&len.to_be_bytes()[..], &[b'x'; 6][..len.min(6) as usize]].concat())
}

fn sends(len: usize, cap: usize) -> io::Result<String> {
    let (ours, peer) = pair();
    send_frame(&ours, &vec![0; len], cap)?;
    arrived(&Set::of([ours, peer])).map(|unread| format!("{unread} bytes leave"))
}

fn lines(bytes: &[u8], cap: usize) -> io::Result<String> {
    let got = LineReader::new(&stream_of(bytes), cap).recv_line()?;
    Ok(format!("a line of {} bytes", got.expect("a line").len()))
}

/// As above: a call, what it is asked for, and what comes back.
pub fn extremes() -> Vec<Provoked> {
    fn len(payload: Option<Vec<u8>>) -> io::Result<String> {
        Ok(format!("{} bytes", payload.expect("a frame").len()))
    }
    vec![
        ("recv_some, a deadline", "in 1 ns, nothing is there", || {
            let (ours, _peer) = pair();
            shown(recv_some(&ours, &mut [0], Some(Instant::now() + Duration::from_nanos(1)))?)
        }),
        ("recv_some, a deadline", "now, and a byte is there", || {
            shown(recv_some(hello().fd(), &mut [0], Some(Instant::now()))?)
        }),
        ("recv_some, a deadline", "the last instant there is, and a byte is there", || {
            shown(recv_some(hello().fd(), &mut [0], Some(farthest()))?)
        }),
        ("send_all_with_deadline", "in 1 ns, the buffers are full", || {
            let (ours, _peer) = narrow_pair();
            kernel::fill(&ours)?;
            let until = Instant::now() + Duration::from_nanos(1);
            shown(send_all_with_deadline(&ours, b"x", until)?)
        }),
        ("send_all_with_deadline", "the last instant there is", || {
            shown(send_all_with_deadline(&pair().0, b"x", farthest())?)
        }),
        ("net::connect_at, a deadline", "in 1 ns, a handshake without an answer", || {
            let (_listener, _queued, port) = full_listener();
            connect_by(port, Some(Instant::now() + Duration::from_nanos(1)))
        }),
        ("net::connect_at, a deadline", "now, and somebody listens", || {
            let (_listener, port) = listener(1);
            connect_by(port, Some(Instant::now()))
        }),
        ("net::connect_at, a deadline", "the last instant there is", || {
            let (_listener, port) = listener(1);
            connect_by(port, Some(farthest()))
        }),
        ("lingering_close", "in 1 ns, the peer does nothing", || {
            let (ours, _peer) = pair();
            shown(lingering_close(ours, Instant::now() + Duration::from_nanos(1))?)
        }),
        ("lingering_close", "the last instant there is, the peer closes", || {
            shown(lingering_close(hello().fds.remove(0), farthest())?)
        }),
        ("recv_some", "0 bytes", || shown(recv_some(hello().fd(), &mut [], None)?)),
        ("recv_exact", "0 bytes, of a stream that has ended", || {
            shown(recv_exact(&stream_of(b""), &mut [])?)
        }),
        ("send_all", "0 bytes, after SHUT_WR", || {
            let (ours, _peer) = pair();
            sys::shutdown(&ours, SHUT_WR)?;
            shown(send_all(&ours, b"")?)
        }),
        ("send_frame", "0 bytes, cap 0", || sends(0, 0)),
        ("send_frame", "1 byte, cap 5", || sends(1, 5)),
        ("send_frame", "5 bytes, cap 5", || sends(5, 5)),
        ("send_frame", "6 bytes, cap 5", || sends(6, 5)),
        ("send_frame", "6 bytes, cap usize::MAX", || sends(6, usize::MAX)),
        ("encode_header", "usize::MAX bytes, cap usize::MAX", || {
            shown(encode_header(usize::MAX, usize::MAX)?)
        }),
        ("recv_frame", "0 bytes, cap 0", || len(recv_frame(&frame_of(0), 0)?)),
        ("recv_frame", "1 byte, cap 5", || len(recv_frame(&frame_of(1), 5)?)),
        ("recv_frame", "5 bytes, cap 5", || len(recv_frame(&frame_of(5), 5)?)),
        ("recv_frame", "6 bytes, cap 5", || len(recv_frame(&frame_of(6), 5)?)),
        ("recv_frame", "a header of 4 GiB less one, cap 5", || {
            len(recv_frame(&frame_of(u32::MAX), 5)?)
        }),
        ("recv_frame", "6 bytes, cap usize::MAX", || len(recv_frame(&frame_of(6), usize::MAX)?)),
        ("LineReader::recv_line", "0 bytes, cap 0", || lines(b"\n", 0)),
        ("LineReader::recv_line", "1 byte, cap 0", || lines(b"1\n", 0)),
        ("LineReader::recv_line", "5 bytes, cap 5", || lines(b"12345\n", 5)),
        ("LineReader::recv_line", "6 bytes, cap 5", || lines(b"123456\n", 5)),
        ("LineReader::recv_line", "6 bytes, cap usize::MAX", || lines(b"123456\n", usize::MAX)),
        ("sys::listen", "a backlog of 0", || shown(sys::listen(&socket(), 0)?)),
        ("sys::listen", "a backlog of -1", || shown(sys::listen(&socket(), -1)?)),
        ("sys::listen", "a backlog of c_int::MAX", || shown(sys::listen(&socket(), c_int::MAX)?)),
        ("sys::poll", "a time of c_int::MAX ms, and a byte is there", || {
            shown(sys::poll(hello().fd().as_fd(), POLLIN, c_int::MAX)? & POLLIN)
        }),
        ("stage::set_timeout", "1 ns", || {
            let (ours, _peer) = pair();
            set_timeout(&ours, SO_RCVTIMEO, Duration::from_nanos(1))?;
            shown(sys::recv(&ours, &mut [0], 0)?)
        }),
        ("stage::set_timeout", "Duration::MAX, and a byte is there", || {
            let set = hello();
            set_timeout(set.fd(), SO_RCVTIMEO, Duration::MAX)?;
            shown(sys::recv(set.fd(), &mut [0], 0)?)
        }),
    ]
}
