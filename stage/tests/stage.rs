//! The stage notices what goes wrong in an example, says it, and ends with the right code.

#[path = "../../tests/programs/mod.rs"]
mod programs;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::ptr;

use programs::{Ended, Program, run};

fn fixture(wrong: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stage-fixture"));
    command.env("WRONG", wrong).args(args);
    command
}

/// Runs it and looks for lines, in this order, in what it printed.
#[track_caller]
fn expect(wrong: &str, args: &[&str], code: i32, lines: &[&str]) -> Ended {
    let ended = run(&mut fixture(wrong, args));
    assert_eq!((ended.code, &ended.err[..]), (Some(code), &[] as &[String]), "{:#?}", ended.out);
    let mut printed = ended.out.iter();
    for line in lines {
        assert!(printed.any(|l| l == line), "{line:?} is not in its place in {:#?}", ended.out);
    }
    ended
}

/// The number behind `text`, as a descriptor that the fixture told of.
fn number_after(ended: &Ended, text: &str) -> u32 {
    let line = ended.out.iter().find_map(|line| line.split_once(text));
    line.unwrap_or_else(|| panic!("no {text:?} in {:#?}", ended.out)).1.parse().unwrap()
}

#[test]
fn a_good_run_ends_with_0() {
    let claim = "            holds: twice";
    let check = ["            expected  \"HELLO\"", "            observed  \"HELLO\"   ok"];
    let title = "fixture  A sentence in two lines.";
    let summary = "  1 checks, 1 ok";
    expect("nothing", &[], 0, &[title, "  server  what came", check[0], check[1], claim, summary]);
}

#[test]
fn a_failed_check_prints_expected_and_observed() {
    let lines = [
        "  server  what came",
        "            expected  \"WORLD\"",
        "            observed  \"HELLO\"   FAILED",
        "            observed  1   ok",
        "  2 checks, 1 FAILED",
    ];
    expect("a check", &[], 1, &lines);
}

#[test]
fn a_run_without_a_check_fails() {
    let lines = ["  FAILED  nothing was checked", "  0 checks ok, but the run FAILED"];
    expect("no check", &[], 1, &lines);
}

#[test]
fn a_claim_without_an_answer_fails() {
    let line = "  FAILED  the header names claim R2, but nothing answers it";
    expect("a claim", &[], 1, &[line, "  1 checks ok, but the run FAILED"]);
}

#[test]
fn an_error_is_printed_and_the_other_role_told_of() {
    let error = "  FAILED  server: Protocol error (os error 71)";
    expect("an error", &[], 1, &[error, "  FAILED  client: waiting for another thread"]);
}

#[test]
fn a_panic_is_printed_with_its_place() {
    let ended = expect("a panic", &[], 1, &["  0 checks ok, but the run FAILED"]);
    let panic = "  FAILED  server: panicked at ";
    let line = ended.out.iter().find(|l| l.starts_with(panic)).expect("a line on the panic");
    assert!(line.contains("fixture.rs:") && line.ends_with(": so be it"), "{line}");
}

#[test]
fn a_leaked_descriptor_fails() {
    let ended = expect("a leak", &[], 1, &["  1 checks ok, but the run FAILED"]);
    let leaked = number_after(&ended, "leaks fd ");
    let line = ended.out.iter().find_map(|l| l.strip_prefix("  FAILED  descriptors before "));
    let (before, after) = line.and_then(|l| l.split_once(", after ")).expect("a line on it");
    let after_without_it = after.replace(&format!(", {leaked}"), "");
    assert!(after != before && after_without_it == before, "{before} {after}, fd {leaked}");
}

#[test]
fn a_role_that_hangs_is_told_with_its_call_and_descriptor() {
    // Time enough for each role to come to where it hangs. All at once: each takes its whole time.
    let start = |wrong| Program::start(&mut fixture(wrong, &["--limit", "3"]));
    let [recv, poll, accept, spin] = ["recv", "poll", "accept", "spin"].map(start).map(|program| {
        let ended = program.end();
        assert_eq!(ended.code, Some(3), "{:#?}", ended.out);
        ended
    });

    let summary = "  0 checks ok, but the run FAILED".to_owned();
    assert!(recv.out.contains(&summary), "{:#?}", recv.out);
    let fd = number_after(&recv, "will recv on fd ");
    let line = format!("  FAILED  server: blocked in recv on fd {fd}");
    assert!(recv.out.contains(&line), "{:#?}", recv.out);

    let fd = number_after(&poll, "will poll fd ");
    let line = format!("  FAILED  server: blocked in poll on fd {fd}");
    assert!(poll.out.contains(&line), "{:#?}", poll.out);

    // The listener, which no role has printed.
    let fd = number_after(&accept, "  FAILED  server: blocked in accept on fd ");
    assert!((3..100).contains(&fd));

    let line = "  FAILED  server: running, not blocked in a system call".to_owned();
    assert!(spin.out.contains(&line), "{:#?}", spin.out);
}

