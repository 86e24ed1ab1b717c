//! Who ends first goes FIN_WAIT1, FIN_WAIT2, TIME_WAIT; the other CLOSE_WAIT, LAST_ACK, CLOSE.
//!
//! Article 5.1. Claims: C1, C2. man: shutdown(2), tcp(7), proc(5) (/proc/net/tcp).
//!
//! A FIN stands behind the data that is still to be sent. So whoever does not read holds the
//! other's FIN back, and each state lasts until it has been looked at.
//!
//! Expect: the states as the article has them; and in CLOSE_WAIT no timer that could end it.
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
    let conn = connect_to(&at.host, at.port)?;
    let talk = connect_to(&at.host, at.port)?;
    let mut states = vec![kernel::tcp_state(&conn)?];
    kernel::fill(&conn)?; // the server does not read
    sys::shutdown(&conn, SHUT_WR)?; // the FIN, which cannot leave
    states.push(kernel::tcp_state(&conn)?);
    send_all(&talk, b".")?; // the server may read
    kernel::wait_until_acked(&conn)?; // the FIN, too
    states.push(kernel::tcp_state(&conn)?);

    recv_exact(&talk, &mut [0])?; // the server has ended its side
    let ports = Ports::of(&conn)?;
    read_to_end(&conn)?;
    conn.close()?;
    states.push(ports.state()?);

    let active = states.join(", ");
    let passive = String::from_utf8(read_to_end(&talk)?).map_err(io::Error::other)?;
    out.check("active", "ESTABLISHED, FIN_WAIT1, FIN_WAIT2, TIME_WAIT", &active);
    out.check("passive", "ESTABLISHED, CLOSE_WAIT, LAST_ACK, CLOSE", &passive);
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
    recv_exact(&talk, &mut [0])?; // the client has ended its side
    read_to_end(&conn)?;
    states.push(kernel::tcp_state(&conn)?);
    let timer = Ports::of(&conn)?.row()?.and_then(|row| row.timer);
    out.check("a timer that could end CLOSE_WAIT", "None", format!("{timer:?}"));

    kernel::fill(&conn)?; // the client does not read
    sys::shutdown(&conn, SHUT_WR)?; // as close does, but the descriptor stays
    states.push(kernel::tcp_state(&conn)?);
    send_all(&talk, b".")?; // the client may read
    kernel::wait_until_acked(&conn)?;
    states.push(kernel::tcp_state(&conn)?);

    let lasts = states[1] == "CLOSE_WAIT" && timer.is_none() && states[2] == "LAST_ACK";
    let with = if timer.is_none() { "without a timer" } else { "with a timer" };
    let observed = format!("{} {with}, {} once the server had ended", states[1], states[2]);
    out.claim("C2", Verdict::holds_if(lasts), observed);
    send_all(&talk, states.join(", ").as_bytes())
}

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
