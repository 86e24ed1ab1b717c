//! What the tests of this crate share.

use std::env;
use std::process::Command;

use lab::world;

const ALONE: &str = "LAB_TEST_ALONE";

/// Runs a test that needs a world. An ordinary user's process can only move into a user namespace
/// while it has one thread, so there the test is run once more, in a process of its own. `name` is
/// the test's path, as `cargo test` shows it.
pub fn in_a_world(name: &str, test: impl FnOnce()) {
    if world::become_able().is_ok() {
        return test();
    }
    if env::var_os(ALONE).is_some() {
        let why = world::become_able().expect_err("it was refused a moment ago");
        println!("skipped: {why}");
        return;
    }
    let status = Command::new(env::current_exe().expect("a test has a file"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .status()
        .expect("the test runs itself");
    assert!(status.success(), "{name}: {status}");
}
