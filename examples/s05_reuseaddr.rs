//! SO_REUSEADDR gives a restarted server its port back, if the old server had set it, too.
//!
//! Article 5.1, 7. Claim: A3. man: socket(7) (SO_REUSEADDR), bind(2), listen(2).
//!
//! The server closed first, so a connection of its port is in TIME_WAIT. That connection has its
//! option from the old listener, and the kernel asks both sides.
//!
//! Expect: of four servers that come back one gets its port. Who still listens is never
//! displaced. Two sockets may share a port until one of them listens.
//!
//! Change and see: set the option behind `bind`; let the client close first (TIME_WAIT is at its
//! end: here it is waited for in vain).

use std::io;
use std::process::ExitCode;

use libc::{SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET};
use stage::kernel::{self, Ports};
use stage::{Out, Verdict, said};
use tcp_stream_io::addr::{Addr, Hints, SockAddr, resolve};
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

fn run(out: &Out) -> io::Result<()> {
    let loopback = resolve(Some("127.0.0.1"), 0, &Hints::default())?;
    let any_port = loopback.iter().next().ok_or(io::ErrorKind::NotFound)?;

    let mut come_back = Vec::new();
    for (old, new) in [(false, false), (false, true), (true, false), (true, true)] {
        let addr = serve_one_and_go(any_port, old)?;
        let expected = if old && new { "ok" } else { "EADDRINUSE" };
        let result = said(&bound(addr.as_addr(), new));
        let [old, new] = [old, new].map(|set| if set { "with" } else { "without" });
        out.check(format_args!("old server {old} it, new one {new} it"), expected, &result);
        come_back.push(result);
    }

    let live = bound(any_port, true)?;
    let addr = sys::getsockname(&live)?;
    let second = bound(addr.as_addr(), true)?; // nobody listens yet
    let listens = [sys::listen(&live, 1), sys::listen(&second, 1)].map(|result| said(&result));
    out.check("bound twice, then listen twice", "ok, EADDRINUSE", listens.join(", "));
    let third = bound(addr.as_addr(), true);
    out.check("bind where somebody listens", "EADDRINUSE", said(&third));

    let new_alone = come_back[1] == "ok";
    let both = come_back[3] == "ok" && come_back[0] != "ok";
    let verdict = Verdict::holds_if(new_alone).or_when(both, "the old server had set it, too");
    let observed = format!("set by the new server {}, by both {}", come_back[1], come_back[3]);
    out.claim("A3", verdict, observed);
    Ok(())
}

/// A server that closes its only connection first, and then its listener.
fn serve_one_and_go(any_port: Addr, reuse: bool) -> io::Result<SockAddr> {
    let listener = bound(any_port, reuse)?;
    sys::listen(&listener, 1)?;
    let addr = sys::getsockname(&listener)?;
    let client = connect_to("127.0.0.1", addr.port())?;
    let (conn, _) = accept(&listener)?;
    let ports = Ports::of(&conn)?;
    conn.close()?;
    client.close()?;
    kernel::wait_for("TIME_WAIT", || Ok(ports.state()? == "TIME_WAIT"))?;
    Ok(addr)
}

fn bound(addr: Addr, reuse: bool) -> io::Result<UniqueFd> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0)?;
    if reuse {
        sys::set_option(&fd, SOL_SOCKET, SO_REUSEADDR, 1)?;
    }
    sys::bind(&fd, addr)?;
    Ok(fd)
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
