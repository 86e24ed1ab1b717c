//! A buffer of 4 bytes is read as 4, 4, 4, … whatever the segments were.
//!
//! Article 10.1. man: recv(2), tcp(7) (TCP_INFO, TCP_MAXSEG).
//! Claim X2: A 4-byte buffer reads 4, 4, 4, … whatever the segments were, which carry about 1 KB.
//!
//! In the receive buffer the bytes of all segments are one stream, so that the reads tell nothing
//! of the segments. TCP_INFO counts them. How large they are is the path's affair: an Ethernet
//! takes 1448 bytes at a time, loopback up to 64 KiB.
//!
//! Expect: 16 KiB are 4096 reads of 4 bytes, both when they came in large segments and when a
//! limit (TCP_MAXSEG) made them small and of odd length.
//!
//! Change and see: the limit, to 100 (no read changes); the buffer, to 5 (the last read gets 4).

use std::io;
use std::process::ExitCode;

use libc::{SOL_TCP, TCP_MAXSEG};
use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

static MESSAGE: [u8; 16 * 1024] = [b'x'; 16 * 1024];

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The same bytes twice. The limit is set before connect: the handshake settles the size.
    let plain = connect_to(&at.host, at.port)?;
    let limited = at.connect_with(|fd| sys::set_option(fd, SOL_TCP, TCP_MAXSEG, 1001))?;
    for conn in [plain, limited] {
        let sent = retry_eintr(|| sys::send(&conn, &MESSAGE, NO_SIGPIPE))?;
        out.check("one send", MESSAGE.len(), sent);
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // In segments as large as the path takes them.
    let (plain, _) = accept(&listener)?;
    let (as_they_are, large) = read_by_fours(&plain)?;
    out.check("reads of 4 bytes", MESSAGE.len() / 4, as_they_are);
    out.note(format_args!("they came {large} bytes a segment"));

    // In segments of about 1 KB, and of a length that four does not divide.
    let (limited, _) = accept(&listener)?;
    let (with_limit, small) = read_by_fours(&limited)?;
    let about_a_thousand = (700..=1001).contains(&small);
    out.check("reads of 4 bytes, segments limited", MESSAGE.len() / 4, with_limit);
    out.check_that("they came, bytes a segment", "700 to 1001", small, about_a_thousand);

    // The reads are the same. How large a segment is depends on the path.
    let always = [as_they_are, with_limit] == [MESSAGE.len() / 4; 2];
    let about_1_kb = |size| (500..2000).contains(&size);
    let verdict = Verdict::holds_if(always && about_1_kb(large))
        .or_when(always && about_1_kb(small), "the path takes no larger segments");
    // No figures: they are this path's, and another machine's may be others.
    let size = |size| if about_1_kb(size) { "about 1 KB" } else { "not about 1 KB" };
    let reads = if always { "reads of 4 only" } else { "not all reads of 4" };
    let observed = format!("{reads}; segments {} here, {} limited", size(large), size(small));
    out.claim("X2", verdict, observed);
    Ok(())
}

/// Reads to the end: how often it got 4 bytes, and how many bytes a segment had on average.
fn read_by_fours(conn: &UniqueFd) -> io::Result<(usize, usize)> {
    // All is here before the first read, in whatever segments it came.
    kernel::wait_until_peer_ended(conn)?;
    let (mut buf, mut fours) = ([0; 4], 0);
    while let n @ 1.. = recv_some(conn, &mut buf, None)? {
        fours += usize::from(n == 4);
    }
    let segments = kernel::tcp_info(conn)?.tcpi_data_segs_in;
    Ok((fours, MESSAGE.len() / segments as usize))
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
