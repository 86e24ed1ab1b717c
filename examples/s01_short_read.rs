//! One MiB was sent, and `recv` for one MiB returns less.
//!
//! Article 1.5. man: recv(2), tcp(7) (SIOCINQ).
//! Claim R1: Of 1 MB that was sent, a recv for 1 MB may return less.
//! Claim B3: A recv returns at most what is in the receive buffer at that moment.
//!
//! `recv` does not wait for as much as the buffer could take. It waits until there is something,
//! and hands over what there is.
//!
//! Expect: the first `recv` returns what FIONREAD said was there; of 1 MiB one `recv` returns a
//! part, and it takes the loop to get all.
//!
//! Change and see: MSG_WAITALL instead of 0 in the flags (the stage says where the first `recv`
//! waits for more); MESSAGE to 1000 (one `recv` gets all of it).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel, retry_eintr, said};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

const MESSAGE: usize = 1024 * 1024;

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The large message leaves only when the server has read the small one.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"first")?;
    recv_exact(&conn, &mut [0])?;
    out.note("sends 1 MiB with one send_all");
    send_all(&conn, &vec![b'x'; MESSAGE])
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let mut buf = vec![0; MESSAGE];

    // Five bytes are there, and the buffer has room for far more.
    kernel::wait_until_unread(&conn, 5)?;
    let there = kernel::unread(&conn)?;
    let first = retry_eintr(|| sys::recv(&conn, &mut buf, 0))?;
    out.check("bytes there, before a recv with room for 1 MiB", 5, there);
    out.check("that recv", there, first);
    out.claim("B3", Verdict::holds_if(first == there), format!("{there} there, recv {first}"));

    // Of the large message the first call takes what has arrived by now.
    send_all(&conn, b".")?;
    let n = retry_eintr(|| sys::recv(&conn, &mut buf, 0))?;
    let less = 0 < n && n < MESSAGE;
    out.check_that("one recv for the 1 MiB that was sent", "a part", n, less);

    // The rest comes to who asks again, as `recv_exact` does.
    let rest = recv_exact(&conn, &mut buf[n..]);
    out.check("recv_exact for the rest", "ok", said(&rest));
    let whole = buf.iter().all(|&byte| byte == b'x');
    out.check("all of it is what was sent", true, whole);

    // Had the call waited for as much as was asked for, it would have returned all.
    let observed = format!("the largest recv: {} 1 MiB", if less { "less than" } else { "all of" });
    out.claim("R1", Verdict::holds_if(less), observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
