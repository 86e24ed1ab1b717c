//! The article's claims that need a wire, each as an experiment: workload, checks, picture, table.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;

// What all of them need.
mod plot;
mod progress;
mod report;
mod scale;
mod states;
mod table;
mod tolerance;
mod traffic;
mod wire;

// The experiments.
mod bdp;
mod close;
mod echo;
mod handshake;
mod link;
mod loss;
mod mathis;
mod nagle;
mod partial;

use crate::link::{Lateness, LinkConfig, Punctuality};
use crate::output::check_dir;
use crate::world::World;
use crate::{NotPossible, Usage, say, values};
use plot::Picture;
use progress::Progress;
use report::{Outcome, Tally, Timed};
use table::Table;
use tolerance::Tolerance;

/// An experiment.
struct Experiment {
    name: &'static str,
    sentence: &'static str,
    run: fn(&mut Run) -> anyhow::Result<()>,
}

static ALL: [Experiment; 9] = [
    Experiment {
        name: "link",
        sentence: "The link keeps its delay and its rate, as far as this machine is on time.",
        run: link::run,
    },
    Experiment {
        name: "handshake",
        sentence: "A connection costs a round trip before the first byte.",
        run: handshake::run,
    },
    Experiment {
        name: "bdp",
        sentence: "A link is full when rate times round trip is under way.",
        run: bdp::run,
    },
    Experiment {
        name: "mathis",
        sentence: "Random loss limits Reno to about 1.22 MSS / (RTT sqrt p).",
        run: mathis::run,
    },
    Experiment {
        name: "nagle",
        sentence: "Two small sends cost a delayed acknowledgement; one gathered send does not.",
        run: nagle::run,
    },
    Experiment {
        name: "partial",
        sentence: "Sends, segments and reads each have sizes of their own.",
        run: partial::run,
    },
    Experiment {
        name: "close",
        sentence: "Who closes first waits; who does not close stays in CLOSE_WAIT.",
        run: close::run,
    },
    Experiment {
        name: "echo",
        sentence: "The article's echo program: its frames, segments and calls.",
        run: echo::run,
    },
    Experiment {
        name: "loss",
        sentence: "A lost segment is sent again after duplicate ACKs, or after a timeout.",
        run: loss::run,
    },
];

/// The command line.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct ExperimentArgs {
    /// Which one; "all" for all. Without a name: lists them.
    name: Option<String>,
    /// Fewer points and shorter runs: seconds in all, and wider bounds.
    #[arg(long)]
    quick: bool,
    /// Where the pictures (.svg) and the tables (.csv) go.
    #[arg(long, value_name = "DIR", default_value = "target/lab", value_parser = values::path)]
    out: PathBuf,
    /// Writes checks and verdicts to a file, a line each, for other programs.
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    report: Option<PathBuf>,
}

impl ExperimentArgs {
    /// Whether what is to be written can be.
    ///
    /// # Errors
    /// [`Usage`], with what the kernel says.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.needs_a_world() {
            check_dir(&self.out, self.report.as_deref())?;
        }
        Ok(())
    }

    /// Whether there is something to run; not only a list to print, or a name to reject.
    pub fn needs_a_world(&self) -> bool {
        self.name.as_deref().is_some_and(|name| !chosen(name).is_empty())
    }
}

fn chosen(name: &str) -> Vec<&'static Experiment> {
    ALL.iter().filter(|e| name == "all" || e.name == name).collect()
}

const EXAMPLES: &str = "\
Examples:
  lab experiment                     which there are
  lab experiment nagle
  lab experiment all --quick --out /tmp/pictures

Exit codes: 0 all checks ok, 1 one failed, 2 usage, 3 not possible on this machine, 4 not judged:
the link was late, for this machine had other things to do. What does not depend on time is judged
all the same.";

const NOT_JUDGED: u8 = 4;

/// Runs the subcommand.
pub fn run(args: &ExperimentArgs) -> anyhow::Result<ExitCode> {
    let Some(name) = &args.name else {
        for Experiment { name, sentence, .. } in &ALL {
            report::line(format_args!("{name:<10} {sentence}"));
        }
        return Ok(ExitCode::SUCCESS);
    };
    let chosen = chosen(name);
    if chosen.is_empty() {
        let names = ALL.each_ref().map(|e| e.name).join(", ");
        let text = format!("no experiment {name:?}; there are {names}, and all");
        return Err(Usage(text).into());
    }
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make the directory {}", args.out.display()))?;
    let (mut sum, mut outcomes) = (Tally::default(), Vec::new());
    for experiment in chosen {
        match run_one(experiment, args) {
            Ok(tally) => {
                outcomes.push(tally.outcome());
                sum.add(tally);
            }
            Err(error) if error.is::<NotPossible>() || error.is::<Usage>() => return Err(error),
            Err(error) => {
                // The others may still be done.
                report::trouble(format_args!(
                    "{} did not come to its end: {error:#}",
                    experiment.name
                ));
                outcomes.push(Outcome::Failed);
            }
        }
    }
    if let Some(file) = &args.report {
        std::fs::write(file, sum.machine_readable())
            .with_context(|| format!("cannot write the report {}", file.display()))?;
    }
    Ok(match () {
        () if outcomes.contains(&Outcome::Failed) => ExitCode::FAILURE,
        () if outcomes.contains(&Outcome::NotJudged) => ExitCode::from(NOT_JUDGED),
        () => ExitCode::SUCCESS,
    })
}

