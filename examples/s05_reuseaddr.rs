//! SO_REUSEADDR gives a restarted server its port back, if the old server had set it, too.
//!
//! Article 5.1, 7. man: socket(7) (SO_REUSEADDR), bind(2), listen(2).
//! Claim A3: SO_REUSEADDR, set before bind, lets a server have its port back.
//!
//! The server closed first, so a connection of its port is in TIME_WAIT. That connection has its
//! option from the old listener, and the kernel asks both sides.
//!
//! Expect: of four servers that come back one gets its port. Who still listens is never
//! displaced. Two sockets may share a port until one of them listens.
//!
//! Change and see: set the option after `bind`; let the client close first (TIME_WAIT is at its
//! end: here it is waited for in vain).

use std::io;
use std::process::ExitCode;

use libc::{AF_INET, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET};
use stage::kernel::{self, Ports};
use stage::{Out, Verdict, said};
use tcp_stream_io::addr::{Addr, SockAddr, resolve};
use tcp_stream_io::{UniqueFd, accept, connect_to, sys};

fn run(out: &Out) -> io::Result<()> {
    let loopback = resolve(Some("127.0.0.1"), 0, AF_INET, 0)?;
    let any_port = loopback.iter().next().ok_or(io::ErrorKind::NotFound)?;

    // Four restarts: the option set by neither, by the new server, by the old one, by both.
    let mut come_back = Vec::new();
    for (old, new) in [(false, false), (false, true), (true, false), (true, true)] {
        // The old server leaves its port in TIME_WAIT. The new one wants the same address.
        let addr = serve_one_and_go(any_port, old)?;
        let result = said(&bound(addr.as_addr(), new));
        let expected = if old && new { "ok" } else { "EADDRINUSE" };
        let [old, new] = [old, new].map(|set| if set { "with" } else { "without" });
        out.check(format_args!("old server {old} it, new one {new} it"), expected, &result);
        come_back.push(result);
    }

    // With the option two sockets may be bound to one port. The second `listen` is refused.
    let live = bound(any_port, true)?;
    let addr = sys::getsockname(&live)?;
    let second = bound(addr.as_addr(), true)?;
    let listens = [sys::listen(&live, 1), sys::listen(&second, 1)].map(|result| said(&result));
    out.check("bound twice, then listen twice", "ok, EADDRINUSE", listens.join(", "));
    // Where somebody listens, even `bind` is refused.
    let third = bound(addr.as_addr(), true);
    out.check("bind where somebody listens", "EADDRINUSE", said(&third));

    // The claim speaks of the new server alone. If that is not enough, both may be.
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
    // Who closes first gets TIME_WAIT: here it is the server's end.
    let ports = Ports::of(&conn)?;
    conn.close()?;
    client.close()?;
    kernel::wait_for("TIME_WAIT", || Ok(ports.state()? == "TIME_WAIT"))?;
    Ok(addr)
}

/// A socket bound to the address, with SO_REUSEADDR or without.
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
