//! Recv-Q and Send-Q of `ss`: bytes not read and not acknowledged; of a listener, who waits.
//!
//! Article 8.2. Claim: O2. man: ss(8), proc(5) (/proc/net/tcp), tcp(7) (SIOCINQ, SIOCOUTQ).
//!
//! `ss -tan` prints what the kernel lists of every TCP socket; /proc/net/tcp is the same list as
//! text. The server does not read, so its receive buffer and the client's send buffer fill up.
//!
//! Expect: the listener in LISTEN, with 3 connections in its Recv-Q, 2 after one `accept`; the
//! queues of the connection as the two sockets themselves tell them.
//!
//! Change and see: 20 connections instead of 3 (the backlog is 16: 17 wait, and the next `connect`
//! hangs); let the server read all that is there before it looks (0, for a moment).

use std::io;
use std::process::ExitCode;

use stage::kernel::ProcNetTcp;
use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::stream::retry_eintr;
use tcp_stream_io::sys::NO_SIGPIPE;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?; // accepted
    sys::set_nonblocking(&conn, true)?;
    while retry_eintr(|| sys::send(&conn, &[b'x'; 64 * 1024], NO_SIGPIPE)).is_ok() {}
    let (unacked, listed) = look(&conn, at.port, |fd| kernel::unacked(fd))?;
    let send_q = listed.tx_queue;
    out.check("the client's state", "ESTABLISHED", listed.state);
    out.check("its Send-Q, against SIOCOUTQ", unacked, send_q);
    out.check_that("its Send-Q", "more than 0", send_q, send_q > 0);

    let _waiting: Vec<UniqueFd> =
        (0..3).map(|_| connect_to(&at.host, at.port)).collect::<io::Result<_>>()?;
    sys::set_nonblocking(&conn, false)?;
    let _server_has_looked = retry_eintr(|| sys::recv(&conn, &mut [0], 0));
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, peer) = accept(&listener)?;
    send_all(&conn, b".")?;

    let waiting = || Ok(kernel::tcp_info(&listener)?.tcpi_unacked >= 3); // of a listener: who waits
    kernel::wait_for("three connections to wait", waiting)?;
    let waiting = line(&listener, 0)?;
    out.check("the listener's state", "LISTEN", waiting.state);
    out.check("its Recv-Q with 3 connections waiting", 3, waiting.rx_queue);
    accept(&listener)?;
    let fewer = line(&listener, 0)?.rx_queue;
    out.check("its Recv-Q after one accept", 2, fewer);

    let (unread, listed) = look(&conn, peer.port(), |fd| kernel::unread(fd))?;
    let recv_q = listed.rx_queue;
    out.check("the connection's Recv-Q, against SIOCINQ", unread, recv_q);
    out.check_that("its Recv-Q", "more than 0", recv_q, recv_q > 0);

    let queues = waiting.state == "LISTEN" && recv_q == unread && waiting.rx_queue == fewer + 1;
    let observed = format!("Recv-Q of the listener {} then {fewer}", waiting.rx_queue);
    out.claim("O2", Verdict::holds_if(queues), observed);
    Ok(())
}

/// What the socket tells of a queue, and what the kernel lists, with nothing moving in between.
fn look(
    conn: &UniqueFd,
    remote_port: u16,
    told: fn(&UniqueFd) -> io::Result<usize>,
) -> io::Result<(usize, ProcNetTcp)> {
    loop {
        let (before, line) = (told(conn)?, line(conn, remote_port)?);
        if told(conn)? == before {
            return Ok((before, line));
        }
    }
}

/// What the kernel lists of a socket; a listener's remote port is 0.
fn line(fd: &UniqueFd, remote_port: u16) -> io::Result<ProcNetTcp> {
    let line = kernel::proc_net_tcp(sys::getsockname(fd)?.port(), remote_port)?;
    line.ok_or(io::ErrorKind::NotFound.into())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
