//! `lab shell`: a shell on each host, for trying by hand.

mod child;
mod join;

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::link::LinkConfig;
use crate::record::Host;
use crate::say;
use crate::values::whole;
use crate::world::{Node, World, netns};
use child::Ended;

/// The command line.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ShellArgs {
    /// Open another shell in the world of the `lab shell` with this process id
    #[arg(long, value_name = "PID", value_parser = whole::<i32>(1..=i32::MAX as u64))]
    pub join: Option<i32>,
    /// On which host: the client's, unless it joins; then the server's
    #[arg(long, value_name = "HOST")]
    on: Option<Side>,
    #[command(flatten)]
    link: LinkConfig,
}

const EXAMPLES: &str = "\
Examples:
  lab shell --delay 50ms
  lab shell --rate 1mbit --queue 20kb --loss client:1%
  lab shell --join 4711                   # the server's shell, in a second terminal

In each shell $SERVER and $CLIENT are the hosts' addresses. Try: python3 -m http.server,
ss -tni, tcpdump -ni eth0 (as root). When the first shell ends, the hosts and all that runs on
them are gone.";

#[derive(Clone, Copy, ValueEnum)]
enum Side {
    Client,
    Server,
}

impl From<Side> for Host {
    fn from(side: Side) -> Host {
        match side {
            Side::Client => Host::Client,
            Side::Server => Host::Server,
        }
    }
}

/// Opens a shell, and says how to open the other.
///
/// # Errors
/// [`crate::NotPossible`] where there are no namespaces.
pub fn run(args: &ShellArgs) -> Result<ExitCode> {
    let signals = child::hold_signals()?;
    if let Some(pid) = args.join {
        let host = args.on.map_or(Host::Server, Host::from);
        let world = join::enter(pid, host)?;
        let ended = child::open(host, &signals, Some(&world))?;
        if ended == Ended::World {
            say::error(format_args!("lab: the world of {pid} has ended, and this shell with it"));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let world = World::new(&args.link)?;
    for node in [&world.client, &world.server] {
        leave_a_door(node)?;
    }
    let host = args.on.map_or(Host::Client, Host::from);
    greet(&world, host, &args.link);
    world.node(host).enter().context("moving to the host")?;
    match child::open(host, &signals, None)? {
        Ended::Shell => Ok(ExitCode::SUCCESS),
        Ended::Signal | Ended::World => Ok(ExitCode::FAILURE),
    }
}

/// A thread that stays on the host and bears its name: by it `--join` finds the host.
fn leave_a_door(node: &Node) -> Result<()> {
    let netns = node.netns().try_clone_to_owned()?;
    let (entered, wait) = std::sync::mpsc::channel();
    thread::Builder::new().name(node.name().into()).spawn(move || {
        let _ = entered.send(netns::enter(netns.as_fd()));
        loop {
            thread::park();
        }
    })?;
    wait.recv().context("the thread has ended")?.context("moving to the host")
}

fn greet(world: &World, host: Host, link: &LinkConfig) {
    if !io::stdin().is_terminal() {
        return;
    }
    let exe = std::env::current_exe().unwrap_or_else(|_| "lab".into());
    let (here, there, on) = match host {
        Host::Client => ("client", "server", ""),
        Host::Server => ("server", "client", " --on client"),
    };
    say::error(format_args!(
        "client {} ── {link} ── server {}\n\
         This is the {here}. The {there}'s shell, in a second terminal:\n\n    \
         {} shell --join {}{on}\n\n`exit` here takes both down.",
        world.client.ip(),
        world.server.ip(),
        say::quoted(&exe),
        std::process::id(),
    ));
}
