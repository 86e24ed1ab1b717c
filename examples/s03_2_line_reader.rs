//! A buffered line reader takes what has arrived with one call, and cuts it into lines itself.
//!
//! Article 3.2. man: recv(2).
//!
//! The step after s03_1_line_byte_by_byte. One `recv` fetches as many lines as are there; the
//! next lines come out of memory. The price: what the reader has fetched is no longer in the
//! socket. Whoever goes on with the connection has to go on through the reader.
//!
//! Expect: the same 25 lines of 80 bytes; after the first of them the socket is empty, though 24
//! are to come.
//!
//! Change and see: 100 lines (one `recv` takes 4096 bytes); a second `LineReader` on the same
//! connection after the first line.

use std::io;
use std::process::ExitCode;

use stage::{At, Out, kernel};
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all};

const LINES: usize = 25;
const LENGTH: usize = 80; // with the newline

fn client(at: &At, _: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    let line = [&[b'x'; LENGTH - 1][..], b"\n"].concat();
    send_all(&conn, &line.repeat(LINES))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    // All lines are there before the first is read, so that one `recv` can take them all.
    kernel::wait_until_unread(&conn, LINES * LENGTH)?;
    let mut reader = LineReader::new(&conn, 4096);
    let (mut right, mut takes, mut unread) = (0, 0, kernel::unread(&conn)?);
    while let Some(line) = reader.recv_line()? {
        right += usize::from(line == [b'x'; LENGTH - 1]);
        // A `recv` that took something has left less in the socket.
        let left = kernel::unread(&conn)?;
        takes += usize::from(left < unread);
        unread = left;
        if right == 1 {
            // WRONG: to look for the second line in the socket.
            out.check("after one line: bytes in the socket", 0, left);
        }
    }
    out.check("lines that came out right, up to the end", LINES, right);
    out.check("lines for which the socket was asked", 1, takes);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
