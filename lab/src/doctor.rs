//! `lab doctor`: what this machine allows, found out by trying it.

mod attempts;

use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Args;

use crate::{reason, say};

/// The command line.
#[derive(Args)]
#[command(after_help = "Exit codes: 0 a trace is possible, 3 it is not on this machine.")]
pub struct DoctorArgs {}

/// What is tried: its name, the attempt, what is lost without it, what may allow it.
struct Check {
    name: &'static str,
    attempt: fn() -> anyhow::Result<String>,
    without: &'static str,
    remedy: fn() -> String,
}

/// Nothing works without these.
const NEEDED: &str = "no trace, no shell, no experiment";

const CHECKS: [Check; 7] = [
    Check {
        name: "namespaces",
        attempt: attempts::namespaces,
        without: NEEDED,
        // The attempt's error says it already.
        remedy: String::new,
    },
    Check {
        name: "veth",
        attempt: attempts::veth,
        without: NEEDED,
        remedy: || "sudo modprobe veth".into(),
    },
    Check {
        name: "packet sockets",
        attempt: attempts::packet_sockets,
        without: NEEDED,
        remedy: reason::packet_sockets,
    },
    Check {
        name: "a link",
        attempt: attempts::link,
        without: NEEDED,
        remedy: || "the error says what failed; report it as a bug, with `uname -r`".into(),
    },
    Check {
        name: "ptrace",
        attempt: attempts::ptrace,
        without: "a trace shows no system calls",
        remedy: reason::no_ptrace,
    },
    Check {
        name: "sock_diag",
        attempt: attempts::sock_diag,
        without: "a trace shows no TCP states",
        remedy: || "sudo modprobe tcp_diag".into(),
    },
    Check {
        name: "congestion control",
        attempt: attempts::congestion_control,
        without: "`lab experiment mathis` leaves out what is not there",
        remedy: || "sudo modprobe -a tcp_cubic tcp_bbr".into(),
    },
];

/// Tries each thing that a trace needs. Exit code 0: a trace is possible; 3: it is not.
pub fn run(_args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut possible = true;
    for Check { name, attempt, without, remedy } in CHECKS {
        match attempt() {
            Ok(found) => line(AnsiColor::Green, "ok", name, &found),
            Err(error) => {
                let needed = without == NEEDED;
                line(if needed { AnsiColor::Red } else { AnsiColor::Yellow }, "no", name, without);
                say::line(format_args!("{:24}{error:#}", ""));
                let remedy = remedy();
                if !remedy.is_empty() {
                    say::line(format_args!("{:24}try: {remedy}", ""));
                }
                if needed {
                    // What follows stands on it.
                    possible = false;
                    break;
                }
            }
        }
    }
    let is = if possible { "is" } else { "is not" };
    say::line(format_args!("A trace {is} possible here."));
    Ok(ExitCode::from(if possible { 0 } else { 3 }))
}

fn line(color: AnsiColor, verdict: &str, name: &str, text: &str) {
    let style = Style::new().fg_color(Some(color.into())).bold();
    let text = format!("{name:20}{text}");
    say::line(format_args!("{style}{verdict:4}{style:#}{}", text.trim_end()));
}
