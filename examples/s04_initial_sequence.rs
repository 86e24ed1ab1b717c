//! Each side chooses an initial sequence number of its own, anew for every connection.
//!
//! Article 4.1. man: tcp(7). RFC 9293, section 3.4.1. RFC 6528.
//! Claim H2: Each side chooses an initial sequence number of its own.
//!
//! A byte's place in the stream is counted from a number that its sender chose in the SYN. Were
//! it always 0, an old segment of an earlier connection would fit into the next one, and a
//! stranger could guess what fits.
//!
//! Expect: three SYNs (two from the client, one from the server, which connects back) with three
//! different numbers.
//!
//! Change and see: take bytes 8 to 11 (what it acknowledges, which in a SYN is 0 each time); do not
//! set TCP_SAVE_SYN (the kernel keeps no SYN).

use std::io;
use std::process::ExitCode;

use libc::{SOL_TCP, TCP_SAVE_SYN};
use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The server's byte says that its kernel keeps SYNs from now on. Two of the client's follow.
    let talk = connect_to(&at.host, at.port)?;
    recv_exact(&talk, &mut [0])?;
    let _first = connect_to(&at.host, at.port)?;
    let _second = connect_to(&at.host, at.port)?;

    // For a SYN of the server's own the client listens, too, and tells at which port.
    let here: At = sys::getsockname(&talk)?.to_string().parse().map_err(io::Error::other)?;
    let listener = listen_on(Some(&here.host), 0, 1)?;
    sys::set_option(&listener, SOL_TCP, TCP_SAVE_SYN, 1)?;
    send_all(&talk, &sys::getsockname(&listener)?.port().to_be_bytes())?;

    // The number that the server has chosen goes back to it, to be compared with the others.
    let (conn, _) = accept(&listener)?;
    let number = sequence_number("the server, connecting back", &conn, out)?;
    send_all(&talk, &number.to_be_bytes())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The option has to be set before a SYN comes: later the kernel has only its numbers.
    let (talk, peer) = accept(&listener)?;
    sys::set_option(&listener, SOL_TCP, TCP_SAVE_SYN, 1)?;
    send_all(&talk, b".")?;
    let first = sequence_number("the client", &accept(&listener)?.0, out)?;
    let second = sequence_number("the client, again", &accept(&listener)?.0, out)?;

    // Now the other side's turn: this `connect` makes the server's kernel send a SYN.
    let (mut port, mut number) = ([0; 2], [0; 4]);
    recv_exact(&talk, &mut port)?;
    let there: At = peer.to_string().parse().map_err(io::Error::other)?;
    let _back = connect_to(&there.host, u16::from_be_bytes(port))?;
    recv_exact(&talk, &mut number)?;

    // Numbers that are equal, such as a 0 for each, would be one and the same here.
    let mut numbers = vec![first, second, u32::from_be_bytes(number)];
    numbers.sort_unstable();
    numbers.dedup();
    out.check("different numbers in 3 SYNs", 3, numbers.len());

    // By chance two of them are equal once in a thousand million runs.
    let observed = format!("3 SYNs from both sides, {} different numbers", numbers.len());
    out.claim("H2", Verdict::holds_if(numbers.len() == 3), observed);
    Ok(())
}

/// Bytes 4 to 7 of the TCP header: how the sender of this connection's SYN will count.
fn sequence_number(who: &str, conn: &UniqueFd, out: &Out) -> io::Result<u32> {
    let syn = kernel::saved_syn(conn)?;
    let number = u32::from_be_bytes([syn[4], syn[5], syn[6], syn[7]]);
    out.note(format_args!("{who} begins at {number}"));
    Ok(number)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
