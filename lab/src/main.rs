//! `lab`: the command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lab::{NotPossible, Usage, compare, doctor, experiment, shell, show, trace, world};

/// Any TCP client and server on one timeline, over a wire that you control.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lab doctor
  lab trace s05_half_close
  lab trace --server 'python3 -m http.server {port}' --client 'curl -s http://{server}:{port}/'
  lab shell --delay 50ms --loss 1%
  lab experiment nagle

Exit codes: 0 ok, 1 failed, 2 usage, 3 not possible on this machine, 4 (experiment) not judged, for
the link was late.";

// Parsed once: its size does not matter.
#[allow(clippy::large_enum_variant)]
#[derive(Subcommand)]
enum Command {
    /// Run two programs on two hosts, and draw what they and TCP did.
    Trace(trace::TraceArgs),
    /// Open a shell on each host, to try by hand.
    Shell(shell::ShellArgs),
    /// Measure what the article says about the wire.
    Experiment(experiment::ExperimentArgs),
    /// Draw a recorded trace again.
    Show(show::ShowArgs),
    /// Put two recorded traces side by side, and mark what differs.
    Compare(compare::CompareArgs),
    /// Say what this machine allows, and what would allow the rest.
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let asked = match &cli.command {
        Command::Trace(args) => args.check(),
        _ => Ok(()),
    };
    let done = asked.and_then(|()| match cli.command {
        // These look at the machine as it is, or not at all.
        Command::Doctor(args) => doctor::run(&args),
        Command::Show(args) => show::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Shell(args) if args.join.is_some() => shell::run(&args),
        Command::Experiment(args) if !args.needs_a_world() => experiment::run(&args),
        // The rest needs a world, and a thread here would stand in its way.
        command => world::become_able().and_then(|()| match command {
            Command::Trace(args) => trace::run(&args),
            Command::Experiment(args) => experiment::run(&args),
            Command::Shell(args) => shell::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Show(args) => show::run(&args),
            Command::Compare(args) => compare::run(&args),
        }),
    });
    done.unwrap_or_else(|error| {
        anstream::eprintln!("lab: {error:#}");
        ExitCode::from(match () {
            () if error.is::<Usage>() => 2,
            () if error.is::<NotPossible>() => 3,
            () => 1,
        })
    })
}