fn run_one(experiment: &Experiment, args: &ExperimentArgs) -> anyhow::Result<Tally> {
    let Experiment { name, sentence, run } = experiment;
    report::title(name, sentence);
    say::all_written()?;
    let begin = Instant::now();
    let (tally, links) = (Tally::default(), Mutex::default());
    let mut context = Run { name, quick: args.quick, out: &args.out, tally, links };
    run(&mut context)?;
    let late = context.lateness();
    if late.packets() > 0 {
        report::note(format_args!("the link  {late}"));
    }
    let sent_again = Tolerance::all(Duration::from_millis(150)).late(&late);
    context.tally.finish(sent_again);
    report::note(format_args!("{:.1} s", begin.elapsed().as_secs_f64()));
    Ok(context.tally)
}

/// What an experiment gets, and where it leaves what it found.
struct Run<'a> {
    name: &'static str,
    /// Fewer points, shorter runs, wider bounds.
    quick: bool,
    out: &'a Path,
    tally: Tally,
    /// How late each link was.
    links: Mutex<Vec<Punctuality>>,
}

impl Run<'_> {
    /// A world whose link is looked at when something is judged that depends on time.
    fn world(&self, config: &LinkConfig) -> anyhow::Result<World> {
        let world = World::new(config)?;
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.push(world.link.punctuality());
        Ok(world)
    }

    /// How late the links were so far.
    fn lateness(&self) -> Lateness {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Lateness::default();
        links.iter().for_each(|link| all.merge(&link.so_far()));
        all
    }

    /// For what depends on time: it is judged if all links so far were as punctual as this.
    fn on_time(&mut self, tolerance: Tolerance) -> Timed<'_> {
        let late = tolerance.late(&self.lateness());
        self.tally.timed(late)
    }

    /// One or the other: what the quick setting takes, what the full one does.
    fn either<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    /// A bar for an experiment that takes about this long.
    fn progress(&self, total: Duration) -> Progress {
        Progress::new(self.name, total)
    }

    /// Writes a picture: `NAME.svg`, or `NAME-part.svg`.
    fn picture(&self, part: &str, picture: &Picture) -> anyhow::Result<()> {
        let path = self.path(part, "svg");
        picture.write(&path)?;
        report::note(format_args!("picture   {}", path.display()));
        Ok(())
    }

    /// Writes a table: `NAME.csv`, or `NAME-part.csv`.
    fn table(&self, part: &str, table: &Table) -> anyhow::Result<()> {
        let path = self.path(part, "csv");
        table.write(&path)?;
        report::note(format_args!("table     {}", path.display()));
        Ok(())
    }

    fn path(&self, part: &str, extension: &str) -> PathBuf {
        let dash = if part.is_empty() { "" } else { "-" };
        self.out.join(format!("{}{dash}{part}.{extension}", self.name))
    }
}

/// Does the same for each of `items`, `at_once` of them at a time, on threads; gives the results in
/// the order of the items. The first error ends it, once those under way are done.
fn in_parallel<I: Sync, T: Send>(
    items: &[I],
    at_once: usize,
    work: impl Fn(&I) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, anyhow::Result<T>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(i) else { return };
                    let result = work(item);
                    if result.is_err() {
                        next.store(items.len(), Ordering::Relaxed); // the others stop, too
                    }
                    results.lock().expect("no worker panics with the lock").push((i, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker panics with the lock");
    results.sort_by_key(|(i, _)| *i);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The value in the middle. Panics without any.
fn median(values: Vec<f64>) -> f64 {
    quantile(values, 2)
}

/// A quarter of the values are smaller. What else this machine does makes times longer, never
/// shorter: this says more of the link than the one in the middle. Panics without any.
fn lower_quartile(values: Vec<f64>) -> f64 {
    quantile(values, 4)
}

fn quantile(mut values: Vec<f64>, part: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / part]
}

/// Whether a value is within this part of the expected one: 0.05 for 5 %.
fn within(part: f64, expected: f64, observed: f64) -> bool {
    (observed / expected - 1.0).abs() <= part
}

fn joined<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}
