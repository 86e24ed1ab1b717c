//! Exercise `resolve`: walk the list of `getaddrinfo`, and free it. Article 7.1.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::alloc;
use crate::calls::{self, Calls, Seldom};
use crate::prelude::*;

/// What the answer returns: every address, or getaddrinfo's code.
type Found = Result<Vec<SocketAddr>, i32>;

/// What the answer is: asked for a host or none, and a port.
pub type Answer = fn(Option<&str>, u16) -> Found;

/// Grades the answer: asked for a host and a port, after so many calls that are alike. Tells what
/// the last one found, and how many bytes the others have left behind, but for the first.
pub fn grade(answer: Answer) -> ExitCode {
    type Ask = (Option<String>, u16, usize);
    grading::grade("resolve", CASES, |(host, port, before): Ask, given| {
        let once = || answer(host.as_deref(), port);
        let mut held = (0..before).map(|_| {
            drop(once());
            calls::start_with(Seldom::Nothing);
            alloc::now()
        });
        let [_, second] = [held.next(), held.next()];
        let last = held.fold(0, |_, now| now);
        let leaked = last.saturating_sub(second.unwrap_or(0));
        let (found, said) = given.watch(once);
        said.with((found, leaked))
    })
}

const CASES: &[Case] = &[
    ("an IPv4 address and a port", |child| {
        finds(child, &[("127.0.0.1", "127.0.0.1:9000"), ("192.0.2.255", "192.0.2.255:65535")])
    }),
    ("numeric forms that getaddrinfo knows, too", |child| {
        finds(child, &[("127.1", "127.0.0.1:80"), ("0x7f.0.0.1", "127.0.0.1:80")])
    }),
    ("an IPv6 address, with and without a scope", |child| {
        finds(child, &[("::1", "[::1]:9000"), ("2001:db8::1:2", "[2001:db8::1:2]:9000")])?;
        finds(child, &[("::", "[::]:9000"), ("::ffff:192.0.2.1", "[::ffff:192.0.2.1]:9000")])?;
        finds(child, &[("fe80::1%1", "[fe80::1%1]:9000"), ("fe80::1", "[fe80::1]:9000")])?;
        finds(child, &[("fe80::1%lo", "[fe80::1%1]:9000"), ("fe80::1%256", "[fe80::1%256]:9000")])
    }),
    ("no host: every address to listen on, in the order of the list", any),
    ("what is no numeric address: EAI_NONAME, and no lookup", |child| {
        let no_hosts = ["localhost", "256.1.1.1", "", "[::1]", " ::1", "::1\n"];
        let with_nul = ["127.0.0.1\0.example", "127.0.0.1\0"];
        no_hosts
            .iter()
            .chain(&with_nul)
            .try_for_each(|host| fails(child, host, libc::EAI_NONAME))?;
        [libc::EAI_AGAIN, libc::EAI_MEMORY].into_iter().try_for_each(|code| {
            child.seldom = Seldom::Fails(code);
            fails(child, "::1", code)
        })
    }),
    ("a hundred times, and nothing is left behind", often),
];

type Told = Said<(Found, usize)>;

fn call(child: &mut Child, host: Option<&str>, port: u16, before: usize) -> Result<Told, Refusal> {
    let asked = host.map_or("no host".into(), |host| format!("{host:?}"));
    let did = say!("there is none; asked for {asked}, port {port}");
    let mistake = "the walk never ends: go on to ai_next, up to null";
    child.scene("with the list in its hands", &did, mistake);
    child.ask((host, port, before), &[], vec![])?;
    child.said_more()
}

