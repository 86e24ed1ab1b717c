//! A name has several addresses: walk the list until one of them connects.
//!
//! Article 7 (`resolve`, `connect_to`). Claim: A1. man: getaddrinfo(3), connect(2).
//!
//! `getaddrinfo` returns the addresses in order of preference, but cannot know which of them has
//! a listener. "This machine" has two, `::1` and `127.0.0.1`; the server listens on the last.
//!
//! Expect: the first address refuses, the last connects. `connect_to` is this loop.
//!
//! Change and see: `AF_UNSPEC` to `AF_INET` (one address is left); `AI_PASSIVE` in the flags.

use std::io;
use std::process::ExitCode;

use libc::{AF_UNSPEC, SOCK_STREAM};
use stage::{Out, Verdict, said};
use tcp_stream_io::addr::{Addr, Hints};
use tcp_stream_io::{UniqueFd, net, resolve, sys};

fn run(out: &Out) -> io::Result<()> {
    let hints = Hints { family: AF_UNSPEC, flags: 0 };
    let this_machine = resolve(None, 0, &hints)?;
    let mut bound = this_machine.iter().filter_map(|addr| bind(addr).ok());
    let (Some(_), Some(listener)) = (bound.next(), bound.last()) else {
        out.claim("A1", Verdict::NotObserved, "this machine has one address");
        return out.not_here("it takes two addresses, IPv6 and IPv4");
    };
    sys::listen(&listener, 1)?;
    let at = sys::getsockname(&listener)?;
    out.note(format_args!("the server listens on {at}"));

    let mut refused = 0;
    let mut connected = None;
    for addr in resolve(None, at.port(), &hints)?.iter() {
        // A socket belongs to one family, so every address gets a new one.
        let result = sys::socket(addr.family(), SOCK_STREAM, 0)
            .and_then(|fd| net::connect(&fd, addr, None).map(|()| fd));
        out.note(format_args!("{addr}: {}", said(&result)));
        match result {
            Ok(fd) => {
                connected = Some(sys::getpeername(&fd)?);
                break;
            }
            Err(_) => refused += 1,
        }
    }

    let peer = connected.map_or("none".into(), |peer| peer.to_string());
    out.check_that("addresses that failed first", "at least 1", refused, refused >= 1);
    out.check("the address that connected", at, &peer);
    let observed = format!("{refused} failed, then one of the list connected");
    out.claim("A1", Verdict::holds_if(connected.is_some() && refused > 0), observed);
    Ok(())
}

fn bind(addr: Addr) -> io::Result<UniqueFd> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0)?;
    sys::bind(&fd, addr)?;
    Ok(fd)
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
