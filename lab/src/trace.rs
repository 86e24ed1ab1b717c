//! To be filled.

use std::process::ExitCode;

use clap::Args;

/// The command line.
#[derive(Args)]
pub struct TraceArgs {}

/// Runs the subcommand.
pub fn run(_args: &TraceArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}
