//! SHUT_RD refuses nothing on Linux: what arrives later is accepted, and `recv` still returns it.
//!
//! Article 5.2. Claim: C6. man: shutdown(2).
//!
//! No segment leaves and the state does not change: SHUT_RD only keeps `recv` from waiting. Where
//! the buffer is empty it returns 0, which looks like the peer's FIN and is not one.
//!
//! Expect: what was there already, then 0; what the server sent afterwards, then 0 again. The
//! server notices nothing.
//!
//! Change and see: no `shutdown` (the second `recv` waits: the stage says where); SHUT_RDWR (the
//! dot for the server is EPIPE).

use std::io;
use std::process::ExitCode;

use libc::SHUT_RD;
use stage::{At, Out, Verdict, kernel, text};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    let recv = || -> io::Result<String> {
        let mut buf = [0; 100];
        let n = recv_some(&conn, &mut buf, None)?;
        Ok(text(&buf[..n]))
    };
    kernel::wait_until_unread(&conn, 5)?;
    sys::shutdown(&conn, SHUT_RD)?;
    let before = [recv()?, recv()?].join(", ");
    out.check("SHUT_RD, then recv twice", r#""EARLY", """#, &before);

    send_all(&conn, b".")?; // the server may send more
    kernel::wait_for("the rest to arrive or be discarded", || {
        Ok(kernel::tcp_info(&conn)?.tcpi_bytes_received >= 10)
    })?;
    let later = [recv()?, recv()?].join(", ");
    out.check("what was sent after SHUT_RD: recv twice", r#""LATER", """#, &later);

    let (discarded, zero) = (!later.contains("LATER"), before.ends_with(r#", """#));
    let observed = format!("recv said {before}; and of what arrived later {later}");
    out.claim("C6", Verdict::holds_if(discarded && zero), observed);
    kernel::wait_for("the server's FIN", || Ok(kernel::tcp_state(&conn)? == "CLOSE_WAIT"))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    send_all(&conn, b"EARLY")?;
    recv_exact(&conn, &mut [0])?; // the client has called shutdown
    out.check("the server's end after SHUT_RD", "ESTABLISHED", kernel::tcp_state(&conn)?);
    send_all(&conn, b"LATER")?;
    kernel::wait_until_acked(&conn)?;
    out.check("and after 5 more bytes", "ESTABLISHED", kernel::tcp_state(&conn)?);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
