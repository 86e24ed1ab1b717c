//! Recv-Q and Send-Q of `ss`: bytes not read and not acknowledged; of a listener, who waits.
//!
//! Article 8.2. man: ss(8), proc(5) (/proc/net/tcp), tcp(7) (SIOCINQ, SIOCOUTQ).
//! Claim O2: ss shows the states and the queues.
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

use stage::kernel::{self, Ports, Row};
use stage::{At, Out, Verdict};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The byte says that this connection is accepted, and will not be among those that wait.
    let conn = connect_to(&at.host, at.port)?;
    recv_exact(&conn, &mut [0])?;
    // The server does not read: its receive buffer is full, and then this end's send buffer.
    kernel::fill(&conn)?;
    // What the peer has not acknowledged is the Send-Q.
    let (unacked, listed) = look(&conn, at.port, kernel::unacked)?;
    let send_q = listed.unacked;
    out.check("the client's state", "ESTABLISHED", listed.state);
    out.check("its Send-Q, against SIOCOUTQ", unacked, send_q);
    out.check_that("its Send-Q", "more than 0", send_q, send_q > 0);

    // Three more connections, which nobody accepts. They stay until the server has looked.
    let _waiting: Vec<UniqueFd> =
        (0..3).map(|_| connect_to(&at.host, at.port)).collect::<io::Result<_>>()?;
    kernel::wait_until_peer_ended(&conn)
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, peer) = accept(&listener)?;
    send_all(&conn, b".")?;

    // A listener's Recv-Q counts connections, not bytes.
    kernel::wait_until_queued(&listener, 3)?;
    let waiting = line(&listener, 0)?;
    out.check("the listener's state", "LISTEN", waiting.state);
    out.check("its Recv-Q with 3 connections waiting", 3, waiting.unread);
    // Each `accept` takes one away.
    accept(&listener)?;
    let fewer = line(&listener, 0)?.unread;
    out.check("its Recv-Q after one accept", 2, fewer);

    // The Recv-Q of a connection counts bytes that have arrived and not been read.
    let (unread, listed) = look(&conn, peer.port(), kernel::unread)?;
    let recv_q = listed.unread;
    out.check("the connection's Recv-Q, against SIOCINQ", unread, recv_q);
    out.check_that("its Recv-Q", "more than 0", recv_q, recv_q > 0);

    // What is listed is what the sockets tell of themselves, states and queues.
    let states = [waiting.state, listed.state] == ["LISTEN", "ESTABLISHED"];
    let queues = recv_q > 0 && recv_q == unread && waiting.unread == fewer + 1;
    let observed = format!("Recv-Q of the listener {} then {fewer}", waiting.unread);
    out.claim("O2", Verdict::holds_if(states && queues), observed);
    Ok(())
}

/// What the socket tells of a queue, and what the kernel lists, with nothing moving in between.
fn look(
    conn: &UniqueFd,
    remote_port: u16,
    told: fn(&UniqueFd) -> io::Result<usize>,
) -> io::Result<(usize, Row)> {
    // A queue that is the same before and after was the same in between.
    loop {
        let (before, line) = (told(conn)?, line(conn, remote_port)?);
        if told(conn)? == before {
            return Ok((before, line));
        }
    }
}

/// What the kernel lists of a socket; a listener's remote port is 0.
fn line(fd: &UniqueFd, remote_port: u16) -> io::Result<Row> {
    let ports = Ports { local: sys::getsockname(fd)?.port(), remote: remote_port };
    ports.row()?.ok_or(io::ErrorKind::NotFound.into())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
