//! `lab doctor`: what this machine allows, found out by trying it.

use std::process::ExitCode;

use clap::Args;

/// The command line.
#[derive(Args)]
pub struct DoctorArgs {}

/// Tries each thing that a trace needs. Exit code 0: a trace is possible; 3: it is not.
pub fn run(_args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}
