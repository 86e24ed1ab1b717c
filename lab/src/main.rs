//! `lab`: the command.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use lab::{NotPossible, Usage, compare, doctor, experiment, say, shell, show, trace, world};

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

Exit codes: 0 ok, 1 failed, 2 usage, or output that cannot be written, 3 not possible on this
machine, 4 (experiment) not judged, for the link was late.";

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
    let done = parse().and_then(|cli| match cli {
        Some(cli) => run(cli.command),
        None => Ok(ExitCode::SUCCESS),
    });
    let done = done.and_then(|code| say::all_written().map(|()| code));
    done.unwrap_or_else(|error| {
        say::error(format_args!("lab: {}", say::on_one_line(&format!("{error:#}"))));
        ExitCode::from(match () {
            () if error.is::<Usage>() => 2,
            () if error.is::<NotPossible>() => 3,
            () => 1,
        })
    })
}

/// The command line. `None`: it asked for help, and has got it.
fn parse() -> anyhow::Result<Option<Cli>> {
    // What begins with a hyphen may be meant as a value, a negative one: its option says the rest.
    let values = |arg: clap::Arg| match arg.get_action() {
        ArgAction::Set | ArgAction::Append if !arg.is_positional() => arg.allow_hyphen_values(true),
        _ => arg,
    };
    let command = Cli::command().mut_subcommands(|command| command.mut_args(values));
    let parsed = command.try_get_matches().and_then(|found| Cli::from_arg_matches(&found));
    match parsed {
        Ok(cli) => Ok(Some(cli)),
        Err(help) if !help.use_stderr() => {
            say::note(help.print());
            Ok(None)
        }
        Err(error) => Err(Usage(in_one_line(&error)).into()),
    }
}

/// What is wrong, without the usage that clap prints after it.
fn in_one_line(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "what to do? `lab --help` says what there is".to_owned();
    }
    let mut text = error.to_string();
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) {
        text = text.replace(value, &say::on_one_line(value));
    }
    let said = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = text.split("\n\n");
    let mut line = said(parts.next().unwrap_or_default());
    let tip = parts.map(said).find(|part| part.contains("similar"));
    line.extend(tip.map(|tip| format!("; {tip}")));
    line.strip_prefix("error: ").unwrap_or(&line).to_owned()
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match &command {
        Command::Trace(args) => args.check()?,
        Command::Experiment(args) => args.check()?,
        _ => {}
    }
    match command {
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
    }
}
