//! One MiB was sent, and `recv` for one MiB returns less.
//!
//! Article 1.5. Claims: R1, B3. man: recv(2), tcp(7) (SIOCINQ).
//!
//! `recv` does not wait for as much as the buffer could take. It waits until there is something,
//! and hands over what there is.
//!
//! Expect: the first `recv` returns what FIONREAD said was there; it takes several to get all.
//!
//! Change and see: MSG_WAITALL instead of 0 in the flags; a smaller message.

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const MESSAGE: usize = 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"first")?;
    recv_exact(&conn, &mut [0])?; // the server has looked
    out.note("sends 1 MiB with one send_all");
    send_all(&conn, &vec![b'x'; MESSAGE])
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let mut buf = vec![0; MESSAGE];

    kernel::wait_until_unread(&conn, 5)?;
    let there = kernel::unread(&conn)?;
    let first = retry_eintr(|| sys::recv(&conn, &mut buf, 0))?;
    out.check("recv with 5 bytes there and room for 1 MiB", there, first);
    out.claim("B3", Verdict::holds_if(first == there), format!("{there} there, recv {first}"));

    send_all(&conn, b".")?;
    let (mut got, mut calls, mut largest) = (0, 0, 0);
    while got < MESSAGE {
        match retry_eintr(|| sys::recv(&conn, &mut buf[got..], 0))? {
            0 => break,
            n => (got, calls, largest) = (got + n, calls + 1, largest.max(n)),
        }
    }
    out.check("all recv together", MESSAGE, got);
    out.check_that("recv calls for one message", "more than 1", calls, calls > 1);
    let less = largest < MESSAGE;
    let observed = format!("the largest recv: {} 1 MiB", if less { "less than" } else { "all of" });
    out.claim("R1", Verdict::holds_if(less), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
