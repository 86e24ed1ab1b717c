//! "Any address" is two, `0.0.0.0` and `::`, and only a socket at `::` can serve both families.
//!
//! Article 7 (`listen_on`). man: getaddrinfo(3) (AI_PASSIVE), ipv6(7) (IPV6_V6ONLY).
//! Claim A2: With IPV6_V6ONLY off, one listener serves IPv4 too.
//!
//! The article turns IPV6_V6ONLY off, to serve IPv4 through an IPv6 socket. It also takes the
//! first address that binds, and `getaddrinfo` lists `0.0.0.0` first: no IPv6 socket is opened.
//!
//! Expect: at the first address IPv6 clients are refused; `::` with IPV6_V6ONLY 0 serves both, and
//! sees an IPv4 peer as `::ffff:127.0.0.1`; with IPV6_V6ONLY 1 IPv4 clients are refused.
//!
//! Change and see: AF_INET6 for AF_UNSPEC (the article's way serves both); no `set_option`
//! (net.ipv6.bindv6only decides, mostly 0).

use std::io;
use std::process::ExitCode;

use libc::{AF_INET6, AF_UNSPEC, AI_PASSIVE, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_STREAM};
use stage::{Out, Verdict, kernel, said};
use tcp_stream_io::addr::Addr;
use tcp_stream_io::{UniqueFd, accept, connect_to, listen_on, resolve, sys};

fn run(out: &Out) -> io::Result<()> {
    let any = resolve(None, 0, AF_UNSPEC, AI_PASSIVE)?;
    let order: Vec<String> = any.iter().map(|addr| addr.to_string()).collect();
    out.note(format_args!("getaddrinfo lists {}", order.join(", then ")));

    // WRONG: the first address that binds, as in the article, whichever family it is of. Its port
    // is held in the other family, or another program might answer there.
    let at_any = || any.iter().find_map(|addr| listen_at(addr, 0).ok());
    let listen = || at_any().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into());
    let (first, _held) = kernel::with_port_to_itself(listen)?;
    let at_first = who_is_served(&first)?;
    // Without IPv6 there is only one family, and nobody is left out.
    let v6 = any.iter().find(|addr| addr.family() == AF_INET6);
    let (Some(v6), Ok(_)) = (v6, listen_on(Some("::1"), 0, 1)) else {
        out.check_that("without IPv6", "IPv4 ok", &at_first, at_first.starts_with("IPv4 ok"));
        out.claim("A2", Verdict::NotObserved, "this machine has no IPv6");
        return Ok(());
    };
    // A machine may list `::` first (gai.conf). Then both are served, and by chance.
    let is_v6 = sys::getsockname(&first)?.as_addr().family() == AF_INET6;
    let expected = if is_v6 { "IPv4 ok, IPv6 ok" } else { "IPv4 ok, IPv6 ConnectionRefused" };
    out.check("at the first address that binds", expected, &at_first);

    // A socket at `::`, with IPV6_V6ONLY off, is for both families.
    let both = listen_at(v6, 0)?;
    let at_v6 = who_is_served(&both)?;
    out.check("at ::, IPV6_V6ONLY 0", "IPv4 ok, IPv6 ok", &at_v6);
    // The IPv4 client was the first to connect. Its address comes in IPv6's form.
    let (_, peer) = accept(&both)?;
    let (peer, mapped) = (peer.to_string(), "[::ffff:127.0.0.1]");
    out.check_that("its IPv4 client is seen as", mapped, &peer, peer.starts_with(mapped));
    // It is the option that lets IPv4 in: with it on, the same socket is for IPv6 only.
    let (only, _held) = kernel::with_port_to_itself(|| listen_at(v6, 1))?;
    let at_only = who_is_served(&only)?;
    out.check("at ::, IPV6_V6ONLY 1", "IPv4 ConnectionRefused, IPv6 ok", at_only);

    // The option was off at both addresses. Which of the two it was made the difference.
    let served = "IPv4 ok, IPv6 ok";
    let verdict = Verdict::holds_if(at_first == served)
        .or_when(at_v6 == served, "the listener is at ::, which getaddrinfo lists second");
    out.claim("A2", verdict, format!("at the first address {at_first}; at :: {at_v6}"));
    Ok(())
}

/// As `net::listen_at`, which always turns the option off.
fn listen_at(addr: Addr, v6only: i32) -> io::Result<UniqueFd> {
    let fd = sys::socket(addr.family(), SOCK_STREAM, 0)?;
    // An IPv4 socket does not have it.
    if addr.family() == AF_INET6 {
        sys::set_option(&fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only)?;
    }
    sys::bind(&fd, addr)?;
    sys::listen(&fd, 16)?;
    Ok(fd)
}

fn who_is_served(listener: &UniqueFd) -> io::Result<String> {
    let port = sys::getsockname(listener)?.port();
    let [v4, v6] = ["127.0.0.1", "::1"].map(|host| said(&connect_to(host, port)));
    Ok(format!("IPv4 {v4}, IPv6 {v6}"))
}

fn main() -> ExitCode {
    stage::solo(stage::about!(), run)
}
