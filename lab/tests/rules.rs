//! A trace that breaks a rule of order says so.

#[path = "common/script.rs"]
#[expect(dead_code, reason = "the crowd is for the outputs")]
mod script;

use lab::record::{Event, Host, Process, Trace, What};
use lab::rules;

/// The trace put together by hand, after `change` was done to each of its events.
fn broken(change: impl Fn(&mut Event)) -> Vec<String> {
    let mut trace: Trace = script::half_close().trace;
    trace.events.iter_mut().for_each(change);
    trace.events.sort_by_key(|event| event.at);
    rules::check(&trace)
}

#[test]
fn what_obeys_breaks_nothing() {
    assert_eq!(broken(|_| ()), Vec::<String>::new());
}

#[test]
fn a_state_that_is_late_stands_below_the_return_that_implies_it() {
    for (host, call) in [(Host::Client, "connect"), (Host::Server, "accept4")] {
        let lines = broken(|event| {
            if let What::State(change) = &event.what
                && (change.host, &*change.now) == (host, "ESTABLISHED")
            {
                event.at += 1_000_000_000;
            }
        });
        let line = format!("{host:?} {call} at ").to_lowercase();
        assert!(lines.iter().any(|one| one.contains(&line)), "{lines:?}");
    }
}

#[test]
fn a_state_that_is_early_stands_above_its_segment() {
    for state in ["SYN_RECV", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT2", "TIME_WAIT"] {
        let lines = broken(|event| {
            if let What::State(change) = &event.what
                && change.now == state
            {
                event.at -= 900_000;
            }
        });
        let line = format!("{state} of ");
        assert!(lines.iter().any(|one| one.starts_with(&line)), "{state}: {lines:?}");
    }
}

/// A moment of the script, by its microsecond.
fn us(microsecond: u64) -> u64 {
    script::half_close().trace.events[0].at + microsecond * 1000
}

/// Each state of the script, and the microsecond of what RFC 9293's diagram has on its arrow: a
/// segment that comes, a call that begins. Written down here once more, by hand: the table in `rules`
/// also draws the states, and would agree with itself.
const CAUSES: [(Host, &str, u64); 11] = [
    (Host::Server, "LISTEN", 190),         // listen begins
    (Host::Client, "SYN_SENT", 1050),      // connect begins
    (Host::Server, "SYN_RECV", 11_100),    // SYN
    (Host::Client, "ESTABLISHED", 21_200), // SYN, ACK of the own SYN
    (Host::Server, "ESTABLISHED", 31_300), // ACK of the own SYN
    (Host::Client, "FIN_WAIT1", 21_720),   // shutdown begins
    (Host::Server, "CLOSE_WAIT", 256_100), // FIN, once what was lost has come again
    (Host::Client, "FIN_WAIT2", 266_200),  // ACK of the own FIN
    (Host::Server, "LAST_ACK", 256_600),   // close begins
    (Host::Client, "TIME_WAIT", 266_950),  // FIN
    (Host::Server, "CLOSED", 277_000),     // ACK of the own FIN
];

#[test]
fn no_state_is_earlier_than_what_is_on_its_arrow() {
    for (host, state, cause) in CAUSES {
        for early in [1, 0] {
            let lines = broken(|event| {
                if let What::State(change) = &event.what
                    && (change.host, &*change.now) == (host, state)
                {
                    event.at = us(cause - early);
                }
            });
            let told = lines.iter().any(|line| line.starts_with(&format!("{state} of ")));
            assert_eq!(told, early > 0, "{host:?} {state}, {early} us early: {lines:?}");
        }
    }
}

