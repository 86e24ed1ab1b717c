//! A line over the cap has to be an error: cut at the cap, its tail becomes the next line.
//!
//! Article 3.2. Claim: D2. man: recv(2).
//!
//! The article's reader stops at the cap and returns what it has, as if that were a line. The rest
//! is still in the stream, and the next call returns it: a command that nobody sent. `LineReader`
//! says InvalidData instead, at every call, until it is told to skip that line.
//!
//! Expect: of three lines and a part of a fourth the article's reader makes four lines, "DELETE
//! bob" among them, and loses the part; `LineReader` makes two, with an error where one is due.
//!
//! Change and see: CAP to 100; to 9, which "HELLO bob" just meets (the article's reader makes an
//! empty line of the newline that it left behind).

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::{At, Out, Verdict, retry_eintr, text};
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

const CAP: usize = 16;
const SENT: &[u8] = b"HELLO bob\nNOTE 1234567890 DELETE bob\nLIST\nQUI";

fn client(at: &At, _: &Out) -> io::Result<()> {
    for _ in ["the article's reader", "ours"] {
        send_all(connect_to(&at.host, at.port)?, SENT)?; // and close: not lent, but given
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let sent: Vec<String> = SENT.split(|&byte| byte == b'\n').map(text).collect();

    let (conn, _) = accept(&listener)?;
    let mut cut = Vec::new();
    while let Ok(line) = recv_line(&conn, CAP) {
        cut.push(text(&line));
    }
    let expected = r#""HELLO bob", "NOTE 1234567890 ", "DELETE bob", "LIST""#;
    out.check("the article's reader", expected, cut.join(", "));

    let (conn, _) = accept(&listener)?;
    let mut reader = LineReader::new(conn, CAP);
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    loop {
        match reader.next_line() {
            Ok(None) => break,
            Ok(Some(line)) => lines.push(text(line)),
            Err(e) => {
                errors.push(format!("{:?} at {}", e.kind(), text(reader.partial())));
                if !reader.skip_line()? {
                    break; // the stream ended before the line did
                }
            }
        }
    }
    out.check("LineReader", r#""HELLO bob", "LIST""#, lines.join(", "));
    let expected = r#"InvalidData at "NOTE 1234567890 DELETE bob", UnexpectedEof at "QUI""#;
    out.check("LineReader, in between and at the end", expected, errors.join(", "));

    let made_up: Vec<String> = cut.into_iter().filter(|line| !sent.contains(line)).collect();
    let genuine = lines.iter().all(|line| sent.contains(line));
    let refused = genuine && errors.iter().any(|e| e.starts_with("InvalidData"));
    let verdict = Verdict::holds_if(made_up.is_empty())
        .or_when(refused, "a line over it is an error; cut off, it becomes two");
    let (cut_off, errors) = (made_up.join(", "), errors.join(", "));
    out.claim("D2", verdict, format!("cut off: {cut_off}; refused: {errors}"));
    Ok(())
}

/// The article's reader.
fn recv_line(conn: &UniqueFd, cap: usize) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < cap {
        match retry_eintr(|| sys::recv(conn, &mut byte, 0))? {
            0 => return Err(ErrorKind::ConnectionReset.into()),
            _ if byte == *b"\n" => break,
            _ => line.push(byte[0]),
        }
    }
    Ok(line) // WRONG: whether there was a newline or not
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
