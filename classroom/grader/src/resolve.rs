//! Exercise `resolve`: walk the list of `getaddrinfo`, and free it. Article 7.1.

use std::net::SocketAddr;

use crate::alloc;
use crate::calls::{self, Seldom};
use crate::prelude::*;

/// Asked for a host or none, and a port; so often, of a resolver like this.
#[derive(Serialize, Deserialize)]
struct Ask {
    host: Option<String>,
    port: u16,
    seldom: Seldom,
    times: usize,
}

#[derive(Serialize, Deserialize)]
struct Found {
    /// Of the last call.
    result: Result<Vec<SocketAddr>, i32>,
    /// Bytes that the calls have left behind, over what the first two have.
    leaked: usize,
}

/// What the answer is: a host or none, a port; every address, or getaddrinfo's code.
pub type Answer = fn(Option<&str>, u16) -> Result<Vec<SocketAddr>, i32>;

/// Grades the answer.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade("resolve", CASES, |ask: Ask, given| {
        let once = || {
            calls::start_with(ask.seldom);
            answer(ask.host.as_deref(), ask.port)
        };
        let held: Vec<usize> = (1..ask.times)
            .map(|_| {
                drop(once());
                calls::start_with(Seldom::Nothing);
                alloc::now()
            })
            .collect();
        let leaked = match held[..] {
            [_, second, .., last] => last.saturating_sub(second),
            _ => 0,
        };
        let (result, said) = given.watch(once);
        said.with(Found { result, leaked })
    })
}

const CASES: &[Case] = &[
    ("an IPv4 address and a port", v4),
    ("numeric forms that getaddrinfo knows, too", short),
    ("an IPv6 address, with and without a scope", v6),
    ("no host: every address to listen on, in the order of the list", any),
    ("what is no numeric address: EAI_NONAME, and no lookup", failures),
    ("a hundred times, and nothing is left behind", often),
];

fn call(child: &mut Child, host: Option<&str>, port: u16) -> Result<Said<Found>, Refusal> {
    call_with(child, host, port, Seldom::Nothing, 1)
}

fn call_with(
    child: &mut Child,
    host: Option<&str>,
    port: u16,
    seldom: Seldom,
    times: usize,
) -> Result<Said<Found>, Refusal> {
    let asked = host.map_or("no host".into(), |host| format!("{host:?}"));
    let did = say!("there is none; asked for {asked}, port {port}");
    let mistake = "the walk never ends: go on to ai_next, up to null";
    child.scene("with the list in its hands", &did, mistake);
    child.ask(Ask { host: host.map(Into::into), port, seldom, times }, &[], vec![])?;
    let said = child.said_more::<Found>()?;
    let calls = &said.after.calls;
    let found = said.more.result.as_ref().is_ok_and(|all| !all.is_empty());
    let mistake = if calls.lists == 0 && found {
        "getaddrinfo was never called: the addresses come from its list"
    } else if calls.freed_no_list > 0 && calls.lists == 0 {
        "getaddrinfo had failed: there is no list to walk or to free"
    } else if calls.freed_no_list > 0 && calls.freed > 0 {
        "the nodes of the list were freed one by one: its head stands for all of them"
    } else if calls.freed_no_list > 0 {
        "freeaddrinfo was given something else than the head of the list: keep the head"
    } else if calls.freed_twice > 0 {
        "freeaddrinfo was called twice for one list"
    } else {
        return Ok(said);
    };
    let seen = say!("{} list(s) made, {} freed by the head", calls.lists, calls.freed);
    refuse(mistake, "each list that was made is freed, by its head, once", seen)
}

fn freed(said: &Said<Found>) -> Verdict {
    let (lists, freed) = (said.after.calls.lists, said.after.calls.freed);
    if freed == lists {
        return Ok(());
    }
    let mistake = "the list is never freed: freeaddrinfo, once, on every path";
    refuse(mistake, "every list freed", say!("{lists} list(s) made, {freed} freed"))
}

/// Exactly these addresses.
fn expect(said: &Said<Found>, host: Option<&str>, expected: &[String]) -> Verdict {
    let calls = &said.after.calls;
    let none = Vec::new();
    let got = said.more.result.as_ref().unwrap_or(&none);
    let at = |port: fn(u16) -> u16| {
        let at = |at: &SocketAddr| SocketAddr::new(at.ip(), port(at.port())).to_string();
        got.iter().map(at).collect::<Vec<_>>()
    };
    let texts: Vec<String> = got.iter().map(ToString::to_string).collect();
    let sorted = |texts: &[String]| {
        let mut sorted = texts.to_vec();
        sorted.sort();
        sorted
    };
    let mut single = texts.clone();
    single.dedup();
    let code = said.more.result.as_ref().err().copied().unwrap_or(0);
    let no_list = code != 0 && calls.lists == 0;
    let mistake = if code == 0 && texts == expected {
        return freed(said);
    } else if no_list && code != libc::EAI_NONAME {
        "the hints leave no address of this host: of both families, AF_UNSPEC"
    } else if no_list && host.is_none() {
        "no host is a null pointer for getaddrinfo, and not an empty text"
    } else if no_list {
        "getaddrinfo did not get the host: does the CString live until it returns?"
    } else if code != 0 {
        "getaddrinfo returned 0, which is success, and it failed"
    } else if !got.is_empty() && got.iter().all(|at| at.port() == 0) {
        "the port is not there: it is getaddrinfo's second argument, as digits"
    } else if at(u16::swap_bytes) == expected {
        "the port is in network byte order there: u16::from_be"
    } else if sorted(&texts) == sorted(expected) {
        "the order of the list is the order to try them in: keep it"
    } else if single == expected {
        "each address comes several times, once for each kind of socket: hint SOCK_STREAM"
    } else if calls.addresses != expected {
        "the hints ask for other addresses: SOCK_STREAM, AF_UNSPEC, and AI_PASSIVE without a host"
    } else if expected.starts_with(&texts) {
        "the list has more addresses: walk it by ai_next up to null"
    } else {
        "that is not the address in the list: is it read after freeaddrinfo, or in another order?"
    };
    refuse(mistake, format!("{expected:?}"), format!("{:?}", said.more.result))
}

