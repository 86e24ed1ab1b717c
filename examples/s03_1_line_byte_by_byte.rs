//! Reading a line a byte at a time costs a system call a byte.
//!
//! Article 3.2. man: recv(2).
//! Claim D1: To read a line a byte at a time costs a system call a byte.
//!
//! A line ends where its newline is, and the reader cannot know where that will be. So the
//! article's reader asks for one byte, looks at it, and asks for the next.
//!
//! Expect: 25 lines of 80 bytes come out right, by 2000 calls of `recv`.
//!
//! Change and see: LENGTH to 40 (half as many calls); `strace -fc` in front of the program (nearly
//! all of its calls are these). Next: s03_2_line_reader.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

const LINES: usize = 25;
/// With the newline.
const LENGTH: usize = 80;

fn client(at: &At, _: &Out) -> io::Result<()> {
    // All lines leave together. It is the reader who takes them apart.
    let conn = connect_to(&at.host, at.port)?;
    let line = [&[b'x'; LENGTH - 1][..], b"\n"].concat();
    send_all(&conn, &line.repeat(LINES))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // All lines have arrived: no call has to wait for its byte, and none finds less than a line.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, LINES * LENGTH)?;
    let before = kernel::unread(&conn)?;

    // The lines come out right. What they cost is the point.
    let (mut right, mut calls) = (0, 0);
    for _ in 0..LINES {
        right += usize::from(recv_line(&conn, 4096, &mut calls)? == [b'x'; LENGTH - 1]);
    }
    out.check("lines that came out right", LINES, right);

    // The kernel says how many bytes these calls have taken out of the receive buffer.
    let taken = before - kernel::unread(&conn)?;
    out.check("bytes that they took", LINES * LENGTH, taken);
    out.check("recv calls for them", taken, calls);

    // Had a call taken more than one byte, there would be fewer calls than bytes.
    let a_byte = calls / taken;
    let observed = format!("{LINES} lines of {LENGTH} bytes: {a_byte} recv a byte");
    out.claim("D1", Verdict::holds_if(calls >= taken), observed);
    Ok(())
}

/// The article's reader, which counts its calls here.
fn recv_line(conn: &UniqueFd, cap: usize, calls: &mut usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < cap {
        // WRONG: a trip into the kernel and back for every single byte.
        let taken = retry_eintr(|| sys::recv(conn, &mut byte, 0))?;
        *calls += 1;
        // Whether it was the last one, only the byte itself says.
        match taken {
            0 => return Err(ErrorKind::ConnectionReset.into()),
            _ if byte[0] == b'\n' => break,
            _ => line.push(byte[0]),
        }
    }
    Ok(line)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
