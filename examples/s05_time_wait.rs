//! TIME_WAIT keeps the two ports for 60 seconds on Linux, at the end that closed first.
//!
//! Article 5.1. man: tcp(7) (TCP_LINGER2), proc(5) (/proc/net/tcp). RFC 9293, 3.6.1.
//! Claim C3: TIME_WAIT lasts 2 MSL.
//!
//! The last ACK may be lost and old segments may be on their way, so the ports rest for twice the
//! MSL, the longest that a segment lives. RFC 9293 sets the MSL to 2 minutes. Linux has no MSL,
//! it has a constant. The timer's first value tells, so there is no need to wait for its end.
//!
//! Expect: 60 s, whatever TCP_LINGER2 says (that is for FIN_WAIT2); nothing at the other end;
//! EADDRINUSE for whoever wants the port meanwhile.
//!
//! Change and see: TCP_LINGER2 to 20; in place of the client's `close` a `shutdown` with SHUT_WR
//! (the application still owns it, and no timer runs in FIN_WAIT2).

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use libc::{SOCK_STREAM, SOL_TCP, TCP_LINGER2};
use stage::kernel::{self, Ports};
use stage::{At, Out, Verdict, said};
use tcp_stream_io::{UniqueFd, accept, connect_to, recv_exact, send_all, sys};

/// The maximum segment lifetime of RFC 9293.
const MSL: Duration = Duration::from_secs(120);

fn client(at: &At, out: &Out) -> io::Result<()> {
    // The second connection only says when to go on.
    let conn = connect_to(&at.host, at.port)?;
    let talk = connect_to(&at.host, at.port)?;
    sys::set_option(&conn, SOL_TCP, TCP_LINGER2, 10)?;
    let (own, ports) = (sys::getsockname(&conn)?, Ports::of(&conn)?);

    // This end closes first, and no descriptor is left. The kernel waits for the server's FIN, as
    // long as TCP_LINGER2 says.
    conn.close()?;
    let left = left_in("FIN_WAIT2", ports)?;
    out.check("closed, the server not yet: FIN_WAIT2 for", "10 s", seconds(left));
    // Now the server closes, too. With its FIN here begins TIME_WAIT.
    send_all(&talk, b".")?;
    let left = left_in("TIME_WAIT", ports)?;
    out.check("both have closed: TIME_WAIT for", "60 s", seconds(left));

    // Nobody has the connection open any more, and still its port is in use.
    let next = sys::socket(own.as_addr().family(), SOCK_STREAM, 0)?;
    let taken = sys::bind(&next, own.as_addr());
    out.check("bind to that port", "EADDRINUSE", said(&taken));
    // The timer's first value would have to be 2 MSL.
    let observed = format!("{}, where 2 MSL are {}", seconds(left), seconds(2 * MSL));
    out.claim("C3", Verdict::holds_if(seconds(left) == seconds(2 * MSL)), observed);
    Ok(())
}

fn server(listener: UniqueFd, out: &Out) -> io::Result<()> {
    let (conn, _) = accept(&listener)?;
    let (talk, _) = accept(&listener)?;
    let ports = Ports::of(&conn)?;
    // The client has closed and looked at its state. This `close` is the second.
    recv_exact(&talk, &mut [0])?;
    conn.close()?;
    // The last ACK ends it all: whoever closes second keeps nothing.
    kernel::wait_for("the last ACK", || Ok(ports.state()? != "LAST_ACK"))?;
    out.check("at the end that closed second", "gone", ports.state()?);
    Ok(())
}

/// Waits for the state, and returns what its timer has left.
fn left_in(state: &str, ports: Ports) -> io::Result<Duration> {
    let mut left = None;
    kernel::wait_for(state, || {
        // The timer is told with the state, in one row of the kernel's table.
        let row = ports.row()?.filter(|row| row.state == state);
        left = row.and_then(|row| row.timer);
        Ok(left.is_some())
    })?;
    left.ok_or(io::ErrorKind::NotFound.into())
}

/// What the timer was set to: up to the next ten, for it has been running since.
fn seconds(left: Duration) -> String {
    format!("{} s", left.as_millis().div_ceil(10_000) * 10)
}

fn main() -> ExitCode {
    stage::pair(stage::about!(), server, client)
}