/// TIME_WAIT with a FIN that nobody acknowledged, and LAST_ACK before the peer's FIN.
#[test]
fn a_state_needs_all_that_is_on_its_arrow() {
    let unacknowledged = broken(|event| {
        if let What::Segment(segment) = &mut event.what
            && segment.ack == Some(11)
        {
            segment.ack = Some(10);
        }
    });
    let late = broken(|event| {
        if let What::Segment(segment) = &mut event.what
            && event.at == us(246_000)
        {
            segment.arrived = Some(us(256_640));
        }
    });
    for (state, lines) in [("TIME_WAIT", unacknowledged), ("LAST_ACK", late)] {
        let needs = |line: &&String| line.starts_with(&format!("{state} of "));
        assert!(lines.iter().find(needs).is_some(), "{state}: {lines:?}");
    }
}

#[test]
fn an_arrow_that_the_diagram_lacks_is_told_of() {
    let lines = broken(|event| {
        if let What::State(change) = &mut event.what
            && change.now == "LAST_ACK"
        {
            change.now = "FIN_WAIT1".into();
        }
    });
    assert!(lines.iter().any(|line| line.contains("CLOSE_WAIT")), "{lines:?}");
}

/// Calls that return, by host, name and what they give, and a microsecond that is too early for it.
#[test]
fn no_call_returns_before_what_its_return_implies() {
    for (host, name, result, early) in [
        (Host::Client, "connect", "0", 21_199),   // ESTABLISHED
        (Host::Server, "accept4", "4", 31_299),   // ESTABLISHED
        (Host::Server, "recvfrom", "4", 256_099), // the bytes
        (Host::Client, "recvfrom", "2", 266_599), // the bytes
        (Host::Server, "recvfrom", "0", 256_099), // the FIN
        (Host::Client, "recvfrom", "0", 266_949), // the FIN
    ] {
        let lines = broken(|event| {
            if let What::Call(call) = &mut event.what
                && (call.host, &*call.name) == (host, name)
                && call.result.as_deref() == Some(result)
            {
                event.at = event.at.min(us(early - 10));
                call.returned = Some(us(early));
            }
        });
        assert!(!lines.is_empty(), "{host:?} {name} = {result} at {early} us");
    }
}

/// The answer leaves before the call that sends it, and an acknowledgement before what it tells of.
#[test]
fn no_segment_leaves_before_what_it_carries() {
    for (was, early) in [(256_520, 256_499), (256_130, 256_099)] {
        let lines = broken(|event| {
            if matches!(event.what, What::Segment(_)) && event.at == us(was) {
                event.at = us(early);
            }
        });
        assert!(!lines.is_empty(), "the segment of {was} us at {early} us");
    }
}

#[test]
fn a_state_without_its_segment_has_no_cause() {
    let mut trace: Trace = script::half_close().trace;
    trace.events.retain(|event| {
        !matches!(&event.what, What::Segment(_)) || event.at != us(11_150) // the SYN-ACK
    });
    let lines = rules::check(&trace);
    assert!(lines.iter().any(|line| line.contains("has no cause")), "{lines:?}");
}

#[test]
fn bytes_come_before_the_call_that_returns_them() {
    let lines = broken(|event| {
        if let What::Segment(segment) = &mut event.what
            && segment.len == 2
        {
            segment.arrived = segment.arrived.map(|at| at + 1_000_000);
        }
    });
    assert!(lines.iter().any(|line| line.contains("its bytes have come")), "{lines:?}");
}

/// Where events were left out, what comes after may have its cause among them.
#[test]
fn what_was_left_out_breaks_nothing() {
    let late = |event: &mut Event| {
        if let What::Segment(segment) = &mut event.what
            && segment.len == 2
        {
            segment.arrived = segment.arrived.map(|at| at + 1_000_000);
        }
    };
    let mut trace: Trace = script::half_close().trace;
    trace.events.iter_mut().for_each(late);
    let text = "8 events left out here".to_owned();
    let gap = Process { host: Host::Server, pid: 0, text };
    let at = trace.events[0].at;
    trace.events.insert(0, Event { at, what: What::Process(gap) });
    assert_eq!(rules::check(&trace), Vec::<String>::new());
}
