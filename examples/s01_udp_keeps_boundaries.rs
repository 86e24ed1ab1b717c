//! The same two sends and the same two recvs: UDP keeps the boundary, TCP does not.
//!
//! Article 1.1. Claim: B4. man: udp(7), tcp(7), recv(2).
//!
//! A datagram travels and arrives as one piece, and a `recv` takes one, however much room it has.
//! A TCP connection has nothing but a count of bytes.
//!
//! Expect: "HELLO" and "WORLD" out of two datagrams; "HELLOWOR" and "LD" out of the stream.
//!
//! Change and see: ROOM to 3 (UDP drops what does not fit, and nobody is told; TCP keeps it for
//! the next `recv`); ROOM to 5 (now both look alike, by luck).

use std::io;
use std::process::ExitCode;

use libc::{AI_PASSIVE, SOCK_DGRAM};
use stage::{At, Out, Verdict, kernel, retry_eintr, text};
use tcp_stream_io::addr::{Hints, resolve};
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, net, recv_exact, sys};

const ROOM: usize = 8;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let tcp = connect_to(&at.host, at.port)?;
    let mut port = [0; 2];
    recv_exact(&tcp, &mut port)?; // where the server's UDP socket is

    let family = sys::getpeername(&tcp)?.as_addr().family();
    let udp = sys::socket(family, SOCK_DGRAM, 0)?;
    let list = resolve(Some(&at.host), u16::from_be_bytes(port), &Hints { family, flags: 0 })?;
    net::connect(&udp, list.iter().next().expect("at least one address"), None)?;

    out.note("sends HELLO and WORLD, by UDP and then by TCP");
    for conn in [&udp, &tcp] {
        for word in [b"HELLO", b"WORLD"] {
            retry_eintr(|| sys::send(conn, word, NO_SIGPIPE))?;
        }
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (tcp, _) = accept(&listener)?;
    let family = sys::getsockname(&tcp)?.as_addr().family();
    let udp = sys::socket(family, SOCK_DGRAM, 0)?;
    let list = resolve(None, 0, &Hints { family, flags: AI_PASSIVE })?;
    sys::bind(&udp, list.iter().next().expect("at least one address"))?;
    let port = sys::getsockname(&udp)?.port().to_be_bytes();
    retry_eintr(|| sys::send(&tcp, &port, NO_SIGPIPE))?;

    kernel::wait_until_unread(&tcp, 10)?; // all four have arrived: these came last
    let [by_udp, by_tcp] = [two_recvs(&udp)?, two_recvs(&tcp)?];
    out.check("UDP: recv, and recv again", r#""HELLO" + "WORLD""#, &by_udp);
    out.check("TCP: recv, and recv again", r#""HELLOWOR" + "LD""#, &by_tcp);
    let kept = [&by_udp, &by_tcp].map(|reads| reads.contains(r#"+ "W"#)); // the second begins anew
    let observed = format!("2 sends came out of UDP as {by_udp}, out of TCP as {by_tcp}");
    out.claim("B4", Verdict::holds_if(kept == [true, false]), observed);
    Ok(())
}

fn two_recvs(conn: &UniqueFd) -> io::Result<String> {
    let recv = || -> io::Result<String> {
        let mut buf = [0; ROOM];
        let n = retry_eintr(|| sys::recv(conn, &mut buf, 0))?;
        Ok(text(&buf[..n]))
    };
    Ok([recv()?, recv()?].join(" + "))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
