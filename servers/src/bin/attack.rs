//! Attacks every rung in every way, with an honest client beside the attackers.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::Parser;
use servers::attack::{ATTACKS, Attack, Figures};
use servers::conformance::report::say;
use servers::conformance::server::{Recipe, end_server_on_signals};
use servers::rungs::{RUNGS, Rung};
use servers::{attack, start, usage};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DIM: Style = Style::new().dimmed();

/// Attacks each rung of the echo server, with an honest client beside the attackers.
///
/// A row is one attack. KiB and fds: before it, the most, and when the attackers have gone.
/// idle: the share of a processor while the attackers are there and do nothing.
///
/// A rung is judged by its header: what it promises, and where it stops. Exit code 0 if all is as
/// they say, 1 if not, 2 for the command line.
#[derive(Parser)]
#[command(name = "attack", verbatim_doc_comment)]
struct Options {
    /// Rungs to attack, by the beginning of their names (r06, r14); all, if none is named.
    #[arg(value_parser = rung)]
    rungs: Vec<&'static Rung>,

    /// Only these attacks: --only drip,crowd.
    #[arg(long, value_name = "ATTACKS", value_delimiter = ',', value_parser = attack)]
    only: Vec<Attack>,

    /// How many clients are a crowd.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    clients: u64,

    /// Lists the attacks.
    #[arg(long)]
    list: bool,

    /// Another server, a program and its arguments, which promises what the one named rung does. In
    /// them {addr} and {port} become 127.0.0.1 and a free port.
    #[arg(last = true)]
    command: Vec<OsString>,
}

fn rung(name: &str) -> Result<&'static Rung, String> {
    RUNGS.iter().find(|rung| rung.name.starts_with(name)).ok_or("there is no such rung".into())
}

fn attack(id: &str) -> Result<Attack, String> {
    let known = ATTACKS.into_iter().find(|attack| attack.id == id);
    known.ok_or("no such attack; --list names them".into())
}

fn main() -> ExitCode {
    let options: Options = match usage::parse() {
        Ok(options) => options,
        Err(code) => return code,
    };
    if !options.command.is_empty() && options.rungs.len() != 1 {
        return usage::failed(2, "attack: name the one rung that the command is judged as");
    }
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => usage::failed(1, format_args!("attack: {e}")),
    }
}

/// Returns whether all rungs are as their headers say.
fn run(options: &Options) -> Result<bool, String> {
    let attacks = || {
        let only = &options.only;
        let wanted = |a: &&Attack| only.is_empty() || only.iter().any(|o| o.id == a.id);
        ATTACKS.iter().filter(wanted)
    };
    if options.list {
        return attacks()
            .try_for_each(|a| say(format_args!("{:<10}{}", a.id, a.sentence)))
            .map(|()| true);
    }
    end_server_on_signals().map_err(|e| e.to_string())?;
    start::all_descriptors().map_err(|e| format!("setrlimit: {e}"))?;
    let named: Vec<&Rung> = options.rungs.clone();
    let rungs = if named.is_empty() { RUNGS.iter().collect() } else { named };
    let (mut good, mut limits, mut bad) = (0, 0, 0);
    for rung in rungs {
        let recipe = recipe(options, rung)?;
        say(rung.name)?;
        say(format_args!(
            "{DIM}  {:<10}{:>8}{:>6}{:>24}{:>16}{:>8}{DIM:#}",
            "attack", "answers", "held", "KiB", "fds", "idle"
        ))?;
        for attack in attacks() {
            let (figures, result) = attack::run(attack, rung, &recipe, options.clients as usize);
            let verdict = match &result {
                Ok(None) => format!("{GOOD}as promised{GOOD:#}"),
                Ok(Some(words)) => format!("its limit: {words}"),
                Err(why) => format!("{BAD}NOT AS ITS HEADER SAYS: {why}{BAD:#}"),
            };
            *match result {
                Ok(None) => &mut good,
                Ok(Some(_)) => &mut limits,
                Err(_) => &mut bad,
            } += 1;
            say(format_args!("  {}{verdict}", row(attack, &figures)))?;
        }
    }
    say(format_args!("{good} as promised, {limits} limits met, {bad} not as the header says"))?;
    Ok(bad == 0)
}

fn row(attack: &Attack, figures: &Figures) -> String {
    let three = |figures: [usize; 3]| figures.map(|n| n.to_string()).join(" > ");
    let idle = figures.idle.map_or("-".into(), |percent| format!("{percent:.1} %"));
    let note = if figures.note.is_empty() { "" } else { "; " };
    format!(
        "{:<10}{:>8}{:>6}{:>24}{:>16}{idle:>8}  {}{note}",
        attack.id,
        figures.answered,
        figures.held,
        three(figures.memory),
        three(figures.descriptors),
        figures.note
    )
}

/// The rungs lie beside this program.
fn recipe(options: &Options, rung: &Rung) -> Result<Recipe, String> {
    if !options.command.is_empty() {
        return Ok(Recipe { words: options.command.clone() });
    }
    let program: PathBuf = env::current_exe().map_err(|e| e.to_string())?.with_file_name(rung.name);
    if !program.exists() {
        return Err(format!("{} has not been built: `make attack` does both", rung.name));
    }
    Ok(Recipe { words: vec![program.into(), "127.0.0.1".into(), "0".into()] })
}
