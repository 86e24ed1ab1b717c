//! What the outputs make of a trace.

#[path = "common/script.rs"]
mod common;

use std::fs;
use std::path::PathBuf;

use lab::output;

#[test]
fn every_file_is_written() {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("half-close");
    let trace = common::half_close().trace;
    for path in output::write_files(&trace, &dir).unwrap() {
        assert!(fs::metadata(&path).unwrap().len() > 1000, "{} is short", path.display());
    }
    let mut printer = output::text::Printer::new(std::io::stdout(), 100);
    printer.heading().unwrap();
    trace.events.iter().for_each(|event| printer.event(event).unwrap());
}