/// It has to say exactly this.
fn is(said: &Told, host: Option<&str>, right: &Found) -> Verdict {
    let Calls { addresses, lists, freed, freed_twice, freed_no_list, .. } = &said.after.calls;
    let (found, made) = (&said.more.0, !lists.is_empty());
    let (got, list) = [found, right].map(|all| all.as_deref().unwrap_or_default()).into();
    let code = found.as_ref().err().copied().unwrap_or(0);
    let all = |list: &[SocketAddr], port: fn(u16) -> u16| {
        list.iter().map(|at| (at.ip(), port(at.port()))).collect::<Vec<_>>()
    };
    let sorted = |list: &[SocketAddr]| list.iter().copied().collect::<BTreeSet<_>>();
    let mut single = got.to_vec();
    single.dedup();
    // Another form of an IPv4 address.
    let other_form =
        host.is_some_and(|host| !host.contains(':') && host.parse::<IpAddr>().is_err());
    let mistake = first! {
        !made && !got.is_empty() =>
            "getaddrinfo was never called: the addresses come from its list",
        *freed_no_list > 0 && !made =>
            "getaddrinfo had failed: there is no list to walk or to free",
        *freed_no_list > 0 && !freed.is_empty() =>
            "the nodes of the list were freed one by one: its head stands for all of them",
        *freed_no_list > 0 =>
            "freeaddrinfo was given something else than the head of the list: keep the head",
        *freed_twice > 0 => "freeaddrinfo was called twice for one list",
        found == right && freed.len() < lists.len() =>
            "the list is never freed: freeaddrinfo, once, on every path",
        found == right => "",
        // It had to fail.
        right.is_err() && *right != Err(libc::EAI_NONAME) =>
            "every failure became the same: return the code that came",
        right.is_err() && code != 0 =>
            "getaddrinfo returns its error as a code of its own, and not in errno",
        right.is_err() && host.is_some_and(|host| host.contains('\0')) =>
            "the host was cut at its NUL, and became another one",
        right.is_err() && host == Some("localhost") =>
            "AI_NUMERICHOST is missing: a name was looked up",
        right.is_err() && host == Some("") => "an empty host is not the same as no host",
        right.is_err() && made =>
            "the host was changed on its way to getaddrinfo: brackets and spaces are a part of it",
        right.is_err() => "getaddrinfo had failed, and the answer is an Ok",
        // It had to succeed.
        other_form => "the text was read again: the address stands in the list",
        code != 0 && !made && list[0].port() == 0 =>
            "port 0 is a service like any other, the text 0: null is none",
        code != 0 && host.is_some_and(|host| host.contains('%')) =>
            "the scope is for getaddrinfo to read: a number of up to 32 bits, or an interface's name",
        code == libc::EAI_SERVICE && !made =>
            "getaddrinfo did not take the port: it is a text of digits, from 0 to 65535",
        [libc::EAI_SOCKTYPE, libc::EAI_BADFLAGS].contains(&code) && !made =>
            "getaddrinfo did not take the hints: what is not set in them has to be 0, as by mem::zeroed",
        code != 0 && !made && code != libc::EAI_NONAME =>
            "the hints leave no address of this host: of both families, AF_UNSPEC",
        code != 0 && !made && host.is_none() =>
            "no host is a null pointer for getaddrinfo, and not an empty text",
        code != 0 && !made =>
            "getaddrinfo did not get the host, or not the port: does each text end with a NUL, and live on until it returns?",
        code != 0 => "getaddrinfo returned 0, which is success, and it failed",
        host.is_none() && got.iter().any(|at| at.ip().is_loopback()) =>
            "without a host, AI_PASSIVE asks for the addresses to listen on",
        !got.is_empty() && got.iter().all(|at| at.port() == 0) =>
            "the port is not there: it is getaddrinfo's second argument, as digits",
        all(got, u16::swap_bytes) == all(list, u16::from) =>
            "the port is in network byte order there: u16::from_be",
        got.iter().any(|at| matches!(at, SocketAddr::V6(at) if at.scope_id() == 1 << 24)) =>
            "sin6_scope_id is in the order of this machine: not swapped, as the port is",
        got.iter().any(SocketAddr::is_ipv4) && list.iter().all(SocketAddr::is_ipv6) =>
            "an IPv6 address became an IPv4 address: ::ffff: is a part of it",
        all(got, u16::from) == all(list, u16::from) =>
            "the scope of a link-local address is another one than in the list: sin6_scope_id",
        got.len() == list.len() && sorted(got) == sorted(list) =>
            "the order of the list is the order to try them in: keep it",
        single == list =>
            "each address comes several times, once for each kind of socket: hint SOCK_STREAM",
        got.iter().any(|at| at.port() == 0xdddd) =>
            "the list was read after freeaddrinfo: what is needed of it is copied before",
        addresses != list && all(addresses, |_| 0) == all(list, |_| 0) =>
            "getaddrinfo was asked for another port: all its digits, and nothing else",
        addresses != list =>
            "the hints ask for other addresses: SOCK_STREAM, AF_UNSPEC, and AI_PASSIVE without a host",
        list.starts_with(got) => "the list has more addresses: walk it by ai_next up to null",
        true =>
            "that is not the address in the list: is it read after freeaddrinfo, or in another order?",
    };
    judge(mistake, format!("{right:?}"), format!("{found:?}"))
}

/// Each of these hosts is this address alone.
fn finds(child: &mut Child, rows: &[(&str, &str)]) -> Verdict {
    rows.iter().try_for_each(|(host, address)| {
        let at: SocketAddr = address.parse().expect("an address");
        is(&call(child, Some(host), at.port(), 0)?, Some(host), &Ok(vec![at]))
    })
}

fn any(child: &mut Child) -> Verdict {
    use Seldom::{Nothing, ReversedList};
    for (seldom, port) in [(Nothing, 8080), (ReversedList, 8080), (Nothing, 0)] {
        child.seldom = seldom;
        let said = call(child, None, port, 0)?;
        let mut both = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
            .map(|any| SocketAddr::new(any, port));
        // The order is the resolver's.
        let order =
            |any: &SocketAddr| said.after.calls.addresses.iter().position(|at| at.ip() == any.ip());
        both.sort_by_key(order);
        is(&said, None, &Ok(both.into()))?;
    }
    Ok(())
}

fn fails(child: &mut Child, host: &str, code: i32) -> Verdict {
    is(&call(child, Some(host), 9000, 0)?, Some(host), &Err(code))
}

fn often(child: &mut Child) -> Verdict {
    let host = "127.0.0.1";
    (1..=100).try_for_each(|port| finds(child, &[(host, &format!("{host}:{port}"))]))?;
    let (_, leaked) = call(child, Some(host), 80, 99)?.more;
    let mistake = "memory is left behind by each call: into_raw, forget or leak";
    ensure(leaked == 0, mistake, say!("none"), say!("{leaked} bytes in 98 calls"))
}
