//! A name has several addresses: walk the list until one of them connects.
//!
//! Article 7 (`resolve`, `connect_to`). man: getaddrinfo(3), connect(2).
//! Claim A1: Walk the list from getaddrinfo until an address works.
//!
//! `getaddrinfo` returns the addresses in order of preference, but cannot know which of them has
//! a listener. "This machine" has two, `::1` and `127.0.0.1`; the server listens on the last.
//!
//! Expect: the first address refuses, the last connects. `connect_to` is this loop.
//!
//! Change and see: `AF_UNSPEC` to `AF_INET` (one address is left); `AI_PASSIVE` for the flags.

use std::io;
use std::process::ExitCode;

use libc::{AF_UNSPEC, SOCK_STREAM};
use stage::{Out, Verdict, kernel};
use tcp_stream_io::addr::Addr;
use tcp_stream_io::{UniqueFd, net, resolve, sys};

fn run(out: &Out) -> io::Result<()> {
    // No host means this machine. Its last address gets a listener, the others get none.
    let this_machine = resolve(None, 0, AF_UNSPEC, 0)?;
    let addrs: Vec<Addr> = this_machine.iter().filter(|addr| bind(*addr).is_ok()).collect();
    let [_, .., last] = addrs[..] else {
        out.claim("A1", Verdict::NotObserved, "this machine has one address");
        return out.not_here("it takes two addresses, IPv6 and IPv4");
    };
    // Its port number could be another program's in the other family, so it is held there, too.
    let (listener, _held) = kernel::with_port_to_itself(|| bind(last))?;
    sys::listen(&listener, 1)?;
    let at = sys::getsockname(&listener)?;
    out.note(format_args!("the server listens on {at}"));

    // The loop: each address gets a socket of its own, for a socket belongs to one family.
    let (mut refused, mut connected) = (0, None);
    for addr in resolve(None, at.port(), AF_UNSPEC, 0)?.iter() {
        match net::connect_at(addr, None) {
            // The first that connects ends the search.
            Ok(fd) => {
                connected = Some(sys::getpeername(&fd)?.to_string());
                break;
            }
            // One that does not is no reason to give up: the next may have a listener.
            Err((call, e)) => {
                out.note(format_args!("{call} {addr}: {e}"));
                refused += 1;
            }
        }
    }

    // The first address alone would have been a failure.
    out.check_that("addresses that failed first", "at least 1", refused, refused >= 1);
    let works = connected.is_some();
    let peer = connected.unwrap_or("none of them".into());
    out.check("the address that connected", at, peer);
    // To walk on has made the difference: one failed, and one worked.
    let then = if works { "one of the list connected" } else { "none of the list connected" };
    let observed = format!("{refused} failed, then {then}");
    out.claim("A1", Verdict::holds_if(works && refused > 0), observed);
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
