//! Who ends first goes FIN_WAIT1, FIN_WAIT2, TIME_WAIT; the other CLOSE_WAIT, LAST_ACK, CLOSE.
//!
//! Article 5.1. man: shutdown(2), tcp(7), proc(5) (/proc/net/tcp).
//! Claim C1: The active closer goes through FIN_WAIT_1, FIN_WAIT_2 and TIME_WAIT, the passive one
//!   through CLOSE_WAIT and LAST_ACK.
//! Claim C2: CLOSE_WAIT lasts until the application closes.
//!
//! A FIN leaves after the data that is still to be sent. So whoever does not read holds the
//! other's FIN back, and each state lasts until it has been looked at.
//!
//! Expect: the article's states, though not where its diagram has them: FIN_WAIT1 from the FIN on,
//! FIN_WAIT2 from its ACK on, TIME_WAIT from the peer's FIN on. In CLOSE_WAIT no timer that could
//! end it.
//!
//! Change and see: leave out the client's `fill` (its FIN arrives at once, perhaps before the
//! server looks for the first time); leave out the server's `shutdown` (it stays in CLOSE_WAIT).

use std::io;
use std::process::ExitCode;

use libc::SHUT_WR;
use stage::kernel::{self, Ports};
use stage::{At, Out, Verdict};
use tcp_stream_io::stream::recv_some;
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The client is the active closer. The second connection only says when to go on.
    let conn = connect_to(&at.host, at.port)?;
    let talk = connect_to(&at.host, at.port)?;
    let mut states = vec![kernel::tcp_state(&conn)?];

    // The server does not read, so its window closes, and the FIN waits for its turn: FIN_WAIT1.
    kernel::fill(&conn)?;
    sys::shutdown(&conn, SHUT_WR)?;
    states.push(kernel::tcp_state(&conn)?);

    // Now the server reads. When all is acknowledged, so is the FIN: FIN_WAIT2.
    send_all(&talk, b".")?;
    kernel::wait_until_acked(&conn)?;
    states.push(kernel::tcp_state(&conn)?);

    // The server has ended its side as well. With the last byte read its FIN arrives: TIME_WAIT,
    // which outlives the descriptor, so it is found by its ports.
    recv_exact(&talk, &mut [0])?;
    let ports = Ports::of(&conn)?;
    read_to_end(&conn)?;
    conn.close()?;
    states.push(ports.state()?);

    // The server sends what it saw of its own states, so that both are judged here.
    let active = states.join(", ");
    let passive = String::from_utf8(read_to_end(&talk)?).map_err(io::Error::other)?;
    out.check("active", "ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT", &active);
    out.check("passive", "ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE", &passive);

    // The claim leaves out ESTABLISHED, which comes first, and CLOSE, which comes last.
    let as_stated = active.ends_with("FIN_WAIT1, FIN_WAIT2, TIME_WAIT")
        && passive.ends_with("CLOSE_WAIT, LAST_ACK, CLOSE");
    let observed = format!("active {active}; passive {passive}");
    out.claim("C1", Verdict::holds_if(as_stated), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let (talk, _) = accept(&listener)?;
    let mut states = vec![kernel::tcp_state(&conn)?];

    // The client has ended its side. Its FIN comes after its last byte: CLOSE_WAIT.
    recv_exact(&talk, &mut [0])?;
    read_to_end(&conn)?;
    states.push(kernel::tcp_state(&conn)?);

    // Only a timer could end this state without the application. The kernel lists none.
    let row = Ports::of(&conn)?.row()?.ok_or(io::ErrorKind::NotFound)?;
    out.check("a timer that could end CLOSE_WAIT", "None", format!("{:?}", row.timer));

    // `shutdown` sends the FIN as `close` would, but leaves a descriptor to ask. The client does
    // not read, so this FIN has to wait as well: LAST_ACK.
    kernel::fill(&conn)?;
    sys::shutdown(&conn, SHUT_WR)?;
    states.push(kernel::tcp_state(&conn)?);

    // Now the client reads, and the acknowledgement of the FIN is the end: CLOSE.
    send_all(&talk, b".")?;
    kernel::wait_until_acked(&conn)?;
    states.push(kernel::tcp_state(&conn)?);

    // What ended CLOSE_WAIT was the application: no timer ran, and LAST_ACK came with `shutdown`.
    let with = if row.timer.is_none() { "without a timer" } else { "with a timer" };
    let lasts = states[1..3] == ["CLOSE_WAIT", "LAST_ACK"] && row.timer.is_none();
    let observed = format!("{} {with}, {} once the server had ended", states[1], states[2]);
    out.claim("C2", Verdict::holds_if(lasts), observed);
    send_all(&talk, states.join(", ").as_bytes())
}

/// Reads until `recv` returns 0.
fn read_to_end(conn: &UniqueFd) -> io::Result<Vec<u8>> {
    let (mut all, mut piece) = (Vec::new(), [0; 64 * 1024]);
    loop {
        match recv_some(conn, &mut piece, None)? {
            0 => return Ok(all),
            n => all.extend_from_slice(&piece[..n]),
        }
    }
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
