//! What the programs write themselves: passed on line by line, each with its host's name, on
//! standard error, so that standard output is the trace alone.

use std::io::{BufRead, BufReader, PipeReader, Write};

use crate::record::Host;

/// Passes on all of it, to the end.
pub fn pass_on(host: Host, pipe: PipeReader) {
    let name = match host {
        Host::Server => "server",
        Host::Client => "client",
    };
    let mut lines = BufReader::new(pipe);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
        let end = if line.ends_with(b"\n") { "" } else { "\n" };
        let mut out = std::io::stderr().lock();
        // Nobody reads it any more: no reason to let the program hang.
        let _ = write!(out, "{name}| ").and_then(|()| out.write_all(&line));
        let _ = out.write_all(end.as_bytes());
        line.clear();
    }
}
