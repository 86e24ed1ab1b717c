//! A capture shows handshake, prefix, payload, and a close of four segments, or of three.
//!
//! Article 8.1. man: packet(7), tcp(7) (TCP_INFO, TCP_SAVE_SYN), network_namespaces(7).
//! Claim O1: A capture shows the handshake, the 4-byte prefix, the payload and the four-way close.
//!
//! A child moves to a network of its own, where it may open a packet socket, as tcpdump does.
//! Where even that is forbidden, the sockets tell what they know: the SYN, and how many segments.
//! The kernel puts off the acknowledgement of a FIN for 40 ms: if its own side closes in that
//! time, one segment carries both.
//!
//! Expect: SYN, SYN+ACK, ACK; 9 bytes, four of them the prefix; FIN, ACK, FIN, ACK if the client
//! waits before it closes; FIN, FIN+ACK, ACK if it closes at once. (Every FIN carries an ACK.)
//!
//! Change and see: header and payload by two `send_all` (two segments); in the stage's `capture`,
//! ETH_P_ALL for ETH_P_IP (every segment is there twice: as it leaves, and as it comes in).

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::capture::{Capture, Segment};
use stage::child::{self, Child};
use stage::{Out, Verdict, kernel};
use tcp_stream_io::framing::length::DEFAULT_CAP;
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, recv_frame, send_frame, sys};

const BEGIN: &str =
    r#"client SYN, server SYN+ACK, client ACK, client ACK 9 bytes "\x00\x00\x00\x05HELLO""#;
const CLOSE_OF_FOUR: &str = "server FIN+ACK, client ACK, client FIN+ACK, server ACK";
const CLOSE_OF_THREE: &str = "server FIN+ACK, client FIN+ACK, server ACK";

/// The echo program's exchange, both roles in turn. Returns what the server's socket tells of it,
/// how many segments its close took, and what was captured.
fn exchange(client_waits: bool, capture: Option<&Capture>) -> io::Result<[String; 3]> {
    // The listener keeps the SYN of each connection, for the connection to tell.
    let listener = listen_on(Some("127.0.0.1"), 0, 1)?;
    sys::set_option(&listener, libc::SOL_TCP, libc::TCP_SAVE_SYN, 1)?;
    let port = sys::getsockname(&listener)?.port();
    // The handshake begins with that SYN.
    let client = connect_to("127.0.0.1", port)?;
    let (server, _) = accept(&listener)?;
    let began = Segment::parse_tcp(&kernel::saved_syn(&server)?).map_or("?".into(), |s| s.flags);

    // One frame each way, and all of it acknowledged.
    send_frame(&client, b"HELLO", DEFAULT_CAP)?;
    let frame = recv_frame(&server, DEFAULT_CAP)?.ok_or(ErrorKind::UnexpectedEof)?;
    send_frame(&server, &frame, DEFAULT_CAP)?;
    recv_frame(&client, DEFAULT_CAP)?.ok_or(ErrorKind::UnexpectedEof)?;
    kernel::wait_until_acked(&server)?;

    // The server ends first. A client that waits until that is acknowledged closes in a segment of
    // its own; one that does not may put its FIN and the acknowledgement into one.
    let before = segments(&server)?;
    sys::shutdown(&server, libc::SHUT_WR)?;
    if client_waits {
        kernel::wait_for("the FIN's ACK", || Ok(kernel::tcp_state(&server)? == "FIN_WAIT2"))?;
    }
    client.close()?;
    kernel::wait_for("the end", || Ok(kernel::tcp_state(&server)? == "CLOSE"))?;

    // The server's socket has counted its segments, whether anybody captured them or not.
    let info = kernel::tcp_info(&server)?;
    let told = format!("{began}; {} in, {} out", info.tcpi_data_segs_in, info.tcpi_data_segs_out);
    let captured = capture.map_or(Ok(String::new()), |capture| capture.in_words(port))?;
    Ok([told, (segments(&server)? - before).to_string(), captured])
}

/// All of a socket's segments so far, in both directions.
fn segments(conn: &UniqueFd) -> io::Result<u32> {
    kernel::tcp_info(conn).map(|info| info.tcpi_segs_in + info.tcpi_segs_out)
}

fn in_child(_: &str, _: UniqueFd) -> io::Result<String> {
    let capture = child::own_network().and_then(|()| Capture::start()).ok();
    let waiting = exchange(true, capture.as_ref())?;
    // A client that closes at once is not always in time. Of five closes the shortest counts.
    let hasty: io::Result<Vec<_>> = (0..5).map(|_| exchange(false, capture.as_ref())).collect();
    let shortest = hasty?.into_iter().min().expect("five of them");
    Ok([waiting, shortest].concat().join("\n"))
}

fn run(out: &Out) -> io::Result<()> {
    let child = Child::start_alone("")?.wait()?.said;
    let lines: Vec<&str> = child.split('\n').collect();
    let &[told, four, waiting, _, three, hasty] = &lines[..] else { panic!("{child}") };
    // So much the sockets tell, without any capture.
    out.check("what began it; data segments at the server", "SYN; 1 in, 1 out", told);
    out.check("segments to close, if the client waits", 4, four);
    out.check("segments to close, at least, if it does not", 3, three);

    // Without a capture there is nothing to say of what it shows.
    if waiting.is_empty() {
        out.claim("O1", Verdict::NotObserved, "it takes a packet socket, and none is allowed");
        return Ok(());
    }
    // The prefix stands before the payload, in the same segment.
    let last = |seen: &str| seen.find("server FIN").map_or("".into(), |i| seen[i..].to_owned());
    out.check("captured first", BEGIN, waiting.get(..BEGIN.len()).unwrap_or(waiting));
    out.check("captured last, if it waits", CLOSE_OF_FOUR, last(waiting));
    out.check("captured last, if not", CLOSE_OF_THREE, last(hasty));

    // The claim has four segments for every close. Three are enough if the client is in time.
    let shown = waiting.starts_with(BEGIN) && last(waiting) == CLOSE_OF_FOUR;
    let verdict = Verdict::holds_if(shown && last(hasty) == CLOSE_OF_FOUR)
        .or_when(shown, "the second side closes after its ACK of the first FIN");
    let observed = format!("{four} segments to close if the client waits, {three} if it does not");
    out.claim("O1", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
