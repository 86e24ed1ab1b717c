//! `lab doctor`: what this machine allows, found out by trying it.

use std::process::ExitCode;

use clap::Args;
use nix::errno::Errno;

/// The command line.
#[derive(Args)]
pub struct DoctorArgs {}

/// Tries each thing that a trace needs. Exit code 0: a trace is possible; 3: it is not.
pub fn run(_args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}

/// Why there are no namespaces for this user, and what would allow them.
pub fn no_namespaces(error: Errno) -> String {
    format!("namespaces are not possible here: {error}; try `lab doctor`")
}
