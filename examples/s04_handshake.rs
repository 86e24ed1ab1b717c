//! Three segments make a connection: `connect` returns without anybody having called `accept`.
//!
//! Article 4.1. man: connect(2), listen(2), accept(2), tcp(7) (TCP_INFO).
//! Claim H1: SYN, SYN+ACK and ACK make a connection.
//!
//! The kernels shake hands: SYN, SYN+ACK, ACK. `listen` is what allows the server's kernel to
//! answer; `accept` only takes from a queue what is a connection already.
//!
//! Expect: ESTABLISHED at both ends, 2 segments from the client and 1 from the server, while two
//! connections wait in the queue and the server has called nothing.
//!
//! Change and see: let the client send a byte before it looks (a third segment leaves); leave out
//! the second connection (the server waits for it in vain).

use std::io;
use std::process::ExitCode;

use stage::{At, Out, Verdict, kernel};
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // `connect` returns when the SYN+ACK has come and the ACK has left.
    let conn = connect_to(&at.host, at.port)?;
    let state = kernel::tcp_state(&conn)?;
    let info = kernel::tcp_info(&conn)?;
    let segments = format!("{} segments out, {} in", info.tcpi_segs_out, info.tcpi_segs_in);
    out.check("connect has returned, the state is", "ESTABLISHED", state);
    out.check("the client so far", "2 segments out, 1 in", &segments);

    // Two out are the SYN and the ACK. The one that came in is the SYN+ACK between them.
    let three = segments == "2 segments out, 1 in";
    let verdict = Verdict::holds_if(three && state == "ESTABLISHED");
    out.claim("H1", verdict, format!("the client is {state} after {segments}"));

    // A second connection tells the server that the client has looked.
    let _looked = connect_to(&at.host, at.port)?;
    kernel::wait_until_peer_ended(&conn)
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    // The kernel counts what waits for `accept`. This thread does nothing before both are there.
    kernel::wait_until_queued(&listener, 2)?;
    let port = sys::getsockname(&listener)?.port();

    // The connections exist, though no descriptor stands for them yet: the kernel's table has them.
    let mut states = Vec::new();
    for row in kernel::tcp_table()? {
        if row.ports.local == port {
            states.push(row.state);
        }
    }

    // The listener itself is one of them, and stays what it is.
    states.sort_unstable();
    let expected = "ESTABLISHED, ESTABLISHED, LISTEN";
    out.check("the server's sockets before any accept", expected, states.join(", "));

    // `accept` takes one of them from the queue, and changes nothing about it.
    let (conn, _) = accept(&listener)?;
    out.check("still in the queue after one accept", 1, kernel::queued(&listener)?);
    let state = kernel::tcp_state(&conn)?;
    out.check("the state of what accept returned", "ESTABLISHED", state);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
