//! `attack` tells a rung that keeps its word from one that does not.

use std::process::{Command, Output};

const ATTACK: &str = env!("CARGO_BIN_EXE_attack");

fn attack(args: &[&str]) -> Output {
    Command::new(ATTACK).args(args).output().unwrap()
}

#[track_caller]
fn assert_ended(output: &Output, code: i32, says: &str) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(says), "{text}");
}

#[test]
fn a_rung_that_is_as_its_header_says_passes() {
    let only = "claims,resets,bad-end,crowd,table,stop,storm";
    let output = attack(&["r06", "--clients", "100", "--only", only]);
    assert_ended(&output, 0, "7 as promised, 0 limits met, 0 not as the header says");
}

#[test]
fn a_rung_that_cuts_an_answer_off_is_no_graceful_one() {
    let other = env!("CARGO_BIN_EXE_r07_deadlines");
    let args = ["r08", "--only", "term", "--", other, "127.0.0.1", "0"];
    assert_ended(&attack(&args), 1, "NOT AS ITS HEADER SAYS: at SIGTERM: no answer: its payload");
}

#[test]
fn a_thread_for_each_client_is_more_than_one_for_all() {
    let other = env!("CARGO_BIN_EXE_r03_thread_per_connection");
    let args = ["r06", "--clients", "100", "--only", "crowd", "--", other, "127.0.0.1", "0"];
    // One for each, the one that accepts, and those that have not ended yet.
    assert_ended(&attack(&args), 1, " threads for 100 clients");
}

#[test]
fn the_command_line_is_checked() {
    assert_ended(&attack(&["r99"]), 2, "there is no such rung");
    assert_ended(&attack(&["--only", "flood"]), 2, "no such attack");
    assert_ended(&attack(&["--", "true"]), 2, "name the one rung");
    assert_ended(&attack(&["--list"]), 0, "SIGTERM in the middle of an answer");
}
