//! One packet at a time uses 1/126 of a link of 10 Mbit/s and 100 ms; 126 at a time fill it.
//!
//! Article 9.1. man: tcp(7) (TCP_INFO).
//! Claim P2: Stop-and-wait uses about 1/125 of such a link.
//!
//! A packet of 1000 bytes takes 0.8 ms to leave on such a link, and its answer comes 100 ms later:
//! 0.8 of 100.8 ms are used. The article divides by 100 ms, without the packet's own time. Loopback
//! has no such delay, but what is under way while the sender waits is the same there: the kernel
//! counts it, and the rest is arithmetic. A real link is the lab's.
//!
//! Expect: never more than 1000 bytes under way, which is 1/126 of the link, and 1/125 without the
//! packet's own time; with 126 packets under way all of it is used.
//!
//! Change and see: ROUND_TRIP to 10 ms (1/13.5 and 1/12.5: the packet's own time counts); 63 for
//! the 126 packets (half of the link).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all};

const BIT_PER_SECOND: f64 = 10e6;
const ROUND_TRIP: f64 = 0.1;
const PACKET: usize = 1000;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Stop-and-wait is a window of one packet. The other one is as large as the link.
    let one = most_under_way(at, 1)?;
    out.check("stop-and-wait: bytes under way at most", PACKET, one);
    let many = most_under_way(at, 126)?;
    out.check("126 at a time: bytes under way at most", 126 * PACKET, many);

    // What is under way leaves once in a cycle. The link is used for as long as that takes.
    let time = |bytes: usize| bytes as f64 * 8.0 / BIT_PER_SECOND;
    let part = |bytes: usize, cycle: f64| match time(bytes) / cycle {
        used if used < 1.0 => format!("1/{}", (10.0 / used).round() / 10.0),
        _ => "all of it".into(),
    };
    // A cycle is the packet's own time, and then the round trip until its answer is here.
    let cycle = ROUND_TRIP + time(PACKET);
    let (used, without_own) = (part(one, cycle), part(one, ROUND_TRIP));
    let filled = part(many, cycle);
    out.check("stop-and-wait: the part of the link that is used", "1/126", &used);
    out.check("the same without the packet's own time", "1/125", &without_own);
    out.check("126 at a time: the part of the link", "all of it", &filled);

    // The article's figure is the second one.
    let verdict = Verdict::holds_if(used == "1/125")
        .or_when(without_own == "1/125", "the packet's own time on the link is left out");
    let observed = format!("{one} bytes under way are {used} of the link, {many} {filled}");
    out.claim("P2", verdict, observed);
    Ok(())
}

/// Sends packets, so many before the first answer, and then one for each answer. Returns how many
/// bytes at most had left without their answer being here.
fn most_under_way(at: &At, window: usize) -> io::Result<usize> {
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, &vec![b'x'; window * PACKET])?;
    let mut most = 0;
    for answers in 0..20 {
        // The kernel knows what has left. Answers that have been read are not under way.
        kernel::wait_for("all to leave", || Ok(kernel::tcp_info(&conn)?.tcpi_notsent_bytes == 0))?;
        let info = kernel::tcp_info(&conn)?;
        let left = (info.tcpi_bytes_sent - info.tcpi_bytes_retrans) as usize;
        most = most.max(left - answers * PACKET);
        // An answer is one byte. It makes room for the next packet.
        recv_exact(&conn, &mut [0])?;
        send_all(&conn, &[b'x'; PACKET])?;
    }
    // Who closes with answers unread resets the connection.
    recv_exact(&conn, &mut vec![0; window])?;
    Ok(most)
}

fn server(listener: UniqueFd, _: &Out) -> io::Result<()> {
    for _window in [1, 126] {
        let (conn, _) = accept(&listener)?;
        let (mut buf, mut got, mut answered) = (vec![0; 256 * PACKET], 0, 0);
        // However the packets arrive, there is one answer for each that is whole.
        while let n @ 1.. = recv_some(&conn, &mut buf, None)? {
            got += n;
            send_all(&conn, &vec![b'.'; got / PACKET - answered])?;
            answered = got / PACKET;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
