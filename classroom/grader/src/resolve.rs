//! Exercise `resolve`: walk the list of `getaddrinfo`, and free it. Article 7.1.

use std::net::SocketAddr;
use std::process::ExitCode;

use say::say;
use serde::{Deserialize, Serialize};

use crate::alloc;
use crate::calls::{self, Calls, Seldom};
use crate::child::Child;
use crate::grading::{self, Case};
use crate::inside::{After, observe};
use crate::refusal::Refusal;

#[derive(Serialize, Deserialize)]
struct Ask {
    host: Option<String>,
    port: u16,
    /// The resolver's order is the other one.
    reversed: bool,
    /// The resolver fails with this.
    fails: Option<i32>,
    /// So often, and the last result counts.
    times: usize,
}

#[derive(Serialize, Deserialize)]
struct Said {
    result: Result<Vec<SocketAddr>, i32>,
    calls: Calls,
    /// Bytes that the calls have left behind, over what the first two have.
    leaked: usize,
    after: After,
}

/// What the answer is: a host or none, a port; every address, or getaddrinfo's code.
pub type Answer = fn(Option<&str>, u16) -> Result<Vec<SocketAddr>, i32>;

/// Grades the answer.
pub fn grade(answer: Answer) -> ExitCode {
    grading::grade_raw("resolve", CASES, |ask: Ask, given| {
        let seldom = match (ask.fails, ask.reversed) {
            (Some(code), _) => Seldom::Fails(code),
            (None, true) => Seldom::ReversedList,
            (None, false) => Seldom::Nothing,
        };
        let once = || {
            calls::start_with(seldom);
            answer(ask.host.as_deref(), ask.port)
        };
        let held: Vec<usize> = (1..ask.times)
            .map(|_| {
                drop(once());
                calls::start();
                alloc::now()
            })
            .collect();
        let leaked = match held[..] {
            [_, second, .., last] => last.saturating_sub(second),
            _ => 0,
        };
        let (result, after) = observe(&given.fds, once);
        (Said { result, calls: calls::counted(), leaked, after }, Vec::new())
    })
}

const CASES: &[Case] = &[
    Case { name: "an IPv4 address and a port", run: v4 },
    Case { name: "numeric forms that getaddrinfo knows, too", run: short },
    Case { name: "an IPv6 address, with and without a scope", run: v6 },
    Case { name: "no host: every address to listen on, in the order of the list", run: any },
    Case { name: "what is no numeric address: EAI_NONAME, and no lookup", run: failures },
    Case { name: "a hundred times, and nothing is left behind", run: often },
];

fn asking(host: Option<&str>, port: u16) -> Ask {
    Ask { host: host.map(Into::into), port, reversed: false, fails: None, times: 1 }
}

fn call(child: &mut Child, host: Option<&str>, port: u16) -> Result<Said, Refusal> {
    call_with(child, asking(host, port))
}

fn call_with(child: &mut Child, ask: Ask) -> Result<Said, Refusal> {
    child.scene(
        "with the list in its hands",
        "",
        "the walk never ends: go on to ai_next, up to null",
    );
    let (said, _) = child.call_as::<Said>(ask, &[], vec![])?;
    child.left_as_it_was(&said.after)?;
    let Calls { lists, freed, freed_twice, freed_no_list, .. } = &said.calls;
    let asked = say!("{lists} list(s) made, {freed} freed by the head");
    if *lists == 0 && said.result.as_ref().is_ok_and(|all| !all.is_empty()) {
        return Err(Refusal::new("getaddrinfo was never called: the addresses come from its list")
            .but("one list made and freed", asked));
    }
    if *freed_no_list > 0 && *lists == 0 {
        return Err(Refusal::new("getaddrinfo had failed: there is no list to walk or to free")
            .but("freeaddrinfo after a success only", asked));
    }
    if *freed_no_list > 0 && *freed > 0 {
        return Err(Refusal::new(
            "the nodes of the list were freed one by one: its head stands for all of them",
        )
        .but("one call of freeaddrinfo", format!("{}", freed + freed_no_list)));
    }
    if *freed_no_list > 0 {
        return Err(Refusal::new(
            "freeaddrinfo was given something else than the head of the list: keep the head",
        )
        .but("the pointer that getaddrinfo gave", asked));
    }
    if *freed_twice > 0 {
        return Err(
            Refusal::new("freeaddrinfo was called twice for one list").but(say!("once"), asked)
        );
    }
    Ok(said)
}

fn freed(said: &Said) -> Result<(), Refusal> {
    let Calls { lists, freed, .. } = said.calls;
    if freed < lists {
        return Err(Refusal::new("the list is never freed: freeaddrinfo, once, on every path")
            .but("every list freed", say!("{lists} list(s) made, {freed} freed")));
    }
    Ok(())
}

