//! How a test says that this machine cannot run it.

use std::io::{self, Write};

/// Says so past the test harness, which keeps what a passing test prints to itself.
pub fn skipped(why: &str) {
    let _ = writeln!(io::stderr(), "skipped: {why}");
}
