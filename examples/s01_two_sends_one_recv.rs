//! Two sends can come out of one recv, and one send out of two.
//!
//! Article 1.1, 1.5. man: send(2), recv(2), tcp(7).
//! Claim B1: The number and size of sends say nothing of the number and size of recvs.
//! Claim R2: HELLO and WORLD, sent apart, may arrive as HELLOW and ORLD.
//!
//! TCP carries a stream of bytes. It does not know where one `send` ended and the next began, and
//! `recv` hands over whatever has arrived, as far as the buffer reaches.
//!
//! Expect: "HELLO" and "WORLD", sent apart, are read as one piece; then, sent apart again, as
//! "HELLOW" and "ORLD"; one "HELLO WORLD" is read in two pieces.
//!
//! Change and see: the 6 of the second round to 5 (the boundary is back, by chance); the first
//! `wait_until_unread` to 5 bytes, and run it a few times ("HELLO" alone comes out now and then).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Each round waits for the server's byte, so that no round mixes with the next.
    let conn = connect_to(&at.host, at.port)?;
    for _ in 0..2 {
        out.note("sends HELLO, then WORLD");
        send_all(&conn, b"HELLO")?;
        send_all(&conn, b"WORLD")?;
        recv_exact(&conn, &mut [0])?;
    }

    // This time the boundary is inside the words, and there is one `send`.
    out.note("sends HELLO WORLD");
    send_all(&conn, b"HELLO WORLD")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let recv = |room| -> io::Result<String> {
        let mut buf = [0; 100];
        let n = retry_eintr(|| sys::recv(&conn, &mut buf[..room], 0))?;
        Ok(text(&buf[..n]))
    };

    // Both pieces have arrived, and there is room for both: one call takes them as one.
    kernel::wait_until_unread(&conn, 10)?;
    let merged = recv(100)?;
    out.check("recv of 100 bytes", r#""HELLOWORLD""#, &merged);
    send_all(&conn, b".")?;

    // The room of the first call, not the end of the first `send`, decides where the cut is.
    kernel::wait_until_unread(&conn, 10)?;
    let shifted = [recv(6)?, recv(100)?].join(" + ");
    out.check("recv of 6 bytes, then of 100", r#""HELLOW" + "ORLD""#, &shifted);
    send_all(&conn, b".")?;

    // What one `send` sent comes out of two calls, if the first has too little room.
    kernel::wait_until_unread(&conn, 11)?;
    let split = [recv(8)?, recv(100)?].join(" + ");
    out.check("recv of 8 bytes, then of 100", r#""HELLO WO" + "RLD""#, &split);

    // All bytes came each time, and in order. The cut is another one each time.
    let moved = shifted == r#""HELLOW" + "ORLD""#;
    out.claim("R2", Verdict::holds_if(moved), format!("2 sends came out as {shifted}"));

    // Two sends out of one recv, and one send out of two: the numbers are independent.
    let one_of_two = merged == r#""HELLOWORLD""#;
    let two_of_one = split == r#""HELLO WO" + "RLD""#;
    let observed = format!("2 sends came out as {merged}, 1 send as {split}");
    out.claim("B1", Verdict::holds_if(one_of_two && two_of_one), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