#[test]
fn on_a_terminal_it_is_told_before_that() {
    let (mut master, mut slave) = (-1, -1);
    let (name, settings, size) = (ptr::null_mut(), ptr::null(), ptr::null());
    // SAFETY:
    // - both numbers are writable, and null is taken for "not wanted" and "as usual";
    // - the descriptors are new, and so ours alone.
    let (master, slave) = unsafe {
        assert_eq!(libc::openpty(&mut master, &mut slave, name, settings, size), 0);
        (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave))
    };
    let mut command = fixture("recv", &["--limit", "18"]);
    let program = command.env("NO_COLOR", "1").stdin(Stdio::null()).stdout(slave).spawn().unwrap();
    drop(command); // and with it our copy of the terminal
    let _ends = Program::of(program);
    let lines = BufReader::new(master).lines().map_while(Result::ok);
    let told = lines.map(|line| line.trim_end().to_owned()).find(|line| line.contains("still "));
    let told = told.expect("it is told, and the run goes on");
    assert!(told.starts_with("  server  still blocked in recv on fd "), "{told}");
}

#[test]
fn a_wait_that_ends_in_vain_says_for_what() {
    let ended = expect("wait", &["--limit", "4"], 1, &[]);
    let fd = number_after(&ended, "will wait on fd ");
    let line = format!("  FAILED  server: waited in vain for 10 unread bytes on fd {fd}");
    assert!(ended.out.contains(&line), "{:#?}", ended.out);
}

#[test]
fn a_bad_option_ends_with_2() {
    let here = "127.0.0.1:0";
    let cases: &[(&[&str], &str)] = &[
        (&["--nonsense"], "--nonsense"),
        (&["nonsense"], "nonsense"),
        (&["--limit"], "--limit"),
        (&["--limit", "soon"], "soon"),
        (&["--role", "server"], "--role needs --addr HOST:PORT"),
        (&["--addr", here], "--addr needs --role server|client"),
        (&["--role", "judge", "--addr", here], r#"no role "judge": server or client?"#),
        (&["--role", "client", "--addr", "127.0.0.1"], r#""127.0.0.1" is not HOST:PORT"#),
        (&["--role", "client", "--addr", ":9"], r#"":9" is not HOST:PORT"#),
        (&["--role", "client", "--addr", "127.0.0.1:65536"], "is not HOST:PORT"),
    ];
    for (args, expected) in cases {
        let ended = run(&mut fixture("nothing", args));
        assert_eq!((ended.code, ended.out.len(), ended.err.len()), (Some(2), 0, 1), "{ended:?}");
        let line = &ended.err[0];
        assert!(line.starts_with("fixture: ") && line.contains(expected), "{args:?}: {line}");
        assert!(line.ends_with("; see --help"), "{line}");
    }
    let ended = run(fixture("nothing", &[]).arg(OsStr::from_bytes(b"\xff")));
    assert_eq!((ended.code, ended.err.len()), (Some(2), 1), "{ended:?}");
}

#[test]
fn help_is_the_header_and_the_options() {
    let ended = expect("nothing", &["--help"], 0, &["A sentence", "options:"]);
    assert!(ended.out.iter().any(|line| line.trim_start().starts_with("--role server|client")));
}

#[test]
fn the_two_roles_can_be_two_processes() {
    for host in ["127.0.0.1", "[::1]"] {
        let at = format!("{host}:0");
        let server = Program::start(&mut fixture("nothing", &["--role", "server", "--addr", &at]));
        server.out.next(); // the title
        let listens = server.out.next();
        let at = match listens.strip_prefix("  server  listens on ") {
            Some(at) => at.to_owned(),
            None if host == "[::1]" => {
                programs::skipped(format_args!("the IPv6 half: {listens}"));
                continue;
            }
            None => panic!("{listens}"),
        };
        let line = "  client  sends HELLO";
        expect("nothing", &["--role", "client", "--addr", &at], 0, &[line, "  0 checks, 0 ok"]);
        let ended = server.end();
        assert_eq!(ended.code, Some(0), "{:#?}", ended.out);
        assert_eq!(ended.out[0], "  server  what came");
        assert_eq!(ended.out.last().unwrap(), "  1 checks, 1 ok");
    }
}

#[test]
fn a_role_whose_peer_is_not_there_fails() {
    let ended = expect("nothing", &["--role", "client", "--addr", "127.0.0.1:0"], 1, &[]);
    let line = ended.out.iter().find(|l| l.starts_with("  FAILED  client: connect 127.0.0.1:0: "));
    assert!(line.is_some(), "{:#?}", ended.out);
}

#[test]
fn an_example_without_a_peer_has_no_roles() {
    let line = "  FAILED  this example has no roles";
    expect("roles", &["--role", "client", "--addr", "127.0.0.1:9"], 1, &[line]);
}
