//! `lab shell`: a shell on each host.

use std::process::ExitCode;

use clap::Args;

use crate::link::LinkConfig;

/// The command line.
#[derive(Args)]
pub struct ShellArgs {
    /// Open the server's shell in the world of this `lab shell`.
    #[arg(long, value_name = "PID")]
    pub join: Option<i32>,
    #[command(flatten)]
    link: LinkConfig,
}

/// Opens the client's shell, and says how to open the server's.
pub fn run(_args: &ShellArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!("not here yet")
}
