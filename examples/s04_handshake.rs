//! Three segments make a connection: `connect` returns without anybody having called `accept`.
//!
//! Article 4.1. Claim: H1. man: connect(2), listen(2), accept(2), tcp(7) (TCP_INFO).
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
    let conn = connect_to(&at.host, at.port)?;
    let state = kernel::tcp_state(&conn)?;
    let info = kernel::tcp_info(&conn)?;
    let segments = format!("{} segments out, {} in", info.tcpi_segs_out, info.tcpi_segs_in);
    out.check("connect has returned, the state is", "ESTABLISHED", state);
    out.check("the client so far", "2 segments out, 1 in", &segments);

    let three = segments == "2 segments out, 1 in"; // SYN and ACK, and the SYN+ACK between them
    let verdict = Verdict::holds_if(three && state == "ESTABLISHED");
    out.claim("H1", verdict, format!("the client is {state} after {segments}"));
    let _looked = connect_to(&at.host, at.port)?; // tells the server that we have looked
    kernel::wait_until_peer_ended(&conn)
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    kernel::wait_until_queued(&listener, 2)?; // the client has looked; we have accepted nothing
    let port = sys::getsockname(&listener)?.port();
    let mut states = Vec::new();
    for row in kernel::tcp_table()? {
        if row.ports.local == port {
            states.push(row.state);
        }
    }
    states.sort_unstable();
    let expected = "ESTABLISHED, ESTABLISHED, LISTEN";
    out.check("the server's sockets before any accept", expected, states.join(", "));

    let (conn, _) = accept(&listener)?;
    out.check("still in the queue after one accept", 1, kernel::queued(&listener)?);
    let state = kernel::tcp_state(&conn)?;
    out.check("the state of what accept returned", "ESTABLISHED", state);
    Ok(())
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