fn v4(child: &mut Child) -> Verdict {
    for (host, port) in [("127.0.0.1", 9000), ("10.1.2.3", 80), ("192.0.2.255", 65_535)] {
        let said = call(child, Some(host), port)?;
        expect(&said, Some(host), &[format!("{host}:{port}")])?;
    }
    Ok(())
}

/// Numeric forms of inet_aton(3).
fn short(child: &mut Child) -> Verdict {
    for host in ["127.1", "0x7f.0.0.1"] {
        let said = call(child, Some(host), 80)?;
        if said.more.result != Ok(vec![([127, 0, 0, 1], 80).into()]) {
            let mistake = "the text was read again: the address stands in the list";
            return refuse(mistake, "[127.0.0.1:80]", format!("{:?}", said.more.result));
        }
    }
    Ok(())
}

fn v6(child: &mut Child) -> Verdict {
    for host in ["::1", "2001:db8::1:2", "::ffff:192.0.2.1", "::"] {
        let said = call(child, Some(host), 9000)?;
        expect(&said, Some(host), &[format!("[{host}]:9000")])?;
    }
    let said = call(child, Some("fe80::1%1"), 9000)?;
    if let Ok([SocketAddr::V6(got)]) = said.more.result.as_deref()
        && got.scope_id() != 1
    {
        let mistake = "the scope of a link-local address is lost: sin6_scope_id";
        return refuse(mistake, "[fe80::1%1]:9000", got.to_string());
    }
    expect(&said, Some("fe80::1%1"), &["[fe80::1%1]:9000".into()])
}

fn any(child: &mut Child) -> Verdict {
    let said = call(child, None, 8080)?;
    let got = said.more.result.as_deref().unwrap_or(&[]);
    if got.iter().any(|a| a.ip().is_loopback()) {
        let mistake = "without a host, AI_PASSIVE asks for the addresses to listen on";
        return refuse(mistake, "0.0.0.0:8080 and [::]:8080", format!("{got:?}"));
    }
    let mut known = vec!["0.0.0.0:8080".to_string(), "[::]:8080".to_string()];
    if said.after.calls.addresses.first().is_some_and(|first| first.starts_with('[')) {
        known.reverse(); // the order is the resolver's
    }
    expect(&said, None, &known)?;
    known.reverse();
    expect(&call_with(child, None, 8080, Seldom::ReversedList, 1)?, None, &known)
}

fn failures(child: &mut Child) -> Verdict {
    for host in ["localhost", "256.1.1.1", "not a host", "", "127.0.0.1\0.example"] {
        let said = call(child, Some(host), 9000)?;
        let mistake = match &said.more.result {
            Err(libc::EAI_NONAME) => {
                freed(&said)?;
                continue;
            }
            Ok(list) if list.is_empty() => "getaddrinfo had failed, and the answer is an empty Ok",
            Ok(_) if host.contains('\0') => "the host was cut at its NUL, and became another one",
            Ok(_) if host == "localhost" => "AI_NUMERICHOST is missing: a name was looked up",
            Ok(_) if host.is_empty() => "an empty host is not the same as no host",
            Ok(_) => "getaddrinfo had failed, and yet there are addresses",
            Err(_) => "getaddrinfo returns its error as a code of its own, and not in errno",
        };
        let (expected, seen) = (libc::EAI_NONAME, format!("{:?}", said.more.result));
        return refuse(mistake, format!("Err({expected})"), seen);
    }
    for code in [libc::EAI_AGAIN, libc::EAI_MEMORY] {
        let said = call_with(child, Some("::1"), 80, Seldom::Fails(code), 1)?;
        if said.more.result != Err(code) {
            let mistake = "every failure became the same: return the code that came";
            return refuse(mistake, format!("Err({code})"), format!("{:?}", said.more.result));
        }
    }
    Ok(())
}

fn often(child: &mut Child) -> Verdict {
    let host = Some("127.0.0.1");
    for port in 1..=100 {
        let said = call(child, host, port)?;
        expect(&said, host, &[format!("127.0.0.1:{port}")])?;
    }
    let leaked = call_with(child, host, 80, Seldom::Nothing, 100)?.more.leaked;
    if leaked > 0 {
        let mistake = "memory is left behind by each call: into_raw, forget or leak";
        return refuse(mistake, say!("none"), say!("{leaked} bytes in 98 calls"));
    }
    Ok(())
}
