//! What the tests of this crate share.

mod skip;

use std::env;
use std::io::{self, Write};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use lab::world;
use skip::skipped;

const ALONE: &str = "LAB_TEST_ALONE";

/// Runs a test that needs a world. An ordinary user's process can only move into a user namespace
/// while it has one thread, which a test never has: there unshare(1) runs the test once more, in a
/// process of its own. `name` is the test's path, as `cargo test` shows it.
///
/// One test at a time: they measure.
pub fn in_a_world(name: &str, test: impl FnOnce()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let Err(why) = world::become_able() else { return test() };
    if env::var_os(ALONE).is_some() {
        return skipped(&format!("{why:#}"));
    }
    let exe = env::current_exe().expect("a test has a file");
    let again = Command::new("unshare")
        .args(["--user", "--map-root-user", "--"])
        .arg(exe)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output();
    match again {
        Ok(ran) if String::from_utf8_lossy(&ran.stdout).contains("running 1 test") => {
            print!("{}", String::from_utf8_lossy(&ran.stdout));
            let _ = io::stderr().write_all(&ran.stderr);
            assert!(ran.status.success(), "{name}: {}", ran.status);
        }
        // It did not come as far as the test.
        _ => skipped(&format!("{why:#}")),
    }
}
