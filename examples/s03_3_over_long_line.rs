//! A line over the cap has to be an error: cut at the cap, its tail becomes the next line.
//!
//! Article 3.2. man: recv(2).
//! Claim D2: A cap bounds the length of a line.
//!
//! The article's reader stops at the cap and returns what it has, as if that were a line. The rest
//! is still in the stream, and the next call returns it: a command that nobody sent. `LineReader`
//! says InvalidData instead, at this call and at every later one: it has lost its place.
//!
//! Expect: of three lines and a part of a fourth the article's reader makes four lines, "DELETE
//! bob" among them, and loses the part. `LineReader` returns one line, and then the error. With a
//! cap that is large enough it returns three, and tells the part apart.
//!
//! Change and see: CAP to 100 (nothing is cut); to 9, which "HELLO bob" just meets (the article's
//! reader makes an empty line of the newline that it left there).

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr, said, text};
use tcp_stream_io::framing::line::LineReader;
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

const CAP: usize = 16;
const SENT: &[u8] = b"HELLO bob\nNOTE 1234567890 DELETE bob\nLIST\nQUI";

fn client(at: &At, _: &Out) -> io::Result<()> {
    // The same bytes for three readers. The last line has no end, for the stream ends in it.
    for _ in ["the article's", "ours", "ours, with a larger cap"] {
        send_all(&connect_to(&at.host, at.port)?, SENT)?;
    }
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // WRONG: takes what `recv_line` returns for a line. The cost: a command that nobody sent.
    let (conn, _) = accept(&listener)?;
    let mut cut = Vec::new();
    while let Ok(line) = recv_line(&conn, CAP) {
        cut.push(text(&line));
    }
    let expected = r#""HELLO bob", "NOTE 1234567890 ", "DELETE bob", "LIST""#;
    out.check("the article's reader", expected, cut.join(", "));

    // All has arrived before the first line is read: so the cap alone decides what is a line.
    let (conn, _) = accept(&listener)?;
    kernel::wait_until_peer_ended(&conn)?;
    let mut reader = LineReader::new(&conn, CAP);
    let (lines, error) = all_lines(&mut reader);
    out.check("LineReader", r#""HELLO bob""#, lines.join(", "));
    out.check("and then", "InvalidData", &error);

    // Nothing that comes after the error can be taken for a line.
    out.check("asked again", "InvalidData", said(&reader.recv_line().map(|_| "a line")));
    out.check("not returned", text(&SENT[10..]), text(reader.tail()));

    // A larger cap lets all lines pass. The end inside the last one is an error of its own.
    let (conn, _) = accept(&listener)?;
    let mut reader = LineReader::new(&conn, 100);
    let (whole, end) = all_lines(&mut reader);
    let expected = r#""HELLO bob", "NOTE 1234567890 DELETE bob", "LIST""#;
    out.check("LineReader, up to 100 bytes a line", expected, whole.join(", "));

    // What came of the last line is not lost. It is only not called a line.
    let end = format!("{end} at {}", text(reader.tail()));
    out.check("and then", r#"UnexpectedEof at "QUI""#, end);

    // A cap that bounds makes nothing up: each line that came out is one that was sent.
    let sent: Vec<String> = SENT.split(|&byte| byte == b'\n').map(text).collect();
    let made_up: Vec<String> = cut.into_iter().filter(|line| !sent.contains(line)).collect();
    let refused = error == "InvalidData" && lines.iter().all(|line| sent.contains(line));
    let verdict = Verdict::holds_if(made_up.is_empty())
        .or_when(refused, "a line over it is an error; cut off, it becomes two");

    // Both readers had the same bytes and the same cap.
    let (cut_off, lines) = (made_up.join(", "), lines.join(", "));
    out.claim("D2", verdict, format!("cut off: {cut_off}; refused: {error} after {lines}"));
    Ok(())
}

/// The lines until there are no more, and why: an error, or the end of the stream.
fn all_lines(reader: &mut LineReader) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        match reader.recv_line() {
            Ok(Some(line)) => lines.push(text(&line)),
            end => return (lines, said(&end.map(|_| "the end"))),
        }
    }
}

/// The article's reader. It returns at the cap as it does at a newline.
fn recv_line(conn: &UniqueFd, cap: usize) -> io::Result<Vec<u8>> {
    let (mut line, mut byte) = (Vec::new(), [0]);
    while line.len() < cap {
        // A byte at a time, so that nothing after the newline is taken from the next line.
        match retry_eintr(|| sys::recv(conn, &mut byte, 0))? {
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
