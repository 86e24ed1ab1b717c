//! SHUT_RDWR ends both directions: a FIN for what you send, a reset for what still comes.
//!
//! Article 5.2. man: shutdown(2).
//! Claim C7: SHUT_RDWR ends both directions.
//!
//! The peer cannot tell it from SHUT_WR at first: a FIN is all it sees. Only what the peer sends
//! after that is refused, and the reset comes when that `send` has succeeded.
//!
//! Expect: EPIPE from `send`, 0 from `recv`, and a FIN at the server. The server's next `send`
//! succeeds, its bytes are not delivered, and the connection is gone at both ends.
//!
//! Change and see: SHUT_RD (`send` works, and LATER is delivered); SHUT_WR (`recv` waits: the
//! stage says where).

use std::io;
use std::process::ExitCode;

use libc::SHUT_RDWR;
use stage::{At, Out, Verdict, kernel, retry_eintr, said};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // Both directions end here: nothing more can be sent, and `recv` does not wait.
    let conn = connect_to(&at.host, at.port)?;
    sys::shutdown(&conn, SHUT_RDWR)?;
    let sent = said(&retry_eintr(|| sys::send(&conn, b"x", NO_SIGPIPE)));
    out.check("send after SHUT_RDWR", "EPIPE", &sent);
    let received = said(&recv_some(&conn, &mut [0; 100], None));
    out.check("recv after SHUT_RDWR", "0", &received);

    // A second connection lets the server send. Its bytes are delivered, or answered by a reset.
    let _looked = connect_to(&at.host, at.port)?;
    kernel::wait_for("what the server sends", || {
        Ok(kernel::unread(&conn)? > 0 || kernel::tcp_state(&conn)? == "CLOSE")
    })?;
    let later = said(&recv_some(&conn, &mut [0; 100], None));
    out.check("recv, after the server has sent 5 bytes", "ECONNRESET", &later);

    // Ended means: nothing goes out, nothing comes in, and nothing comes in later either.
    let ended = sent == "EPIPE" && received == "0" && later == "ECONNRESET";
    let observed = format!("send {sent}, recv {received}; later bytes: {later}");
    out.claim("C7", Verdict::holds_if(ended), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // All that SHUT_RDWR sends is a FIN, as SHUT_WR would.
    let (conn, _) = accept(&listener)?;
    let (_looked, _) = accept(&listener)?;
    let end = said(&recv_some(&conn, &mut [0; 100], None));
    out.check("recv at the server", "0", end);
    // So this `send` succeeds: the bytes are on their way before anybody can refuse them.
    let later = retry_eintr(|| sys::send(&conn, b"LATER", NO_SIGPIPE));
    out.check("send to who has called SHUT_RDWR", "5", said(&later));
    // The refusal is a reset, and the next `send` knows of it.
    kernel::wait_for("the reset", || Ok(kernel::tcp_state(&conn)? == "CLOSE"))?;
    let next = retry_eintr(|| sys::send(&conn, b"LATER", NO_SIGPIPE));
    out.check("the next send", "EPIPE", said(&next));
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
