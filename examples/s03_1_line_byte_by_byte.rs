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
//! Change and see: the length of a line; a `byte` of two bytes (half as many calls, and no line
//! comes out right). What `strace -c` makes of it. Next: s03_2_line_reader.

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::{At, Out, Verdict, retry_eintr};
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
    // The lines are right. What they cost is the point.
    let (conn, _) = accept(&listener)?;
    let (mut right, mut calls) = (0, 0);
    for _ in 0..LINES {
        right += usize::from(recv_line(&conn, 4096, &mut calls)? == [b'x'; LENGTH - 1]);
    }
    out.check("lines that came out right", LINES, right);

    // A signal would make it more: a call that says EINTR is a call, too.
    let a_line = calls / LINES;
    out.check_that("recv calls a line", "80 or more", a_line, a_line >= LENGTH);
    let a_byte = calls / (LINES * LENGTH);
    let observed = format!("{LINES} lines of {LENGTH} bytes: {a_byte} recv a byte");
    out.claim("D1", Verdict::holds_if(a_byte >= 1), observed);
    Ok(())
}

/// The article's reader, which counts its calls here.
fn recv_line(conn: &UniqueFd, cap: usize, calls: &mut usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < cap {
        // WRONG: a trip into the kernel and back for every single byte.
        let recv = || {
            *calls += 1;
            sys::recv(conn, &mut byte, 0)
        };
        // Whether it was the last one, only the byte itself says.
        match retry_eintr(recv)? {
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
