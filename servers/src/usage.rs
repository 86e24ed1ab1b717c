//! The command line of the two programs that are no server.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

/// The options; or the exit code, once the help or what is wrong with them has been said. clap's own
/// `parse` ends with 0 where the help could not be printed.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|said| match said.print() {
        Ok(()) => ExitCode::from(said.exit_code() as u8),
        Err(e) => failed(1, format_args!("stdout: {e}")),
    })
}

/// Says what went wrong, and returns the exit code. Where this cannot be said, nothing can.
pub fn failed(code: u8, why: impl Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "{why}");
    ExitCode::from(code)
}
