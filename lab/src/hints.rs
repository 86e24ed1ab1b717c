//! What a trace shows to be a misunderstanding of its two hosts, and what to write instead.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::output::words;
use crate::record::{Host, Trace, What};

/// A line each; none if nothing is amiss. `all`: the trace leaves out no connection.
pub fn hints(trace: &Trace, all: bool) -> Vec<String> {
    let mut hints = BTreeSet::new();
    let mut client_connects = false;
    let mut called = false;
    let mut over_ipv6 = false;
    let mut listeners = Vec::new();
    for event in &trace.events {
        match &event.what {
            What::Call(call) => {
                called = true;
                if call.name != "connect" {
                    continue;
                }
                client_connects |= call.host == Host::Client;
                let host = words::host(call.host);
                if let Some(address) = own_address(&call.args) {
                    hints.insert(format!(
                        "the {host} connects to {address}: that is its own host, and nothing of it \
                         goes over this link; {{server}} stands for the server's address"
                    ));
                }
            }
            What::Segment(segment) => {
                client_connects |= segment.from == Host::Client;
                over_ipv6 |= segment.destination.is_ipv6();
            }
            What::State(change) if change.host == Host::Server && change.now == "LISTEN" => {
                listeners.push(change.local);
            }
            What::State(_) | What::Process(_) => {}
        }
    }
    if let Some(local) = listeners.first()
        && listeners.iter().all(|local| local.ip().is_loopback())
    {
        hints.insert(format!(
            "the server listens on {}, which no other host reaches: let it listen on {{server}} or \
             {}",
            local.ip(),
            if local.is_ipv4() { "0.0.0.0" } else { "::" }
        ));
    } else if let Some(local) = listeners.first()
        && over_ipv6
        && listeners.iter().all(SocketAddr::is_ipv4)
    {
        hints.insert(format!(
            "the server listens on {}, which IPv6 does not reach: let it listen on {{server}} or ::",
            local.ip()
        ));
    }
    if all && called && !listeners.is_empty() && !client_connects {
        hints.insert(
            "the client connected to nothing: a name that is not in /etc/hosts resolves nowhere \
             here; write {server} for the server's address"
                .to_owned(),
        );
    }
    hints.into_iter().collect()
}

/// The loopback address among a call's arguments.
fn own_address(args: &str) -> Option<&str> {
    let mut quoted = args.split('"').skip(1).step_by(2);
    quoted
        .find(|text| text.parse().is_ok_and(|ip: std::net::IpAddr| ip.to_canonical().is_loopback()))
}
