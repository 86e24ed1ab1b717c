//! AI_ADDRCONFIG takes away addresses that would work, where only the loopback is up.
//!
//! Article 7 (`listen_on`, `connect_to`). Claim: A4. man: getaddrinfo(3), network_namespaces(7).
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
use tcp_stream_io::addr::{Hints, ResolveError};
use tcp_stream_io::{listen_on, resolve};

fn in_child(_: &str, _: tcp_stream_io::UniqueFd) -> io::Result<String> {
    child::own_network()?;
    let works = said(&listen_on(Some("127.0.0.1"), 0, 1));
    let mut lines = vec![works, asked("127.0.0.1", AF_INET, AI_ADDRCONFIG)];
    lines.push(asked("2001:db8::1", AF_UNSPEC, AI_ADDRCONFIG));
    child::add_address(Ipv4Addr::new(192, 0, 2, 5))?;
    for host in ["192.0.2.5", "2001:db8::1", "::1"] {
        lines.push(asked(host, AF_UNSPEC, AI_ADDRCONFIG));
    }
    Ok(lines.join("\n"))
}

/// What `getaddrinfo` says to a numeric address: no name is looked up anywhere.
fn asked(host: &str, family: i32, flags: i32) -> String {
    match resolve(Some(host), 0, &Hints { family, flags }) {
        Ok(_) => "kept".into(),
        Err(e) => match ResolveError::of(&e).map(|e| e.code) {
            Some(libc::EAI_NONAME | -9) => "left out".into(), // -9: EAI_ADDRFAMILY
            _ => e.to_string(),
        },
    }
}

fn run(out: &Out) -> io::Result<()> {
    let said = match Child::start_alone("").and_then(Child::wait) {
        Ok(ended) => ended.said,
        Err(e) => {
            out.note(format_args!("no network of one's own here: {e}"));
            out.check("without the flag: 127.0.0.1", "kept", asked("127.0.0.1", AF_INET, 0));
            out.note(format_args!("with it: {}", asked("127.0.0.1", AF_INET, AI_ADDRCONFIG)));
            out.claim("A4", Verdict::NotObserved, "it takes a network with the loopback alone");
            return Ok(());
        }
    };
    let lines: Vec<&str> = said.lines().collect();
    let [works, numeric, unusable, v4, v6, loopback] = lines[..] else {
        return Err(io::Error::other(said));
    };
    out.check("loopback alone: listen at 127.0.0.1", "ok", works);
    out.check("loopback alone: 127.0.0.1, AF_INET", "left out", numeric);
    out.check("loopback alone: 2001:db8::1, AF_UNSPEC", "kept", unusable);
    out.check("with 192.0.2.5: 192.0.2.5", "kept", v4);
    out.check("with 192.0.2.5: 2001:db8::1", "left out", v6);
    out.check("with 192.0.2.5: ::1", "left out", loopback);

    let alone = numeric == "kept" && unusable == "left out";
    let verdict = Verdict::holds_if(alone).or_when(
        v4 == "kept" && v6 == "left out",
        "the machine has an address beyond the loopback",
    );
    let observed = format!("loopback alone: 127.0.0.1 {numeric}, 2001:db8::1 {unusable}");
    out.claim("A4", verdict, observed);
    Ok(())
}

fn main() -> ExitCode {
    stage::with_child(in_child, || stage::solo(stage::about!(), run))
}
