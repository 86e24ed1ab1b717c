//! The same two sends and the same two recvs: UDP keeps the boundary, TCP does not.
//!
//! Article 1.1. man: udp(7), tcp(7), recv(2).
//! Claim B4: UDP keeps message boundaries, TCP does not.
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
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, net, recv_exact, resolve, send_all, sys};

const ROOM: usize = 8;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The server tells over TCP at which port its UDP socket is.
    let tcp = connect_to(&at.host, at.port)?;
    let mut port = [0; 2];
    recv_exact(&tcp, &mut port)?;

    // To connect a UDP socket sends nothing. It only fixes where `send` sends to.
    let family = sys::getpeername(&tcp)?.as_addr().family();
    let udp = sys::socket(family, SOCK_DGRAM, 0)?;
    let list = resolve(Some(&at.host), u16::from_be_bytes(port), family, 0)?;
    net::connect(&udp, list.iter().next().expect("at least one address"), None)?;

    // The same calls on both sockets. TCP comes last, so that its bytes say that all is there.
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

    // Port 0 asks the kernel for a free one, which the client has to be told.
    let udp = sys::socket(family, SOCK_DGRAM, 0)?;
    let list = resolve(None, 0, family, AI_PASSIVE)?;
    sys::bind(&udp, list.iter().next().expect("at least one address"))?;
    send_all(&tcp, &sys::getsockname(&udp)?.port().to_be_bytes())?;

    // Both words are there on both sockets before the first `recv`.
    kernel::wait_until_unread(&tcp, 10)?;
    let [by_udp, by_tcp] = [two_recvs(&udp)?, two_recvs(&tcp)?];
    out.check("UDP: recv, and recv again", r#""HELLO" + "WORLD""#, &by_udp);
    out.check("TCP: recv, and recv again", r#""HELLOWOR" + "LD""#, &by_tcp);

    // The boundary was kept if the second `recv` begins with the second word.
    let kept = [&by_udp, &by_tcp].map(|reads| reads.contains(r#"+ "W"#));
    let observed = format!("2 sends came out of UDP as {by_udp}, out of TCP as {by_tcp}");
    out.claim("B4", Verdict::holds_if(kept == [true, false]), observed);
    Ok(())
}

/// The same two calls for either socket, each with room for more than one word.
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
