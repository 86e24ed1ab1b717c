//! SHUT_WR ends one direction: the request is complete, and the answer still comes.
//!
//! Article 5.2. man: shutdown(2).
//! Claim C5: After SHUT_WR the FIN leaves, send says EPIPE, and recv still works.
//! Claim C8: A half-close tells the other side that the request is complete.
//!
//! The client does not say how long its request is. It ends its stream instead. The server reads
//! up to that end, answers, and closes.
//!
//! Expect: the server sees 0 from `recv` after the last byte; the client's `send` is EPIPE from
//! then on, and its `recv` works.
//!
//! Change and see: SHUT_RDWR (no answer comes); no shutdown at all (both wait: the stage says
//! where).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, retry_eintr, said, text};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // A request in two pieces. Nothing in the bytes says that it ends with the second.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"one two")?;
    send_all(&conn, b" three")?;
    // The half-close: a FIN follows the last byte, and says that no more will come.
    sys::shutdown(&conn, libc::SHUT_WR)?;

    // This direction has ended, so the kernel takes nothing more.
    let more = retry_eintr(|| sys::send(&conn, b"four", NO_SIGPIPE));
    out.check("send after SHUT_WR", "EPIPE", said(&more));
    // The other direction has not: the answer comes through it.
    let answer = read_to_end(&conn).map(|bytes| text(&bytes));
    out.check("recv after SHUT_WR", text(b"3 words"), said(&answer));

    // The server answers only when it has seen the FIN. So an answer says that the FIN left.
    let half = said(&more) == "EPIPE" && said(&answer) == text(b"3 words");
    let observed = format!("send: {}; recv: {}", said(&more), said(&answer));
    out.claim("C5", Verdict::holds_if(half), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The end of the stream is the end of the request.
    let (conn, _) = accept(&listener)?;
    let request = read_to_end(&conn)?;
    out.check("the request, complete", text(b"one two three"), text(&request));

    // The client still reads: it has closed one direction only.
    let words = request.split(|&byte| byte == b' ').count();
    send_all(&conn, format!("{words} words").as_bytes())?;
    // Had the end come too early, the count would be another.
    let knew = request == b"one two three";
    out.claim("C8", Verdict::holds_if(knew), format!("the server answered {words} words"));
    conn.close()
}

/// Reads until `recv` returns 0: the other side's FIN, which comes after everything that it sent.
fn read_to_end(conn: &UniqueFd) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 64]);
    loop {
        match recv_some(conn, &mut piece, None)? {
            0 => return Ok(all),
            n => all.extend_from_slice(&piece[..n]),
        }
    }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
