//! SHUT_RD refuses nothing on Linux: what arrives later is accepted, and `recv` still returns it.
//!
//! Article 5.2. man: shutdown(2).
//! Claim C6: After SHUT_RD the kernel discards what arrives, and recv returns 0 at once.
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
    // Five bytes have arrived before SHUT_RD. They can be read, and then `recv` does not wait.
    kernel::wait_until_unread(&conn, 5)?;
    sys::shutdown(&conn, SHUT_RD)?;
    let before = [recv()?, recv()?].join(", ");
    out.check("SHUT_RD, then recv twice", r#""EARLY", """#, &before);

    // The dot asks for five more. TCP_INFO counts what has arrived, read or not.
    send_all(&conn, b".")?;
    kernel::wait_for("5 more bytes to arrive", || {
        Ok(kernel::tcp_info(&conn)?.tcpi_bytes_received >= 10)
    })?;
    // The kernel has kept them, and after them there is another 0.
    let later = [recv()?, recv()?].join(", ");
    out.check("what was sent after SHUT_RD: recv twice", r#""LATER", """#, &later);

    // The claim has two halves: the bytes are gone, and `recv` says 0.
    let (discarded, zero) = (!later.contains("LATER"), before.ends_with(r#", """#));
    let observed = format!("recv said {before}; and of what arrived later {later}");
    out.claim("C6", Verdict::holds_if(discarded && zero), observed);
    // Closed before that, this end would send a FIN, and the server would see another state.
    kernel::wait_for("the server's FIN", || Ok(kernel::tcp_state(&conn)? == "CLOSE_WAIT"))
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    send_all(&conn, b"EARLY")?;
    // The dot comes after the client's `shutdown`. If SHUT_RD had sent anything, it would be here.
    recv_exact(&conn, &mut [0])?;
    out.check("the server's end after SHUT_RD", "ESTABLISHED", kernel::tcp_state(&conn)?);
    // These bytes are accepted and acknowledged like any others.
    send_all(&conn, b"LATER")?;
    kernel::wait_until_acked(&conn)?;
    out.check("and after 5 more bytes", "ESTABLISHED", kernel::tcp_state(&conn)?);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
