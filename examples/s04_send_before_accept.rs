//! The client may send as soon as its own `connect` has returned: nobody has called `accept`.
//!
//! Article 4.1. man: connect(2), accept(2), tcp(7) (TCP_DEFER_ACCEPT).
//! Claim H4: Both sides may exchange data once the handshake is over.
//!
//! Each side counts for itself. The client is done when the SYN+ACK has come; its ACK, or the
//! data after it, has yet to reach the server. TCP_DEFER_ACCEPT makes that moment last: the
//! server's kernel leaves a bare ACK unheeded and waits for data.
//!
//! Expect: 5 bytes unread on a connection that nobody has accepted; then 5 bytes that were sent
//! while the server's end was still in SYN_RECV, and arrive all the same.
//!
//! Change and see: leave out TCP_DEFER_ACCEPT (the server's end is ESTABLISHED); let the client
//! send 6 bytes at first (the sixth is taken for a part of the port).

use std::io;
use std::process::ExitCode;

use libc::{SOL_TCP, TCP_DEFER_ACCEPT};
use stage::kernel::{self, Ports};
use stage::{At, Out, Verdict, text};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // These bytes leave at once, whatever the server is doing.
    let conn = connect_to(&at.host, at.port)?;
    send_all(&conn, b"HELLO")?;

    // The server's byte says that it has looked, and that its kernel now waits for data.
    recv_exact(&conn, &mut [0])?;
    let early = connect_to(&at.host, at.port)?;
    out.check("the client's end", "ESTABLISHED", kernel::tcp_state(&early)?);

    // The port says which connection to look at. The next byte says that the server has.
    send_all(&conn, &Ports::of(&early)?.local.to_be_bytes())?;
    recv_exact(&conn, &mut [0])?;
    send_all(&early, b"WORLD")
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // Of a connection that waits in the queue only the kernel's table tells anything.
    kernel::wait_until_queued(&listener, 1)?;
    let local = sys::getsockname(&listener)?.port();
    let unread = || -> io::Result<usize> {
        let table = kernel::tcp_table()?;
        let queued = table.iter().find(|row| row.ports.local == local && row.ports.remote != 0);
        Ok(queued.map_or(0, |row| row.unread))
    };

    // The bytes are there before this thread has called `accept`.
    kernel::wait_for("data on the queued connection", || Ok(unread()? > 0))?;
    out.check("unread bytes, and nobody has called accept", 5, unread()?);
    let (conn, _) = accept(&listener)?;
    out.check("recv after accept", text(b"HELLO"), text(&five(&conn)?));

    // From now on the server's half of a handshake is over only when data comes.
    sys::set_option(&listener, SOL_TCP, TCP_DEFER_ACCEPT, 5)?;
    send_all(&conn, b".")?;
    let mut remote = [0; 2];
    recv_exact(&conn, &mut remote)?;

    // The client's half is over: it has told its port on the other connection.
    let half_open = Ports { local, remote: u16::from_be_bytes(remote) }.state()?;
    out.check("the server's end of the next one", "SYN_RECV", half_open);
    send_all(&conn, b".")?;
    let (early, _) = accept(&listener)?;
    let arrived = text(&five(&early)?);
    out.check("sent meanwhile, and arrived", text(b"WORLD"), &arrived);

    // Was the handshake over at both ends when the client sent? If not, the claim needs a word.
    let over = half_open == "ESTABLISHED";
    let came = arrived == text(b"WORLD");
    let half = half_open == "SYN_RECV";

    // The bytes have to have come in either case, or nothing was shown.
    let condition = "each side counts for itself: the client sends once connect has returned";
    let verdict = Verdict::holds_if(over && came).or_when(half && came, condition);
    out.claim("H4", verdict, format!("{arrived} was sent while the server was in {half_open}"));
    Ok(())
}

fn five(conn: &UniqueFd) -> io::Result<[u8; 5]> {
    let mut bytes = [0; 5];
    recv_exact(conn, &mut bytes).map(|()| bytes)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
