//! AI_ADDRCONFIG takes away addresses that would work, where only the loopback is up.
//!
//! Article 7 (`listen_on`, `connect_to`). man: getaddrinfo(3), network_namespaces(7).
//! Claim A4: AI_ADDRCONFIG leaves out addresses that this machine cannot use.
//!
//! The flag is meant to leave out addresses of a family that this machine cannot use. It looks for
//! an address of that family, and 127.0.0.1 and ::1 do not count. So a child moves to a network of
//! its own, where only the loopback is up; later it gets another IPv4 address.
//!
//! Expect: with the loopback alone 127.0.0.1 works and is left out, and 2001:db8::1, which cannot
//! be reached, is kept; with one more IPv4 address IPv6 is left out, as meant, and ::1 with it.
//!
//! Change and see: 127.0.0.2 for the address that is added (it counts: only 127.0.0.1 does not); 0
//! for AI_ADDRCONFIG (nothing is left out).

use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use libc::{AF_INET, AF_UNSPEC, AI_ADDRCONFIG};
use stage::child::{self, Child};
use stage::{Out, Verdict, said};
use tcp_stream_io::{UniqueFd, listen_on, resolve};

/// What a child says that may not have a network of its own. All other errors are errors.
const NOT_HERE: &str = "no network of one's own here: ";

fn in_child(_: &str, _: UniqueFd) -> io::Result<String> {
    if let Err(e) = child::own_network() {
        return Ok(format!("{NOT_HERE}{e}"));
    }
    // Only the loopback is up here. 127.0.0.1 works, whatever the flag makes of it.
    let works = said(&listen_on(Some("127.0.0.1"), 0, 1));
    let numeric = asked("127.0.0.1", AF_INET);
    let unusable = asked("2001:db8::1", AF_UNSPEC);
    // One more IPv4 address, and the flag does what it is meant to do.
    child::add_address(Ipv4Addr::new(192, 0, 2, 5))?;
    let [v4, v6, loopback] = ["192.0.2.5", "2001:db8::1", "::1"].map(|host| asked(host, AF_UNSPEC));
    Ok([&works, numeric, unusable, v4, v6, loopback].join("\n"))
}

/// What becomes of a numeric address. No name is looked up anywhere, so the answer depends on the
/// flag alone: "left out" is what is an address without it and none with it.
fn asked(host: &str, family: i32) -> &'static str {
    let [with, without] = [AI_ADDRCONFIG, 0].map(|flags| resolve(Some(host), 0, family, flags));
    match (with, without) {
        (Ok(_), _) => "kept",
        (Err(_), Ok(_)) => "left out",
        (Err(_), Err(_)) => "no address",
    }
}

fn run(out: &Out) -> io::Result<()> {
    let child = Child::start_alone("")?.wait()?.said;
    if let Some(why) = child.strip_prefix(NOT_HERE) {
        // What the flag does depends on the addresses of this machine, which may be any.
        out.claim("A4", Verdict::NotObserved, "it takes a network with the loopback alone");
        return out.not_here(format_args!("{NOT_HERE}{why}"));
    }
    // The loopback alone: what works is left out, and what cannot be reached is kept.
    let lines: Vec<&str> = child.lines().collect();
    let [works, numeric, unusable, v4, v6, loopback] = lines[..] else {
        return Err(io::Error::other(child));
    };
    out.check("loopback alone: listen at 127.0.0.1", "ok", works);
    out.check("loopback alone: 127.0.0.1, AF_INET", "left out", numeric);
    out.check("loopback alone: 2001:db8::1, AF_UNSPEC", "kept", unusable);
    // With an address beyond it, the family that has none is left out.
    out.check("with 192.0.2.5: 192.0.2.5", "kept", v4);
    out.check("with 192.0.2.5: 2001:db8::1", "left out", v6);
    out.check("with 192.0.2.5: ::1", "left out", loopback);

    // What can be used is to be kept, and what cannot be is to be left out: both, or it fails.
    let alone = numeric == "kept" && unusable == "left out";
    // With an address beyond the loopback that is what happens.
    let beyond = v4 == "kept" && v6 == "left out";
    let condition = "the machine has an address beyond the loopback";
    let verdict = Verdict::holds_if(alone).or_when(beyond, condition);
    let observed = format!("loopback alone: 127.0.0.1 {numeric}, 2001:db8::1 {unusable}");
    out.claim("A4", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
