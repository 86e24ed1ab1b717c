//! Standard output and standard error, one line at a time. A line that cannot be written is no
//! reason to panic: it is remembered, and said at the end.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::Usage;

/// Why standard output could first not be written.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// One line to standard output.
pub fn line(text: fmt::Arguments) {
    note(writeln!(anstream::stdout(), "{text}"));
}

/// One line to standard error. Where that cannot be written, there is nobody left to tell.
pub fn error(text: fmt::Arguments) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// How writing to standard output went. A reader who has gone away has seen enough.
pub fn note(done: io::Result<()>) {
    if let Err(error) = done
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Whether all was written so far.
///
/// # Errors
/// [`Usage`], with what the kernel said to the first line that was not.
pub fn all_written() -> anyhow::Result<()> {
    match FAILED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(Usage(format!("cannot write the output: {error}")).into()),
        None => Ok(()),
    }
}

/// A path as one word of a shell's command line, whatever is in it.
pub fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

/// The text on one line, whatever somebody put into it: a line's end becomes `\n`.
pub fn on_one_line(text: &str) -> String {
    let escaped = |c: char| match c {
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    text.chars().map(escaped).collect()
}
