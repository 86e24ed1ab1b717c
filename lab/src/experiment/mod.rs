//! To be filled.

use std::process::ExitCode;

use clap::Args;

/// The command line.
#[derive(Args)]
pub struct ExperimentArgs {}

/// Runs the subcommand.
pub fn run(_args: &ExperimentArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}
