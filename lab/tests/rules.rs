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
