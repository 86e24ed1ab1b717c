//! A buffered line reader takes what has arrived with one call, and cuts it into lines itself.
//!
//! Article 3.2. man: recv(2).
//!
//! The rung after s03_1_line_byte_by_byte. One `recv` fetches as many lines as are there; the
//! next lines come out of memory. The price: what the reader has fetched is no longer in the
//! socket. Whoever goes on with the connection has to go on through the reader.
//!
//! Expect: the same 25 lines of 80 bytes by fewer calls than lines; after the first of them the
//! socket is empty, though 24 are to come.
//!
//! Change and see: the cap of 4096 to 79 (the buffer has room for one line); a second `LineReader`
//! on the same connection after the first line.

use std::io;
use std::process::ExitCode;

use stage::kernel::{self, Counted};
use stage::{At, Out};
use tcp_stream_io::framing::line::{LineReader, send_line};
use tcp_stream_io::{UniqueFd, accept, connect_to};

const LINES: usize = 25;
const LENGTH: usize = 80; // with the newline

fn client(at: &At, _: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    for _ in 0..LINES {
        send_line(&conn, &[b'x'; LENGTH - 1])?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_unread(&conn, LINES * LENGTH)?; // so that the count is the same every time
    let conn = Counted::new(conn);
    let mut reader = LineReader::new(&conn, 4096);
    let mut right = 0;
    while let Some(line) = reader.next_line()? {
        right += usize::from(line == [b'x'; LENGTH - 1]);
        if right == 1 {
            let left = kernel::unread(conn.uncounted())?;
            // WRONG: to look for the second line in the socket.
            out.check("after one line: bytes in the socket", 0, left);
        }
    }
    out.check("lines that came out right, up to the end", LINES, right);
    let calls = conn.calls();
    out.check_that("recv calls for all of them", "fewer than lines", calls, calls < LINES);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