/// Exactly these addresses.
fn expect(said: &Said, expected: &[String], asked: &str) -> Result<(), Refusal> {
    let got = match &said.result {
        Ok(got) => got.iter().map(ToString::to_string).collect::<Vec<_>>(),
        Err(code) if said.calls.lists == 0 => {
            return Err(Refusal::new(if *code != libc::EAI_NONAME {
                "the hints leave no address of this host: of both families, AF_UNSPEC"
            } else if asked.starts_with("no host") {
                "no host is a null pointer for getaddrinfo, and not an empty text"
            } else {
                "getaddrinfo did not get the host: does the CString live until it returns?"
            })
            .peer(say!("there is none; asked for {asked}"))
            .but(format!("{expected:?}"), format!("Err({code})")));
        }
        Err(code) => {
            return Err(Refusal::new("getaddrinfo returned 0, which is success, and it failed")
                .but(format!("{expected:?}"), format!("Err({code})")));
        }
    };
    if got == expected {
        return freed(said);
    }
    let reversed = |text: &str| {
        let at: SocketAddr = text.parse().ok()?;
        let other = SocketAddr::new(at.ip(), at.port().swap_bytes());
        Some(other.to_string())
    };
    let swapped = expected.iter().filter_map(|e| reversed(e)).collect::<Vec<_>>();
    let mut sorted = [got.clone(), expected.to_vec()];
    sorted.iter_mut().for_each(|list| list.sort());
    let mut single = got.clone();
    single.dedup();
    let portless = |text: &String| text.parse().is_ok_and(|at: SocketAddr| at.port() == 0);
    let mistake = if got.iter().all(portless) && !got.is_empty() {
        "the port is not there: it is getaddrinfo's second argument, as digits"
    } else if got == swapped {
        "the port is in network byte order there: u16::from_be"
    } else if sorted[0] == sorted[1] {
        "the order of the list is the order to try them in: keep it"
    } else if single == expected {
        "each address comes several times, once for each kind of socket: hint SOCK_STREAM"
    } else if said.calls.addresses != expected {
        "the hints ask for other addresses: SOCK_STREAM, AF_UNSPEC, and AI_PASSIVE without a host"
    } else if expected.starts_with(&got) {
        "the list has more addresses: walk it by ai_next up to null"
    } else {
        "that is not the address in the list: is it read after freeaddrinfo, or in another order?"
    };
    Err(Refusal::new(mistake)
        .peer(say!("there is none; asked for {asked}"))
        .but(format!("{expected:?}"), format!("{got:?}")))
}

fn v4(child: &mut Child) -> Result<(), Refusal> {
    for (host, port) in [("127.0.0.1", 9000), ("10.1.2.3", 80), ("192.0.2.255", 65_535)] {
        let said = call(child, Some(host), port)?;
        expect(&said, &[format!("{host}:{port}")], &say!("{host}, port {port}"))?;
    }
    Ok(())
}

fn short(child: &mut Child) -> Result<(), Refusal> {
    for (host, meant) in [("127.1", "127.0.0.1"), ("0x7f.0.0.1", "127.0.0.1")] {
        let said = call(child, Some(host), 80)?;
        if said.result.as_ref().map_or(&[][..], |all| all)
            != [SocketAddr::from((meant.parse::<std::net::Ipv4Addr>().expect("an address"), 80))]
        {
            return Err(Refusal::new("the text was read again: the address stands in the list")
                .peer(say!("there is none; asked for {host}, a numeric form of inet_aton(3)"))
                .but(format!("[{meant}:80]"), format!("{:?}", said.result)));
        }
    }
    Ok(())
}

fn v6(child: &mut Child) -> Result<(), Refusal> {
    for host in ["::1", "2001:db8::1:2", "::ffff:192.0.2.1", "::"] {
        let said = call(child, Some(host), 9000)?;
        expect(&said, &[format!("[{host}]:9000")], &say!("{host}, port 9000"))?;
    }
    let said = call(child, Some("fe80::1%1"), 9000)?;
    if let Ok([SocketAddr::V6(got)]) = said.result.as_deref()
        && got.scope_id() != 1
    {
        return Err(Refusal::new("the scope of a link-local address is lost: sin6_scope_id")
            .but("[fe80::1%1]:9000", got.to_string()));
    }
    expect(&said, &["[fe80::1%1]:9000".into()], "fe80::1%1, port 9000")
}

fn any(child: &mut Child) -> Result<(), Refusal> {
    let said = call(child, None, 8080)?;
    let got = said.result.as_deref().unwrap_or(&[]);
    if got.iter().any(|a| a.ip().is_loopback()) {
        return Err(Refusal::new("without a host, AI_PASSIVE asks for the addresses to listen on")
            .but("0.0.0.0:8080 and [::]:8080", format!("{got:?}")));
    }
    let mut known = vec!["0.0.0.0:8080".to_string(), "[::]:8080".to_string()];
    if said.calls.addresses.first().is_some_and(|first| first.starts_with('[')) {
        known.reverse(); // the order is the resolver's
    }
    expect(&said, &known, "no host, port 8080")?;
    known.reverse();
    let said = call_with(child, Ask { reversed: true, ..asking(None, 8080) })?;
    expect(&said, &known, "no host, port 8080, of a resolver that prefers the other family")
}

fn failures(child: &mut Child) -> Result<(), Refusal> {
    for host in ["localhost", "256.1.1.1", "not a host", "", "127.0.0.1\0.example"] {
        let said = call(child, Some(host), 9000)?;
        let mistake = match &said.result {
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
        return Err(Refusal::new(mistake)
            .peer(say!("there is none; asked for {host:?}"))
            .but(format!("Err({})", libc::EAI_NONAME), format!("{:?}", said.result)));
    }
    for code in [libc::EAI_AGAIN, libc::EAI_MEMORY] {
        let said = call_with(child, Ask { fails: Some(code), ..asking(Some("::1"), 80) })?;
        if said.result != Err(code) {
            return Err(Refusal::new("every failure became the same: return the code that came")
                .but(format!("Err({code})"), format!("{:?}", said.result)));
        }
    }
    Ok(())
}

fn often(child: &mut Child) -> Result<(), Refusal> {
    for port in 1..=100 {
        let said = call(child, Some("127.0.0.1"), port)?;
        expect(&said, &[format!("127.0.0.1:{port}")], &say!("127.0.0.1, port {port}"))?;
    }
    let said = call_with(child, Ask { times: 100, ..asking(Some("127.0.0.1"), 80) })?;
    if said.leaked > 0 {
        return Err(Refusal::new("memory is left behind by each call: into_raw, forget or leak")
            .but(say!("none"), say!("{} bytes in 98 calls", said.leaked)));
    }
    Ok(())
}
