//! Every experiment in its quick setting, on the real kernel.

use std::process::Command;
use std::{env, fs, process};

#[test]
fn every_experiment_in_its_quick_setting() {
    build_echo();
    let out = env::temp_dir().join(format!("lab-experiments-{}", process::id()));
    let report = out.join("report");
    let run = Command::new(env!("CARGO_BIN_EXE_lab"))
        .args(["experiment", "all", "--quick", "--out"])
        .arg(&out)
        .arg("--report")
        .arg(&report)
        .output()
        .expect("lab starts");
    let said = String::from_utf8_lossy(&run.stdout) + String::from_utf8_lossy(&run.stderr);
    if run.status.code() == Some(3) {
        println!("skipped: {}", said.lines().last().unwrap_or_default());
        return;
    }
    let facts = fs::read_to_string(&report).unwrap_or_default();
    let left: Vec<_> = fs::read_dir(&out).into_iter().flatten().flatten().collect();
    let pictures = left.iter().filter(|file| file.path().extension().is_some_and(|e| e == "svg"));
    let pictures = pictures.count();
    fs::remove_dir_all(&out).expect("what it wrote is ours");
    assert!(run.status.success(), "{said}");
    assert_eq!(pictures, 10, "one each, loss has three: {said}");
    assert!(!said.contains('\x1b'), "colours, though not on a terminal: {said}");
    // Each claim that the experiments are for has one answer.
    let claims = facts.lines().filter_map(|line| line.strip_prefix("claim\t")?.get(..2));
    let mut wanted = "H1 H2 H3 P1 P2 P3 N1 N2 N3 N4 B2 K2 X2 C1 C2 E3 O1 O3".to_owned();
    if let Some(line) = said.lines().find(|line| line.contains("left out: O3")) {
        println!("skipped: {}", line.trim());
        wanted.truncate(wanted.len() - " O3".len());
    }
    assert_eq!(claims.collect::<Vec<_>>().join(" "), wanted, "{facts}");
}

/// The article's program, which one of them watches, and which is no part of this crate.
fn build_echo() {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "tcp-stream-io", "--bin", "echo"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.expect("cargo runs").success());
}

#[test]
fn an_experiment_that_is_not_there_is_a_usage_error() {
    let run = Command::new(env!("CARGO_BIN_EXE_lab")).args(["experiment", "nope"]).output();
    let run = run.expect("lab starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(2), "{said}");
    assert!(said.contains("handshake, bdp"), "{said}");
}
