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
//! Change and see: LINES to 100 (one `recv` takes 4096 bytes: the rest is still in the socket); a
//! second `LineReader` on the same connection after the first line (it finds no line).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, kernel};
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all};

const LINES: usize = 25;
/// With the newline.
const LENGTH: usize = 80;

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The same bytes as in s03_1_line_byte_by_byte.
    let conn = connect_to(&at.host, at.port)?;
    let line = [&[b'x'; LENGTH - 1][..], b"\n"].concat();
    send_all(&conn, &line.repeat(LINES))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // All lines are there before the first is read, so that one `recv` can take them all.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, LINES * LENGTH)?;
    let mut reader = LineReader::new(&conn, 4096);
    let mut lines = Vec::from_iter(reader.recv_line()?);

    // Whoever looked for the second line in the socket would wait for what has been read.
    out.check("after one line: bytes in the socket", 0, kernel::unread(&conn)?);

    // The reader has them, up to the end of the stream.
    while let Some(line) = reader.recv_line()? {
        lines.push(line);
    }
    let right = lines.iter().filter(|line| **line == [b'x'; LENGTH - 1]).count();
    out.check("lines", LINES, lines.len());
    out.check("lines that came out right", LINES, right);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
